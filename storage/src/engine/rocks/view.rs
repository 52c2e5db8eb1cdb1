//! What a database held at one moment: RocksDB keeps old values for as long as somebody may read them.

use std::sync::Arc;

use rocksdb::{ReadOptions, SnapshotWithThreadMode};
use self_cell::self_cell;

use super::{Database, Rocks};
use crate::engine::{Error, Family, View, Visit};

type Snapshot<'a> = SnapshotWithThreadMode<'a, Database>;

self_cell!(
    struct Moment {
        owner: Arc<Rocks>,
        #[covariant]
        dependent: Snapshot,
    }
);

pub(super) fn of(engine: Arc<Rocks>) -> Box<dyn View> {
    Box::new(Moment::new(engine, |engine| engine.database.snapshot()))
}

impl View for Moment {
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error> {
        let engine = self.borrow_owner();
        let found = self.borrow_dependent().get_pinned_cf(engine.family(family), key);
        let value = found.map_err(|error| engine.unreadable(error))?;
        into.extend_from_slice(value.as_deref().unwrap_or_default());
        Ok(value.is_some())
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error> {
        if from >= to {
            return Ok(());
        }
        let engine = self.borrow_owner();
        let mut options = ReadOptions::default();
        options.set_iterate_range(from..to);
        // Read once and not soon again: what others read stays in the cache.
        options.fill_cache(false);
        let mut iterator = self.borrow_dependent().raw_iterator_cf_opt(engine.family(family), options);
        engine.walk(&mut iterator, visit)
    }
}
