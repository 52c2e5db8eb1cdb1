//! The queue of a Session that outlives its connection, as far as every replica must agree on it.
//!
//! Messages are rows on disk under ascending numbers; what is here are the ends and the size. Both can be told from
//! the head row and the last row, so activating a Session costs the same whatever waits for it.

use std::collections::BTreeSet;

use convoy_storage::record::{Decode, Encode};

use super::holes::Holes;
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
    /// Messages behind `floor` that left, as [`Holes::to_row`] writes them.
    holes: Vec<Seq>,
}

impl Head {
    /// The head of a queue of which only these messages, of so many bytes together, are left, and how many are missing.
    /// `came` stands in the last of them; numbers go on with `next` at the least. Nobody knows what the Client was sent.
    pub fn of_what_is_left(&self, left: &BTreeSet<Seq>, bytes: u64, came: u64, next: Seq) -> (Self, u64) {
        let before = Holes::from_row(&self.holes);
        let lost_before = self.floor..self.next.max(left.last().map_or(0, |last| last + 1));
        let next = lost_before.end.max(next);
        let missing = lost_before.filter(|&seq| !left.contains(&seq) && !before.contains(seq)).count();
        let floor = left.first().copied().unwrap_or(next);
        let mut holes = Holes::default();
        (floor..next).filter(|seq| !left.contains(seq)).for_each(|seq| holes.insert(seq));
        let came = self.came.max(came);
        let head = Self {
            next,
            floor,
            came,
            left: came.saturating_sub(bytes),
            sent: self.sent.min(next),
            perhaps_sent: next,
            holes: holes.to_row(),
        };
        (head, missing as u64)
    }
}

#[derive(Debug, Default)]
pub struct Queue {
    /// Without its holes.
    head: Head,
    holes: Holes,
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
        let holes = Holes::from_row(&std::mem::take(&mut head.holes));
        Self { head, holes, received }
    }

    /// The row beside the queue.
    pub fn head(&self) -> Head {
        Head { holes: self.holes.to_row(), ..self.head.clone() }
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
        self.head.next - self.head.floor - self.holes.len()
    }

    /// Those of them from `seq` on.
    pub fn len_from(&self, seq: Seq) -> u64 {
        let seq = seq.max(self.head.floor);
        self.head.next.saturating_sub(seq).saturating_sub(self.holes.len_from(seq))
    }

    /// The numbers of the messages that wait, from `seq` on.
    pub fn held_from(&self, seq: Seq) -> impl Iterator<Item = Seq> + '_ {
        let mut at = seq.max(self.head.floor);
        std::iter::from_fn(move || {
            let seq = self.holes.next_held(at);
            at = seq + 1;
            (seq < self.head.next).then_some(seq)
        })
    }

    /// Runs of messages that left before others.
    pub fn runs(&self) -> usize {
        self.holes.runs()
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
        (self.head.floor..self.head.next).contains(&seq) && !self.holes.contains(seq)
    }

    /// A message leaves. False if it had left before.
    pub fn remove(&mut self, seq: Seq, bytes: u32) -> bool {
        if !self.holds(seq) {
            return false;
        }
        self.head.left += u64::from(bytes);
        self.received.remove(&seq);
        self.holes.insert(seq);
        self.head.floor = self.holes.pass(self.head.floor);
        true
    }

    /// The Client was sent what is before `seq`; [`Seq::MAX`] where nobody knows. Whether that is news, for the head.
    pub fn note_sent(&mut self, seq: Seq) -> bool {
        let before = (self.head.sent, self.head.perhaps_sent);
        match seq {
            Seq::MAX => self.head.perhaps_sent = self.head.next,
            seq => self.head.sent = self.head.sent.max(seq.min(self.head.next)),
        }
        before != (self.head.sent, self.head.perhaps_sent)
    }

    /// How much more waits than the limits allow: messages from `unsent` on, for those before are under way and bounded by
    /// their window, and bytes beside so many that are under way. `None` if nothing has to go.
    pub fn excess(&self, limits: &QueueLimits, unsent: Seq, underway_bytes: u64) -> Option<Excess> {
        let messages = u64::from(limits.messages);
        // The first look costs nothing: mostly it is enough.
        let messages = match self.len() > messages {
            true => self.len_from(unsent).saturating_sub(messages),
            false => 0,
        };
        let bytes = self.bytes().saturating_sub(limits.bytes).saturating_sub(underway_bytes);
        (messages > 0 || bytes > 0).then_some(Excess { messages, bytes })
    }
}

/// What has to go from a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    pub messages: u64,
    pub bytes: u64,
}

impl Excess {
    /// A message of so many bytes goes.
    pub fn take(&mut self, bytes: u32) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(bytes));
    }

    pub fn is_over(&self) -> bool {
        self.messages == 0 && self.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits { messages: 2, bytes: 100, age: u64::MAX };

    #[test]
    fn what_is_under_way_does_not_count_against_the_messages_that_may_wait() {
        let mut queue = Queue::default();
        for _ in 0..5 {
            queue.push(10);
        }
        let excess = |queue: &Queue, unsent| queue.excess(&LIMITS, unsent, 0).map(|excess| excess.messages);
        assert_eq!([0, 1, 3, 5].map(|unsent| excess(&queue, unsent)), [Some(3), Some(2), None, None]);
        assert!(queue.remove(2, 10));
        assert_eq!((excess(&queue, 1), excess(&queue, 3)), (Some(1), None));
    }

    #[test]
    fn bytes_beyond_the_limit_have_to_go() {
        let mut queue = Queue::default();
        queue.push(60);
        queue.push(60);
        let mut excess = queue.excess(&LIMITS, 0, 0).unwrap();
        assert_eq!(excess, Excess { messages: 0, bytes: 20 });
        assert_eq!(queue.excess(&LIMITS, 1, 60), None);
        excess.take(60);
        assert!(excess.is_over());
    }

    #[test]
    fn what_waits_is_found_behind_any_number_of_holes() {
        let mut queue = Queue::default();
        for _ in 0..1_000_000 {
            queue.push(1);
        }
        (1..999_999).for_each(|seq| assert!(queue.remove(seq, 1)));
        assert_eq!((queue.runs(), queue.len(), queue.len_from(1)), (1, 2, 1));
        assert_eq!(queue.held_from(0).collect::<Vec<_>>(), [0, 999_999]);
        assert_eq!(queue.head().holes.len(), 2);
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
        let head = queue.head();
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
        let again = Queue::recover(queue.head(), None, BTreeSet::new());
        assert_eq!((again.next(), again.is_empty(), again.bytes()), (1, true, 0));
    }
}
