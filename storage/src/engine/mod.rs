//! What the rest of storage needs of a disk, and nothing more: ordered keys in families, batches that are seen whole
//! or not at all, and a sync that makes everything written before it outlive the machine.
//!
//! Two implementations pass one contract suite: [`rocks`] keeps its keys with RocksDB, and [`model`] keeps them in
//! memory and forgets what was not synced.
//!
//! A write is visible to reads at once and survives the death of the process, but only [`Engine::sync`] makes it
//! survive the loss of power. After a crash the engine holds a prefix of the batches in the order they were written,
//! at least all those before the last sync that returned: a batch is never there without those before it.

use std::ops::ControlFlow;
use std::sync::Arc;

mod batch;
#[cfg(test)]
mod contract;
pub(crate) mod generations;
pub mod model;
pub mod rocks;

pub use batch::{Batch, Mark, Record};
pub use generations::{Generations, Staged};
pub use model::Model;
pub use rocks::Rocks;

/// Kinds of record that are kept apart on disk. Every key begins with its slot, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// Raft logs and hard states.
    Log = 1,
    /// Sessions, subscriptions, routes, outboxes and what else is applied.
    Session = 2,
    /// Messages that wait for their Session.
    Queue = 3,
    /// Retained Messages.
    Retained = 4,
    /// Messages kept for queries.
    Archive = 5,
    /// The node's own facts: identity, fleet, ring versions.
    Meta = 6,
}

impl Family {
    /// In the order of their numbers, which are on disk and never change their meaning.
    pub const ALL: [Family; 6] =
        [Self::Log, Self::Session, Self::Queue, Self::Retained, Self::Archive, Self::Meta];

    /// The name that operators meet in the folder of a database and in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Session => "session",
            Self::Queue => "queue",
            Self::Retained => "retained",
            Self::Archive => "archive",
            Self::Meta => "meta",
        }
    }

    /// Where this family stands in [`Family::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize - 1
    }
}

/// Room on the disk that holds an engine, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// What this process may still use.
    pub free: u64,
}

/// Why an operation failed, and what is true afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing of the batch is visible; after a sync, what was written is visible and not durable. Offer it again
    /// later: the engine recovers by itself once there is room. Reads go on.
    #[error("no space left on the disk of {path}")]
    Full { path: String },
    /// What was read is not what was written. It was not returned; other keys may be read.
    #[error("damaged record in {place}: {reason}")]
    Damaged { place: String, reason: String },
    /// Damage was met where the engine works on its files by itself, and nothing is written any more until it is opened
    /// again. Nothing of the batch is visible. Reads go on, but for what is damaged.
    #[error("writing has stopped: {place} is damaged: {reason}")]
    Stopped { place: String, reason: String },
    /// The engine could not do it and may not be able to do anything else. After a failed write or sync the caller
    /// must not acknowledge anything: what is on disk is unknown until the engine is opened again.
    #[error("storage failed: {0}")]
    Failed(String),
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// What a scan does with each key and its value.
pub type Visit<'a> = &'a mut (dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a);

/// What is done with the number of a range, and the key and value that were found in it.
pub type Found<'a> = &'a mut (dyn FnMut(usize, &[u8], &[u8]) + 'a);

pub trait Engine: Send + Sync + 'static {
    /// Appends the value of `key` to `into` and returns true; false and nothing appended if there is none.
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error>;

    /// Visits keys in `[from, to)` in ascending order until `visit` breaks. The view is that of the call's begin:
    /// `visit` may write to the engine and will not meet what it wrote.
    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error>;

    /// The greatest key in `[from, to)` with its value.
    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<Pair>, Error>;

    /// [`Engine::last`] of each of these ranges, which ascend and do not meet; `visit` gets the number of the range. To ask
    /// for many at once costs much less: what is near to each other is read once.
    fn last_of_each(&self, family: Family, ranges: &[(&[u8], &[u8])], visit: Found<'_>) -> Result<(), Error> {
        for (number, (from, to)) in ranges.iter().enumerate() {
            if let Some((key, value)) = self.last(family, from, to)? {
                visit(number, &key, &value);
            }
        }
        Ok(())
    }

    /// Writes all of the batch or nothing. Visible to reads on return; durable only after a later [`Engine::sync`].
    fn write(&self, batch: &Batch) -> Result<(), Error>;

    /// On return every write that returned before this call began is on stable storage. May be called from a thread
    /// of its own: reads and writes go on meanwhile.
    fn sync(&self) -> Result<(), Error>;

    /// What the engine holds now, in all families alike, whatever is written later. It keeps room on the disk that
    /// would be given back else: drop it when it is read.
    fn view(self: Arc<Self>) -> Box<dyn View>;

    /// Room on the disk, to refuse work before a write is met with [`Error::Full`].
    fn space(&self) -> Result<Space, Error>;

    /// Whether more was written than is put away, and that is being done: memory holds it so long. Whoever can wait writes
    /// nothing until this is over. What is written all the same is taken.
    fn is_behind(&self) -> bool;
}

/// What an engine held at one moment.
pub trait View: Send + 'static {
    /// As [`Engine::get`].
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error>;

    /// As [`Engine::scan`].
    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error>;
}
