//! The engine that keeps its keys on a disk, with RocksDB.
//!
//! All families share one write-ahead log, so what a crash leaves is a prefix of the batches. A write is handed to the
//! operating system before it returns and so survives this process; [`Engine::sync`] makes it survive the machine. It
//! runs beside writes: RocksDB holds no lock while the disk works.
//!
//! What is read is checked against the checksum it was written with. A log that is torn at its end is cut there; one
//! that is damaged before its end is refused at [`Rocks::open`] and nothing is dropped in silence: `wal.rs` tells them apart.
//!
//! When the disk is full RocksDB refuses writes and looks every five seconds whether there is room again, a write
//! buffer's worth at least; then it writes what it holds in memory to a file of its own, begins a new log and accepts
//! writes. Reads go on all the while.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DBCompressionType,
    DBRawIteratorWithThreadMode, DBRecoveryMode, DBWithThreadMode, ErrorKind, LogLevel, LruCacheOptions,
    ReadOptions, SingleThreaded, WriteBatch, WriteBufferManager, properties,
};

use super::{Batch, Engine, Error, Family, Found, Pair, Space, View, Visit};

mod damage;
mod read_only;
mod rebuild;
mod survey;
mod view;
mod wal;

pub use damage::Note;
pub use read_only::{LogEnd, ReadOnly};
pub use rebuild::{Rebuilt, rebuild};
pub use survey::Gap;

type Database = DBWithThreadMode<SingleThreaded>;

/// What may be tuned. The memory of an engine is about `cache_bytes + buffer_bytes`, and a quarter of the latter more while
/// the disk is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Memory for blocks read from disk, with their indexes and filters. Raise it when offline Sessions come back and
    /// the disk is busy with reads; it costs that much memory.
    pub cache_bytes: usize,
    /// Memory for what was written and is not in a sorted file yet, all families together. Where it and a quarter more are
    /// used while buffers are written out, [`Engine::is_behind`] says so. Raise it, with `log_bytes`, when the disk is busy
    /// with compaction; it costs that much memory.
    pub buffer_bytes: usize,
    /// Size of the write-ahead log from which on buffers are written out to shorten it. A start after a crash replays
    /// all of it, at about 100 MB a second: raise it to write less, lower it to start sooner.
    pub log_bytes: u64,
    /// Sorted files held open. Raise it when the database is larger than this many times 64 MB; it costs file
    /// descriptors, and some memory each.
    pub open_files: u16,
    /// Threads that write buffers out and compact. Raise it on large machines when writes stall; they compete with
    /// everything else for the processor.
    pub background_threads: u8,
    /// Opens a database whose write-ahead log is damaged, with what was written before the damage, and drops the
    /// rest. For an operator who has no other copy: what is dropped was promised to be safe.
    pub drop_behind_damage: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            buffer_bytes: 64 << 20,
            log_bytes: 64 << 20,
            open_files: 512,
            background_threads: 2,
            drop_behind_damage: false,
        }
    }
}

/// Why a database was not opened. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another engine, of this or another process, works with the folder.
    #[error("{path} is in use by another process")]
    InUse { path: String },
    /// The folder holds a database that this release did not write.
    #[error("{path} is not a database of this release: {reason}")]
    Foreign { path: String, reason: String },
    /// Something that was written is not there or is not what was written. [`Options::drop_behind_damage`] opens a
    /// database with a damaged log, at a price.
    #[error("{place} is damaged: {reason}")]
    Damaged { place: String, reason: String },
    #[error("no space left on the disk of {path}")]
    Full { path: String },
    #[error("cannot open {path}: {reason}")]
    Failed { path: String, reason: String },
}

/// A database in a folder. Dropping it closes the folder; what was not synced is left to the operating system.
pub struct Rocks {
    database: Database,
    buffers: WriteBufferManager,
    /// Why a write or a sync failed. From then on none succeeds: what is on disk is unknown.
    failed: OnceLock<Error>,
    damage: Option<Damage>,
    /// Its list of files was made anew: see [`rebuild`].
    is_rebuilt: bool,
}

/// What an earlier start met, and what of it cannot be read today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub note: Note,
    pub gaps: Vec<Gap>,
}

impl Rocks {
    /// Opens the database in `folder`, and makes both if they are not there. What it holds is on stable storage when
    /// this returns.
    pub fn open(folder: &Path, options: &Options) -> Result<Self, OpenError> {
        Self::open_and(Compactions::Run, folder, options)
    }

