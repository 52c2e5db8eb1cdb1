//! Messages towards a Client whose Session ends with its connection: the window, and what waits behind it in memory.
//! Bounded in number and bytes; beyond that the oldest goes, as in a queue on disk.

use std::collections::VecDeque;

use convoy_wire::{PacketId, QoS};

use crate::session::{Answer, Inflight, QueueLimits, Seq, Stage};
use crate::slot::{Ack, Delivery};

#[derive(Debug)]
struct Queued {
    delivery: Delivery,
    message: Box<[u8]>,
}

#[derive(Debug)]
pub struct Outbound {
    inflight: Inflight,
    next: Seq,
    queue: VecDeque<Queued>,
    queue_bytes: u64,
}

/// What to do about an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// A message is finished: there may be room for another one.
    Room,
    /// Send PUBREL.
    Release,
    Nothing,
}

impl Outbound {
    pub fn new(receive_maximum: u16) -> Self {
        Self { inflight: Inflight::new(0, receive_maximum), next: 0, queue: VecDeque::new(), queue_bytes: 0 }
    }

    /// Whether a message can be sent at once, without passing one that waits.
    pub fn has_room(&self) -> bool {
        self.queue.is_empty() && self.inflight.has_room()
    }

    pub fn waits(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Enters a message that is being sent.
    pub fn send(&mut self, qos: QoS, bytes: u32) -> PacketId {
        let stage = if qos == QoS::ExactlyOnce { Stage::Unreceived } else { Stage::Published };
        self.next += 1;
        self.inflight.send(self.next - 1, stage, bytes)
    }

    /// Takes a message back that could not be sent under the identifier it had got.
    pub fn unsend(&mut self, packet_id: PacketId, qos: QoS) {
        match qos {
            QoS::ExactlyOnce => self.inflight.on_pubrec(packet_id, true),
            _ => self.inflight.on_puback(packet_id),
        };
    }

    /// Keeps a message for later; how many older ones went for it.
    pub fn queue(&mut self, delivery: Delivery, message: &[u8], limits: &QueueLimits) -> u64 {
        self.queue_bytes += message.len() as u64;
        self.queue.push_back(Queued { delivery, message: message.into() });
        let mut dropped = 0;
        while self.queue.len() as u64 > u64::from(limits.messages) || self.queue_bytes > limits.bytes {
            let oldest = self.queue.pop_front().expect("a queue over its limits is not empty");
            self.queue_bytes -= oldest.message.len() as u64;
            dropped += 1;
        }
        dropped
    }

    /// The oldest message that waits, if it can be sent now.
    pub fn next(&mut self) -> Option<(Delivery, Box<[u8]>)> {
        let sendable = |queued: &Queued| queued.delivery.qos == QoS::AtMostOnce || self.inflight.has_room();
        if !self.queue.front().is_some_and(sendable) {
            return None;
        }
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.message.len() as u64;
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some((queued.delivery, queued.message))
    }

    pub fn on_ack(&mut self, ack: Ack, packet_id: PacketId) -> Reaction {
        let answer = match ack {
            Ack::Puback => self.inflight.on_puback(packet_id),
            Ack::Pubrec { refused } => self.inflight.on_pubrec(packet_id, refused),
            Ack::Pubcomp => self.inflight.on_pubcomp(packet_id),
        };
        match answer {
            Answer::Finished(..) => Reaction::Room,
            // Nothing of this Session outlives the connection: there is no record to wait for.
            Answer::Received(seq) => {
                self.inflight.released(seq);
                Reaction::Release
            }
            Answer::ReleaseAgain(_) => Reaction::Release,
            Answer::Unknown if matches!(ack, Ack::Pubrec { refused: false }) => Reaction::Release,
            Answer::Unknown | Answer::Waiting => Reaction::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits { messages: 2, bytes: 1000, age: u64::MAX };

    #[test]
    fn messages_wait_for_room_and_keep_their_order() {
        let mut outbound = Outbound::new(1);
        let delivery = Delivery::new(QoS::AtLeastOnce, false, 0);
        let first = outbound.send(QoS::AtLeastOnce, 1);
        assert!(!outbound.has_room());
        outbound.queue(delivery, b"a", &LIMITS);
        outbound.queue(delivery, b"b", &LIMITS);
        assert_eq!(outbound.next(), None);
        assert_eq!(outbound.on_ack(Ack::Puback, first), Reaction::Room);
        assert_eq!(outbound.next().unwrap().1[..], *b"a");
    }

    #[test]
    fn the_oldest_goes_when_too_many_wait() {
        let mut outbound = Outbound::new(1);
        let delivery = Delivery::new(QoS::AtMostOnce, false, 0);
        assert_eq!([b"a", b"b", b"c"].map(|message| outbound.queue(delivery, message, &LIMITS)), [0, 0, 1]);
        assert_eq!(outbound.next().unwrap().1[..], *b"b");
    }
}
