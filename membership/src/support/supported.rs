//! The side of a node with connections.

use std::collections::BTreeMap;

use convoy_ids::{SlotId, Term};

use super::{Support, Times};

/// What this process is supported in, by slot.
#[derive(Debug)]
pub struct Supported {
    times: Times,
    slots: BTreeMap<SlotId, Known>,
}

#[derive(Debug, Default)]
struct Known {
    term: Term,
    /// Sessions that were closed by the leader of this term, all of them up to this number.
    closings: u64,
    /// When support runs out by our clock.
    until: u64,
    /// Support that holds once more closings are carried out: their number, and its end. The one that needs the most.
    pending: Option<(u64, u64)>,
}

impl Supported {
    pub fn new(times: Times) -> Self {
        Self { times, slots: BTreeMap::new() }
    }

    /// A leader has given support, asked for at `asked`. False if it leads no more.
    pub fn take(&mut self, slot: SlotId, support: Support, asked: u64) -> bool {
        let until = asked + self.times.support;
        let known = self.slots.entry(slot).or_default();
        if !known.enters(support.term) {
            return false;
        }
        if support.closings <= known.closings {
            known.until = known.until.max(until);
        } else {
            let pending = known.pending.unwrap_or_default();
            known.pending = Some((pending.0.max(support.closings), pending.1.max(until)));
        }
        true
    }

    /// All closings of the leader of this term, up to this one, were carried out here.
    pub fn closed(&mut self, slot: SlotId, term: Term, number: u64) {
        let known = self.slots.entry(slot).or_default();
        if !known.enters(term) {
            return;
        }
        known.closings = known.closings.max(number);
        if let Some((_, until)) = known.pending.take_if(|(needed, _)| *needed <= known.closings) {
            known.until = known.until.max(until);
        }
    }

    /// Whether this process may acknowledge for Sessions of the slot at `now`.
    pub fn holds(&self, slot: SlotId, now: u64) -> bool {
        self.slots.get(&slot).is_some_and(|known| now < known.until)
    }
}

impl Known {
    /// Whether this is the term of the newest leader known. What an earlier one supported ends when a later one is heard of:
    /// the later one has closed what it did not find to be ours.
    fn enters(&mut self, term: Term) -> bool {
        if term > self.term {
            *self = Self { term, ..Self::default() };
        }
        term == self.term
    }
}