    fn open_and(compactions: Compactions, folder: &Path, options: &Options) -> Result<Self, OpenError> {
        let path = || folder.display().to_string();
        let failed = |error: io::Error| OpenError::Failed { path: path(), reason: error.to_string() };
        make_folder(folder).map_err(failed)?;
        check_current(folder)?;
        let note = damage::recall(folder).map_err(failed)?;
        let keep_log = match wal::inspect(folder).map_err(failed)? {
            wal::Verdict::Whole => true,
            wal::Verdict::Torn(wal::Place { file, offset }) => {
                tracing::warn!(file = %file.display(), offset, "the end of the log is torn and is dropped");
                false
            }
            wal::Verdict::Damaged(wal::Place { file, offset }) if options.drop_behind_damage => {
                tracing::warn!(file = %file.display(), offset, "the log is damaged and what follows is dropped");
                false
            }
            wal::Verdict::Damaged(wal::Place { file, offset }) => {
                return Err(damaged_log(&file, offset));
            }
        };

        if let wal::Verdict::Damaged(wal::Place { file, offset }) =
            wal::inspect_manifest(folder).map_err(failed)?
        {
            return Err(damaged_log(&file, offset));
        }

        let refused = |error| refusal(folder, error);
        let compactions = if note.is_some() { Compactions::Rest } else { compactions };
        let (settings, buffers) = settings(options, keep_log, compactions).map_err(refused)?;
        let families = ["default"].into_iter().chain(Family::ALL.map(Family::name));
        let families = families.map(|name| ColumnFamilyDescriptor::new(name, settings.clone()));
        let database = Database::open_cf_descriptors(&settings, folder, families).map_err(refused)?;
        check_numbers(&database)?;
        let mut engine = Self { database, buffers, failed: OnceLock::new(), damage: None, is_rebuilt: false };
        if let Some(note) = note {
            let taken_up = engine.take_up(note);
            taken_up.map_err(|error| OpenError::Failed { path: path(), reason: error.to_string() })?;
        }
        Ok(engine)
    }

    /// What an earlier start met and is damaged still. Without compactions, which would meet it again, the files grow in
    /// number, and what is deleted keeps its room.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Why nothing is written any more, if so: [`Error::Stopped`] or [`Error::Failed`].
    pub fn failure(&self) -> Option<&Error> {
        self.failed.get()
    }

    /// Looks at what an earlier start could not compact. If it can be read today, all is as ever.
    fn take_up(&mut self, note: Note) -> Result<(), Error> {
        let unreadable = |error| self.unreadable(error);
        let files = self.database.live_files().map_err(unreadable)?;
        let mut gaps = Vec::new();
        let file = files.iter().find(|file| file.name.trim_start_matches('/') == note.file);
        for family in Family::ALL {
            // The file alone, unless its name was not to be had.
            let (from, to) = match file {
                Some(file) if file.column_family_name != family.name() => continue,
                Some(file) => (file.start_key.clone(), file.end_key.clone()),
                None if note.file.is_empty() => (None, None),
                None => continue,
            };
            let to = to.map_or(Vec::new(), |last| [&last[..], &[0]].concat());
            let from = from.unwrap_or_default();
            gaps.extend(self.survey(family, &from, &to, &mut |_, _| ControlFlow::Continue(()))?);
        }
        if !gaps.is_empty() {
            self.damage = Some(Damage { note, gaps });
            return Ok(());
        }
        damage::forget(self.path()).map_err(|error| Error::Failed(error.to_string()))?;
        tracing::info!(file = note.file, "what was damaged is not any more");
        for family in Family::ALL {
            let options = [("disable_auto_compactions", "false")];
            self.database.set_options_cf(self.family(family), &options).map_err(unreadable)?;
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        self.database.path()
    }

    /// Memory that holds what was written and is not in a sorted file yet, in bytes.
    pub fn buffered_bytes(&self) -> usize {
        self.buffers.get_usage()
    }

    /// Whether some of that is on its way to a file. What is not goes there with a later write.
    fn is_writing_out(&self) -> bool {
        let waiting = |family: &Family| {
            self.database.property_int_value_cf(self.family(*family), properties::NUM_IMMUTABLE_MEM_TABLE)
        };
        Family::ALL.iter().any(|family| matches!(waiting(family), Ok(Some(1..))))
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.database.cf_handle(family.name()).expect("every family was opened")
    }

    fn iterate(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        fills_cache: bool,
    ) -> DBRawIteratorWithThreadMode<'_, Database> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(from..to);
        options.fill_cache(fills_cache);
        self.database.raw_iterator_cf_opt(self.family(family), options)
    }

