//! What a slot's leader gathers while the log syncs, and whom it tells when that is applied.

use std::collections::VecDeque;

use bytes::Bytes;
use convoy_ids::{Index, SlotId, Term};
use convoy_storage::record;

use super::ahead::{Ahead, Copy, Place, note_places};
use super::op::{self, Op};
use crate::call::ReplyTo;
use crate::clock::Millis;
use crate::connection::SHARED_FROM;

/// A record is closed at this size, and another one begun: a record must fit the log.
const RECORD_BYTES: usize = 1 << 20;

/// Bytes that wait for the log of one slot, beyond which each of its publishers has one message at a time under way.
pub const SLOT_BYTES: usize = 8 << 20;

/// What a record does it does at the time when it was begun. After so many milliseconds another one is begun: where the log
/// is held up, a connection that ends must not have ended when that began, or its Will is due too soon.
const RECORD_MILLIS: u64 = 50;

/// A record is closed too at so many operations, those for Sessions counted by these: it is applied in one piece.
const RECORD_WORK: usize = 1024;

/// Bytes of a row that applying a record writes for each of these, about.
const ROW_BYTES: usize = 160;

/// A message of this size is put into its record when that is proposed: until then all that wait for it share it.
pub const LATE_BYTES: usize = 64 << 10;

/// Operations that will be records: one a round, unless there is much.
#[derive(Debug, Default)]
pub struct Pending {
    closed: VecDeque<Record>,
    closed_bytes: usize,
    closed_work: usize,
    open: Record,
    is_full: bool,
    /// What is on its way to queues, here and under way.
    pub ahead: Ahead,
}

/// Operations of one record.
#[derive(Debug, Default)]
pub struct Record {
    pub bytes: Vec<u8>,
    begun_at: Millis,
    ops: u32,
    work: usize,
    aside: Aside,
    late: Vec<Late>,
}

/// An operation that is still to be put into its record.
#[derive(Debug)]
struct Late {
    /// Behind so many bytes of the others.
    behind: usize,
    /// The message of an operation [`Op::Enqueue`], or the whole of another one.
    message: Bytes,
    targets: Option<Box<[u8]>>,
    /// The outbox that it comes out of, and its number there.
    out_of: Option<(SlotId, u64)>,
}

/// What the leader knows beside a record.
#[derive(Debug, Default)]
pub struct Aside {
    /// Whom to tell of which operation, ascending.
    replies: Replies,
    /// Copies of QoS 0 that go out behind so many operations, ascending.
    copies: VecDeque<(u32, Copy)>,
    copies_bytes: usize,
    /// Where its messages for queues are counted.
    places: Vec<Place>,
}

type Replies = VecDeque<(u32, ReplyTo)>;

/// A record that was offered to the log.
#[derive(Debug)]
struct Proposed {
    term: Term,
    index: Index,
    aside: Aside,
}

impl Aside {
    /// Whom to tell of this operation.
    pub fn reply(&mut self, number: usize) -> Option<ReplyTo> {
        self.replies.front().filter(|(of, _)| *of as usize == number)?;
        self.replies.pop_front().map(|(_, reply)| reply)
    }

    /// The next copy that waited for the operations before this one.
    pub fn copy(&mut self, number: usize) -> Option<Copy> {
        self.copies.front().filter(|(behind, _)| *behind as usize <= number)?;
        self.copies.pop_front().map(|(_, copy)| copy)
    }

    fn push_copy(&mut self, behind: u32, copy: Copy) {
        self.copies_bytes += copy.len_bytes();
        self.places.push(copy.place());
        self.copies.push_back((behind, copy));
    }

    /// Takes out those who wait for nothing but room.
    fn take_credits(&mut self, into: &mut Vec<ReplyTo>) {
        into.extend(self.replies.iter().map(|(_, reply)| *reply).filter(ReplyTo::is_credit));
        self.replies.retain(|(_, reply)| !reply.is_credit());
    }

    fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.copies.is_empty() && self.places.is_empty()
    }
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.ops == 0
    }

    pub fn len_bytes(&self) -> usize {
        // Where the log is held up, many records may have little in them.
        self.closed_bytes + self.closed.len() * size_of::<Record>() + self.open.len_bytes()
    }

    /// The same with the rows that applying it writes: a small message for very many Sessions is much.
    pub fn weight_bytes(&self) -> usize {
        self.len_bytes() + (self.closed_work + self.open.work) * ROW_BYTES
    }

    /// Whether so much waits that publishers are told to wait for it.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Not by turns: it is full until half of that is left.
    fn weigh(&mut self) {
        let len_bytes = self.len_bytes();
        self.is_full = len_bytes > SLOT_BYTES || self.is_full && len_bytes > SLOT_BYTES / 2;
    }

    /// Adds an operation; `reply` is told when it is applied.
    pub fn push(&mut self, at: Millis, op: &Op<'_>, reply: Option<ReplyTo>) {
        self.close_old(at);
        let noted = self.open.aside.places.len();
        self.open.push(at, op, reply);
        self.entered(noted);
    }

    /// Adds a message for these Sessions, as an operation [`Op::Enqueue`]. A large one is shared for as long as it waits.
    pub fn push_shared(&mut self, at: Millis, message: &Bytes, targets: &[u8], reply: Option<ReplyTo>) {
        self.close_old(at);
        let noted = self.open.aside.places.len();
        match message.len() < LATE_BYTES {
            true => self.open.push(at, &Op::Enqueue { message, targets }, reply),
            false => {
                let op = Op::Enqueue { message, targets };
                self.open.push_late(at, &op, message.clone(), Some(targets), reply, None);
            }
        }
        self.entered(noted);
    }

    /// Adds a message for these Sessions that comes out of another slot's outbox, and is shared likewise.
    pub fn push_forwarded(&mut self, at: Millis, from: SlotId, number: u64, message: &Bytes, targets: &[u8]) {
        self.close_old(at);
        let noted = self.open.aside.places.len();
        if message.len() < LATE_BYTES {
            let mut op = Vec::new();
            record::encode_into(&Op::Enqueue { message, targets }, &mut op);
            self.open.push(at, &Op::Inbox { from: from.0, number, op: &op }, None);
        } else {
            let op = Op::Enqueue { message, targets };
            self.open.push_late(at, &op, message.clone(), Some(targets), None, Some((from, number)));
        }
        self.entered(noted);
    }

    /// Adds an operation [`Op::Roots`] that comes out of another slot's outbox. All slots get the same one, and share it
    /// for as long as it waits, unless it is small.
    pub fn push_roots(&mut self, at: Millis, from: SlotId, number: u64, op: &Bytes, reply: Option<ReplyTo>) {
        self.close_old(at);
        let noted = self.open.aside.places.len();
        let inbox = Op::Inbox { from: from.0, number, op };
        match op.len() < SHARED_FROM {
            true => self.open.push(at, &inbox, reply),
            false => self.open.push_late(at, &inbox, op.clone(), None, reply, Some((from, number))),
        }
        self.entered(noted);
    }

    /// An operation of this time comes next.
    fn close_old(&mut self, at: Millis) {
        if self.open.ops > 0 && at >= self.open.begun_at + RECORD_MILLIS {
            self.close();
        }
    }

    fn entered(&mut self, noted: usize) {
        self.ahead.enter(&self.open.aside.places[noted..]);
        if self.open.len_bytes() >= RECORD_BYTES || self.open.work >= RECORD_WORK {
            self.close();
        }
        self.weigh();
    }

    fn close(&mut self) {
        let record = std::mem::take(&mut self.open);
        self.closed_bytes += record.len_bytes();
        self.closed_work += record.work;
        self.closed.push_back(record);
    }

    /// Takes out the operations that are unwanted and whose Client can be told so; returns whom to tell.
    pub fn refuse(&mut self, mut is_unwanted: impl FnMut(&Op<'_>) -> bool) -> Vec<ReplyTo> {
        let mut refused = Vec::new();
        for record in self.closed.iter_mut().chain([&mut self.open]) {
            self.ahead.leave(&record.aside.places);
            record.refuse(&mut is_unwanted, &mut refused);
            self.ahead.enter(&record.aside.places);
        }
        self.closed.retain(|record| record.ops > 0);
        self.closed_bytes = self.closed.iter().map(Record::len_bytes).sum();
        self.closed_work = self.closed.iter().map(|record| record.work).sum();
        self.weigh();
        refused
    }

    /// Keeps a copy of QoS 0 until what is here is applied; gives it back if nothing is.
    pub fn attach(&mut self, copy: Copy) -> Option<Copy> {
        let record = match (self.open.ops, self.closed.back_mut()) {
            (0, None) => return Some(copy),
            (0, Some(last)) => {
                self.closed_bytes += copy.len_bytes();
                last
            }
            _ => &mut self.open,
        };
        self.ahead.enter(&[copy.place()]);
        record.aside.push_copy(record.ops, copy);
        self.weigh();
        None
    }

    /// Bytes of the oldest record and of the rows that applying it writes.
    pub fn next_weight_bytes(&self) -> usize {
        let next = self.closed.front().unwrap_or(&self.open);
        next.len_bytes() + next.work * ROW_BYTES
    }

    /// The oldest record; what is added afterwards goes to another one.
    pub fn take(&mut self) -> Option<Record> {
        if self.closed.is_empty() && self.open.ops == 0 {
            return None;
        }
        let mut record = match self.closed.pop_front() {
            None => std::mem::take(&mut self.open),
            Some(record) => {
                self.closed_bytes -= record.len_bytes();
                self.closed_work -= record.work;
                record
            }
        };
        record.complete();
        self.weigh();
        Some(record)
    }

    /// Puts a record back that the log would not take.
    pub fn restore(&mut self, record: Record) {
        self.closed_bytes += record.len_bytes();
        self.closed_work += record.work;
        self.closed.push_front(record);
        self.weigh();
    }
}

