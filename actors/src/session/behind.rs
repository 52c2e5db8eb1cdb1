//! Messages of QoS 0 that wait, in memory, behind numbered ones of their topic: those go to the Client one by one, as it
//! acknowledges, and what a publisher says of a topic comes in the order in which it was said (MQTT 5.0, 4.6). What is of
//! another topic than all that waits passes.

use std::collections::VecDeque;
use std::hash::Hasher;

use bytes::Bytes;
use rustc_hash::FxHasher;

use super::Seq;
use crate::session::Delivery;

/// Bytes that wait so for one Session; what comes then is dropped. One message may be larger.
const BYTES: usize = 64 << 10;

/// Topics that meet in one place of the table are taken for one, which makes a message wait for nothing.
const PLACES: usize = 64;

/// Where a topic is counted.
pub type Place = u8;

/// What waits for a Session, as far as messages of QoS 0 have to know.
#[derive(Debug)]
pub struct Behind {
    copies: VecDeque<Copy>,
    bytes: usize,
    /// How many messages of a topic wait, numbered or not.
    topics: [u32; PLACES],
    /// Of what topics the messages before this one are nobody knows.
    known_from: Seq,
}

#[derive(Debug)]
struct Copy {
    /// What is before this has to leave first.
    after: Seq,
    place: Place,
    delivery: Delivery,
    message: Bytes,
}

impl Behind {
    pub fn new(known_from: Seq) -> Self {
        Self { copies: VecDeque::new(), bytes: 0, topics: [0; PLACES], known_from }
    }

    /// A numbered message of this topic begins to wait.
    pub fn enter(&mut self, topic: &str) -> Place {
        let place = place(topic);
        self.topics[usize::from(place)] += 1;
        place
    }

    /// A numbered message that was counted here waits no more.
    pub fn leave(&mut self, place: Place) {
        let count = &mut self.topics[usize::from(place)];
        *count = count.saturating_sub(1);
    }

    /// The same, where those of before are not counted.
    pub fn leave_at(&mut self, seq: Seq, topic: &str) {
        if seq >= self.known_from {
            self.leave(place(topic));
        }
    }

    /// Whether a message of this topic may wait, where what is before `seq` has left.
    pub fn holds(&self, topic: &str, seq: Seq) -> bool {
        seq < self.known_from || self.topics[usize::from(place(topic))] > 0
    }

    /// Keeps a message until everything before `after` has left. False, and nothing kept, if too much waits.
    pub fn push(&mut self, after: Seq, topic: &str, delivery: Delivery, message: Bytes) -> bool {
        let copy = Copy { after, place: place(topic), delivery, message };
        if self.bytes > 0 && self.bytes + copy.len_bytes() > BYTES {
            return false;
        }
        self.bytes += copy.len_bytes();
        self.topics[usize::from(copy.place)] += 1;
        self.copies.push_back(copy);
        true
    }

    /// The next message, if all before `seq` has left.
    pub fn take(&mut self, seq: Seq) -> Option<(Delivery, Bytes)> {
        self.copies.front().filter(|copy| copy.after <= seq)?;
        let copy = self.copies.pop_front()?;
        self.bytes -= copy.len_bytes();
        self.leave(copy.place);
        Some((copy.delivery, copy.message))
    }
}

impl Copy {
    fn len_bytes(&self) -> usize {
        size_of::<Self>() + self.message.len()
    }
}

fn place(topic: &str) -> Place {
    let mut hasher = FxHasher::default();
    hasher.write(topic.as_bytes());
    (hasher.finish() >> 32) as Place % PLACES as Place
}

#[cfg(test)]
mod tests {
    use convoy_wire::QoS;

    use super::*;

    const DELIVERY: Delivery = Delivery::new(QoS::AtMostOnce, false, 0);

    #[test]
    fn what_waits_leaves_in_its_order_when_its_time_has_come() {
        let mut behind = Behind::new(0);
        for (after, message) in [(3, "a"), (3, "b"), (5, "c")] {
            assert!(behind.push(after, "x", DELIVERY, message.into()));
        }
        let mut take = |seq| behind.take(seq).map(|(_, message)| message);
        assert_eq!([take(2), take(3), take(4), take(4)], [None, Some("a".into()), Some("b".into()), None]);
        assert_eq!([take(9), take(9)], [Some("c".into()), None]);
        assert!(behind.bytes == 0 && !behind.holds("x", 9));
    }

    #[test]
    fn what_waits_is_bounded_and_one_message_is_always_taken() {
        let mut behind = Behind::new(0);
        assert!(behind.push(1, "x", DELIVERY, vec![0; BYTES + 1].into()));
        assert!(!behind.push(1, "x", DELIVERY, Bytes::new()));
        assert!(behind.take(1).is_some());
        assert!(behind.push(1, "x", DELIVERY, Bytes::new()));
    }

    #[test]
    fn topics_are_told_apart_once_they_are_known() {
        let mut behind = Behind::new(10);
        assert!(behind.holds("x", 9) && !behind.holds("x", 10));
        let place = behind.enter("x");
        assert!(behind.holds("x", 10) && !behind.holds("y", 10));
        // It was there before, and is not counted.
        behind.leave_at(9, "x");
        assert!(behind.holds("x", 10));
        assert!(behind.push(11, "x", DELIVERY, Bytes::new()));
        behind.leave(place);
        assert!(behind.holds("x", 11));
        assert!(behind.take(11).is_some() && !behind.holds("x", 11));
    }
}
