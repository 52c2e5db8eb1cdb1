//! Messages for Sessions that end with their connection, on whichever node: what came by the log is given to them again by the
//! next leader, and a node that cannot be given what it is owed is given up.
//!
//! The leader of a slot that has not reached a node for so long that nothing there rests on it any more puts that on record.
//! Then it owes nothing to the connections that there were, and acknowledges to publishers. That node is told how many times
//! that was done, by this leader or a later one, and ends those connections: they may have missed something.

use std::collections::BTreeMap;

use convoy_ids::SlotId;

use super::mail::Letter;
use super::{Shard, turn};
use crate::clock::Now;
use crate::edge::Change;
use crate::metric;
use crate::options::Without;
use crate::session::Home;
use crate::slot::Turn;

/// Milliseconds after which connections end that are given nothing any more by slots which nobody leads, as far as is known
/// here: some elections.
const UNLED: u64 = 5_000;

/// What is owed to connections of other nodes, and theirs to those here.
#[derive(Debug, Default)]
pub(super) struct Giving {
    /// What waits until connections of a node are given up by a slot, on record.
    owed: BTreeMap<(SlotId, u64), Vec<usize>>,
    /// How many times those of this node were, by each slot.
    given_up: BTreeMap<SlotId, u64>,
    /// Since when nobody is known to lead these slots.
    unled: BTreeMap<SlotId, u64>,
}

impl Giving {
    /// Whether a slot is known to be led.
    pub fn note_led(&mut self, slot: SlotId, is_led: bool, now: u64) {
        match is_led {
            true => {
                self.unled.remove(&slot);
            }
            false => {
                self.unled.entry(slot).or_insert(now);
            }
        }
    }
}

impl Shard {
    /// Gives connections a message again that came by the log, if this operation is one.
    pub(super) fn give_again(&mut self, now: Now, from: SlotId, to: SlotId, number: u64, op: &[u8]) {
        let mut turn = turn!(self, now);
        metrics::counter!(metric::GIVEN_AGAIN).increment(1);
        if let Some(slot) = self.slots.get(to) {
            slot.give_again(from, number, op, &mut turn);
        }
    }

    /// Whether a connection is given a message that came by the log of the slot of its topic.
    pub(super) fn takes_live(&mut self, topic: &str, from: u16, number: u64, home: &Home) -> bool {
        let (_, by) = self.locator.locate(topic);
        self.outlet.given.takes(by, SlotId(from), number, home)
    }

    /// Nobody on this node can be given these messages.
    pub(super) fn give_up_on(&mut self, now: Now, node: u64, ids: Vec<usize>) {
        if self.options.without == Without::GivenUp {
            return self.take_receipts(ids);
        }
        let mut of_others = Vec::new();
        for id in ids {
            let by = self.outlet.receipts.slot_of(id);
            let slot = by.and_then(|by| self.slots.get(by)).filter(|slot| slot.is_serving());
            let (Some(by), Some(slot)) = (by, slot) else {
                of_others.push(id);
                continue;
            };
            let owed = self.giving.owed.entry((by, node)).or_default();
            if owed.is_empty() {
                metrics::counter!(metric::NODES_GIVEN_UP).increment(1);
                tracing::warn!(slot = %by, node, "connections of a node are not reached: they are owed nothing any more");
                slot.give_up(node, now.wall);
            }
            owed.push(id);
        }
        // Their slots are led here no longer: what is owed is the next leader's.
        self.take_receipts(of_others);
    }

    /// A slot is led here no longer: what it owes is the next leader's.
    pub(super) fn forget_owed(&mut self, slot: SlotId) {
        let owed = self.giving.owed.keys().filter(|(of, _)| *of == slot).copied();
        for key in owed.collect::<Vec<_>>() {
            let ids = self.giving.owed.remove(&key).unwrap_or_default();
            self.take_receipts(ids);
        }
    }

    /// It is on record that nothing is owed to the connections that there were of a node.
    pub(super) fn note_given_up(&mut self) {
        while let Some((slot, node, times)) = self.outlet.given_up.pop_front() {
            for dest in self.outlet.post.others() {
                if self.outlet.post.node_of(dest) == Some(node) {
                    self.outlet.post.send(dest, Letter::GivenUp { slot, times });
                }
            }
            let owed = self.giving.owed.remove(&(slot, node)).unwrap_or_default();
            self.take_receipts(owed);
        }
    }

    /// How many times connections of this node were given up by a slot.
    pub(super) fn hear_given_up(&mut self, slot: SlotId, times: u64) {
        let before = self.giving.given_up.insert(slot, times);
        if before.is_some_and(|before| before != times) {
            self.outlet.edge.change(Change::Missed);
        }
    }

    /// Ends connections that are given nothing any more.
    pub(super) fn end_unled(&mut self, now: Now) {
        let is_long = |since: &u64| now.monotonic >= since + UNLED;
        if self.giving.unled.values().any(is_long) {
            self.giving.unled.retain(|_, since| !is_long(since));
            self.outlet.edge.change(Change::Missed);
        }
    }
}