impl Record {
    fn refuse(&mut self, is_unwanted: &mut impl FnMut(&Op<'_>) -> bool, refused: &mut Vec<ReplyTo>) {
        self.complete();
        let Ok((at, ops)) = op::open(&self.bytes) else { return };
        let mut kept = Record::default();
        for (number, op) in op::iter(ops).enumerate() {
            let op = op.expect("it was encoded by this leader");
            while let Some(copy) = self.aside.copy(number) {
                kept.aside.push_copy(kept.ops, copy);
            }
            match self.aside.reply(number) {
                Some(reply) if is_unwanted(&op) => refused.push(reply),
                reply => kept.push(at, &op, reply),
            }
        }
        // Where nothing is left of the record, nothing was before them.
        if kept.ops > 0 {
            while let Some(copy) = self.aside.copy(usize::MAX) {
                kept.aside.push_copy(kept.ops, copy);
            }
        }
        *self = kept;
    }

    fn push(&mut self, at: Millis, op: &Op<'_>, reply: Option<ReplyTo>) {
        self.begin(at);
        op::frame(&mut self.bytes, |bytes| record::encode_into(op, bytes));
        self.enter(op, reply);
    }

    fn push_late(
        &mut self,
        at: Millis,
        op: &Op<'_>,
        message: Bytes,
        targets: Option<&[u8]>,
        reply: Option<ReplyTo>,
        out_of: Option<(SlotId, u64)>,
    ) {
        self.begin(at);
        self.enter(op, reply);
        let targets = targets.map(Box::from);
        self.late.push(Late { behind: self.bytes.len(), message, targets, out_of });
    }

    fn begin(&mut self, at: Millis) {
        if self.ops == 0 {
            self.begun_at = at;
            op::begin(at, &mut self.bytes);
        }
    }

    fn enter(&mut self, op: &Op<'_>, reply: Option<ReplyTo>) {
        if let Some(reply) = reply {
            self.aside.replies.push_back((self.ops, reply));
        }
        note_places(op, &mut self.aside.places);
        self.ops += 1;
        self.work += op.work();
    }

    fn len_bytes(&self) -> usize {
        let targets = |late: &Late| late.targets.as_ref().map_or(0, |targets| targets.len());
        let late = self.late.iter().map(|late| late.message.len() + targets(late));
        self.bytes.len() + late.sum::<usize>() + self.aside.copies_bytes
    }

    /// Puts in what was left out.
    fn complete(&mut self) {
        if self.late.is_empty() {
            return;
        }
        // What stands around a message of an operation is shorter than this.
        let room = self.len_bytes() + self.late.len() * 64;
        let (early, mut at) = (std::mem::replace(&mut self.bytes, Vec::with_capacity(room)), 0);
        for Late { behind, message, targets, out_of } in std::mem::take(&mut self.late) {
            self.bytes.extend_from_slice(&early[at..behind]);
            at = behind;
            let encode = |bytes: &mut Vec<u8>| match &targets {
                Some(targets) => record::encode_into(&Op::Enqueue { message: &message, targets }, bytes),
                None => bytes.extend_from_slice(&message),
            };
            op::frame(&mut self.bytes, |bytes| match out_of {
                None => encode(bytes),
                Some((from, number)) => {
                    let mut inner = Vec::with_capacity(message.len() + 32);
                    encode(&mut inner);
                    record::encode_into(&Op::Inbox { from: from.0, number, op: &inner }, bytes);
                }
            });
        }
        self.bytes.extend_from_slice(&early[at..]);
    }
}

/// Records under way through the log, oldest first.
#[derive(Debug, Default)]
pub struct Underway {
    proposed: VecDeque<Proposed>,
    /// Of copies that wait for them.
    copies_bytes: usize,
    /// Whom to tell that something is not under way any more, though nothing is known of it.
    lost: Vec<ReplyTo>,
}

impl Underway {
    pub fn push(&mut self, term: Term, index: Index, record: Record) {
        let aside = record.aside;
        if !aside.is_empty() {
            self.copies_bytes += aside.copies_bytes;
            self.proposed.push_back(Proposed { term, index, aside });
        }
    }

