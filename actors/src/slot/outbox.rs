//! From slot to slot exactly once. What one slot's record causes in another waits in the first one's outbox, under a
//! number of its own for each pair of slots; the receiver remembers the last number it applied, so sending again after
//! a failover changes nothing.

use std::collections::{BTreeMap, VecDeque};

use convoy_ids::SlotId;

use crate::call::ReplyTo;

/// Operations and bytes that may wait for one other slot before Clients are refused what would add to them. Wills, routes
/// that end and what a record causes by itself are entered all the same: applying never waits.
const OPS: usize = 16_384;
const BYTES: u64 = 8 << 20;

/// Bytes that are applied over there and are worth a record to delete them.
const TRIM_BYTES: u64 = 1 << 20;

/// Operations for one other slot that are not known to be applied there.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Number of the last operation for this slot.
    last: u64,
    /// Numbers before this are trimmed.
    first: u64,
    /// Applied there up to here.
    applied: u64,
    /// Not asked for again up to here; the rows may be deleted.
    given: u64,
    /// Bytes of operations that are applied there and still here.
    spent_bytes: u64,
    /// It was proposed to delete rows up to here; of the leader alone.
    asked: u64,
    /// Bytes of those.
    asked_bytes: u64,
    /// Operations up to here were given to the other slot since it was led anew; of the leader alone.
    sent: u64,
    /// Whom to tell of those behind it, ascending; of the leader alone.
    replies: VecDeque<(u64, ReplyTo)>,
    /// Their numbers and sizes.
    waiting: VecDeque<(u64, u32)>,
    waiting_bytes: u64,
}

impl Outbox {
    /// An outbox whose last number was `last`.
    pub fn recover(last: u64) -> Self {
        Self { last, first: last + 1, ..Self::default() }
    }

    /// Takes up a row found on disk, in ascending order.
    pub fn recover_row(&mut self, number: u64, bytes: usize) {
        self.first = self.first.min(number);
        self.enter(number, bytes);
    }

    fn enter(&mut self, number: u64, bytes: usize) {
        self.waiting.push_back((number, bytes as u32));
        self.waiting_bytes += bytes as u64;
    }

    /// Whether the other slot is so far behind that Clients may not add to this.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= OPS || self.waiting_bytes >= BYTES
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// The number of the next operation, which has so many bytes.
    pub fn push(&mut self, bytes: usize) -> u64 {
        self.last += 1;
        self.first = self.first.max(1);
        self.enter(self.last, bytes);
        self.last
    }

    /// The other slot has applied everything up to `number`, and asks for nothing up to `given` again.
    pub fn applied(&mut self, number: u64, given: u64) {
        self.given = self.given.max(given);
        while let Some(&(_, bytes)) = self.waiting.front().filter(|(first, _)| *first <= number) {
            self.waiting_bytes -= u64::from(bytes);
            self.spent_bytes += u64::from(bytes);
            self.waiting.pop_front();
        }
        self.applied = self.applied.max(number);
    }

    /// Up to which number rows may be deleted, if that is at least `worth` of them or large ones; to be proposed. Until
    /// that is applied there is nothing more to propose.
    pub fn ask_to_trim(&mut self, worth: u64) -> Option<u64> {
        let is_worth = self.given >= self.first
            && (self.given - self.first + 1 >= worth || self.spent_bytes >= TRIM_BYTES);
        let is_asked = self.asked >= self.first;
        (is_worth && !is_asked).then(|| {
            self.asked = self.given;
            self.asked_bytes = self.spent_bytes;
            self.given
        })
    }

    /// Whether an operation that was just entered is the next one for the other slot, which is given it then. Whom to tell of
    /// one that has to wait is kept for when it goes.
    pub fn goes_next(&mut self, number: u64, is_open: bool, reply: Option<ReplyTo>) -> bool {
        let goes = is_open && self.sent + 1 == number;
        match goes {
            true => self.sent = number,
            false => self.replies.extend(reply.map(|reply| (number, reply))),
        }
        goes
    }

    /// What is behind `applied` is to be given to the other slot, perhaps again.
    pub fn send_after(&mut self, applied: u64) {
        self.sent = applied.max(self.first.saturating_sub(1)).min(self.last);
    }

