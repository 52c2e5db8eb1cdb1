//! What is refused because a user, or the node, has stored as much as it may. Whoever comes back to a Session that lasts,
//! changes what is there to something smaller, or takes away, is always served.

use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use super::mail::Letter;
use super::slots::fail;
use super::{Shard, Slots};
use crate::budget::{Usage, Used, User};
use crate::clock::Now;
use crate::metric;
use crate::slot::{SessionCall, wanted_by};

impl Shard {
    /// Why a connection's call is refused, if what it adds to is full.
    pub(super) fn over_budget(&mut self, now: Now, id: SlotId, call: &SessionCall) -> Option<ReasonCode> {
        let SessionCall::Connect { name, owner, expiry_seconds, will, .. } = call else { return None };
        let (user, will) = (User::of(owner), will.as_deref());
        let wanted = wanted_by(*expiry_seconds, will);
        let allowance = self.options.limits.stored;
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

    /// What the node holds and what of a user, with what was asked for here and has no outcome yet.
    pub(super) fn used(&self, user: User) -> Used {
        let underway = self.slots.underway(user);
        let used = self.budget.used(user);
        Used { node: used.node.and(&underway.node), user: used.user.and(&underway.user) }
    }

    /// Tells other shards what is stored here.
    pub(super) fn tell_stored(&mut self) {
        let (here, shards) = (self.outlet.post.here(), self.outlet.post.shards());
        let Some(report) = self.budget.report(shards, &self.options.limits.stored.user) else { return };
        for shard in (0..shards).filter(|shard| *shard != here) {
            self.outlet.post.send(shard, Letter::Stored(report.clone()));
        }
    }
}

impl Slots {
    fn underway(&self, user: User) -> Used {
        let mut underway = Used { node: Usage::default(), user: Usage::default() };
        for slot in self.iter().filter(|slot| !slot.connecting.is_empty()) {
            underway.node = underway.node.and(&slot.connecting.total());
            underway.user = underway.user.and(&slot.connecting.of(user));
        }
        underway
    }
}
