//! Makes a list of files anew for a database whose own cannot be read: CURRENT is gone, or the MANIFEST that it names is
//! damaged. RocksDB's repair reads of each table and each log what it holds; the numbers of its keys tell what is newer.
//!
//! The list alone knew which tables had been replaced by others and wait to be deleted. They are taken for living ones, so
//! rows that were deleted may be back. A table that was merged of others tells of none of its rows when they were written;
//! what is newer follows from its number then, which a lookup goes by and an iterator does not
//! ([`super::ReadOnly::open_rebuilt`]).
//!
//! The repair learns of families from their tables. One whose rows are all in the log still has none, and they would be
//! lost: each family is given a table first, of one row that goes when the repair is done.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::read_only::lock;
use super::{
    Batch, Compactions, Database, Engine, Family, LogEnd, OpenError, Options, Rocks, refusal, settings, wal,
};

/// A key that is none of ours, which begin with the number of a slot.
const MARK: &[u8] = b"\xff";

/// What became of the files of the old folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    pub log: LogEnd,
    /// Tables that could not be read and are missing in the new folder, in order.
    pub lost: Vec<PathBuf>,
}

/// Makes a database in `into`, an empty folder or none, of the tables and logs in `from`, which stays as it is. Tables are
/// linked where the disk can do that, and else copied. It is to be read by [`super::ReadOnly::open_rebuilt`].
///
/// # Errors
///
/// A node works in `from`, the disk is full, or nothing can be made of it. What `into` holds is of no use then.
pub fn rebuild(from: &Path, into: &Path) -> Result<Rebuilt, OpenError> {
    let failed =
        |error: io::Error| OpenError::Failed { path: into.display().to_string(), reason: error.to_string() };
    let _lock = lock(from)?;
    let log = LogEnd::of(from).map_err(failed)?;
    let tables = tables(from).map_err(failed)?;
    mark_families(into, &tables).map_err(|error| match error {
        Failure::Open(error) => error,
        Failure::Disk(error) => failed(error),
    })?;
    for table in &tables {
        bring(table, &into.join(name(table))).map_err(failed)?;
    }
    bring_logs(from, into, &log).map_err(failed)?;
    let refused = |error| refusal(into, error);
    let (settings, _buffers) = settings(&Options::default(), true, Compactions::Rest).map_err(refused)?;
    Database::repair(&settings, into).map_err(refused)?;
    // What the repair cannot read it puts there.
    let lost = tables.into_iter().filter(|table| into.join("lost").join(name(table)).exists()).collect();
    // Merged, they would be no better, and nobody could tell any more which one was the newest.
    let rebuilt = Rocks::open_and(Compactions::Rest, into, &Options::default())?;
    let mut batch = Batch::new();
    Family::ALL.into_iter().for_each(|family| batch.delete(family, MARK));
    let written = rebuilt.write(&batch).and_then(|()| rebuilt.sync());
    written.map_err(|error| failed(io::Error::other(error)))?;
    Ok(Rebuilt { log, lost })
}

enum Failure {
    Open(OpenError),
    Disk(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Leaves a table of each family in the folder and nothing else, under numbers that none of `tables` has.
fn mark_families(into: &Path, tables: &[PathBuf]) -> Result<(), Failure> {
    let database = Rocks::open(into, &Options::default()).map_err(Failure::Open)?;
    let mut batch = Batch::new();
    Family::ALL.into_iter().for_each(|family| batch.put(family, MARK, b""));
    database.write(&batch).map_err(io::Error::other)?;
    for family in Family::ALL {
        database.database.flush_cf(database.family(family)).map_err(io::Error::other)?;
    }
    drop(database);
    let mut number = tables.iter().filter_map(|table| number(table)).max().unwrap_or(0);
    let ours: Vec<PathBuf> =
        fs::read_dir(into)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    // Their numbers may be among the old ones: each goes to a free one, the highest first.
    for path in &ours {
        match self::number(path) {
            Some(own) if is_table(path) => number = number.max(own),
            _ => fs::remove_file(path)?,
        }
    }
    for path in ours.iter().filter(|path| is_table(path)) {
        number += 1;
        fs::rename(path, into.join(format!("{number:06}.sst")))?;
    }
    Ok(())
}

fn tables(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut tables = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_table(&path) && number(&path).is_some() {
            tables.push(path);
        }
    }
    tables.sort();
    Ok(tables)
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sst")
}

fn number(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn name(path: &Path) -> OsString {
    path.file_name().unwrap_or_default().to_owned()
}

/// Tables are never written again, so that a link is as good as a copy.
fn bring(table: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(table, to).or_else(|_| fs::copy(table, to).map(drop))
}

/// Copies the logs up to what cannot be read: RocksDB's repair would go on behind it, and there would be a gap.
fn bring_logs(from: &Path, into: &Path, end: &LogEnd) -> io::Result<()> {
    for log in wal::logs(from)? {
        let to = into.join(name(&log));
        match end {
            LogEnd::Torn { file, offset } | LogEnd::Damaged { file, offset } if *file == log => {
                io::copy(&mut fs::File::open(&log)?.take(*offset), &mut fs::File::create(to)?)?;
                return Ok(());
            }
            _ => fs::copy(&log, to)?,
        };
    }
    Ok(())
}
