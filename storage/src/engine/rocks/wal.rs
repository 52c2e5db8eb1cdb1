//! Tells a torn end of the write-ahead log from damage within it, before RocksDB replays it.
//!
//! A machine that loses power leaves a log whose last bytes, never synced, are missing or wrong: they are dropped, and
//! no promise was made about them. RocksDB's recovery modes do not tell this apart from a bit that flipped in front of
//! records that were synced. `kPointInTimeRecovery` drops everything behind either; `kTolerateCorruptedTailRecords`
//! refuses a wrong checksum at the very end, skips a block of zeros in the middle, and takes a length that became too
//! large for the end of the file.
//!
//! The rule here: where the log stops to make sense and no whole record follows, its end is torn. Where a whole record
//! follows, there is damage, unless the record's sequence number shows that nothing is missing before it.
//!
//! The form (RocksDB `db/log_format.h`): blocks of 32 KiB, each filled with fragments, little-endian
//!
//! ```text
//! masked crc32c of what follows but the length: u32   length: u16   type: u8   bytes
//! ```
//!
//! and a batch (`sequence: u64, count: u32, records`) is one full fragment, or a first, middle ones and a last.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Sequence and count at the head of a batch.
const BATCH_HEADER: usize = 12;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    /// From this place on the log holds nothing.
    Torn(Place),
    /// At this place something is wrong, and whole records follow.
    Damaged(Place),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub file: PathBuf,
    pub offset: u64,
}

/// Reads every log in `folder`, and syncs it: what a process wrote before it died may still be in memory only, and
/// RocksDB never syncs a log again that it has replayed.
pub(super) fn inspect(folder: &Path) -> io::Result<Verdict> {
    let mut inspection = Inspection::new(Content::Batches);
    for file in logs(folder)? {
        inspection.read(&file)?;
    }
    Ok(inspection.verdict())
}

/// Reads the manifest, RocksDB's list of its files, which is a log too. Where a length in it became too large, RocksDB
/// takes that for its end, and then deletes the files that it does not know any more.
pub(super) fn inspect_manifest(folder: &Path) -> io::Result<Verdict> {
    let mut inspection = Inspection::new(Content::Edits);
    match fs::read_to_string(folder.join("CURRENT")) {
        Ok(name) => inspection.read(&folder.join(name.trim_end()))?,
        // A database that is not made yet; and what else may be wrong with CURRENT, RocksDB names itself.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {}
        Err(error) => return Err(error),
    }
    Ok(inspection.verdict())
}

/// The logs in the order they were written.
pub(super) fn logs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), Some("log")) = (number, path.extension().and_then(|e| e.to_str())) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// What the records of a log are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Numbered, so that a gap between two logs is seen.
    Batches,
    Edits,
}

struct Inspection {
    content: Content,
    file: PathBuf,
    /// Where the log stopped to make sense.
    torn: Option<Place>,
    damaged: Option<Place>,
    /// The sequence that follows the last whole batch.
    next_sequence: Option<u64>,
    /// The record whose first fragment was read and whose last was not.
    open: Option<OpenRecord>,
}

struct OpenRecord {
    offset: u64,
    head: Vec<u8>,
}

impl Inspection {
    fn new(content: Content) -> Self {
        Self { content, file: PathBuf::new(), torn: None, damaged: None, next_sequence: None, open: None }
    }

    fn read(&mut self, file: &Path) -> io::Result<()> {
        let mut log = File::open(file)?;
        self.file = file.to_path_buf();
        let mut block = Vec::with_capacity(BLOCK);
        for index in 0.. {
            block.clear();
            log.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
            self.block(index * BLOCK as u64, &block);
            if block.len() < BLOCK {
                break;
            }
        }
        self.end();
        log.sync_data()
    }

    fn block(&mut self, offset: u64, mut rest: &[u8]) {
        let end = offset + rest.len() as u64;
        while rest.len() >= HEADER && self.damaged.is_none() {
            let at = end - rest.len() as u64;
            if let Some((kind, body)) = fragment(rest) {
                self.fragment(at, kind, body);
                rest = &rest[HEADER + body.len()..];
            } else {
                self.tear(at);
                // A damaged length hides where the next fragment begins.
                rest = &rest[1..];
            }
        }
        // Fewer bytes than a header fill up a block as zeros, or are a header that was not finished.
        if rest.iter().any(|&byte| byte != 0) {
            self.tear(end - rest.len() as u64);
        }
    }

