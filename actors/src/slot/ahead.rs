//! What is on its way to queues of this slot and not applied yet. A copy of QoS 0 needs no record, and would be there first:
//! where a message of its topic is ahead of it, for the same Session, it waits for the record of that (MQTT 5.0, 4.6). All
//! others pass at once.

use std::hash::Hasher;

use bytes::Bytes;
use convoy_storage::record;
use rustc_hash::FxHasher;

use super::op::Op;
use crate::message::Message;
use crate::session::{Delivery, SessionNumber, Target};
use crate::topic::hash_of;

/// Two that meet in one place of the table are taken for one, which costs a copy the wait for a sync.
const PLACES: usize = 1024;

/// Messages on their way to queues, counted by topic and Session.
#[derive(Debug)]
pub struct Ahead(Box<[u32; PLACES]>);

/// Where a message for a Session is counted.
pub type Place = u16;

/// A copy of QoS 0 that waits for a record. It is ahead of later ones itself, for what it waits for may be applied before
/// the record that it waits with.
#[derive(Debug)]
pub struct Copy {
    pub session: SessionNumber,
    pub delivery: Delivery,
    pub message: Bytes,
    place: Place,
}

impl Default for Ahead {
    fn default() -> Self {
        Self(Box::new([0; PLACES]))
    }
}

impl Ahead {
    pub fn enter(&mut self, places: &[Place]) {
        places.iter().for_each(|&place| self.0[usize::from(place)] += 1);
    }

    pub fn leave(&mut self, places: &[Place]) {
        for &place in places {
            // Those of before a failure are not counted any more.
            let count = &mut self.0[usize::from(place)];
            *count = count.saturating_sub(1);
        }
    }

    /// Whether a message of this topic is on its way to the queue of this Session.
    pub fn holds(&self, topic: &str, session: SessionNumber) -> bool {
        self.0[usize::from(place(hash_of(topic), session))] > 0
    }
}

impl Copy {
    pub fn new(session: SessionNumber, topic: &str, delivery: Delivery, message: Bytes) -> Self {
        Self { session, delivery, message, place: place(hash_of(topic), session) }
    }

    /// Where it is counted.
    pub fn place(&self) -> Place {
        self.place
    }

    pub fn len_bytes(&self) -> usize {
        size_of::<Self>() + self.message.len()
    }
}

/// Adds where an operation is counted.
pub fn note_places(op: &Op<'_>, places: &mut Vec<Place>) {
    match op {
        Op::Enqueue { message, targets } => {
            let Ok(message) = Message::decode(message) else { return };
            let topic = hash_of(message.topic);
            places.extend(Target::all(targets).map(|target| place(topic, target.session)));
        }
        Op::Inbox { op, .. } | Op::Live { op, .. } => {
            if let Ok(op @ Op::Enqueue { .. }) = record::decode(op) {
                note_places(&op, places);
            }
        }
        _ => {}
    }
}

fn place(topic: u64, session: SessionNumber) -> Place {
    let mut hasher = FxHasher::default();
    hasher.write_u64(topic);
    hasher.write_u64(session.0);
    (hasher.finish() >> 32) as Place % PLACES as Place
}

#[cfg(test)]
mod tests {
    use convoy_wire::QoS;

    use super::*;

    #[test]
    fn what_is_ahead_is_told_apart_by_topic_and_session() {
        let (mut message, mut targets, mut op) = (Vec::new(), Vec::new(), Vec::new());
        let topic = "x/y";
        let (properties, payload, publisher) = (&[][..], &[][..], SessionNumber(1));
        let (qos, retain, published_at, expires_at) = (QoS::AtLeastOnce, false, 0, None);
        let (user, author) = (crate::budget::User::NOBODY, &[][..]);
        Message {
            topic,
            properties,
            payload,
            qos,
            retain,
            published_at,
            expires_at,
            publisher,
            user,
            author,
        }
        .encode_into(&mut message);
        let delivery = Delivery::new(QoS::AtLeastOnce, false, 0);
        for session in [7, 8] {
            Target { session: SessionNumber(session), delivery }.push(&mut targets);
        }
        let enqueue = Op::Enqueue { message: &message, targets: &targets };
        record::encode_into(&enqueue, &mut op);
        let mut ahead = Ahead::default();
        for op in [enqueue, Op::Inbox { from: 1, number: 1, op: &op }] {
            let mut places = Vec::new();
            note_places(&op, &mut places);
            ahead.enter(&places);
            let holds = |topic, session| ahead.holds(topic, SessionNumber(session));
            assert!(holds(topic, 7) && holds(topic, 8) && !holds(topic, 9) && !holds("x/z", 7));
            ahead.leave(&places);
            assert!(!ahead.holds(topic, SessionNumber(7)));
        }
    }
}
