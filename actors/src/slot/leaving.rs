//! Connections that are gone, and have not said so, are taken leave of by their slot: those that an earlier leader served and
//! this one has not adopted, and those of a process that serves nobody any more. Not before that is sure: a Will is not published while its Client
//! is served somewhere. They may be very many, and go in pieces.

use std::collections::VecDeque;

use convoy_storage::engine::Error;

use super::farewells::Ended;
use super::{Slot, Turn, active, rows};
use crate::call::Farewell;
use crate::session::{Epoch, Home, Seq};

/// Sessions that are looked at in one piece.
const PIECE: usize = 256;

/// Of the leader alone.
#[derive(Debug, Default)]
pub struct Leaving {
    /// It is not known yet that nobody serves the connections of before.
    waits: bool,
    jobs: VecDeque<Job>,
}

#[derive(Debug)]
struct Job {
    of: Gone,
    /// Connections that were granted their Session up to this one.
    until: Epoch,
    /// The row to go on with.
    from: rows::Key,
}

/// Whose connections are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    Everybody,
    /// One shard's of a node, of this start of it and those before.
    Shard {
        node: u64,
        shard: u16,
        start: u32,
    },
}

impl Gone {
    fn is(&self, home: &Home) -> bool {
        match *self {
            Self::Everybody => true,
            Self::Shard { node, shard, start } => {
                home.node == node && (home.start() < start || home.start() == start && home.shard == shard)
            }
        }
    }
}

impl Leaving {
    /// The connections of before are taken leave of when that may be.
    pub fn begin(&mut self) {
        *self = Self { waits: true, jobs: VecDeque::new() };
    }

    /// Whether nobody is left to be taken leave of.
    pub fn is_done(&self) -> bool {
        !self.waits && self.jobs.is_empty()
    }
}

impl Slot {
    /// These connections are served by nobody any more.
    pub fn leave(&mut self, of: Gone) {
        if of == Gone::Everybody {
            self.leaving.waits = false;
        }
        if !self.leading || self.leaving.waits {
            return;
        }
        let until = if of == Gone::Everybody { self.led_since } else { Epoch(self.grants) };
        self.leaving.jobs.push_back(Job { of, until, from: rows::all_live(self.id).0 });
    }

    /// Takes leave of a piece of them. False if nobody is left.
    pub(super) fn take_leave(&mut self, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let Some(mut job) = self.leaving.jobs.pop_front() else { return Ok(false) };
        let (_, end) = rows::all_live(self.id);
        let found = turn.state.scan_some(&job.from, &end, PIECE)?;
        let (of, until) = (job.of, job.until);
        if found.len() == PIECE {
            job.from = found.last().map(|(key, _)| key.clone()).unwrap_or_default();
            job.from.push(0);
            self.leaving.jobs.push_front(job);
        }
        for (key, _) in found {
            *turn.work += 1;
            let Some(session) = rows::session_of(&key) else { continue };
            let Some((_, row)) = active::load(turn.state, session)? else { continue };
            if row.epoch > until || row.home.is_none_or(|home| !of.is(&home)) {
                continue;
            }
            if of == Gone::Everybody && self.is_adopted(session, row.epoch) {
                continue;
            }
            self.left.insert(session);
            let ended = Ended {
                session,
                epoch: row.epoch,
                farewell: Farewell::WithWill,
                expiry_seconds: None,
                // How far an earlier leader has sent it messages nobody knows: all are sent again with DUP.
                sent: (of == Gone::Everybody).then_some(Seq::MAX),
                reply: None,
            };
            let will_bytes = ended.will_bytes(&row);
            self.on_end(ended, will_bytes, turn.now);
        }
        Ok(!self.leaving.jobs.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_is_gone_takes_its_own_and_all_of_earlier_starts_along() {
        let home = |node, shard, start| Home { node, shard, key: 0, serial: Home::serial_of(start) | 7 };
        let gone = Gone::Shard { node: 2, shard: 1, start: 5 };
        assert!([home(2, 1, 5), home(2, 0, 4), home(2, 1, 4)].iter().all(|home| gone.is(home)));
        assert!(![home(2, 0, 5), home(2, 1, 6), home(3, 1, 5)].iter().any(|home| gone.is(home)));
        assert!(Gone::Everybody.is(&home(3, 1, 5)));
    }
}