    fn fragment(&mut self, at: u64, kind: u8, body: &[u8]) {
        let mut record = match (kind, self.open.take()) {
            (FULL | FIRST, None) => OpenRecord { offset: at, head: Vec::new() },
            (MIDDLE | LAST, Some(record)) => record,
            (FULL | FIRST, Some(record)) => return self.damage(record.offset),
            (MIDDLE | LAST, None) => return self.damage(at),
            // Notes of RocksDB's own, which hold no records.
            (_, record) => {
                self.open = record;
                return;
            }
        };
        let missing = BATCH_HEADER.saturating_sub(record.head.len()).min(body.len());
        record.head.extend_from_slice(&body[..missing]);
        if matches!(kind, FIRST | MIDDLE) {
            self.open = Some(record);
            return;
        }
        match (self.content, record.batch()) {
            (Content::Edits, _) if self.torn.is_none() => {}
            (Content::Batches, Some(batch)) if self.goes_on_with(batch.start) => {
                self.torn = None;
                self.next_sequence = Some(batch.end);
            }
            _ => self.damage(record.offset),
        }
    }

    /// Whether nothing is missing before a batch that begins with `sequence`.
    fn goes_on_with(&self, sequence: u64) -> bool {
        match &self.torn {
            None => true,
            Some(torn) => torn.file != self.file && self.next_sequence == Some(sequence),
        }
    }

    fn end(&mut self) {
        if let Some(record) = self.open.take() {
            self.tear(record.offset);
        }
    }

    fn tear(&mut self, offset: u64) {
        let offset = self.open.take().map_or(offset, |record| record.offset);
        self.torn.get_or_insert_with(|| Place { file: self.file.clone(), offset });
    }

    /// Whole records follow where the log first stopped to make sense: at `offset`, if not before.
    fn damage(&mut self, offset: u64) {
        self.tear(offset);
        self.damaged = self.torn.clone();
    }

    fn verdict(self) -> Verdict {
        match (self.damaged, self.torn) {
            (Some(place), _) => Verdict::Damaged(place),
            (None, Some(place)) => Verdict::Torn(place),
            (None, None) => Verdict::Whole,
        }
    }
}

impl OpenRecord {
    /// The sequence of the batch that this record is, and of the batch that follows.
    fn batch(&self) -> Option<Range<u64>> {
        let (sequence, count) = self.head.split_first_chunk()?;
        let start = u64::from_le_bytes(*sequence);
        let count = u32::from_le_bytes(count.try_into().ok()?);
        Some(start..start.checked_add(u64::from(count))?)
    }
}

