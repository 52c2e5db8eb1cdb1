//! The queue of a Session that outlives its connection, as far as every replica must agree on it.
//!
//! Messages are rows on disk under ascending numbers; what is here are the ends and the size. Both can be told from
//! the head row and the last row, so activating a Session costs the same whatever waits for it.

use std::collections::BTreeSet;

use convoy_storage::record::{Decode, Encode};

use super::{QueueLimits, Seq};

/// The row beside a queue, written when messages leave it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Head {
    /// Number of the next message, as of this row.
    pub next: Seq,
    /// No message before this one waits.
    pub floor: Seq,
    /// Bytes of all messages that ever came, as of this row.
    pub came: u64,
    /// Bytes of all messages that ever left.
    pub left: u64,
    /// The Client was sent messages before this one.
    pub sent: Seq,
    /// It may have been sent messages before this one: its connection ended with the process that knew.
    pub perhaps_sent: Seq,
    /// Messages behind `floor` that left. Never more than the Client may have under way.
    pub holes: BTreeSet<Seq>,
}

#[derive(Debug, Default)]
pub struct Queue {
    head: Head,
    /// QoS 2 messages whose PUBREC is on record.
    pub received: BTreeSet<Seq>,
}

impl Queue {
    /// The queue as its rows tell: the head row, number and running total of the last message.
    pub fn recover(mut head: Head, last: Option<(Seq, u64)>, received: BTreeSet<Seq>) -> Self {
        if let Some((seq, came)) = last.filter(|&(seq, _)| seq >= head.next) {
            head.next = seq + 1;
            head.came = came;
        }
        Self { head, received }
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Number that the next message gets.
    pub fn next(&self) -> Seq {
        self.head.next
    }

    /// The oldest message that waits, or the next to come.
    pub fn floor(&self) -> Seq {
        self.head.floor
    }

    /// The Client was sent what is before this.
    pub fn sent(&self) -> Seq {
        self.head.sent
    }

    /// It was, or may have been: what is before this is sent again with DUP.
    pub fn perhaps_sent(&self) -> Seq {
        self.head.sent.max(self.head.perhaps_sent)
    }

    /// Messages that wait, those sent and not yet acknowledged included.
    pub fn len(&self) -> u64 {
        self.head.next - self.head.floor - self.head.holes.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> u64 {
        self.head.came - self.head.left
    }

    /// Enters a message: its number, and the running total that stands in its row.
    pub fn push(&mut self, bytes: u32) -> (Seq, u64) {
        let seq = self.head.next;
        self.head.next += 1;
        self.head.came += u64::from(bytes);
        (seq, self.head.came)
    }

    /// Whether `seq` waits.
    pub fn holds(&self, seq: Seq) -> bool {
        (self.head.floor..self.head.next).contains(&seq) && !self.head.holes.contains(&seq)
    }

    /// A message leaves. False if it had left before.
    pub fn remove(&mut self, seq: Seq, bytes: u32) -> bool {
        if !self.holds(seq) {
            return false;
        }
        self.head.left += u64::from(bytes);
        self.received.remove(&seq);
        self.head.holes.insert(seq);
        while self.head.holes.remove(&self.head.floor) {
            self.head.floor += 1;
        }
        true
    }

    /// The Client was sent what is before `seq`; [`Seq::MAX`] where nobody knows.
    pub fn note_sent(&mut self, seq: Seq) {
        match seq {
            Seq::MAX => self.head.perhaps_sent = self.head.next,
            seq => self.head.sent = self.head.sent.max(seq.min(self.head.next)),
        }
    }

    /// The message that must go next to keep the limits, if any.
    pub fn overflow(&self, limits: &QueueLimits) -> Option<Seq> {
        let over = self.len() > u64::from(limits.messages) || self.bytes() > limits.bytes;
        (over && !self.is_empty()).then_some(self.head.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits { messages: 2, bytes: 100, age: u64::MAX };

    #[test]
    fn the_oldest_goes_first_when_there_are_too_many() {
        let mut queue = Queue::default();
        for _ in 0..3 {
            queue.push(10);
        }
        assert_eq!(queue.overflow(&LIMITS), Some(0));
        assert!(queue.remove(0, 10));
        assert_eq!((queue.overflow(&LIMITS), queue.len(), queue.bytes()), (None, 2, 20));
    }

    #[test]
    fn the_oldest_goes_first_when_they_are_too_large() {
        let mut queue = Queue::default();
        queue.push(60);
        queue.push(60);
        assert_eq!(queue.overflow(&LIMITS), Some(0));
    }

    #[test]
    fn messages_may_leave_in_any_order_and_only_once() {
        let mut queue = Queue::default();
        for _ in 0..4 {
            queue.push(1);
        }
        assert!(queue.remove(2, 1) && queue.remove(1, 1) && !queue.remove(1, 1));
        assert_eq!((queue.floor(), queue.len()), (0, 2));
        assert!(queue.remove(0, 1));
        assert_eq!((queue.floor(), queue.len(), queue.bytes()), (3, 1, 1));
    }

    #[test]
    fn a_queue_is_recovered_from_its_head_and_its_last_row() {
        let mut queue = Queue::default();
        for _ in 0..4 {
            queue.push(7);
        }
        queue.remove(0, 7);
        queue.remove(2, 7);
        let head = queue.head().clone();
        let last = queue.push(9);
        let again = Queue::recover(head, Some(last), BTreeSet::new());
        assert_eq!(again.head(), queue.head());
        assert_eq!((again.next(), again.floor(), again.len(), again.bytes()), (5, 1, 3, 23));
    }

    #[test]
    fn numbers_go_on_after_the_queue_was_empty() {
        let mut queue = Queue::default();
        queue.push(7);
        queue.remove(0, 7);
        let again = Queue::recover(queue.head().clone(), None, BTreeSet::new());
        assert_eq!((again.next(), again.is_empty(), again.bytes()), (1, true, 0));
    }
}
