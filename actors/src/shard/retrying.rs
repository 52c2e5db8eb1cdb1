//! What a Client waits for is sent again when the slots that it waits for are led: see `edge/retrying`.

use convoy_ids::SlotId;
use convoy_wire::QoS;

use super::Shard;
use super::mail::{Origin, Where};
use crate::call::{ReplyTo, SessionCall};
use crate::clock::Now;
use crate::connection::{Again, Barrier, Connection, Stage};
use crate::edge::RETRY;
use crate::message::Message;
use crate::session::Home;

impl Shard {
    /// Sends again what is open of this connection, unless a slot that it is for is led by nobody yet.
    pub(super) fn retry(&mut self, now: Now, home: Home) {
        let post = &self.outlet.post;
        let Some(connection) = self.outlet.edge.find(&home) else { return };
        if connection.stage != Stage::Open || connection.retry_at().is_none() {
            return;
        }
        let is_nowhere = |slot: SlotId| post.where_is(slot) == Where::Nowhere;
        let by = connection.session.slot();
        let asks = matches!(connection.barrier, Some(Barrier::Ask(_)));
        let waits_by = asks || connection.releases.waiting() > 0;
        let is_early = connection.unled_since().is_some()
            || connection.inbound.waits_for(is_nowhere, by)
            || waits_by && is_nowhere(by)
            || asks && !post.knows_all();
        if is_early {
            return self.outlet.edge.retry_later(home.key, now.monotonic + RETRY);
        }
        if connection.inbound.is_refusing() {
            return self.outlet.edge.fail_over(home.key, "refused");
        }
        connection.succession_mut().retry_at = None;
        let again = connection.inbound.retry();
        let releases: Vec<_> =
            connection.releases.iter().map(|packet_id| connection.releases_on_record(packet_id)).collect();
        let ask = match connection.barrier.take() {
            Some(Barrier::Ask(ask)) => {
                // Whether what came before it was taken is asked anew.
                connection.inbound.went_away |= ask.call.is_some();
                Some(ask)
            }
            barrier => {
                connection.barrier = barrier;
                None
            }
        };
        // Very many connections may wait for one leader, each with a window of messages.
        self.work += (again.len() + releases.len()) as u64;
        self.outlet.edge.calls.extend(releases);
        for again in again {
            if !self.send_again(now, home, again) {
                break;
            }
            let is_refused = |connection: &mut Connection| connection.inbound.would_overtake();
            if self.outlet.edge.find(&home).is_some_and(is_refused) {
                return self.outlet.edge.fail_over(home.key, "refused");
            }
        }
        match ask {
            Some(mut ask) => {
                ask.retry();
                self.ask(home.key, ask);
            }
            None => self.outlet.edge.step(home.key),
        }
        self.outlet.edge.mark(home.key);
    }

    /// Whether it is on its way.
    fn send_again(&mut self, now: Now, home: Home, again: Again) -> bool {
        let Again { token, packet_id, qos, kept } = again;
        let Some(connection) = self.outlet.edge.find(&home) else { return false };
        let (session, epoch, client) = (connection.session, connection.epoch, connection.client);
        if qos == QoS::ExactlyOnce {
            let (message, reply) = (kept.message.to_vec(), ReplyTo { home, token });
            let (place, asks) = (kept.place, false);
            let call = SessionCall::Accept { session, epoch, packet_id, place, message, asks, reply };
            self.outlet.edge.calls.push_back(call);
            return true;
        }
        self.outlet.edge.begin_with(&kept.message);
        let message = Message::decode(&kept.message).expect("it was encoded here");
        let origin = Origin { client, epoch, again: None };
        self.publish_waiting(now, ReplyTo { home, token }, kept.place, &message, origin)
    }
}
