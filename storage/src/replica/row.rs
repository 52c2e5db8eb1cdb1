//! The rows of a slot in the log family: their keys, and values that betray any change.
//!
//! ```text
//! key   = slot: u16 be   kind: u8   index: u64 be (zero but for entries)
//! value = crc32c: u32 le   version: u8   body          the checksum covers key, version and body
//! entry = type: u8   term: u64 le   payload, raw
//! hard  = term, vote, commit: u64 le
//! base  = index, term: u64 le
//! applied = index: u64 le
//! group = index: u64 le   the replicas, see `members`
//! own = replica: u64 le (none if the replica has the number of its node, as all had once)
//! ended = replica: u64 le (alone: the last replica of the slot that was here)
//! kept = see `kept`
//! ```
//!
//! This is not the envelope of other records: here the checksum covers the key too, so that a row cannot pass for
//! that of another index, and a payload goes from the proposer's bytes into the batch without a copy between.

use convoy_ids::{Index, SlotId};

use crate::engine::{self, Batch, Engine, Family, View};

/// The one version there is so far.
const VERSION: u8 = 1;
const HEAD: usize = 5;
pub(super) const ENTRY_HEAD: usize = HEAD + 9;

/// Kinds of row, in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Term, vote and commit index.
    Hard = 1,
    /// The replicas of the group, and the entry that made them so.
    Group = 2,
    /// The last entry that was truncated.
    Base = 3,
    /// The last entry whose state is on disk.
    Applied = 4,
    Entry = 5,
    /// What is known of entries without reading them.
    Kept = 6,
    /// Which replica this is.
    Own = 7,
    /// The replica that was here last, and is over.
    Ended = 8,
}

pub(super) type Key = [u8; 11];

pub(super) fn key(slot: SlotId, kind: Kind, index: u64) -> Key {
    let mut key = [0; 11];
    key[..2].copy_from_slice(&slot.0.to_be_bytes());
    key[2] = kind as u8;
    key[3..].copy_from_slice(&index.to_be_bytes());
    key
}

/// All rows of a slot lie in this range.
pub(super) fn range(slot: SlotId) -> (Key, Key) {
    let (mut from, mut to) = ([0; 11], [u8::MAX; 11]);
    from[..2].copy_from_slice(&slot.0.to_be_bytes());
    to[..2].copy_from_slice(&slot.0.to_be_bytes());
    (from, to)
}

/// The index in the key of an entry.
pub(super) fn index_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(3..11)?.try_into().ok()?))
}

/// What an entry is, on disk and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum EntryKind {
    /// A record of the caller, or the empty first entry of a leader.
    Record = 0,
    /// A change of the group.
    Change = 1,
}

impl EntryKind {
    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Record),
            1 => Some(Self::Change),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryRow<'a> {
    pub kind: EntryKind,
    pub term: u64,
    pub payload: &'a [u8],
}

pub(super) fn put_entry(
    batch: &mut Batch,
    slot: SlotId,
    index: u64,
    kind: EntryKind,
    term: u64,
    payload: &[u8],
) {
    let key = key(slot, Kind::Entry, index);
    let mut head = [0; ENTRY_HEAD];
    head[4] = VERSION;
    head[5] = kind as u8;
    head[6..].copy_from_slice(&term.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&key), &head[4..]), payload);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    batch.put_parts(Family::Log, &key, &[&head, payload]);
}

pub(super) fn parse_entry<'a>(key: &[u8], value: &'a [u8]) -> Result<EntryRow<'a>, &'static str> {
    let (&[kind, ref term @ ..], payload) =
        body(key, value)?.split_first_chunk::<9>().ok_or("the row is cut short")?;
    let term = u64::from_le_bytes(*term);
    let kind = EntryKind::from_number(kind).ok_or("the entry is of an unknown type")?;
    Ok(EntryRow { kind, term, payload })
}

/// Puts a row of numbers, with bytes behind them.
pub(super) fn put<const N: usize>(
    batch: &mut Batch,
    slot: SlotId,
    kind: Kind,
    numbers: [u64; N],
    rest: &[u8],
) {
    let key = key(slot, kind, 0);
    let mut head = [0; HEAD + 8 * 3];
    head[4] = VERSION;
    for (place, number) in head[HEAD..].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let head = &mut head[..HEAD + 8 * N];
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&key), &head[4..]), rest);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    batch.put_parts(Family::Log, &key, &[head, rest]);
}

