//! Writes that become visible together.
//!
//! A batch is one flat buffer in the form RocksDB gives its own `WriteBatch`, so handing it over costs one call and
//! one copy, however many records it holds. The form (`db/write_batch.cc`):
//!
//! ```text
//! sequence: u64 le (zero here)   count: u32 le   record*
//! record = tag: u8   family: varint32   key: varint32 length, bytes   [value or end key: varint32 length, bytes]
//! ```

use std::fmt;

use super::Family;

const COUNT_AT: usize = 8;
const HEADER: usize = 12;

const TAG_DELETE: u8 = 0x4;
const TAG_PUT: u8 = 0x5;
const TAG_DELETE_RANGE: u8 = 0xE;

/// Writes that become visible together, in the order they were added: a later record of a key wins.
///
/// Kept and cleared rather than dropped, it allocates nothing once it has grown to its working size. A key and a
/// value each hold less than 4 GiB, a batch fewer than 2³² records; more is a mistake of the caller and panics.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
}

/// A place in a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    bytes: usize,
    count: u32,
}

/// One write of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Put {
        family: Family,
        key: &'a [u8],
        value: &'a [u8],
    },
    Delete {
        family: Family,
        key: &'a [u8],
    },
    /// Keys in `[from, to)`; `from` is less than `to`.
    DeleteRange {
        family: Family,
        from: &'a [u8],
        to: &'a [u8],
    },
}

/// Memory that an empty batch keeps.
const KEPT_BYTES: usize = 8 << 20;

impl Batch {
    pub fn new() -> Self {
        Self { bytes: vec![0; HEADER] }
    }

