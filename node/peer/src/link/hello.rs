//! The first words on a connection between two nodes. Who the other one is its certificate has said.

use std::fmt;

use crate::Lane;

/// Of what links carry. A node speaks with one of the version before too, so that a fleet is upgraded node by node; there is
/// none yet.
pub const VERSION: u8 = 1;

const MAGIC: [u8; 3] = *b"cvy";

/// Bytes of a hello.
pub const BYTES: usize = 9;

/// What whoever dials says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    pub version: u8,
    pub lane: Lane,
    /// How often the node was started: two processes of one node differ in it.
    pub start: u32,
}

impl Hello {
    pub fn new(lane: Lane, start: u32) -> Self {
        Self { version: VERSION, lane, start }
    }

    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..3].copy_from_slice(&MAGIC);
        (bytes[3], bytes[4]) = (self.version, self.lane.to_byte());
        bytes[5..].copy_from_slice(&self.start.to_le_bytes());
        bytes
    }

    /// What the other node says; or what it is answered where that cannot be a link.
    pub fn from_bytes(bytes: [u8; BYTES]) -> Result<Self, Reply> {
        let [first, second, third, version, lane, start @ ..] = bytes;
        if [first, second, third] != MAGIC {
            return Err(Reply::Foreign);
        }
        if version != VERSION {
            return Err(Reply::Version);
        }
        let lane = Lane::from_byte(lane).ok_or(Reply::Foreign)?;
        Ok(Self { version, lane, start: u32::from_le_bytes(start) })
    }
}

/// The answer to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reply {
    Welcome = 1,
    /// Another version of what links carry.
    Version = 2,
    /// Whoever dials is no member, as far as is known here.
    Stranger = 3,
    /// A later process of the same node is known.
    Older = 4,
    /// It is no link at all.
    Foreign = 5,
}

impl Reply {
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Welcome, Self::Version, Self::Stranger, Self::Older, Self::Foreign]
            .into_iter()
            .find(|reply| *reply as u8 == byte)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Welcome => "it is welcome",
            Self::Version => "it is of another version; upgrade the older one of the two",
            Self::Stranger => {
                "it does not know this node as a member; if it was removed, empty its data folder and join again"
            }
            Self::Older => "a later process of this node is there; stop one of the two",
            Self::Foreign => "it takes this for something else than a node",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_read_as_it_was_written() {
        for lane in Lane::ALL {
            let hello = Hello::new(lane, 0x0102_0304);
            assert_eq!(Hello::from_bytes(hello.to_bytes()), Ok(hello));
        }
    }

    #[test]
    fn what_is_no_hello_of_this_version_is_answered() {
        let bytes = Hello::new(Lane::Raft, 1).to_bytes();
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes;
            bytes[at] = byte;
            Hello::from_bytes(bytes)
        };
        assert_eq!(with(0, b'G'), Err(Reply::Foreign));
        assert_eq!(with(3, 2), Err(Reply::Version));
        assert_eq!(with(4, 3), Err(Reply::Foreign));
    }

    #[test]
    fn a_reply_is_read_as_it_was_written() {
        for byte in 0..=u8::MAX {
            assert!(Reply::from_byte(byte).is_none_or(|reply| reply as u8 == byte));
        }
        assert_eq!(Reply::from_byte(1), Some(Reply::Welcome));
    }
}