    /// Operations up to here were given to the other slot.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn sent_up_to(&mut self, number: u64) {
        self.sent = number;
    }

    pub fn sent_all(&mut self) {
        self.sent = self.last;
    }

    pub fn has_unsent(&self) -> bool {
        self.sent < self.last
    }

    /// Whom to tell of this operation, which goes now.
    pub fn reply_of(&mut self, number: u64) -> Option<ReplyTo> {
        while self.replies.front().is_some_and(|(of, _)| *of < number) {
            self.replies.pop_front();
        }
        self.replies.front().filter(|(of, _)| *of == number)?;
        self.replies.pop_front().map(|(_, reply)| reply)
    }

    /// This replica leads no longer: what was proposed may never be applied. Who waits for what was not sent.
    pub fn forget_leading(&mut self) -> impl Iterator<Item = ReplyTo> + '_ {
        self.asked = 0;
        self.asked_bytes = 0;
        self.replies.drain(..).map(|(_, reply)| reply)
    }

    /// Rows up to `number` are being deleted: which ones.
    pub fn trim(&mut self, number: u64) -> std::ops::RangeInclusive<u64> {
        let rows = self.first.max(1)..=number;
        self.first = self.first.max(number + 1);
        self.applied(number, number);
        self.spent_bytes -= std::mem::take(&mut self.asked_bytes).min(self.spent_bytes);
        if self.first > self.applied {
            self.spent_bytes = 0;
        }
        rows
    }
}

/// The outboxes of one slot.
pub type Outboxes = BTreeMap<SlotId, Outbox>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_trimmed_once_they_are_applied_and_worth_it() {
        let mut outbox = Outbox::recover(0);
        assert_eq!([outbox.push(1), outbox.push(1), outbox.push(1)], [1, 2, 3]);
        assert_eq!(outbox.ask_to_trim(1), None);
        outbox.applied(2, 2);
        assert_eq!((outbox.ask_to_trim(3), outbox.ask_to_trim(2)), (None, Some(2)));
        assert_eq!(outbox.trim(2), 1..=2);
        assert_eq!(outbox.ask_to_trim(1), None);
    }

    #[test]
    fn rows_are_asked_for_once_until_they_are_trimmed() {
        let mut outbox = Outbox::recover(0);
        for _ in 0..4 {
            outbox.push(1);
        }
        outbox.applied(2, 2);
        assert_eq!(outbox.ask_to_trim(1), Some(2));
        outbox.applied(4, 4);
        assert_eq!(outbox.ask_to_trim(1), None);
        outbox.trim(2);
        assert_eq!(outbox.ask_to_trim(1), Some(4));
        assert_eq!(outbox.forget_leading().count(), 0);
        assert_eq!(outbox.ask_to_trim(1), Some(4));
    }

    #[test]
    fn who_waits_for_an_operation_that_waits_is_told_of_that_one() {
        let reply =
            |token| ReplyTo { home: crate::session::Home { node: 1, shard: 0, key: 0, serial: 1 }, token };
        let mut outbox = Outbox::recover(0);
        let number = outbox.push(1);
        assert!(outbox.goes_next(number, true, Some(reply(1))));
        for (token, is_open) in [(2, false), (3, true)] {
            let number = outbox.push(1);
            assert!(!outbox.goes_next(number, is_open, Some(reply(token))));
        }
        assert_eq!((outbox.sent(), outbox.has_unsent()), (1, true));
        assert_eq!([2, 3, 4].map(|number| outbox.reply_of(number)), [Some(reply(2)), Some(reply(3)), None]);
        outbox.sent_all();
        assert!(!outbox.has_unsent());
        outbox.applied(2, 2);
        outbox.send_after(2);
        assert_eq!(outbox.sent(), 2);
    }

    #[test]
    fn large_rows_are_trimmed_though_they_are_few() {
        let mut outbox = Outbox::recover(0);
        for _ in 0..3 {
            outbox.push(600_000);
        }
        outbox.applied(1, 1);
        assert_eq!(outbox.ask_to_trim(128), None);
        outbox.applied(2, 2);
        assert_eq!(outbox.ask_to_trim(128), Some(2));
        outbox.applied(3, 3);
        assert_eq!(outbox.trim(2), 1..=2);
        assert_eq!(outbox.ask_to_trim(128), None);
        outbox.push(600_000);
        outbox.applied(4, 4);
        assert_eq!(outbox.ask_to_trim(128), Some(4));
    }

    #[test]
    fn an_outbox_is_full_until_the_other_slot_has_caught_up() {
        let mut outbox = Outbox::recover(0);
        for _ in 0..9 {
            outbox.push(1 << 20);
        }
        assert!(outbox.is_full());
        outbox.applied(1, 1);
        assert!(outbox.is_full());
        outbox.applied(2, 2);
        assert!(!outbox.is_full());
        for _ in 0..OPS {
            outbox.push(1);
        }
        assert!(outbox.is_full());
        outbox.trim(u64::MAX - 1);
        assert!(!outbox.is_full() && outbox.waiting_bytes == 0);
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let mut outbox = Outbox::recover(7);
        outbox.recover_row(6, 1);
        outbox.recover_row(7, 1);
        assert_eq!(outbox.push(1), 8);
        outbox.applied(8, 8);
        assert_eq!(outbox.trim(8), 6..=8);
    }
}