    /// An empty batch with room for records of `bytes` in all.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(HEADER + bytes) };
        batch.bytes.resize(HEADER, 0);
        batch
    }

    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.begin(TAG_PUT, family);
        self.text(key);
        self.text(value);
    }

    /// As [`Batch::put`], with the value gathered from `parts` in their order.
    pub fn put_parts(&mut self, family: Family, key: &[u8], parts: &[&[u8]]) {
        self.begin(TAG_PUT, family);
        self.text(key);
        self.length(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.begin(TAG_DELETE, family);
        self.text(key);
    }

    /// Deletes keys in `[from, to)`. Nothing if the range is empty.
    pub fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        if from >= to {
            return;
        }
        self.begin(TAG_DELETE_RANGE, family);
        self.text(from);
        self.text(to);
    }

    /// Adds the records of `other` behind those of this batch.
    pub fn append(&mut self, other: &Batch) {
        self.bytes.extend_from_slice(&other.bytes[HEADER..]);
        self.set_count(self.count().checked_add(other.count()));
    }

    /// The end of the batch as it is, for [`Batch::rewind`].
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), count: self.count() }
    }

    /// The record that was added next after the mark.
    pub fn record_at(&self, mark: Mark) -> Option<Record<'_>> {
        take_record(&mut self.bytes.get(mark.bytes..)?)
    }

    /// Forgets what was added behind the mark.
    pub fn rewind(&mut self, mark: Mark) {
        assert!(mark.bytes <= self.bytes.len(), "a mark is of this batch and from before");
        self.bytes.truncate(mark.bytes);
        self.set_count(Some(mark.count));
    }

    /// Forgets all records and keeps the memory, as far as it is not out of all proportion.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEADER);
        self.bytes.shrink_to(KEPT_BYTES);
        self.set_count(Some(0));
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Number of records.
    pub fn count(&self) -> u32 {
        let (_, count) = self.bytes[..HEADER].split_last_chunk().expect("the header ends with the count");
        u32::from_le_bytes(*count)
    }

    /// Bytes of the records: what a write of this batch adds to the write-ahead log, but for its framing.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() - HEADER
    }

    /// The records in the order they were added.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = &self.bytes[HEADER..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            Some(take_record(&mut rest).expect("a batch holds only what was put into it"))
        })
    }

    /// The whole batch in RocksDB's form.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn begin(&mut self, tag: u8, family: Family) {
        self.set_count(self.count().checked_add(1));
        // A varint of one byte: families have small numbers.
        self.bytes.extend_from_slice(&[tag, family as u8]);
    }

    fn set_count(&mut self, count: Option<u32>) {
        let count = count.expect("a batch holds fewer than 2^32 records");
        self.bytes[COUNT_AT..HEADER].copy_from_slice(&count.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.length(text.len());
        self.bytes.extend_from_slice(text);
    }

    fn length(&mut self, length: usize) {
        let mut rest = u32::try_from(length).expect("a key or value is shorter than 4 GiB");
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.records()).finish()
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let (&[tag, family], tail) = rest.split_first_chunk()?;
    *rest = tail;
    let family = *Family::ALL.get(usize::from(family).checked_sub(1)?)?;
    let key = take_text(rest)?;
    match tag {
        TAG_PUT => Some(Record::Put { family, key, value: take_text(rest)? }),
        TAG_DELETE => Some(Record::Delete { family, key }),
        TAG_DELETE_RANGE => Some(Record::DeleteRange { family, from: key, to: take_text(rest)? }),
        _ => None,
    }
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0;
    for shift in (0..32).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let (text, tail) = rest.split_at_checked(length)?;
            *rest = tail;
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_goes_back_to_a_mark() {
        let mut batch = Batch::new();
        batch.put(Family::Log, b"a", b"1");
        let (mark, kept) = (batch.mark(), batch.clone());
        batch.delete(Family::Queue, b"b");
        batch.rewind(mark);
        assert_eq!(batch.records().collect::<Vec<_>>(), kept.records().collect::<Vec<_>>());
        assert_eq!(batch.count(), 1);
    }

    #[test]
    fn a_record_is_found_by_the_mark_before_it() {
        let mut batch = Batch::new();
        batch.put(Family::Log, b"a", b"1");
        let mark = batch.mark();
        assert_eq!(batch.record_at(mark), None);
        batch.delete(Family::Queue, b"b");
        batch.put(Family::Log, b"c", b"2");
        assert_eq!(batch.record_at(mark), Some(Record::Delete { family: Family::Queue, key: b"b" }));
    }

    #[test]
    fn records_come_back_in_the_order_they_were_added() {
        let long = vec![7; 20_000];
        let mut batch = Batch::new();
        batch.put(Family::Log, b"a", b"1");
        batch.put_parts(Family::Queue, b"b", &[b"2", b"", &long, b"4"]);
        batch.delete(Family::Meta, b"c");
        batch.delete_range(Family::Session, b"d", b"e");
        batch.put(Family::Retained, b"", b"");

        let gathered = [b"2", &long[..], b"4"].concat();
        let records: Vec<_> = batch.records().collect();
        assert_eq!(
            records,
            [
                Record::Put { family: Family::Log, key: b"a", value: b"1" },
                Record::Put { family: Family::Queue, key: b"b", value: &gathered },
                Record::Delete { family: Family::Meta, key: b"c" },
                Record::DeleteRange { family: Family::Session, from: b"d", to: b"e" },
                Record::Put { family: Family::Retained, key: b"", value: b"" },
            ]
        );
        assert_eq!(batch.count(), 5);
    }

    #[test]
    fn empty_ranges_leave_no_record() {
        let mut batch = Batch::new();
        batch.delete_range(Family::Log, b"b", b"b");
        batch.delete_range(Family::Log, b"c", b"b");
        assert!(batch.is_empty());
        assert_eq!(batch.size_bytes(), 0);
    }

    #[test]
    fn append_adds_the_other_records_behind() {
        let mut batch = Batch::with_capacity(64);
        batch.put(Family::Log, b"a", b"1");
        let mut other = Batch::new();
        other.delete(Family::Log, b"a");
        other.put(Family::Log, b"b", b"2");
        batch.append(&other);
        batch.append(&Batch::new());

        assert_eq!(batch.count(), 3);
        assert_eq!(batch.records().last(), Some(Record::Put { family: Family::Log, key: b"b", value: b"2" }));
    }

    #[test]
    fn a_cleared_batch_is_a_new_one_that_keeps_its_memory() {
        let mut batch = Batch::new();
        batch.put(Family::Log, b"key", &[0; 4096]);
        let capacity = batch.bytes.capacity();
        batch.clear();

        assert_eq!(batch, Batch::new());
        assert_eq!(batch.bytes.capacity(), capacity);
    }

    #[test]
    fn the_form_is_that_of_rocksdb() {
        let mut batch = Batch::new();
        batch.put(Family::Log, b"key", &[b'v'; 200]);
        batch.delete(Family::Meta, b"key");
        let mut expected = vec![0; 8];
        expected.extend([2, 0, 0, 0]);
        expected.extend(b"\x05\x01\x03key\xc8\x01");
        expected.extend([b'v'; 200]);
        expected.extend(b"\x04\x06\x03key");
        assert_eq!(batch.as_bytes(), expected);
    }
}
