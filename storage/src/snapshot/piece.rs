//! A piece of a copy as bytes.
//!
//! ```text
//! envelope of kind 0x23, version 1, around these fields as `record` writes them:
//! copy: u64   slot: u16   number: u32   base: of the first piece only   rows   count: u64   digest: u32   is_last
//! rows = (family: u8   key: u32 le length, bytes without the slot   value: u32 le length, bytes)*
//! ```
//!
//! `count` and `digest` are of all rows of the copy so far, those of this piece included.

use convoy_ids::{Index, SlotId, Term};

use crate::engine::{Batch, Family};
use crate::record::{BorrowDecode, Encode};
use crate::replica::Base;
use crate::sealed;

const KIND: u8 = 0x23;
const VERSION: u8 = 1;

/// Families that a copy is of, in its order.
pub(super) const FAMILIES: [Family; 4] = [Family::Session, Family::Queue, Family::Retained, Family::Archive];

#[derive(Debug, PartialEq, Encode, BorrowDecode)]
#[bincode(crate = "crate::record")]
pub(super) struct Piece<'a> {
    pub copy: u64,
    pub slot: u16,
    pub number: u32,
    pub base: Option<PieceBase<'a>>,
    pub rows: &'a [u8],
    pub count: u64,
    pub digest: u32,
    pub is_last: bool,
}

#[derive(Debug, PartialEq, Encode, BorrowDecode)]
#[bincode(crate = "crate::record")]
pub(super) struct PieceBase<'a> {
    index: u64,
    term: u64,
    group: &'a [u8],
}

impl<'a> PieceBase<'a> {
    pub(super) fn of(base: &'a Base) -> Self {
        Self { index: base.index.0, term: base.term.0, group: &base.group }
    }

    pub(super) fn base(&self) -> Base {
        Base { index: Index(self.index), term: Term(self.term), group: self.group.to_vec() }
    }
}

impl<'a> Piece<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.rows.len() + 128);
        sealed::seal_into(KIND, VERSION, self, &mut bytes);
        bytes
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, String> {
        sealed::open(KIND, VERSION, bytes).map_err(|error| error.to_string())
    }
}

/// Appends a row whose key begins with its slot.
pub(super) fn push_row(rows: &mut Vec<u8>, family: Family, key: &[u8], value: &[u8]) {
    rows.push(family as u8);
    for part in [&key[2..], value] {
        let length = u32::try_from(part.len()).expect("a key or value is shorter than 4 GiB");
        rows.extend_from_slice(&length.to_le_bytes());
        rows.extend_from_slice(part);
    }
}

/// The rows of a piece as rows of a slot, and their number. `None` if they are not rows of a copy.
pub(super) fn read_rows(mut rows: &[u8], slot: SlotId, batch: &mut Batch) -> Option<u64> {
    let (mut key, mut count) = (slot.0.to_be_bytes().to_vec(), 0);
    while let Some((&number, rest)) = rows.split_first() {
        let family = FAMILIES.into_iter().find(|family| *family as u8 == number)?;
        let (rest_of_key, rest) = take(rest)?;
        let (value, rest) = take(rest)?;
        key.truncate(2);
        key.extend_from_slice(rest_of_key);
        batch.put(family, &key, value);
        (rows, count) = (rest, count + 1);
    }
    Some(count)
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// The checksum of all rows so far.
pub(super) fn digest(before: u32, rows: &[u8]) -> u32 {
    crc32c::crc32c_append(before, rows)
}
