//! Messages towards a Client whose Session ends with its connection: the window, and what waits behind it in memory.
//! Bounded in number and bytes; beyond that the oldest goes, as in a queue on disk.

use std::collections::VecDeque;

use bytes::Bytes;
use convoy_wire::{PacketId, QoS};

use super::membership::Waiting;
use crate::call::Ack;
use crate::clock::Millis;
use crate::message::Message;
use crate::session::{Answer, Behind, Delivery, Inflight, QueueLimits, Seq, Stage, TopicPlace};

#[derive(Debug)]
struct Queued {
    delivery: Delivery,
    /// Others may hold it as well.
    message: Bytes,
}

#[derive(Debug)]
pub struct Outbound {
    inflight: Inflight,
    next: Seq,
    /// With the number of each, by which others wait for it, and where its topic is counted.
    queue: VecDeque<(Seq, TopicPlace, Queued)>,
    /// The number of the next one.
    queued: Seq,
    /// While messages wait, what of QoS 0 has to wait for them.
    behind: Option<Box<Behind>>,
    queue_bytes: u64,
    /// None of them expires before this.
    expires: Millis,
    /// QoS 1 messages of Shared Subscriptions that are under way, in ascending order: another member gets what this
    /// one leaves unacknowledged.
    shared: VecDeque<(Seq, Queued)>,
}

/// What to do about an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// A message is finished: there may be room for another one.
    Room,
    /// Send PUBREL.
    Release,
    /// PUBREC of nothing: send PUBREL that says so, and the Client can forget it.
    Unknown,
    /// The message waits for another acknowledgement: a Protocol Error.
    Wrong,
    Nothing,
}

impl Outbound {
    pub fn new(receive_maximum: u16) -> Self {
        Self {
            inflight: Inflight::new(0, receive_maximum),
            next: 0,
            queue: VecDeque::new(),
            queued: 0,
            behind: None,
            queue_bytes: 0,
            expires: Millis::MAX,
            shared: VecDeque::new(),
        }
    }

    /// Messages that are under way.
    pub fn underway(&self) -> u16 {
        self.inflight.used()
    }

    /// Whether nothing can be sent until something is acknowledged.
    pub fn is_busy(&self) -> bool {
        !self.inflight.has_room()
    }

    /// How much waits of what these limits allow.
    pub fn fill(&self, limits: &QueueLimits) -> Waiting {
        if self.queue.is_empty() {
            return Waiting::Little;
        }
        let is_over = |part: u64| {
            let messages = self.queue.len() as u64 * part > u64::from(limits.messages);
            messages || self.queue_bytes.saturating_mul(part) > limits.bytes
        };
        match () {
            () if !is_over(4) => Waiting::Little,
            () if !is_over(2) => Waiting::Some,
            () => Waiting::Much,
        }
    }

    /// What other members of Shared Subscriptions get when this Session ends: by MQTT 5.0, 4.8.2 all but QoS 2
    /// messages that were sent.
    pub fn leave(self) -> impl Iterator<Item = (Delivery, Bytes)> {
        let sent = self.shared.into_iter().map(|(_, queued)| queued);
        let waiting = self.queue.into_iter().map(|(.., queued)| queued);
        sent.chain(waiting)
            .filter(|queued| queued.delivery.group().is_some() && queued.delivery.qos > QoS::AtMostOnce)
            .map(|queued| (queued.delivery, queued.message))
    }

    fn finish(&mut self, seq: Seq) {
        if let Ok(at) = self.shared.binary_search_by_key(&seq, |(seq, _)| *seq) {
            self.shared.remove(at);
        }
    }

    /// Messages that wait for room, and their bytes.
    pub fn waiting(&self) -> u64 {
        self.queue.len() as u64
    }

    /// Bytes of the messages that are kept: those of Shared Subscriptions while they are under way too.
    #[cfg(test)]
    pub fn kept_bytes(&self) -> u64 {
        self.queue_bytes + self.shared.iter().map(|(_, queued)| queued.message.len() as u64).sum::<u64>()
    }

    pub fn waiting_bytes(&self) -> u64 {
        self.queue_bytes
    }

    /// Whether a message can be sent at once, without passing one that waits.
    pub fn has_room(&self) -> bool {
        !self.waits() && self.inflight.has_room()
    }

