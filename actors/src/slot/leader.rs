//! What a slot's leader gathers while the log syncs, and whom it tells when that is applied.

use std::collections::VecDeque;

use convoy_ids::{Index, Term};
use convoy_storage::record;

use super::op::{self, Op};
use crate::clock::Millis;
use crate::shard::ReplyTo;

/// A record is closed at this size, and another one begun: a record must fit the log.
const RECORD_BYTES: usize = 1 << 20;

/// And at so many operations, those for Sessions counted by these: it is applied in one piece.
const RECORD_WORK: usize = 1024;

/// Operations that will be records: one a round, unless there is much.
#[derive(Debug, Default)]
pub struct Pending {
    closed: VecDeque<Record>,
    open: Record,
}

/// Operations of one record, and whom to tell of them.
#[derive(Debug, Default)]
pub struct Record {
    pub bytes: Vec<u8>,
    ops: u32,
    work: usize,
    pub replies: Replies,
}

/// Whom to tell of which operation of a record, ascending.
pub type Replies = VecDeque<(u32, ReplyTo)>;

/// A record that was offered to the log.
#[derive(Debug)]
struct Proposed {
    term: Term,
    index: Index,
    replies: Replies,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.ops == 0
    }

    pub fn len_bytes(&self) -> usize {
        self.closed.iter().map(|record| record.bytes.len()).sum::<usize>() + self.open.bytes.len()
    }

    /// Adds an operation; `reply` is told when it is applied.
    pub fn push(&mut self, at: Millis, op: &Op<'_>, reply: Option<ReplyTo>) {
        self.open.push(at, op, reply);
        if self.open.bytes.len() >= RECORD_BYTES || self.open.work >= RECORD_WORK {
            self.closed.push_back(std::mem::take(&mut self.open));
        }
    }

    /// Takes out the operations that are unwanted and whose Client can be told so; returns whom to tell.
    pub fn refuse(&mut self, mut is_unwanted: impl FnMut(&Op<'_>) -> bool) -> Vec<ReplyTo> {
        let mut refused = Vec::new();
        for record in self.closed.iter_mut().chain([&mut self.open]) {
            record.refuse(&mut is_unwanted, &mut refused);
        }
        self.closed.retain(|record| record.ops > 0);
        refused
    }

    /// The oldest record; what is added afterwards goes to another one.
    pub fn take(&mut self) -> Option<Record> {
        if self.closed.is_empty() && self.open.ops == 0 {
            return None;
        }
        Some(self.closed.pop_front().unwrap_or_else(|| std::mem::take(&mut self.open)))
    }

    /// Puts a record back that the log would not take.
    pub fn restore(&mut self, record: Record) {
        self.closed.push_front(record);
    }
}

impl Record {
    fn refuse(&mut self, is_unwanted: &mut impl FnMut(&Op<'_>) -> bool, refused: &mut Vec<ReplyTo>) {
        let Ok((at, ops)) = op::open(&self.bytes) else { return };
        let mut kept = Record::default();
        for (number, op) in (0..).zip(op::iter(ops)) {
            let op = op.expect("it was encoded by this leader");
            let reply = match self.replies.front() {
                Some((of, _)) if *of == number => self.replies.pop_front().map(|(_, reply)| reply),
                _ => None,
            };
            match reply {
                Some(reply) if is_unwanted(&op) => refused.push(reply),
                reply => kept.push(at, &op, reply),
            }
        }
        *self = kept;
    }

    fn push(&mut self, at: Millis, op: &Op<'_>, reply: Option<ReplyTo>) {
        if self.ops == 0 {
            op::begin(at, &mut self.bytes);
        }
        op::frame(&mut self.bytes, |bytes| record::encode_into(op, bytes));
        if let Some(reply) = reply {
            self.replies.push_back((self.ops, reply));
        }
        self.ops += 1;
        self.work += op.work();
    }
}

/// Records under way through the log, oldest first.
#[derive(Debug, Default)]
pub struct Underway(VecDeque<Proposed>);

impl Underway {
    pub fn push(&mut self, term: Term, index: Index, replies: Replies) {
        if !replies.is_empty() {
            self.0.push_back(Proposed { term, index, replies });
        }
    }

    /// The replies that belong to an applied record: none if it is another leader's.
    pub fn take(&mut self, term: Term, index: Index) -> Replies {
        while self.0.front().is_some_and(|oldest| oldest.index < index) {
            self.0.pop_front();
        }
        match self.0.front() {
            Some(oldest) if oldest.index == index => {
                let proposed = self.0.pop_front().expect("there is a front");
                if proposed.term == term { proposed.replies } else { Replies::new() }
            }
            _ => Replies::new(),
        }
    }

    /// The replies that belong to a record that will never be written.
    pub fn withdraw(&mut self, index: Index) -> Replies {
        let Some(at) = self.0.iter().position(|proposed| proposed.index == index) else {
            return Replies::new();
        };
        self.0.remove(at).map(|proposed| proposed.replies).unwrap_or_default()
    }

    /// Leadership is lost: what is under way may or may not be committed, so nobody is told anything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Home;

    fn reply(token: u64) -> ReplyTo {
        ReplyTo { home: Home { node: 1, shard: 0, key: 0, serial: 1 }, token }
    }

    #[test]
    fn replies_belong_to_the_record_of_their_term() {
        let mut underway = Underway::default();
        underway.push(Term(1), Index(5), [(0, reply(1))].into());
        underway.push(Term(1), Index(6), [(2, reply(2))].into());
        assert!(underway.take(Term(2), Index(5)).is_empty());
        assert_eq!(underway.take(Term(1), Index(6)), [(2, reply(2))]);
        assert!(underway.take(Term(1), Index(6)).is_empty());
    }

    #[test]
    fn what_is_unwanted_is_taken_out_and_told() {
        let mut pending = Pending::default();
        let retain = Op::Retain { partition: 1, message: b"m" };
        pending.push(77, &Op::Trim { to: 1, number: 2 }, None);
        pending.push(77, &retain, Some(reply(5)));
        let (root_targets, chosen) = (&[][..], Vec::new());
        let in_line = Op::InLine { number: 8, partition: 1, message: b"m", root_targets, chosen };
        pending.push(77, &in_line, Some(reply(6)));
        pending.push(77, &Op::Trim { to: 3, number: 4 }, Some(reply(9)));
        assert_eq!(pending.refuse(|op| op.adds()), [reply(5), reply(6)]);
        let record = pending.take().unwrap();
        assert_eq!(op::iter(op::open(&record.bytes).unwrap().1).count(), 2);
        assert_eq!(record.replies, [(1, reply(9))]);
    }

    #[test]
    fn operations_are_read_in_the_order_they_were_added() {
        let mut pending = Pending::default();
        pending.push(77, &Op::Trim { to: 1, number: 2 }, None);
        pending.push(99, &Op::Trim { to: 3, number: 4 }, Some(reply(9)));
        let record = pending.take().unwrap();
        let (at, ops) = op::open(&record.bytes).unwrap();
        let ops: Vec<_> = op::iter(ops).map(Result::unwrap).collect();
        assert_eq!(at, 77);
        assert_eq!(ops, [Op::Trim { to: 1, number: 2 }, Op::Trim { to: 3, number: 4 }]);
        assert_eq!(record.replies, [(1, reply(9))]);
        assert!(pending.is_empty());
    }
}
