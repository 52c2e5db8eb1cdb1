//! What is refused because a user, or the node, has stored as much as it may. Whoever comes back to a Session that lasts,
//! changes what is there to something smaller, or takes away, is always served.

use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use super::mail::Letter;
use super::slots::fail;
use super::{Shard, Slots};
use crate::budget::{Sums, Usage, Used, User};
use crate::call::SessionCall;
use crate::clock::Now;
use crate::message::Message;
use crate::metric;
use crate::session::Place;
use crate::slot::wanted_by;

impl Shard {
    /// Why a connection's call is refused, if what it adds to is full.
    pub(super) fn over_budget(&mut self, now: Now, id: SlotId, call: &SessionCall) -> Option<ReasonCode> {
        match call {
            SessionCall::Connect { .. } => self.over_sessions(now, id, call),
            SessionCall::Accept { place, message, .. } => {
                if self.over_stored(message.len(), 1) {
                    return Some(ReasonCode::QuotaExceeded);
                }
                let limit = self.over_retained(*place, &Message::decode(message).ok()?)?;
                metric::met(limit);
                Some(ReasonCode::QuotaExceeded)
            }
            _ => None,
        }
    }

    fn over_sessions(&mut self, now: Now, id: SlotId, call: &SessionCall) -> Option<ReasonCode> {
        let SessionCall::Connect { name, owner, expiry_seconds, will, .. } = call else { return None };
        let (user, will) = (User::of(owner), will.as_deref());
        let wanted = wanted_by(*expiry_seconds, will);
        let allowance = *self.budget.allowance();
        let used = self.used(user);
        let exceeds = |wanted| used.exceeds(&allowance, &Used { node: wanted, user: wanted });
        exceeds(wanted)?;
        // Only now it is worth a look at what the Session has.
        let slot = self.slots.get(id)?;
        match slot.added_by_connect(name, *expiry_seconds, will, now.wall, &mut self.state) {
            Ok(added) => {
                let limit = exceeds(added)?;
                metric::met(limit);
                tracing::debug!(limit, user = owner, "a CONNECT is refused");
                Some(ReasonCode::QuotaExceeded)
            }
            Err(error) => {
                fail(slot, &error);
                Some(ReasonCode::ServerUnavailable)
            }
        }
    }

    /// Whether a message of so many bytes for so many Sessions is too much for the node. What one user may store is no
    /// concern of its publisher's: see [`crate::slot::Slot::relieve`].
    pub(super) fn over_stored(&self, bytes: usize, sessions: usize) -> bool {
        let limit = self.budget.allowance().node.stored_bytes;
        if limit == u64::MAX || sessions == 0 {
            return false;
        }
        let more = (bytes as u64).saturating_mul(sessions as u64);
        let is_over = self.budget.used(User::NOBODY).node.stored_bytes.saturating_add(more) > limit;
        if is_over {
            metric::met("stored_bytes");
        }
        is_over
    }

    /// The key of the limit that keeps a message from being retained. One that is there may be deleted, and replaced by one
    /// that is not larger. Of another shard's partition it is what was written last that is looked at.
    pub(super) fn over_retained(&mut self, place: Place, message: &Message<'_>) -> Option<&'static str> {
        if !message.is_kept() {
            return None;
        }
        let bytes = message.encoded_len() as u64;
        let whole = Usage { retained_messages: 1, retained_bytes: bytes, ..Usage::default() };
        let (allowance, used) = (*self.budget.allowance(), self.used(message.user));
        let limit = used.exceeds(&allowance, &Used { node: whole, user: whole })?;
        let kept = self.state.retained(SlotId(place.slot), place.partition, message.topic);
        // What cannot be read stops its slot when the message is stored.
        let Ok(Some(kept)) = kept else { return Some(limit) };
        let more = Usage { retained_bytes: bytes.saturating_sub(u64::from(kept.bytes)), ..Usage::default() };
        let user = if kept.user == message.user || more == Usage::default() { more } else { whole };
        used.exceeds(&allowance, &Used { node: more, user })
    }

    /// A Will that cannot be retained is published all the same: nobody is there to be told. `None` if it may stay as it is.
    pub(super) fn without_keeping(&mut self, place: Place, message: &[u8]) -> Option<Vec<u8>> {
        let will = Message::decode(message).ok()?;
        let limit = self.over_retained(place, &will)?;
        metric::met(limit);
        let mut bytes = Vec::new();
        Message { retain: false, ..will }.encode_into(&mut bytes);
        Some(bytes)
    }

    /// What the node holds and what of a user, with what was asked for here and has no outcome yet.
    pub(super) fn used(&self, user: User) -> Used {
        let underway = self.slots.underway(user);
        let used = self.budget.used(user);
        Used { node: used.node.and(&underway.node), user: used.user.and(&underway.user) }
    }

    /// Tells other shards what is stored here.
    pub(super) fn tell_stored(&mut self) {
        self.budget.set_outboxes(self.slots.iter().map(|slot| slot.outbox_bytes()).sum());
        let Some(report) = self.budget.report(self.outlet.post.shards()) else { return };
        for dest in self.outlet.post.others_here() {
            self.outlet.post.send(dest, Letter::Stored(report.clone()));
        }
    }
}

impl Slots {
    fn underway(&self, user: User) -> Used {
        let mut underway = Used { node: Usage::default(), user: Usage::default() };
        let mut add = |sums: &Sums| {
            if !sums.is_empty() {
                underway.node = underway.node.and(&sums.total());
                underway.user = underway.user.and(&sums.of(user));
            }
        };
        // Of all slots, at each CONNECT.
        for slot in self.iter() {
            add(&slot.connecting);
            add(slot.line.kept());
        }
        underway
    }
}