    pub fn waits(&self) -> bool {
        self.behind.is_some()
    }

    /// What a message of QoS 0 has to wait behind if it is of this topic, and up to which number.
    pub fn ahead_of(&mut self, topic: &str) -> Option<(&mut Behind, Seq)> {
        let behind = self.behind.as_mut().filter(|behind| behind.holds(topic, 0))?;
        Some((behind, self.queued))
    }

    /// Enters a message that is being sent, of so many bytes.
    pub fn send(&mut self, delivery: &Delivery, bytes: usize) -> PacketId {
        let stage = if delivery.qos == QoS::ExactlyOnce { Stage::Unreceived } else { Stage::Published };
        let seq = self.next;
        self.next += 1;
        self.inflight.send(seq, stage, bytes as u32)
    }

    /// Keeps the message that was sent last until it is acknowledged, if another member of a Shared Subscription would get
    /// it else.
    #[inline]
    pub fn keep(&mut self, delivery: &Delivery, message: impl FnOnce() -> Bytes) {
        if delivery.qos == QoS::AtLeastOnce && delivery.group().is_some() {
            self.shared.push_back((self.next - 1, Queued { delivery: *delivery, message: message() }));
        }
    }

    /// Takes a message back that could not be sent under the identifier it had got.
    pub fn unsend(&mut self, packet_id: PacketId, qos: QoS) {
        let ack = match qos {
            QoS::ExactlyOnce => Ack::Pubrec { refused: true },
            _ => Ack::Puback,
        };
        self.on_ack(ack, packet_id);
    }

