//! The Client's half of the Session State [3.1.2.4]: what it has sent and not seen finished, and the Packet Identifiers of
//! QoS 2 messages that it has received and that were not released.
//!
//! A Client that forgets either would blame the Server for its own duplicates and losses, so this lives as long as the
//! Session does, whatever happens to connections.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::oracle::{Message, Qos, Retain};

/// Packet Identifiers come round soon, so that their reuse is met all the time and not after 65,535 messages.
const IDENTIFIERS: u16 = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    pub packet_id: u16,
    pub message: Message,
    pub retain: Retain,
    pub expiry: Option<Duration>,
    pub stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// PUBLISH sent, no PUBACK or PUBREC yet.
    Published,
    /// PUBREC received, PUBREL sent, no PUBCOMP yet.
    Released,
}

#[derive(Clone, Debug, Default)]
pub struct State {
    outbound: VecDeque<Outbound>,
    received: HashSet<u16>,
    last: u16,
}

impl State {
    /// In the order of their PUBLISHes: the order in which they are sent again [MQTT-4.6.0-1].
    pub fn outbound(&self) -> impl Iterator<Item = &Outbound> {
        self.outbound.iter()
    }

    pub fn in_flight(&self) -> usize {
        self.outbound.len()
    }

    /// Takes the next free Packet Identifier. The caller keeps within its window, which is far below their number.
    pub fn publish(&mut self, message: Message, retain: Retain, expiry: Option<Duration>) -> u16 {
        assert!(self.outbound.len() < usize::from(IDENTIFIERS), "the window is smaller than the identifiers");
        loop {
            self.last = self.last % IDENTIFIERS + 1;
            if self.outbound.iter().all(|outbound| outbound.packet_id != self.last) {
                break;
            }
        }
        self.outbound.push_back(Outbound {
            packet_id: self.last,
            message,
            retain,
            expiry,
            stage: Stage::Published,
        });
        self.last
    }

    /// PUBACK, or a PUBREC that refuses: the message is done with.
    pub fn finish(&mut self, packet_id: u16, qos: Qos) -> Option<Outbound> {
        let at = self.outbound.iter().position(|outbound| {
            outbound.packet_id == packet_id
                && outbound.message.qos == qos
                && outbound.stage == Stage::Published
        })?;
        self.outbound.remove(at)
    }

    /// PUBREC. `None` if this identifier is not in use at QoS 2.
    pub fn release(&mut self, packet_id: u16) -> Option<&Outbound> {
        let outbound = self
            .outbound
            .iter_mut()
            .find(|outbound| outbound.packet_id == packet_id && outbound.message.qos == Qos::ExactlyOnce)?;
        outbound.stage = Stage::Released;
        Some(outbound)
    }

    /// PUBCOMP.
    pub fn complete(&mut self, packet_id: u16) -> Option<Outbound> {
        let at = self
            .outbound
            .iter()
            .position(|outbound| outbound.packet_id == packet_id && outbound.stage == Stage::Released)?;
        self.outbound.remove(at)
    }

    /// A QoS 2 PUBLISH came in. `true`: new, to be handed to the application.
    pub fn receive(&mut self, packet_id: u16) -> bool {
        self.received.insert(packet_id)
    }

    /// PUBREL came in.
    pub fn released(&mut self, packet_id: u16) {
        self.received.remove(&packet_id);
    }

    /// The Server has no Session, or a new one was asked for.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(qos: Qos, seq: u64) -> Message {
        Message::new(&"desk".into(), &"cmd".into(), qos, seq)
    }

    #[test]
    fn identifier_in_use_is_passed_over() {
        let mut state = State::default();
        let first = state.publish(message(Qos::AtLeastOnce, 1), Retain::No, None);
        for seq in 2..=u64::from(IDENTIFIERS) {
            let packet_id = state.publish(message(Qos::AtLeastOnce, seq), Retain::No, None);
            assert_ne!(packet_id, first);
            state.finish(packet_id, Qos::AtLeastOnce).expect("in flight");
        }
        assert_ne!(state.publish(message(Qos::AtLeastOnce, 999), Retain::No, None), first);
    }

    #[test]
    fn qos_2_is_resent_as_pubrel_once_it_was_received() {
        let mut state = State::default();
        let packet_id = state.publish(message(Qos::ExactlyOnce, 1), Retain::No, None);
        assert!(state.complete(packet_id).is_none(), "PUBCOMP before PUBREC");
        assert!(state.release(packet_id).is_some());
        assert!(state.finish(packet_id, Qos::ExactlyOnce).is_none(), "it cannot be refused any more");
        assert_eq!(state.outbound().next().map(|outbound| outbound.stage), Some(Stage::Released));
        assert!(state.complete(packet_id).is_some());
        assert_eq!(state.in_flight(), 0);
    }

    #[test]
    fn received_identifier_is_known_until_its_pubrel() {
        let mut state = State::default();
        assert!(state.receive(9));
        assert!(!state.receive(9));
        state.released(9);
        assert!(state.receive(9));
    }
}