    /// Visits what the iterator finds from its first key on.
    fn walk(
        &self,
        iterator: &mut DBRawIteratorWithThreadMode<'_, Database>,
        visit: Visit<'_>,
    ) -> Result<(), Error> {
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|error| self.unreadable(error))
    }

    /// Visits the newest of what an iterator gives under a key. In a list that was made anew a table may lie beside those
    /// that it was merged of: a key then stands several times under the same sequence number, and an iterator gives all
    /// of them, also where a newer table says that it is deleted. A lookup goes from the newest table to the oldest.
    fn newest<'a>(&'a self, family: Family, visit: Visit<'a>) -> impl FnMut(&[u8], &[u8]) -> ControlFlow<()> {
        let (mut last, mut found) = (Vec::new(), Vec::new());
        move |key, value| {
            if last == key {
                return ControlFlow::Continue(());
            }
            last.clear();
            last.extend_from_slice(key);
            found.clear();
            match self.get(family, key, &mut found) {
                Ok(true) => visit(key, &found),
                Ok(false) => ControlFlow::Continue(()),
                // A block that may hold it is damaged. What can be read of it is all there is.
                Err(_) => visit(key, value),
            }
        }
    }

    fn check_alive(&self) -> Result<(), Error> {
        match self.failed.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// What a failed read means.
    fn unreadable(&self, error: rocksdb::Error) -> Error {
        match error.kind() {
            ErrorKind::Corruption => {
                let place = damaged_file(&error).unwrap_or_else(|| self.path().display().to_string());
                Error::Damaged { place, reason: error.into_string() }
            }
            _ => Error::Failed(error.into_string()),
        }
    }

    /// What a failed write or sync means: later ones may succeed only if this one failed for want of space.
    fn unwritten(&self, error: rocksdb::Error) -> Error {
        if is_full(&error) {
            return Error::Full { path: self.path().display().to_string() };
        }
        self.failed.get_or_init(|| self.met(error)).clone()
    }

    /// Why nothing is written any more. Damage is noted for the next start.
    fn met(&self, error: rocksdb::Error) -> Error {
        if error.kind() != ErrorKind::Corruption {
            return Error::Failed(error.into_string());
        }
        let file = damaged_file(&error).unwrap_or_default();
        let name = Path::new(&file).file_name().map_or(String::new(), |name| name.to_string_lossy().into());
        let note = Note { file: name, reason: error.into_string() };
        if let Err(error) = damage::remember(self.path(), &note) {
            tracing::error!(%error, "the damage cannot be noted for the next start");
        }
        Error::Stopped { place: self.place(&note.file), reason: note.reason }
    }

    /// A file, with the slots that its keys begin with.
    fn place(&self, name: &str) -> String {
        let path = self.path().join(name).display().to_string();
        let files = self.database.live_files().unwrap_or_default();
        let Some(file) = files.iter().find(|file| file.name.trim_start_matches('/') == name) else {
            return path;
        };
        let slot = |key: &Option<Vec<u8>>| Some(u16::from_be_bytes(*key.as_ref()?.first_chunk()?));
        match (slot(&file.start_key), slot(&file.end_key)) {
            (Some(first), Some(last)) => {
                format!("{path} (family {}, slots {first} to {last})", file.column_family_name)
            }
            _ => path,
        }
    }
}