/// The type and the bytes of the fragment that `rest` begins with, if there is a whole one.
fn fragment(rest: &[u8]) -> Option<(u8, &[u8])> {
    let &[c0, c1, c2, c3, l0, l1, kind, ..] = rest else { return None };
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    if kind == 0 {
        return None;
    }
    let checked = rest.get(HEADER - 1..HEADER + length)?;
    let masked = u32::from_le_bytes([c0, c1, c2, c3]);
    let unmasked = masked.wrapping_sub(0xa282_ead8).rotate_left(15);
    (crc32c::crc32c(checked) == unmasked).then(|| (kind, &checked[1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log of batches that hold one record each, as RocksDB writes it.
    fn log_of(first_sequence: u64, sizes: &[usize]) -> Vec<u8> {
        let mut log = Vec::new();
        for (sequence, &size) in (first_sequence..).zip(sizes) {
            let mut record = sequence.to_le_bytes().to_vec();
            record.extend_from_slice(&1_u32.to_le_bytes());
            record.resize(BATCH_HEADER + size, sequence as u8);
            append(&mut log, &record);
        }
        log
    }

    fn append(log: &mut Vec<u8>, mut record: &[u8]) {
        for first in [true].into_iter().chain(std::iter::repeat(false)) {
            let room = BLOCK - log.len() % BLOCK;
            if room < HEADER {
                log.resize(log.len() + room, 0);
            }
            let room = BLOCK - log.len() % BLOCK - HEADER;
            let (part, rest) = record.split_at(room.min(record.len()));
            let kind = match (first, rest.is_empty()) {
                (true, true) => FULL,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            let checksum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), part);
            log.extend_from_slice(&checksum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
            log.extend_from_slice(&(part.len() as u16).to_le_bytes());
            log.push(kind);
            log.extend_from_slice(part);
            record = rest;
            if record.is_empty() {
                return;
            }
        }
    }

    fn verdict(logs: &[&[u8]]) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        for (number, log) in logs.iter().enumerate() {
            fs::write(folder.path().join(format!("{number:06}.log")), log).unwrap();
        }
        inspect(folder.path()).unwrap()
    }

    fn is_torn_at(verdict: &Verdict, expected: usize) -> bool {
        matches!(verdict, Verdict::Torn(place) if place.offset == expected as u64)
    }

    #[test]
    fn a_log_without_a_batch_is_whole() {
        assert_eq!(verdict(&[]), Verdict::Whole);
        assert_eq!(verdict(&[b"", b""]), Verdict::Whole);
    }

    #[test]
    fn a_batch_whose_last_fragment_is_missing_is_torn_where_it_begins() {
        let whole = log_of(1, &[100]);
        let log = log_of(1, &[100, 3 * BLOCK]);
        let found = verdict(&[&log[..2 * BLOCK]]);
        assert!(is_torn_at(&found, whole.len()), "{found:?}");
    }

    #[test]
    fn the_next_log_must_go_on_where_a_torn_one_ends() {
        let mut torn = log_of(1, &[100, 100]);
        torn.extend_from_slice(b"the begin of a batch");
        assert_eq!(verdict(&[&torn, &log_of(3, &[100])]), Verdict::Whole);
        assert!(matches!(verdict(&[&torn, &log_of(4, &[100])]), Verdict::Damaged(_)));
        assert!(matches!(verdict(&[&torn, b"", b"begin"]), Verdict::Torn(_)));
    }

    proptest! {
        #[test]
        fn what_was_written_is_whole(sizes in prop::collection::vec(0..100_000_usize, 1..6)) {
            prop_assert_eq!(verdict(&[&log_of(1, &sizes)]), Verdict::Whole);
        }

        #[test]
        fn a_log_is_torn_where_its_last_whole_batch_ends(
            sizes in prop::collection::vec(0..20_000_usize, 1..8),
            end: prop::sample::Index,
        ) {
            let log = log_of(1, &sizes);
            let end = end.index(log.len());
            let ends = (0..=sizes.len()).map(|count| log_of(1, &sizes[..count]).len());
            let whole = ends.filter(|&whole| whole <= end).max().unwrap();
            let found = verdict(&[&log[..end]]);
            // What fills up a block is not missed.
            let is_fill = log[whole..end].iter().all(|&byte| byte == 0) && end - whole < HEADER;
            if is_fill {
                prop_assert_eq!(found, Verdict::Whole);
            } else {
                prop_assert!(matches!(&found, Verdict::Torn(place) if place.offset >= whole as u64), "{:?}", found);
            }
        }

        #[test]
        fn a_flipped_bit_is_damage_unless_it_is_in_the_last_batch(
            sizes in prop::collection::vec(0..20_000_usize, 2..8),
            at: prop::sample::Index,
            bit in 0..8_u8,
        ) {
            let mut log = log_of(1, &sizes);
            let last = log_of(1, &sizes[..sizes.len() - 1]).len();
            let at = at.index(log.len());
            log[at] ^= 1 << bit;
            match verdict(&[&log]) {
                Verdict::Damaged(place) => prop_assert!(place.offset <= at as u64),
                Verdict::Torn(_) => prop_assert!(at >= last, "a flip at {} is before {}", at, last),
                Verdict::Whole => prop_assert!(false, "a flip at {} goes unseen", at),
            }
        }
    }
}
