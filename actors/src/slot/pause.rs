//! While a record is on its way that takes a Session from its connection, nothing numbered goes out on that. The record says
//! how far messages were sent. What went out after it was proposed only this leader would know: to another one that applies
//! the record it would be unsent, and one of QoS 2 by a Shared Subscription would go to two members [MQTT-4.8.2-5].

use rustc_hash::FxHashMap;

use super::op::Op;
use super::{Slot, client_of};
use crate::call::ReplyTo;
use crate::clock::Millis;
use crate::session::{Epoch, Seq, SessionNumber, SessionRow};

/// How many such records are on their way, by the hash of the Client Identifier; of the leader alone.
#[derive(Debug, Default)]
pub struct Pauses(FxHashMap<u64, u32>);

impl Pauses {
    fn begin(&mut self, client: u64) {
        *self.0.entry(client).or_default() += 1;
    }

    /// Whether that was the last one.
    fn end(&mut self, client: u64) -> bool {
        let Some(count) = self.0.get_mut(&client) else { return false };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.0.remove(&client);
        }
        is_last
    }

    /// Whether one is on its way for this Client, or for another one with the same hash.
    pub(super) fn hold(&self, name: &[u8]) -> bool {
        !self.0.is_empty() && self.0.contains_key(&client_of(name))
    }
}

impl Slot {
    /// A record is proposed that takes the Session of this Client from its connection.
    pub(super) fn pause(&mut self, name: &[u8]) {
        self.pauses.begin(client_of(name));
        if let Some(session) = self.names.get(name)
            && let Some(link) = self.active.get_mut(session).and_then(|active| active.link.as_mut())
        {
            link.is_paused = true;
        }
    }

    /// A record is proposed that says how far the connection of this epoch was sent messages, which has ended.
    pub(super) fn close_link(&mut self, session: SessionNumber, epoch: Epoch) {
        if let Some(active) = self.active.get_mut(&session).filter(|active| active.row.epoch == epoch)
            && let Some(link) = &mut active.link
        {
            link.is_over = true;
        }
    }

    /// A record has its outcome that was proposed here.
    pub(super) fn resume_after(&mut self, op: &Op<'_>) {
        match op {
            Op::Connect { name, .. } => self.resume(name),
            Op::End { session } => {
                let name = self.active.get(session).map(|active| active.name.clone());
                self.resume(&name.unwrap_or_default());
            }
            _ => {}
        }
    }

    /// The record has its outcome: a connection that has the Session still, or again, goes on once the state is written.
    pub(super) fn resume(&mut self, name: &[u8]) {
        if !self.pauses.end(client_of(name)) {
            return;
        }
        if let Some(session) = self.names.get(name)
            && let Some(link) = self.active.get_mut(session).and_then(|active| active.link.as_mut())
            && std::mem::take(&mut link.is_paused)
        {
            self.deferred.push_back(*session);
        }
    }

    /// An operator ends the Session of this Client. Before, it is put on record how far the Client was sent messages.
    pub fn end_session(&mut self, at: Millis, name: &[u8], row: &SessionRow, reply: ReplyTo) {
        let session = row.number;
        self.save_acknowledged_of(session, at);
        if row.home.is_some() {
            let sent = if self.is_unknown(session, row.epoch) { Seq::MAX } else { self.sent(session) };
            self.pending.push(at, &Op::Finished { session, messages: Vec::new(), sent }, None);
        }
        self.pause(name);
        self.pending.push(at, &Op::End { session }, Some(reply));
    }
}