    /// Bytes that are kept here.
    pub fn len_bytes(&self) -> usize {
        self.copies_bytes
    }

    /// Keeps a copy of QoS 0 until all that is here is applied; gives it back if nothing is.
    pub fn attach(&mut self, copy: Copy, pending: &mut Pending) -> Option<Copy> {
        let Some(last) = self.proposed.back_mut() else { return Some(copy) };
        self.copies_bytes += copy.len_bytes();
        pending.ahead.enter(&[copy.place()]);
        last.aside.push_copy(u32::MAX, copy);
        None
    }

    /// What belongs to a record that is being applied: nothing if it is another leader's. Its messages are not ahead any
    /// more.
    pub fn take(&mut self, term: Term, index: Index, pending: &mut Pending) -> Aside {
        while self.proposed.front().is_some_and(|oldest| oldest.index <= index) {
            let mut oldest = self.proposed.pop_front().expect("there is a front");
            self.copies_bytes -= oldest.aside.copies_bytes;
            pending.ahead.leave(&oldest.aside.places);
            if (oldest.index, oldest.term) == (index, term) {
                return oldest.aside;
            }
            oldest.aside.take_credits(&mut self.lost);
        }
        Aside::default()
    }

    /// Whom to tell of a record that will never be written.
    pub fn withdraw(&mut self, index: Index, pending: &mut Pending) -> impl Iterator<Item = ReplyTo> {
        let at = self.proposed.iter().position(|proposed| proposed.index == index);
        let aside = at.and_then(|at| self.proposed.remove(at)).map(|proposed| proposed.aside);
        let aside = aside.unwrap_or_default();
        pending.ahead.leave(&aside.places);
        self.copies_bytes -= aside.copies_bytes;
        aside.replies.into_iter().map(|(_, reply)| reply)
    }

    /// Leadership is lost, and it is not known what becomes of what is under way. Nor of what was to come next: it may stand in
    /// an outbox, and comes again. Who waits for either.
    pub fn give_up(&mut self, pending: Pending) -> Vec<ReplyTo> {
        let here = std::mem::take(&mut self.proposed).into_iter().map(|proposed| proposed.aside);
        let next = pending.closed.into_iter().chain([pending.open]).map(|record| record.aside);
        let mut waiting = Vec::new();
        for mut aside in here.chain(next) {
            aside.take_credits(&mut self.lost);
            waiting.extend(aside.replies.into_iter().map(|(_, reply)| reply));
        }
        self.copies_bytes = 0;
        waiting
    }

    /// What is here may never be applied, and what was to come next never proposed.
    pub fn lose(&mut self, pending: Pending) {
        let here = self.proposed.iter_mut().map(|proposed| &mut proposed.aside);
        here.for_each(|aside| aside.take_credits(&mut self.lost));
        for mut record in pending.closed.into_iter().chain([pending.open]) {
            record.aside.take_credits(&mut self.lost);
        }
    }

    /// Those who wait for nothing but the room that it took.
    pub fn take_lost(&mut self) -> Vec<ReplyTo> {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Delivery, Home, SessionNumber, Target};

    fn reply(token: u64) -> ReplyTo {
        ReplyTo { home: Home { node: 1, shard: 0, key: 0, serial: 1 }, token }
    }

