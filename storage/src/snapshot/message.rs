//! What the two sides of a copy say to each other, as bytes: envelope of kind 0x24, version 1, around a [`Message`] as `record`
//! writes it. Each is of one slot, which whoever carries it says beside it, and may be lost, doubled, late or damaged.

use super::CopyId;
use crate::record::{BorrowDecode, Encode};
use crate::sealed;

const KIND: u8 = 0x24;
const VERSION: u8 = 1;

/// Of the sender the first, of the receiver the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
#[bincode(crate = "crate::record")]
pub enum Message<'a> {
    /// The piece of this number, of a copy by the leader of this term.
    Piece { term: u64, copy: CopyId, number: u32, piece: &'a [u8] },
    /// Every piece before this one is there, and it is wanted next.
    Wanted { copy: CopyId, next: u32 },
    /// Nothing is there of this copy, though this was not its first piece.
    Unknown { copy: CopyId },
    /// Another copy is on its way there: come again.
    Later { copy: CopyId },
    /// The slot goes on behind this copy, or has its own log up to there.
    InForce { copy: CopyId },
}

impl<'a> Message<'a> {
    pub fn encode(&self) -> Vec<u8> {
        sealed::seal(KIND, VERSION, self)
    }

    pub fn decode(bytes: &'a [u8]) -> Result<Self, sealed::Error> {
        sealed::open(KIND, VERSION, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::HEADER;

    /// Messages as the first release writes them.
    #[test]
    fn the_form_is_frozen() {
        let copy = CopyId(9);
        for (message, body) in [
            (Message::Piece { term: 3, copy, number: 2, piece: b"ab" }, &b"\x00\x03\x09\x02\x02ab"[..]),
            (Message::Wanted { copy, next: 5 }, b"\x01\x09\x05"),
            (Message::Unknown { copy }, b"\x02\x09"),
            (Message::Later { copy }, b"\x03\x09"),
            (Message::InForce { copy }, b"\x04\x09"),
        ] {
            let bytes = message.encode();
            assert_eq!(&bytes[HEADER..][..body.len()], body, "{bytes:02x?}");
            assert_eq!(Message::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn a_damaged_message_is_none() {
        let bytes = Message::Wanted { copy: CopyId(9), next: 5 }.encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Message::decode(&changed).is_err(), "byte {at}");
        }
    }
}