impl Engine for Rocks {
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error> {
        match self.database.get_pinned_cf(self.family(family), key) {
            Ok(Some(value)) => {
                into.extend_from_slice(&value);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error> {
        if from >= to {
            return Ok(());
        }
        // What is kept for many readers is read by each of them once, and a queue by one: it would only push out of the
        // cache what is looked up.
        let fills_cache = !matches!(family, Family::Retained | Family::Queue);
        let mut iterator = self.iterate(family, from, to, fills_cache);
        match self.is_rebuilt {
            true => self.walk(&mut iterator, &mut self.newest(family, visit)),
            false => self.walk(&mut iterator, visit),
        }
    }

    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<Pair>, Error> {
        if from >= to {
            return Ok(None);
        }
        let mut iterator = self.iterate(family, from, to, true);
        iterator.seek_to_last();
        if let Some((key, value)) = iterator.item() {
            return Ok(Some((key.to_vec(), value.to_vec())));
        }
        iterator.status().map_err(|error| self.unreadable(error))?;
        Ok(None)
    }

    fn last_of_each(&self, family: Family, ranges: &[(&[u8], &[u8])], visit: Found<'_>) -> Result<(), Error> {
        let [(first, _), .., (_, last)] = ranges else {
            return match ranges.first() {
                Some((from, to)) => {
                    self.last(family, from, to)?.iter().for_each(|(key, value)| visit(0, key, value));
                    Ok(())
                }
                None => Ok(()),
            };
        };
        // One iterator for all: it holds the blocks at which it stands, and the indexes of all files.
        let mut iterator = self.iterate(family, first, last, true);
        for (number, (from, to)) in ranges.iter().enumerate() {
            iterator.seek_for_prev(to);
            if iterator.key() == Some(to) {
                iterator.prev();
            }
            if let Some((key, value)) = iterator.item().filter(|(key, _)| key >= from) {
                visit(number, key, value);
            }
            iterator.status().map_err(|error| self.unreadable(error))?;
        }
        Ok(())
    }

    fn write(&self, batch: &Batch) -> Result<(), Error> {
        self.check_alive()?;
        if batch.is_empty() {
            return Ok(());
        }
        let batch = WriteBatch::from_data(batch.as_bytes());
        self.database.write(batch).map_err(|error| self.unwritten(error))
    }

    fn sync(&self) -> Result<(), Error> {
        self.check_alive()?;
        self.database.flush_wal(true).map_err(|error| self.unwritten(error))
    }

    fn view(self: Arc<Self>) -> Box<dyn View> {
        view::of(self)
    }

    fn is_behind(&self) -> bool {
        let most = self.buffers.get_buffer_size();
        self.buffered_bytes() > most + most / 4 && self.is_writing_out()
    }

    fn space(&self) -> Result<Space, Error> {
        let found = rustix::fs::statvfs(self.path()).map_err(|error| Error::Failed(error.to_string()))?;
        Ok(Space { total: found.f_blocks * found.f_frsize, free: found.f_bavail * found.f_frsize })
    }
}

/// Makes the folder and those above it, so that a loss of power does not take them back.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = match folder.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    make_folder(above)?;
    fs::create_dir(folder)?;
    fs::File::open(above)?.sync_all()
}

/// A folder with files of a database and without the one that names its list of files is damaged: taken for an empty one
/// it would be filled with a new database, whose first words are about the files of the old one.
fn check_current(folder: &Path) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::Failed {
        path: folder.display().to_string(),
        reason: error.to_string(),
    };
    let current = folder.join("CURRENT");
    let place = current.display().to_string();
    match fs::read_to_string(&current) {
        Ok(name) if folder.join(name.trim_end()).is_file() && name.starts_with("MANIFEST-") => return Ok(()),
        Ok(name) => {
            let reason = format!("it names {:?}, which is not there", name.trim_end());
            return Err(OpenError::Damaged { place, reason });
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(OpenError::Damaged { place, reason: "it is no text".into() });
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Err(_) => {}
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.starts_with("MANIFEST-") || name.ends_with(".sst") {
            let reason = format!(
                "it is missing, and {name} is there: it holds one line, the name of the MANIFEST in force"
            );
            return Err(OpenError::Damaged { place, reason });
        }
    }
    Ok(())
}

/// Whether tables are merged into others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compactions {
    Run,
    Rest,
}

type Settings = (rocksdb::Options, WriteBufferManager);

/// The block cache has two to the power of this shards.
const CACHE_SHARD_BITS: i32 = 4;

fn settings(options: &Options, keep_log: bool, compactions: Compactions) -> Result<Settings, rocksdb::Error> {
    // For what has no call of its own. With the log kept, a start replays it into memory and writes nothing; else the
    // replayed records are written to files, and the log that was torn is gone.
    let mut settings = rocksdb::Options::default()
        .get_options_from_string(format!("avoid_flush_during_recovery={keep_log}"))?;
    settings.create_if_missing(true);
    settings.create_missing_column_families(true);

    // Damage is found here and never passed over. The end of the log was judged before: see `wal`.
    settings.set_paranoid_checks(true);
    settings.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    settings.set_track_and_verify_wals_in_manifest(true);

    let mut table = BlockBasedOptions::default();
    // What is larger than a shard of the cache is never in it: by itself RocksDB makes 64 of them, of 1 MiB each.
    let mut cache = LruCacheOptions::default();
    cache.set_capacity(options.cache_bytes);
    cache.set_num_shard_bits(CACHE_SHARD_BITS);
    table.set_block_cache(&Cache::new_lru_cache_opts(&cache));
    table.set_cache_index_and_filter_blocks(true);
    // Indexes and filters in blocks of their own: that of a table with millions of rows takes megabytes, and a lookup would
    // read all of it wherever it is not in the cache.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    // Whole keys, for lookups of what may not be there. No prefix: all keys of a slot begin alike, so its prefix is in
    // every file and a filter of prefixes would say yes.
    table.set_bloom_filter(10.0, false);
    settings.set_block_based_table_factory(&table);

    // It counts, and has buffers written out. It stops no writer: that would be the thread of a shard, which has other things
    // to do, and would wait for ever where nothing can be written out.
    let buffers = WriteBufferManager::new_write_buffer_manager(options.buffer_bytes, false);
    settings.set_write_buffer_manager(&buffers);
    settings.set_write_buffer_size((options.buffer_bytes / 4).max(1 << 20));
    settings.set_max_write_buffer_number(4);
    settings.set_max_total_wal_size(options.log_bytes);
    settings.set_target_file_size_base(64 << 20);
    settings.set_max_open_files(i32::from(options.open_files));
    settings.set_max_background_jobs(i32::from(options.background_threads));
    settings.set_bytes_per_sync(1 << 20);
    settings.set_skip_stats_update_on_db_open(true);

    if compactions == Compactions::Rest {
        settings.set_disable_auto_compactions(true);
        // Nobody waits for compactions that never come; `Engine::space` tells when there is no room for more.
        settings.set_level_zero_slowdown_writes_trigger(1 << 20);
        settings.set_level_zero_stop_writes_trigger(1 << 20);
        settings.set_soft_pending_compaction_bytes_limit(0);
        settings.set_hard_pending_compaction_bytes_limit(0);
    }

    // What is short-lived is not worth compressing: most of a queue is gone before it reaches the third level.
    let (raw, packed) = (DBCompressionType::None, DBCompressionType::Lz4);
    settings.set_compression_per_level(&[raw, raw, packed, packed, packed, packed, packed]);
    // A queue leaves a tombstone for each message: a file that is half tombstones is compacted at once, so that the
    // next scan need not step over them.
    settings.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);

