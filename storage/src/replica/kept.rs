//! What a log says of its entries without their being read: those that change the group, and the pieces that it is
//! truncated in.
//!
//! ```text
//! kept = changes: list   pieces: list of (last index, bytes, term of the last)          lists as in `members`
//! ```
//!
//! The changes are exact: they are written with the entries. A piece may be missing here, or hold less than it says, as
//! long as it is followed by another: then the bytes of a log are an estimate.

use std::collections::BTreeSet;

use super::members::{put_list, take_list};

/// A piece of the log that is truncated as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub last: u64,
    pub bytes: u64,
    /// Of the last entry.
    pub term: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub changes: BTreeSet<u64>,
    pub pieces: Vec<Piece>,
}

impl Kept {
    pub(super) fn encode(changes: impl Iterator<Item = u64>, pieces: impl Iterator<Item = Piece>) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_list(&mut bytes, &changes.collect::<Vec<_>>());
        put_list(
            &mut bytes,
            &pieces.flat_map(|piece| [piece.last, piece.bytes, piece.term]).collect::<Vec<_>>(),
        );
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let changes = take_list(&mut bytes)?.into_iter().collect();
        let pieces = take_list(&mut bytes)?;
        let is_whole = bytes.is_empty() && pieces.len() % 3 == 0;
        let pieces = pieces.chunks_exact(3).map(|n| Piece { last: n[0], bytes: n[1], term: n[2] }).collect();
        is_whole.then_some(Self { changes, pieces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 has written must stay readable for ever.
    #[test]
    fn the_form_is_frozen() {
        let piece = Piece { last: 9, bytes: 300, term: 2 };
        let bytes = Kept::encode([4].into_iter(), [piece].into_iter());
        let numbers = |list: &[u64]| list.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(
            bytes,
            [&[1, 0, 0, 0][..], &numbers(&[4]), &[3, 0, 0, 0], &numbers(&[9, 300, 2])].concat()
        );
        assert_eq!(Kept::decode(&bytes), Some(Kept { changes: BTreeSet::from([4]), pieces: vec![piece] }));
    }

    #[test]
    fn torn_bytes_are_refused() {
        let bytes = Kept::encode([4, 7].into_iter(), [Piece { last: 9, bytes: 300, term: 2 }].into_iter());
        assert!((0..bytes.len()).all(|cut| Kept::decode(&bytes[..cut]).is_none()));
        assert_eq!(Kept::decode(&[0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]), None);
    }
}
