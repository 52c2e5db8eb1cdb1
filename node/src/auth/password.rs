//! Passwords as they are kept: PHC strings of argon2id, and what mosquitto_passwd wrote (`$6$`, `$7$`).

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// Memory that one verification may take, in KiB: a hash that asks for more is a mistake or an attack on us.
const MEMORY_LIMIT: u32 = 1 << 20;
const ITERATIONS_LIMIT: u32 = 10_000_000;

/// What a new password costs to verify, and to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub memory_kib: u32,
    pub iterations: u32,
}

/// As OWASP recommends.
impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2 }
    }
}

/// A password that can be verified and not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A PHC string.
    Argon2(String),
    /// PBKDF2 with HMAC of SHA-512.
    Pbkdf2 { iterations: NonZeroU32, salt: Vec<u8>, hash: Vec<u8> },
    /// SHA-512 of password and salt: mosquitto's before 2.0.
    Sha512 { salt: Vec<u8>, hash: Vec<u8> },
}

impl Stored {
    /// What is wrong is said in words that complete "its password …".
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('$').collect();
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| "is not in base64".to_owned());
        match parts[..] {
            ["", "argon2id", ..] => {
                let hash = PasswordHash::new(text).map_err(|error| format!("is no PHC string: {error}"))?;
                let params =
                    Params::try_from(&hash).map_err(|error| format!("cannot be verified: {error}"))?;
                if params.m_cost() > MEMORY_LIMIT || params.t_cost() > 1000 {
                    return Err("would take more than 1 GiB or 1000 iterations to verify".to_owned());
                }
                match hash.salt.is_some() && hash.hash.is_some() {
                    true => Ok(Self::Argon2(text.to_owned())),
                    false => Err("has no salt or no hash".to_owned()),
                }
            }
            ["", "7", iterations, salt, hash] => {
                let iterations = iterations.parse().ok().filter(|n: &NonZeroU32| n.get() <= ITERATIONS_LIMIT);
                let iterations = iterations.ok_or("has no number of iterations up to 10,000,000")?;
                Ok(Self::Pbkdf2 { iterations, salt: bytes(salt)?, hash: full(bytes(hash)?)? })
            }
            ["", "6", salt, hash] => Ok(Self::Sha512 { salt: bytes(salt)?, hash: full(bytes(hash)?)? }),
            ["", "argon2i" | "argon2d", ..] => Err("is not of argon2id".to_owned()),
            _ => Err("is neither $argon2id$, nor $7$ or $6$ of mosquitto_passwd".to_owned()),
        }
    }

    /// Whether it was drawn, as `hash_drawn` keeps one: it cannot be guessed, and is verified at once.
    pub fn is_drawn(&self) -> bool {
        matches!(self, Self::Pbkdf2 { iterations: NonZeroU32::MIN, .. })
    }

    /// What a verification costs, to be compared: argon2id by memory and iterations, others by iterations.
    fn cost(&self) -> (bool, u64) {
        match self {
            Self::Argon2(text) => {
                let params = PasswordHash::new(text).ok().and_then(|hash| Params::try_from(&hash).ok());
                (true, params.map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost())))
            }
            Self::Pbkdf2 { iterations, .. } => (false, u64::from(iterations.get())),
            Self::Sha512 { .. } => (false, 0),
        }
    }

    /// The dearest of them to verify.
    pub fn dearest<'a>(all: impl Iterator<Item = &'a Self>) -> Option<&'a Self> {
        all.max_by_key(|stored| stored.cost())
    }

    /// Does what verifying this one costs beyond what was spent on another one, so that the time of a refusal tells
    /// nothing. Two of argon2id are taken for alike: where users have different ones, their difference shows.
    pub fn spend_rest(&self, spent: Option<&Self>, password: &[u8]) {
        let ((is_argon2, cost), spent) = (self.cost(), spent.map(Self::cost));
        match spent {
            Some((true, _)) => {}
            Some((false, spent)) if !is_argon2 => pbkdf2_of_nobody(cost.saturating_sub(spent), password),
            _ => {
                std::hint::black_box(self.verify(password));
            }
        }
    }

    pub fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(text) => PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Self::Pbkdf2 { iterations, salt, hash } => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, *iterations, salt, password, hash).is_ok()
            }
            Self::Sha512 { salt, hash } => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(salt);
                // Compared under a key, in a time that tells nothing.
                let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
                hmac::verify(&key, context.finish().as_ref(), hmac::sign(&key, hash).as_ref()).is_ok()
            }
        }
    }
}