    #[test]
    fn replies_belong_to_the_record_of_their_term() {
        let (mut underway, mut pending) = (Underway::default(), Pending::default());
        for index in [5, 6] {
            pending.push(77, &Op::Trim { to: 1, number: 2 }, Some(reply(index)));
            underway.push(Term(1), Index(index), pending.take().unwrap());
        }
        assert_eq!(underway.take(Term(2), Index(5), &mut pending).reply(0), None);
        assert_eq!(underway.take(Term(1), Index(6), &mut pending).reply(0), Some(reply(6)));
        assert_eq!(underway.take(Term(1), Index(6), &mut pending).reply(0), None);
    }

    #[test]
    fn what_is_unwanted_is_taken_out_and_told() {
        let mut pending = Pending::default();
        let retain = Op::Retain { partition: 1, message: b"m" };
        pending.push(77, &Op::Trim { to: 1, number: 2 }, None);
        pending.push(77, &retain, Some(reply(5)));
        let (root_targets, chosen) = (op::Obsolete, Vec::new());
        let in_line = Op::InLine { number: 8, partition: 1, message: b"m", root_targets, chosen };
        pending.push(77, &in_line, Some(reply(6)));
        pending.push(77, &Op::Trim { to: 3, number: 4 }, Some(reply(9)));
        assert_eq!(pending.refuse(|op| op.adds()), [reply(5), reply(6)]);
        let record = pending.take().unwrap();
        assert_eq!(op::iter(op::open(&record.bytes).unwrap().1).count(), 2);
        assert_eq!(record.aside.replies, [(1, reply(9))]);
    }

    #[test]
    fn what_comes_much_later_has_a_record_and_a_time_of_its_own() {
        let mut pending = Pending::default();
        let trim = Op::Trim { to: 1, number: 2 };
        for at in [1_000, 1_000 + RECORD_MILLIS - 1, 1_000 + RECORD_MILLIS, 9_000, 8_000] {
            pending.push(at, &trim, None);
        }
        assert!(pending.len_bytes() > 2 * size_of::<Record>(), "they are counted though they say little");
        let times = std::iter::from_fn(|| {
            let record = pending.take()?;
            let (at, ops) = op::open(&record.bytes).unwrap();
            Some((at, op::iter(ops).count()))
        });
        assert_eq!(times.collect::<Vec<_>>(), [(1_000, 2), (1_000 + RECORD_MILLIS, 1), (9_000, 2)]);
    }

    fn copy(message: &'static str) -> Copy {
        let delivery = Delivery::new(convoy_wire::QoS::AtMostOnce, false, 0);
        Copy::new(crate::session::SessionNumber(1), "t", delivery, message.into())
    }

    #[test]
    fn copies_go_out_behind_the_operations_that_were_before_them() {
        let mut pending = Pending::default();
        assert!(pending.attach(copy("nothing is before it")).is_some());
        let (wanted, unwanted) = (Op::Trim { to: 1, number: 2 }, Op::Retain { partition: 1, message: b"m" });
        for (op, message) in [(&wanted, "1"), (&unwanted, "2"), (&wanted, "3")] {
            pending.push(77, op, Some(reply(5)));
            assert!(pending.attach(copy(message)).is_none());
        }
        assert_eq!(pending.refuse(|op| op.adds()), [reply(5)]);
        let mut underway = Underway::default();
        underway.push(Term(1), Index(1), pending.take().unwrap());
        assert!(underway.attach(copy("4"), &mut pending).is_none());
        assert!(underway.len_bytes() > 0);
        let mut aside = underway.take(Term(1), Index(1), &mut pending);
        let mut out = |number| {
            let copies = std::iter::from_fn(|| aside.copy(number).map(|copy| copy.message));
            copies.collect::<Vec<_>>()
        };
        assert_eq!([out(0), out(1)], [vec![], vec!["1", "2"]]);
        assert_eq!((out(2), out(usize::MAX)), (vec!["3".into()], vec!["4".into()]));
        assert_eq!(underway.len_bytes(), 0);
    }

