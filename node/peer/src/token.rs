//! What an operator carries from a member to a node that is to join: which fleet that is, by what its members are known, and a
//! secret. The fleet keeps a hash of the secret alone.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::digest::{SHA256, digest};

use crate::random::{self, Unavailable};

/// Begins every token; the number is the version of what follows.
const BEGINS: &str = "convoy1_";

/// In front of a secret, so that its hash is of use for nothing else.
const DOMAIN: &[u8] = b"convoy join token 1";

const FLEET: usize = 16;
const FINGERPRINT: usize = 32;
const SECRET: usize = 16;
const CHECK: usize = 4;
const BYTES: usize = FLEET + FINGERPRINT + SECRET + CHECK;

#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; BYTES - CHECK]);

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("this is no join token: one begins with {BEGINS}; convoy ctl token on a member makes one")]
    None,
    #[error("the join token is of another version of Convoy; make one on a member of the same version")]
    Version,
    #[error("the join token is cut short, or something is behind it; copy all of it")]
    Length,
    #[error("the join token is mistyped; copy it again")]
    Mistyped,
}

impl Token {
    /// One with a new secret.
    pub fn draw(fleet: [u8; FLEET], fingerprint: [u8; FINGERPRINT]) -> Result<Self, Unavailable> {
        let secret: [u8; SECRET] = random::draw()?;
        let mut bytes = [0; BYTES - CHECK];
        bytes[..FLEET].copy_from_slice(&fleet);
        bytes[FLEET..FLEET + FINGERPRINT].copy_from_slice(&fingerprint);
        bytes[FLEET + FINGERPRINT..].copy_from_slice(&secret);
        Ok(Self(bytes))
    }

    /// Which fleet it is for.
    pub fn fleet(&self) -> [u8; FLEET] {
        self.0[..FLEET].try_into().expect("it has as many bytes")
    }

    /// Of the authority that certifies members.
    pub fn fingerprint(&self) -> [u8; FINGERPRINT] {
        self.0[FLEET..FLEET + FINGERPRINT].try_into().expect("it has as many bytes")
    }

    /// What the fleet keeps of it.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[DOMAIN, &self.0[FLEET + FINGERPRINT..]].concat())
    }

    fn check(&self) -> [u8; CHECK] {
        *sha256(&self.0).first_chunk().expect("a hash is longer")
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{BEGINS}{}", BASE64.encode([&self.0[..], &self.check()].concat()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let Some(rest) = text.strip_prefix(BEGINS) else {
            return Err(if text.starts_with("convoy") { Error::Version } else { Error::None });
        };
        // Of a text that is cut anywhere nothing is said but that.
        if rest.len() != BYTES.div_ceil(3) * 4 - (3 - BYTES % 3) % 3 {
            return Err(Error::Length);
        }
        let bytes = BASE64.decode(rest).map_err(|_| Error::Mistyped)?;
        let (token, check) = bytes.split_at_checked(BYTES - CHECK).ok_or(Error::Length)?;
        let token = Self(token.try_into().map_err(|_| Error::Length)?);
        if token.check() == *check { Ok(token) } else { Err(Error::Mistyped) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = Token::draw([7; 16], [9; 32]).unwrap();
        let text = token.to_string();
        let read: Token = format!(" {text}\n").parse().unwrap();
        assert_eq!(read, token);
        assert_eq!((read.fleet(), read.fingerprint()), ([7; 16], [9; 32]));
        assert_ne!(token.hash(), Token::draw([7; 16], [9; 32]).unwrap().hash());
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn whatever_is_wrong_with_a_token_is_said() {
        let text = Token::draw([7; 16], [9; 32]).unwrap().to_string();
        let said = |text: &str| text.parse::<Token>().unwrap_err();
        assert_eq!(said("hunter2"), Error::None);
        assert_eq!(said(""), Error::None);
        assert_eq!(said(&text.replace("convoy1", "convoy2")), Error::Version);
        assert_eq!(said(&text[..text.len() - 1]), Error::Length);
        assert_eq!(said(&format!("{text}x")), Error::Length);
        for at in BEGINS.len()..text.len() {
            for other in ["A", "_", "*"] {
                let mut typed = text.clone();
                typed.replace_range(at..=at, other);
                if typed != text {
                    assert_eq!(said(&typed), Error::Mistyped, "{typed}");
                }
            }
        }
    }
}
