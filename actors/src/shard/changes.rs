//! What changes for those who are connected is told to a shard, which holds to it from then on and has its edge judge them
//! (see [`Change`]). Members of Shared Subscriptions are judged by the way.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Shard;
use crate::access::{Access, Bans};
use crate::clock::Now;
use crate::edge::{Change, cost_of};
use crate::peer::CertificateId;

impl Shard {
    /// Other rules hold from now on, for those who are connected too.
    pub fn set_access(&mut self, now: Now, access: Arc<Access>) {
        self.access = Arc::clone(&access);
        self.presence.set_access(&self.access);
        self.change(now, Change::Rules(access));
    }

    /// Other bans hold from now on. Who is connected and hit by one of `added` is disconnected with Administrative action:
    /// DISCONNECT knows no Banned (MQTT 5.0, 3.14.2.1).
    pub fn set_bans(&mut self, now: Now, bans: Arc<Bans>, added: &Arc<Bans>) {
        self.bans = bans;
        if !added.is_empty() {
            self.change(now, Change::Bans(Arc::clone(added), now.wall));
        }
    }

    /// These users are gone or have another password: their connections end. They are told why where they can be
    /// [MQTT-4.13.1-1].
    pub fn revoke(&mut self, now: Now, users: &Arc<BTreeSet<String>>) {
        if !users.is_empty() {
            self.change(now, Change::Users(Arc::clone(users)));
        }
    }

    /// Other certificates than before are revoked at this listener: their connections end. Clients are told why where they
    /// can be [MQTT-4.13.1-1].
    pub fn revoke_certificates(&mut self, now: Now, listener: String, ids: Arc<BTreeSet<CertificateId>>) {
        self.revoked.set(listener.clone(), Arc::clone(&ids));
        self.change(now, Change::Certificates(listener, ids));
    }

    /// Ends every connection because the node goes down.
    pub fn shut_down(&mut self, now: Now) {
        let elsewhere = self.options.server_reference.clone();
        self.change(now, Change::Leaving(elsewhere));
    }

    fn change(&mut self, now: Now, change: Change) {
        self.outlet.edge.now = now.monotonic;
        self.outlet.edge.change(change);
        self.walk(now);
        self.settle(now);
    }

    /// Carries changes to a piece of those whom they are about. Members of Shared Subscriptions go first: who is chosen may
    /// then still receive.
    pub(super) fn walk(&mut self, now: Now) {
        self.outlet.edge.now = now.monotonic;
        let mut left = self.outlet.edge.changes.piece;
        if !self.presence.is_current() {
            let cost = cost_of(self.access.size());
            left = left.saturating_sub(self.presence.judge((left / cost).max(1)) * cost);
        }
        if left > 0 && self.presence.is_current() {
            self.outlet.edge.walk(left);
        }
    }
}
