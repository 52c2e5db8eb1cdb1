//! Retained Messages for new Subscriptions: held as they were read, and sent as their connection has room for them.

use convoy_wire::QoS;

use super::Edge;
use crate::clock::Now;
use crate::connection::Stage;
use crate::message::Message;
use crate::retained;

/// Retained Messages that were put into the queue of a Session, above which the next ones wait for acknowledgements:
/// they must not push each other out.
const RETAINED_UNACKNOWLEDGED: u32 = 16;

impl Edge {
    /// Retained Messages for a new Subscription, and where the rest of them is to be read.
    pub fn on_retained(&mut self, chunk: retained::Chunk, now: Now) {
        let (home, unused) = (chunk.home, chunk.unused);
        let Some(connection) = self.find(&home).filter(|found| found.stage == Stage::Open) else { return };
        connection.retained_unacknowledged = connection.retained_unacknowledged.saturating_sub(unused);
        if let Some(readings) = &mut connection.readings {
            readings.take(chunk);
        }
        self.refill(home.key, now);
    }

    /// Sends what is held of Retained Messages, as far as there is room for it; when all of it is sent more is asked
    /// for.
    pub(super) fn read_on(&mut self, key: u32, now: Now) {
        loop {
            let Some(connection) = self.connections.get_mut(key as usize) else { return };
            let has_window = connection.outbound.as_ref().is_none_or(|outbound| outbound.has_room());
            let has_room = connection.output.len() <= self.limits.output_bytes / 2
                && connection.retained_unacknowledged <= RETAINED_UNACKNOWLEDGED;
            let Some(readings) = connection.readings.as_mut().filter(|_| has_room) else { return };
            if readings.is_hungry() {
                return self.hungry.push(connection.home);
            }
            let goes = |delivery: &crate::session::Delivery| has_window || delivery.qos == QoS::AtMostOnce;
            if !readings.first().is_some_and(|(delivery, _)| goes(delivery)) {
                return;
            }
            let (delivery, whole) = readings.pop().expect("there is a first");
            let (home, session) = (connection.home, connection.session);
            let Ok(message) = Message::decode(&whole) else { continue };
            self.encoded.begin_with(&whole);
            self.hand_over(&home, session, &delivery, &message, now);
        }
    }
}
