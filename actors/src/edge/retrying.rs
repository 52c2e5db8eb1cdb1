//! What a Client has sent, and what became of it, may be lost with the leader of a slot. So the node of the connection sends it
//! again, to the next leader, in the order in which it came: as the Client would on a connection anew. What may not act twice
//! and would, the Client has to see to itself, and its connection ends: a Retained Message, which would win over a newer one,
//! a message of QoS 2 whose Session has no log, and an UNSUBSCRIBE, which would find nothing where the first one has not come
//! everywhere.

use std::collections::BTreeSet;

use convoy_ids::SlotId;
use convoy_wire::{PacketId, ReasonCode};

use super::Edge;
use crate::call::{ReplyTo, SessionCall, token};
use crate::connection::{Ask, Barrier, Connection, Stage};
use crate::metric;

/// Milliseconds after which what is open is sent again where nobody tells of another leader.
pub const RETRY: u64 = 500;

/// The same where one has begun: other shards are about to hear of it too.
const SOON: u64 = 20;

impl Edge {
    /// These slots are led elsewhere, or by nobody any more.
    pub(super) fn note_moved(&mut self, key: u32, slots: &BTreeSet<SlotId>) {
        let connection = &mut self.connections[key as usize];
        if connection.loses() {
            return self.fail_over(key, "missed");
        }
        let by = connection.session.slot();
        let is_unled = slots.contains(&by);
        if is_unled {
            connection.succession_mut().unled_since.get_or_insert(self.now);
            self.mark(key);
        }
        let connection = &self.connections[key as usize];
        let waits = connection.inbound.waits_for(|slot| slots.contains(&slot), by)
            || is_unled && connection.releases.waiting() > 0
            || connection.ask().is_some();
        if waits {
            self.begin_retry(key, RETRY);
        }
    }

    /// Another shard is not heard any more, and answers nothing.
    pub(super) fn note_cut(&mut self, key: u32) {
        let connection = &mut self.connections[key as usize];
        if connection.readings.is_some() {
            return self.fail_over(key, "missed");
        }
        connection.credit.forget_asked();
        self.mark(key);
        if self.connections[key as usize].ask().is_some_and(Ask::may_retry) {
            self.begin_retry(key, RETRY);
        }
    }

    /// What becomes of something that the Client has sent is not known. Until it is sent again nothing more is read.
    pub(crate) fn begin_retry(&mut self, key: u32, delay: u64) {
        let connection = &mut self.connections[key as usize];
        if connection.stage != Stage::Open || connection.retry_at().is_some() {
            return;
        }
        if connection.inbound.is_refusing() {
            // Those who turn it away take what comes in another attempt, and the Client has not heard of it.
            return self.fail_over(key, "refused");
        }
        let may_ask = connection.ask().is_none_or(Ask::may_retry);
        if connection.readings.is_some() || !connection.inbound.can_retry() || !may_ask {
            return self.fail_over(key, "unfinished");
        }
        connection.inbound.next_attempt();
        self.retry_later(key, self.now + delay);
        self.mark(key);
    }

    /// A connection ends because of a change of leaders, and may come again at once.
    pub(crate) fn fail_over(&mut self, key: u32, reason: &'static str) {
        metric::failed_over(reason);
        self.close(key, ReasonCode::ServerBusy);
    }

    /// A leader has begun: it may be the one that is waited for.
    pub(super) fn retry_soon(&mut self, key: u32) {
        let soon = self.now + SOON;
        if self.connections[key as usize].retry_at().is_some_and(|at| at > soon) {
            self.retry_later(key, soon);
        }
    }
}

impl Connection {
    /// Whether a change of a leader may have lost something for it that nobody can say: what a member of Shared Subscriptions
    /// without a queue was chosen for, or Retained Messages that were to be read.
    fn loses(&self) -> bool {
        let is_member = !self.lasting && self.membership.is_some();
        self.stage == Stage::Open && (is_member || self.readings.is_some())
    }

    /// A SUBSCRIBE or UNSUBSCRIBE that is not acknowledged.
    fn ask(&self) -> Option<&Ask> {
        match &self.barrier {
            Some(Barrier::Ask(ask)) => Some(ask),
            _ => None,
        }
    }

    /// PUBREL goes on record.
    pub(crate) fn releases_on_record(&self, packet_id: PacketId) -> SessionCall {
        let token = token::of_attempt(token::RELEASE | u64::from(packet_id.get()), self.inbound.retried_in());
        let reply = ReplyTo { home: self.home, token };
        SessionCall::Release { session: self.session, epoch: self.epoch, packet_id, reply }
    }
}
