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
    claim: Claim,
    since: u64,
}

/// A shard says that it leads a slot, or (without `given`) no longer: see [`super::mail::Letter::Led`].
#[derive(Debug)]
pub(super) struct Claim {
    pub from: Dest,
    pub slot: SlotId,
    pub term: Term,
    pub given: Option<Box<[(SlotId, u64)]>>,
    pub given_up: u64,
}

impl Shard {
    /// A leader may have to wait for the one before it: if not, it is given back.
    pub(super) fn wait_for_predecessor(&mut self, claim: Claim) -> Option<Claim> {
        let Claim { from, slot, term, .. } = claim;
        if claim.given.is_none()
            || !self.has_others
            || !self.outlet.post.is_away(from)
            || !self.outlet.post.is_newer(slot, term)
        {
            return Some(claim);
        }
        let before_leads = match self.outlet.post.where_is(slot) {
            Where::Here => self.slots.get(slot).is_some_and(|slot| slot.leading),
            Where::There(before) => !self.outlet.post.is_away(before),
            Where::Nowhere => false,
        };
        if !before_leads {
            return Some(claim);
        }
        let waits = &mut self.successors.0;
        let other = waits.iter().position(|of| of.claim.slot == slot);
        match other.map(|at| &mut waits[at]) {
            Some(other) if other.claim.term > term => {}
            Some(other) => other.claim = claim,
            None => waits.push(Successor { claim, since: self.outlet.edge.now }),
        }
        None
    }

    /// A shard has said that it leads a slot no more: its successor does, if it was one.
    pub(super) fn follow_predecessor(&mut self, before: Dest, slot: SlotId) {
        if self.outlet.post.is_away(before) {
            return self.successors.0.retain(|of| of.claim.slot != slot || of.claim.from != before);
        }
        if self.outlet.post.where_is(slot) != Where::Nowhere {
            return;
        }
        if let Some(at) = self.successors.0.iter().position(|of| of.claim.slot == slot) {
            let next = self.successors.0.swap_remove(at);
            self.hear_led(next.claim);
        }
    }

    /// A shard is not heard any more.
    pub(super) fn forget_successors(&mut self, from: Dest) {
        self.successors.0.retain(|of| of.claim.from != from);
    }

    /// Waits no longer for shards of this node that do nothing.
    pub(super) fn end_waits_for_predecessors(&mut self) {
        let now = self.outlet.edge.now;
        let is_long = |of: &Successor| now >= of.since + LATEST;
        while let Some(at) = self.successors.0.iter().position(is_long) {
            let Successor { claim, .. } = self.successors.0.swap_remove(at);
            let slot = claim.slot;
            if self.outlet.post.where_is(slot) == Where::Here {
                self.lose(slot);
            } else if let Where::There(before) = self.outlet.post.where_is(slot) {
                tracing::warn!(%slot, "another shard does not say that it leads a slot no more");
                self.outlet.post.note_leader(slot, before, Term(0), false);
                self.led.set(slot, false);
                self.moved.insert(slot);
                self.outlet.edge.change(Change::Missed);
            }
            self.hear_led(claim);
        }
    }
}
