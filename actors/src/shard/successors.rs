//! Where a slot was led by a shard of this node, what that one has sent to connections here may still wait to be opened when the
//! next leader, on another node, is heard. What is older must come first: so the next leader is taken for one when the one
//! before has said that it leads no more, behind everything that it sent.

use convoy_ids::{SlotId, Term};

use super::Shard;
use super::mail::Where;
use crate::dest::Dest;
use crate::edge::Change;

/// Milliseconds after which it is not waited for any more: that shard does nothing. Connections that it served may have missed
/// something.
const LATEST: u64 = 2_000;

/// Leaders of other nodes that are heard and not taken for leaders yet: of each slot the newest.
#[derive(Debug, Default)]
pub(super) struct Successors(Vec<Successor>);

#[derive(Debug)]
struct Successor {
    slot: SlotId,
    from: Dest,
    term: Term,
    given: Option<Box<[(SlotId, u64)]>>,
    given_up: u64,
    since: u64,
}

impl Shard {
    /// Whether a leader is to wait for the one before it.
    pub(super) fn waits_for_predecessor(
        &mut self,
        from: Dest,
        slot: SlotId,
        term: Term,
        given: &Option<Box<[(SlotId, u64)]>>,
        given_up: u64,
    ) -> bool {
        if !self.has_others || !self.outlet.post.is_away(from) || !self.outlet.post.is_newer(slot, term) {
            return false;
        }
        let before_leads = match self.outlet.post.where_is(slot) {
            Where::Here => self.slots.get(slot).is_some_and(|slot| slot.leading),
            Where::There(before) => !self.outlet.post.is_away(before),
            Where::Nowhere => false,
        };
        if !before_leads {
            return false;
        }
        let waits = &mut self.successors.0;
        if waits.iter().any(|other| other.slot == slot && other.term > term) {
            return true;
        }
        let since = waits.iter().find(|other| other.slot == slot).map(|other| other.since);
        let since = since.unwrap_or(self.outlet.edge.now);
        waits.retain(|other| other.slot != slot);
        waits.push(Successor { slot, from, term, given: given.clone(), given_up, since });
        true
    }

    /// A shard has said that it leads a slot no more: its successor does, if it was one.
    pub(super) fn follow_predecessor(&mut self, before: Dest, slot: SlotId) {
        if self.outlet.post.is_away(before) {
            return self.successors.0.retain(|of| of.slot != slot || of.from != before);
        }
        if self.outlet.post.where_is(slot) != Where::Nowhere {
            return;
        }
        if let Some(at) = self.successors.0.iter().position(|of| of.slot == slot) {
            let next = self.successors.0.swap_remove(at);
            self.take_successor(next);
        }
    }

    fn take_successor(&mut self, next: Successor) {
        let Successor { slot, from, term, given, given_up, .. } = next;
        self.hear_led(from, slot, term, given, given_up);
    }

    /// A shard is not heard any more.
    pub(super) fn forget_successors(&mut self, from: Dest) {
        self.successors.0.retain(|of| of.from != from);
    }

    /// Waits no longer for shards of this node that do nothing.
    pub(super) fn end_waits_for_predecessors(&mut self) {
        let now = self.outlet.edge.now;
        let is_long = |of: &Successor| now >= of.since + LATEST;
        while let Some(at) = self.successors.0.iter().position(is_long) {
            let next = self.successors.0.swap_remove(at);
            if self.outlet.post.where_is(next.slot) == Where::Here {
                self.lose(next.slot);
            } else if let Where::There(before) = self.outlet.post.where_is(next.slot) {
                tracing::warn!(slot = %next.slot, "another shard does not say that it leads a slot no more");
                self.outlet.post.note_leader(next.slot, before, Term(0), false);
                self.led.set(next.slot, false);
                self.moved.insert(next.slot);
                self.outlet.edge.change(Change::Missed);
            }
            self.take_successor(next);
        }
    }
}