/// Verifies a password that was drawn, or spends as much on nobody's.
pub fn verify_drawn(drawn: Option<&Stored>, password: &[u8]) -> bool {
    match drawn {
        Some(drawn) => drawn.verify(password),
        None => {
            pbkdf2_of_nobody(1, password);
            false
        }
    }
}

fn pbkdf2_of_nobody(iterations: u64, password: &[u8]) {
    let Some(iterations) = u32::try_from(iterations).ok().and_then(NonZeroU32::new) else { return };
    let mut hash = [0; digest::SHA512_OUTPUT_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &[0; 16], password, &mut hash);
    std::hint::black_box(hash);
}

/// A hash cut short would be guessed by its beginning.
fn full(hash: Vec<u8>) -> Result<Vec<u8>, String> {
    if hash.len() == digest::SHA512_OUTPUT_LEN { Ok(hash) } else { Err("has no hash of 64 bytes".to_owned()) }
}

/// Keeps a password that somebody has thought of.
pub fn hash(password: &[u8], salt: &[u8; 16], cost: Cost) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the password cannot be hashed: {error}");
    let params = Params::new(cost.memory_kib, cost.iterations, 1, None).map_err(|error| failed(&error))?;
    let salt = SaltString::encode_b64(salt).map_err(|error| failed(&error))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(password, &salt).map_err(|error| failed(&error))?.to_string())
}

/// Keeps a secret that was drawn and that nobody can guess: to make guesses slow would protect nothing, and ten thousand
/// vehicles that come back at once are verified in milliseconds.
pub fn hash_drawn(secret: &[u8], salt: &[u8; 16]) -> String {
    let mut hash = [0; digest::SHA512_OUTPUT_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, NonZeroU32::MIN, salt, secret, &mut hash);
    format!("$7$1${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1 };

    #[test]
    fn a_password_is_verified_and_no_other_one() {
        let texts = [hash(b"secret", &[7; 16], CHEAP).unwrap(), hash_drawn(b"secret", &[7; 16])];
        for text in &texts {
            let stored = Stored::parse(text).unwrap();
            let found = [&b"secret"[..], b"Secret", b"secret ", b"", b"secre"]
                .map(|password| stored.verify(password));
            assert_eq!(found, [true, false, false, false, false], "{text}");
        }
        assert!(texts[0].starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{}", texts[0]);
    }

    #[test]
    fn what_mosquitto_passwd_wrote_is_verified() {
        // Made by mosquitto_passwd 2.0 with -H sha512-pbkdf2 and -H sha512, password "secret".
        for text in include_str!("mosquitto_passwd.txt").lines() {
            let stored = Stored::parse(text.split_once(':').unwrap().1).unwrap();
            assert!(stored.verify(b"secret") && !stored.verify(b"secreT"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_verified_is_refused_with_the_reason() {
        let reason = |text: &str| Stored::parse(text).unwrap_err();
        assert!(reason("secret").contains("neither"));
        assert!(reason("$7$0$AAAA$AAAA").contains("iterations"));
        assert!(reason("$7$101$AAAA$AAAA").contains("64 bytes"));
        assert!(reason("$6$?$AAAA").contains("base64"));
        assert!(reason("$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA").contains("argon2id"));
        assert!(
            reason("$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA").contains("1 GiB")
        );
        assert!(reason("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ").contains("no hash"));
    }
}
