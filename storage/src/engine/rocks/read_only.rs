//! Opens a database to read it and nothing else: not a byte of its folder is changed.
//!
//! RocksDB takes no lock for that, so that it would read beside a node at work and call damaged what is being written.
//! The lock of the folder is taken here, in the way of RocksDB, and kept as long as the database is open.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::ColumnFamilyDescriptor;
use rustix::fs::FlockOperation;

use super::{
    Compactions, Database, OnceLock, OpenError, Options, Rocks, check_current, check_numbers, damaged_log,
    refusal, settings, wal,
};
use crate::engine::Family;

/// The end of the write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEnd {
    Whole,
    /// From there on it holds nothing: what every crash may leave.
    Torn {
        file: PathBuf,
        offset: u64,
    },
    /// Records follow that are not read.
    Damaged {
        file: PathBuf,
        offset: u64,
    },
}

impl LogEnd {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        Ok(match wal::inspect(folder)? {
            wal::Verdict::Whole => Self::Whole,
            wal::Verdict::Torn(wal::Place { file, offset }) => Self::Torn { file, offset },
            wal::Verdict::Damaged(wal::Place { file, offset }) => Self::Damaged { file, offset },
        })
    }
}

/// A database that is only read.
pub struct ReadOnly {
    pub engine: Arc<Rocks>,
    pub log: LogEnd,
    _lock: Option<fs::File>,
}

impl ReadOnly {
    /// What a node that works in the folder has is not read: it is [`OpenError::InUse`].
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_as(folder, false)
    }

    /// What [`super::rebuild`] made.
    pub fn open_rebuilt(folder: &Path) -> Result<Self, OpenError> {
        Self::open_as(folder, true)
    }

    fn open_as(folder: &Path, is_rebuilt: bool) -> Result<Self, OpenError> {
        let path = || folder.display().to_string();
        let failed = |error: io::Error| OpenError::Failed { path: path(), reason: error.to_string() };
        let missing = |reason: &str| OpenError::Failed { path: path(), reason: reason.to_owned() };
        if !folder.is_dir() {
            return Err(missing("there is no such folder"));
        }
        let lock = lock(folder)?;
        check_current(folder)?;
        if !folder.join("CURRENT").exists() {
            return Err(missing("there is no database in it"));
        }
        if let wal::Verdict::Damaged(wal::Place { file, offset }) =
            wal::inspect_manifest(folder).map_err(failed)?
        {
            return Err(damaged_log(&file, offset));
        }
        let log = LogEnd::of(folder).map_err(failed)?;
        let refused = |error| refusal(folder, error);
        let (settings, buffers) = settings(&Options::default(), true, Compactions::Rest).map_err(refused)?;
        let families = ["default"].into_iter().chain(Family::ALL.map(Family::name));
        let families = families.map(|name| ColumnFamilyDescriptor::new(name, settings.clone()));
        let database =
            Database::open_cf_descriptors_read_only(&settings, folder, families, false).map_err(refused)?;
        check_numbers(&database)?;
        let engine = Arc::new(Rocks { database, buffers, failed: OnceLock::new(), damage: None, is_rebuilt });
        Ok(Self { engine, log, _lock: lock })
    }
}

pub(super) fn lock(folder: &Path) -> Result<Option<fs::File>, OpenError> {
    let path = folder.join("LOCK");
    let failed =
        |error: io::Error| OpenError::Failed { path: path.display().to_string(), reason: error.to_string() };
    let file = match fs::File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        // A copy may have none; of a disk that is mounted to be read nobody can be at work.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            Err(OpenError::InUse { path: folder.display().to_string() })
        }
        Err(error) => Err(failed(error.into())),
    }
}