    /// Keeps a message for later, which expires then; how many older ones went for it, beside those that had expired.
    pub fn queue(
        &mut self,
        topic: &str,
        delivery: Delivery,
        message: Bytes,
        expires_at: Option<Millis>,
        limits: &QueueLimits,
        now: Millis,
    ) -> u64 {
        self.queue_bytes += message.len() as u64;
        self.expires = self.expires.min(expires_at.unwrap_or(Millis::MAX));
        let place = self.behind.get_or_insert_with(|| Box::new(Behind::new(0))).enter(topic);
        self.queue.push_back((self.queued, place, Queued { delivery, message }));
        self.queued += 1;
        let mut dropped = 0;
        while !limits.hold(self.queue.len() as u64, self.queue_bytes) {
            if self.expires <= now {
                self.drop_expired(now);
                continue;
            }
            let oldest = self.pop().expect("a queue over its limits is not empty");
            self.queue_bytes -= oldest.message.len() as u64;
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<Queued> {
        let (_, place, queued) = self.queue.pop_front()?;
        if let Some(behind) = &mut self.behind {
            behind.leave(place);
        }
        Some(queued)
    }

    fn drop_expired(&mut self, now: Millis) {
        let (bytes, expires, behind) = (&mut self.queue_bytes, &mut self.expires, &mut self.behind);
        *expires = Millis::MAX;
        self.queue.retain(|(_, place, queued)| {
            let at = Message::decode(&queued.message).ok().and_then(|message| message.expires_at);
            let stays = at.is_none_or(|at| at > now);
            if stays {
                *expires = at.unwrap_or(Millis::MAX).min(*expires);
            } else {
                *bytes -= queued.message.len() as u64;
                if let Some(behind) = behind {
                    behind.leave(*place);
                }
            }
            stays
        });
    }

    /// The oldest message that waits, if it can be sent now.
    pub fn next(&mut self) -> Option<(Delivery, Bytes)> {
        if let Some(behind) = &mut self.behind {
            let left = self.queue.front().map_or(self.queued, |(number, ..)| *number);
            if let Some(copy) = behind.take(left) {
                return Some(copy);
            }
            if self.queue.is_empty() {
                self.behind = None;
            }
        }
        if !self.inflight.has_room() {
            return None;
        }
        let queued = self.pop()?;
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
            Answer::Finished(seq, _) => {
                self.finish(seq);
                Reaction::Room
            }
            // Nothing of this Session outlives the connection: there is no record to wait for.
            Answer::Received(seq) => {
                self.inflight.released(seq);
                Reaction::Release
            }
            Answer::ReleaseAgain(_) => Reaction::Release,
            Answer::Unknown if matches!(ack, Ack::Pubrec { refused: false }) => Reaction::Unknown,
            Answer::Wrong => Reaction::Wrong,
            Answer::Unknown | Answer::Waiting => Reaction::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionNumber;

    const LIMITS: QueueLimits = QueueLimits { messages: 2, bytes: 1000, age: u64::MAX };

    const MESSAGE: Message<'static> = Message {
        topic: "a",
        properties: &[],
        payload: b"m",
        qos: QoS::ExactlyOnce,
        retain: false,
        published_at: 0,
        expires_at: None,
        publisher: SessionNumber(1),
        user: crate::budget::User::NOBODY,
        author: &[],
    };

    #[test]
    fn what_others_of_a_shared_subscription_may_get_is_left_to_them() {
        // [MQTT-4.8.2-5]
        let mut outbound = Outbound::new(3);
        let sends = |outbound: &mut Outbound, delivery| {
            let packet_id = outbound.send(delivery, 5);
            outbound.keep(delivery, || Bytes::from_static(b"was sent"));
            packet_id
        };
        let by = |qos, group| Delivery::new(qos, false, 0).by_share(group);
        let (once, exactly) = (by(QoS::AtLeastOnce, 7), by(QoS::ExactlyOnce, 7));
        let finished = sends(&mut outbound, &once);
        sends(&mut outbound, &once);
        sends(&mut outbound, &exactly);
        outbound.on_ack(Ack::Puback, finished);
        for delivery in [once, exactly, by(QoS::AtMostOnce, 7), by(QoS::AtLeastOnce, 0)] {
            let limits = QueueLimits { messages: 10, ..LIMITS };
            outbound.queue("t", delivery, Bytes::from_static(b"waits"), None, &limits, 0);
        }
        let left: Vec<_> =
            outbound.leave().map(|(delivery, message)| (delivery, message.len() > 5)).collect();
        assert_eq!(left, [(once, true), (once, false), (exactly, false)]);
    }

    #[test]
    fn messages_wait_for_room_and_keep_their_order() {
        let mut outbound = Outbound::new(1);
        let delivery = Delivery::new(QoS::AtLeastOnce, false, 0);
        let first = outbound.send(&delivery, 5);
        assert!(!outbound.has_room());
        outbound.queue("t", delivery, Bytes::from_static(b"a"), None, &LIMITS, 0);
        outbound.queue("t", delivery, Bytes::from_static(b"b"), None, &LIMITS, 0);
        assert_eq!(outbound.next(), None);
        assert_eq!(outbound.on_ack(Ack::Puback, first), Reaction::Room);
        assert_eq!(outbound.next().unwrap().1[..], *b"a");
    }

    #[test]
    fn the_oldest_goes_when_too_many_wait() {
        let mut outbound = Outbound::new(1);
        let delivery = Delivery::new(QoS::AtLeastOnce, false, 0);
        let mut queue =
            |message| outbound.queue("t", delivery, Bytes::from_static(message), None, &LIMITS, 0);
        assert_eq!([b"a", b"b", b"c"].map(|message| queue(message)), [0, 0, 1]);
        assert_eq!(outbound.next().unwrap().1[..], *b"b");
    }

    #[test]
    fn what_has_expired_goes_before_the_oldest() {
        let mut outbound = Outbound::new(1);
        let delivery = Delivery::new(QoS::AtLeastOnce, false, 0);
        let mut queue = |topic: &'static str, expires_at, now| {
            let mut bytes = Vec::new();
            Message { topic, expires_at, ..MESSAGE }.encode_into(&mut bytes);
            outbound.queue(topic, delivery, bytes.into(), expires_at, &LIMITS, now)
        };
        assert_eq!([queue("stays", None, 0), queue("expires", Some(5), 0), queue("new", None, 5)], [0; 3]);
        assert_eq!(queue("newer", Some(9), 6), 1);
        let topics: Vec<_> = std::iter::from_fn(|| outbound.queue.pop_front())
            .map(|(.., queued)| Message::decode(&queued.message).unwrap().topic.to_owned())
            .collect();
        assert_eq!(topics, ["new", "newer"]);
    }
}
