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
    let mut inspection = Inspection::default();
    for file in logs(folder)? {
        let mut log = File::open(&file)?;
        inspection.begin(file);
        let mut block = Vec::with_capacity(BLOCK);
        for index in 0.. {
            block.clear();
            log.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
            inspection.block(index * BLOCK as u64, &block);
            if block.len() < BLOCK {
                break;
            }
        }
        inspection.end();
        log.sync_data()?;
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

#[derive(Default)]
struct Inspection {
    file: PathBuf,
    /// Where the log stopped to make sense.
    torn: Option<Place>,
    damaged: Option<Place>,
    /// The sequence that follows the last whole batch.
    next_sequence: Option<u64>,
    /// The batch whose first fragment was read and whose last was not.
    open: Option<OpenBatch>,
}

#[derive(Default)]
struct OpenBatch {
    offset: u64,
    head: Vec<u8>,
}

impl Inspection {
    fn begin(&mut self, file: PathBuf) {
        self.file = file;
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
        let mut batch = match (kind, self.open.take()) {
            (FULL | FIRST, None) => OpenBatch { offset: at, head: Vec::new() },
            (MIDDLE | LAST, Some(batch)) => batch,
            (FULL | FIRST, Some(batch)) => {
                self.tear(batch.offset);
                return self.damage();
            }
            (MIDDLE | LAST, None) => {
                self.tear(at);
                return self.damage();
            }
            // Notes of RocksDB's own, which hold no records.
            (_, batch) => {
                self.open = batch;
                return;
            }
        };
        let missing = BATCH_HEADER.saturating_sub(batch.head.len()).min(body.len());
        batch.head.extend_from_slice(&body[..missing]);
        if matches!(kind, FULL | LAST) {
            self.batch(&batch);
        } else {
            self.open = Some(batch);
        }
    }

    fn batch(&mut self, batch: &OpenBatch) {
        let Some((sequence, count)) = batch.head.split_first_chunk::<8>() else {
            self.tear(batch.offset);
            return self.damage();
        };
        let sequence = u64::from_le_bytes(*sequence);
        let count = count.try_into().map_or(0, u32::from_le_bytes);
        if self.torn.as_ref().is_some_and(|torn| torn.file == self.file) || self.open_elsewhere(sequence) {
            return self.damage();
        }
        self.torn = None;
        self.next_sequence = Some(sequence + u64::from(count));
    }

    /// Whether an earlier log is torn and `sequence` does not go on where it was.
    fn open_elsewhere(&self, sequence: u64) -> bool {
        self.torn.is_some() && self.next_sequence != Some(sequence)
    }

    fn end(&mut self) {
        if let Some(batch) = self.open.take() {
            self.tear(batch.offset);
        }
    }

    fn tear(&mut self, offset: u64) {
        let offset = self.open.take().map_or(offset, |batch| batch.offset);
        self.torn.get_or_insert_with(|| Place { file: self.file.clone(), offset });
    }

    fn damage(&mut self) {
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