pub(super) fn parse<'a, const N: usize>(
    key: &[u8],
    value: &'a [u8],
) -> Result<([u64; N], &'a [u8]), &'static str> {
    let body = body(key, value)?;
    let (head, rest) = body.split_at_checked(8 * N).ok_or("the row is cut short")?;
    let mut numbers = [0; N];
    for (number, bytes) in numbers.iter_mut().zip(head.chunks_exact(8)) {
        *number = u64::from_le_bytes(bytes.try_into().expect("chunks are of eight bytes"));
    }
    Ok((numbers, rest))
}

/// Whether a row of the log family is what was written under its key.
///
/// # Errors
///
/// Why it is not. The replica of its slot does not open.
pub fn check(key: &[u8], value: &[u8]) -> Result<(), &'static str> {
    match key.get(2) {
        Some(&kind) if kind == Kind::Entry as u8 => parse_entry(key, value).map(|_| ()),
        _ => body(key, value).map(|_| ()),
    }
}

/// The last entry whose state a view holds; 0 for none.
pub fn applied(view: &dyn View, slot: SlotId) -> Result<Index, engine::Error> {
    let (key, mut value) = (key(slot, Kind::Applied, 0), Vec::new());
    if !view.get(Family::Log, &key, &mut value)? {
        return Ok(Index(0));
    }
    match parse::<1>(&key, &value) {
        Ok(([index], _)) => Ok(Index(index)),
        Err(reason) => {
            let place = format!("row Applied of slot {slot}");
            Err(engine::Error::Damaged { place, reason: reason.into() })
        }
    }
}

/// The slot, one of `slots`, whose log lies under this number, and the last entry that it says is applied. Its checksum
/// tells.
pub(crate) fn applied_under(
    engine: &dyn Engine,
    number: u16,
    mut slots: impl Iterator<Item = SlotId>,
) -> Result<Option<(SlotId, u64)>, engine::Error> {
    let mut value = Vec::new();
    match engine.get(Family::Log, &key(SlotId(number), Kind::Applied, 0), &mut value) {
        Ok(true) => {}
        Ok(false) | Err(engine::Error::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(slots.find_map(|slot| match parse::<1>(&key(slot, Kind::Applied, 0), &value) {
        Ok(([index], _)) => Some((slot, index)),
        Err(_) => None,
    }))
}

fn body<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let (crc, rest) = value.split_first_chunk::<4>().ok_or("the row is cut short")?;
    if crc32c::crc32c_append(crc32c::crc32c(key), rest) != u32::from_le_bytes(*crc) {
        return Err("the checksum is wrong");
    }
    match rest.split_first() {
        Some((&VERSION, body)) => Ok(body),
        Some(_) => Err("the row is of an unknown version"),
        None => Err("the row is cut short"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Record;

    const SLOT: SlotId = SlotId(0x0102);

    fn only_put(batch: &Batch) -> (Vec<u8>, Vec<u8>) {
        match batch.records().next() {
            Some(Record::Put { key, value, .. }) => (key.to_vec(), value.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let mut batch = Batch::new();
        put_entry(&mut batch, SLOT, 7, EntryKind::Change, 3, b"payload");
        let (key, value) = only_put(&batch);
        assert_eq!(index_of(&key), Some(7));
        let row = EntryRow { kind: EntryKind::Change, term: 3, payload: b"payload" };
        assert_eq!(parse_entry(&key, &value), Ok(row));
    }

    /// What version 1 has written must stay readable for ever.
    #[test]
    fn version_1_is_frozen() {
        let mut batch = Batch::new();
        put_entry(&mut batch, SLOT, 7, EntryKind::Record, 3, b"hi");
        let (key, value) = only_put(&batch);
        assert_eq!(key, [1, 2, 5, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(value[4..], [1, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'h', b'i']);
        let crc = crc32c::crc32c(&[&key[..], &value[4..]].concat());
        assert_eq!(value[..4], crc.to_le_bytes());
    }

    #[test]
    fn any_changed_bit_is_refused() {
        let mut batch = Batch::new();
        put_entry(&mut batch, SLOT, 7, EntryKind::Record, 3, b"payload");
        let (key, value) = only_put(&batch);
        for bit in 0..value.len() * 8 {
            let mut changed = value.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_entry(&key, &changed).is_err(), "bit {bit}");
        }
        for cut in 0..value.len() {
            assert!(parse_entry(&key, &value[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_row_under_the_key_of_another_is_refused() {
        let mut batch = Batch::new();
        put(&mut batch, SLOT, Kind::Hard, [1, 2, 3], b"");
        let (key, value) = only_put(&batch);
        assert_eq!(parse::<3>(&key, &value), Ok(([1, 2, 3], &b""[..])));
        let other = super::key(SlotId(9), Kind::Hard, 0);
        assert_eq!(parse::<3>(&other, &value), Err("the checksum is wrong"));
    }
}