    #[test]
    fn a_copy_that_waits_is_ahead_of_the_next_one() {
        let session = crate::session::SessionNumber(1);
        let (mut pending, mut underway) = (Pending::default(), Underway::default());
        let trim = Op::Trim { to: 1, number: 2 };
        // With the record that is open, and with the last one under way.
        pending.push(77, &trim, None);
        assert!(pending.attach(copy("1")).is_none() && pending.ahead.holds("t", session));
        underway.push(Term(1), Index(1), pending.take().unwrap());
        pending.push(77, &trim, Some(reply(2)));
        underway.push(Term(1), Index(2), pending.take().unwrap());
        assert!(underway.attach(copy("2"), &mut pending).is_none());
        for (index, holds) in [(1, true), (2, false)] {
            underway.take(Term(1), Index(index), &mut pending);
            assert_eq!(pending.ahead.holds("t", session), holds, "record {index}");
        }
        // What is refused or not written leaves nothing behind.
        pending.push(77, &Op::Retain { partition: 1, message: b"m" }, None);
        assert!(pending.attach(copy("3")).is_none());
        underway.push(Term(1), Index(3), pending.take().unwrap());
        assert_eq!(underway.withdraw(Index(3), &mut pending).count(), 0);
        assert!(!pending.ahead.holds("t", session));
        assert!(underway.attach(copy("4"), &mut pending).is_some() && !pending.ahead.holds("t", session));
    }

    #[test]
    fn a_large_message_is_shared_until_its_record_is_taken_and_is_where_it_was_added() {
        let (large, small) = (Bytes::from(vec![7; LATE_BYTES]), Bytes::from_static(b"small"));
        let (mut pending, mut at_once) = (Pending::default(), Pending::default());
        let trim = Op::Trim { to: 1, number: 2 };
        for (message, reply) in [(&large, Some(reply(1))), (&small, None), (&large, None)] {
            pending.push_shared(77, message, b"targets", reply);
            pending.push(77, &trim, None);
            at_once.push(77, &Op::Enqueue { message, targets: b"targets" }, reply);
            at_once.push(77, &trim, None);
        }
        assert!(pending.open.bytes.len() < LATE_BYTES && pending.len_bytes() > 2 * LATE_BYTES);
        let (record, whole) = (pending.take().unwrap(), at_once.take().unwrap());
        assert!(record.bytes == whole.bytes);
        assert_eq!(
            (record.bytes.capacity() < 3 * LATE_BYTES, record.aside.replies),
            (true, whole.aside.replies)
        );
    }

    #[test]
    fn root_routes_are_shared_until_their_record_is_taken_unless_they_are_few() {
        for count in [1, 1000] {
            let (mut pending, mut at_once) = (Pending::default(), Pending::default());
            let filters = vec![op::RootFilter { filter: "+/filter", subscription: None }; count];
            let mut op = Vec::new();
            record::encode_into(&Op::Roots { subscriber: SessionNumber(1), home: None, filters }, &mut op);
            let op = Bytes::from(op);
            let (from, trim) = (SlotId(1), Op::Trim { to: 1, number: 2 });
            pending.push_roots(77, from, 5, &op, Some(reply(1)));
            pending.push(77, &trim, None);
            at_once.push(77, &Op::Inbox { from: 1, number: 5, op: &op }, Some(reply(1)));
            at_once.push(77, &trim, None);
            let is_shared = |pending: &Pending| pending.open.late.len() + pending.closed.len() > 0;
            assert_eq!(is_shared(&pending), count > 1);
            let (record, whole) = (pending.take().unwrap(), at_once.take().unwrap());
            assert!(record.bytes == whole.bytes && record.aside.replies == whole.aside.replies);
        }
    }

    #[test]
    fn a_small_message_for_very_many_weighs_as_much_as_the_rows_that_it_will_be() {
        let mut pending = Pending::default();
        let mut weighs = |count: usize| {
            let targets = vec![0; Target::LEAST * count];
            pending.push(77, &Op::Enqueue { message: b"m", targets: &targets }, None);
            let weight = (pending.weight_bytes(), pending.next_weight_bytes());
            pending.take();
            assert_eq!((pending.weight_bytes(), pending.len_bytes()), (0, 0));
            weight
        };
        let (one, many) = (weighs(1), weighs(900));
        assert!(one.0 < 2 * ROW_BYTES + 100 && many.0 > 900 * ROW_BYTES);
        assert_eq!((one.0, many.0), (one.1, many.1));
        // Also where a record is closed, and another one begun.
        for _ in 0..3 {
            let targets = vec![0; Target::LEAST * RECORD_WORK];
            pending.push(77, &Op::Enqueue { message: b"m", targets: &targets }, None);
        }
        assert!(pending.weight_bytes() > 3 * pending.next_weight_bytes() - ROW_BYTES);
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
        assert_eq!(record.aside.replies, [(1, reply(9))]);
        assert!(pending.is_empty());
    }
}