    settings.set_log_level(LogLevel::Info);
    settings.set_max_log_file_size(4 << 20);
    settings.set_keep_log_file_num(4);
    settings.set_max_manifest_file_size(16 << 20);
    settings.set_stats_dump_period_sec(0);
    settings.set_stats_persist_period_sec(0);
    Ok((settings, buffers))
}

/// A batch names its families by number, and RocksDB gives the numbers: see that they are the same.
fn check_numbers(database: &Database) -> Result<(), OpenError> {
    for family in Family::ALL {
        let handle = database.cf_handle(family.name()).expect("every family was opened");
        let mut theirs = WriteBatch::default();
        theirs.put_cf(handle, b"key", b"value");
        let mut ours = Batch::new();
        ours.put(family, b"key", b"value");
        if theirs.data() != ours.as_bytes() {
            return Err(OpenError::Foreign {
                path: database.path().display().to_string(),
                reason: format!("its family {} does not have the number {}", family.name(), family as u8),
            });
        }
    }
    Ok(())
}

fn damaged_log(file: &Path, offset: u64) -> OpenError {
    OpenError::Damaged {
        place: file.display().to_string(),
        reason: format!("whole records follow what cannot be read at offset {offset}"),
    }
}

fn refusal(folder: &Path, error: rocksdb::Error) -> OpenError {
    let path = folder.display().to_string();
    let text = error.as_ref();
    match error.kind() {
        ErrorKind::Corruption => {
            let place = damaged_file(&error).unwrap_or(path);
            OpenError::Damaged { place, reason: error.into_string() }
        }
        ErrorKind::InvalidArgument => OpenError::Foreign { path, reason: error.into_string() },
        _ if is_full(&error) => OpenError::Full { path },
        _ if text.contains("lock") && text.contains("LOCK") => OpenError::InUse { path },
        _ => OpenError::Failed { path, reason: error.into_string() },
    }
}

fn is_full(error: &rocksdb::Error) -> bool {
    // What there is of room, of files, or of what this user may take.
    let texts = ["No space left on device", "Disk quota exceeded"];
    error.kind() == ErrorKind::IOError && texts.iter().any(|text| error.as_ref().contains(text))
}

/// The file that RocksDB names in what it says about damage.
fn damaged_file(error: &rocksdb::Error) -> Option<String> {
    let words =
        error.as_ref().split_whitespace().map(|word| word.trim_matches([',', ';', ':', '.', '"', '\'']));
    let mut files = words.filter(|word| {
        let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("sst" | "log")) || word.contains("MANIFEST-")
    });
    files.next().map(|file| PathBuf::from(file).display().to_string())
}

#[cfg(test)]
mod tests;
