//! The disk of the simulated node: the engine's model, syncs that take time, and a loss of power at any of them.

use std::ops::ControlFlow;
use std::sync::Arc;

use convoy_storage::engine::{Engine, Error, Family, Model};

use super::clock::{MILLISECOND, Micros};
use super::seed::Stream;

/// Where in the life of a sync the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it is on stable storage.
    Before,
    /// All of it is, and nobody was told.
    After,
}

/// The power goes at the sync of this number, of which `keep` batches survive that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutAt {
    pub sync: u64,
    pub moment: Moment,
    pub keep: usize,
}

/// What became of a sync.
#[derive(Debug, PartialEq, Eq)]
pub enum Synced {
    Done,
    /// The power went.
    Cut {
        keep: usize,
    },
}

/// One in so many syncs of a disk that stalls takes seconds.
const STALLS: u64 = 1_500;

/// A sync that takes so long holds up its node, and those that it leads.
pub const SLOW: Micros = 500 * MILLISECOND;

/// A disk and its syncs.
pub struct Disk {
    model: Arc<Model>,
    cut_at: Option<CutAt>,
    syncs: u64,
    /// Syncs say that they are done, and make nothing durable.
    lies: bool,
    /// Now and then a sync takes seconds.
    stalls: bool,
    /// For a while each sync takes long.
    is_slow: bool,
}

/// The writes that a sync under way will have made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl Disk {
    pub fn new(cut_at: Option<CutAt>, lies: bool, stalls: bool) -> Self {
        Self { model: Arc::new(Model::new()), cut_at, syncs: 0, lies, stalls, is_slow: false }
    }

    pub fn engine(&self) -> Arc<dyn Engine> {
        self.model.clone()
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Syncs that have ended.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// A sync begins: how long it takes, most of them little and some long.
    pub fn begin_sync(&self, chance: &mut Stream) -> (Mark, Micros) {
        let micros = match chance.below(20) {
            _ if self.is_slow => chance.between(SLOW / 5, 3 * SLOW),
            _ if self.stalls && chance.one_in(STALLS) => chance.between(SLOW, 8 * SLOW),
            0 => chance.between(5_000, 60_000),
            _ => chance.between(100, 3_000),
        };
        (Mark(self.model.writes()), micros)
    }

    /// No sync takes long from now on.
    pub fn end_stalls(&mut self) {
        self.stalls = false;
    }

    pub fn set_slow(&mut self, is_slow: bool) {
        self.is_slow = is_slow;
    }

    /// A row of those that there are cannot be read any more, which follows from `row`. Where it is, unless nothing is there.
    pub fn damage(&self, row: u64) -> Option<(Family, Vec<u8>)> {
        let mut keys = Vec::new();
        for family in Family::ALL {
            self.model
                .scan(family, &[], &[u8::MAX; 64], &mut |key, _| {
                    keys.push((family, key.to_vec()));
                    ControlFlow::Continue(())
                })
                .expect("a disk that was not damaged can be read");
        }
        let place = row.checked_rem(keys.len() as u64)?;
        let (family, key) = keys.swap_remove(place as usize);
        self.model.damage(family, &key);
        Some((family, key))
    }

    /// A sync has come to its end.
    pub fn end_sync(&mut self, mark: Mark) -> Result<Synced, Error> {
        self.syncs += 1;
        let cut = self.cut_at.filter(|cut| cut.sync == self.syncs);
        if !self.lies && cut.is_none_or(|cut| cut.moment == Moment::After) {
            self.model.sync_through(mark.0)?;
        }
        Ok(cut.map_or(Synced::Done, |cut| Synced::Cut { keep: cut.keep }))
    }

    /// The power goes: what was not synced is lost but for the first `keep` batches of it.
    pub fn cut_power(&mut self, keep: usize) {
        self.model = Arc::new(self.model.crash(keep));
    }

    /// The process dies: the disk keeps all it was given.
    pub fn kill(&mut self) {
        self.model = Arc::new(self.model.restart());
    }
}
