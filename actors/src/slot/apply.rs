//! Applying a record: the same on every replica. The leader's effects (replies, deliveries, operations for other
//! slots) are given out on the way and are lost without harm: what must not be lost stands in a row.

use std::collections::hash_map::Entry as MapEntry;

use convoy_ids::{Index, SlotId, Term};
use convoy_storage::engine::Error;
use convoy_storage::record;

use super::active::{Active, activate, load};
use super::ahead::Copy;
use super::context::{Context, UNIT_BYTES};
use super::leader::Aside;
use super::lifetime::Wanted;
use super::op::{self, Op};
use super::{Emitted, Slot, Turn, ending, rows};
use crate::call::{Answer, Begun, ReplyTo};
use crate::session::SessionNumber;
use crate::topic::Choice;

/// Why a slot cannot go on. Nothing after this record is applied until the reason is gone.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Engine(#[from] Error),
    #[error("record {index} of slot {slot} cannot be read: {error}")]
    Record { slot: SlotId, index: Index, error: record::Error },
}

impl Slot {
    /// Applies one committed record. Its changes are in `turn.state` afterwards.
    pub fn apply(
        &mut self,
        term: Term,
        index: Index,
        data: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Failure> {
        let mut aside = self.underway.take(term, index, &mut self.pending);
        let unreadable = |error| Failure::Record { slot: self.id, index, error };
        let (at, ops) = op::open(data).map_err(unreadable)?;
        let before = self.totals();
        *turn.work += (data.len() / UNIT_BYTES) as u64;
        self.end_work = ending::AT_ONCE;
        for (number, op) in op::iter(ops).enumerate() {
            *turn.work += 1;
            self.give_out(&mut aside, number, turn);
            let op = op.map_err(|error| Failure::Record { slot: self.id, index, error })?;
            let reply = aside.reply(number);
            self.apply_op(op, Context { at, agreed: index.0, reply, is_forwarded: false }, turn)?;
        }
        self.give_out(&mut aside, usize::MAX, turn);
        self.put_totals(&before, turn);
        Ok(())
    }

    /// The copies of QoS 0 that waited for the operations before this one.
    fn give_out(&mut self, aside: &mut Aside, number: usize, turn: &mut Turn<'_>) {
        while let Some(Copy { session, delivery, message, .. }) = aside.copy(number) {
            self.pass_on(session, delivery, &message, turn);
        }
    }

    fn apply_op(&mut self, op: Op<'_>, context: Context, turn: &mut Turn<'_>) -> Result<(), Error> {
        if self.leading && context.reply.is_some() {
            self.connects(&op, false);
            self.resume_after(&op);
        }
        if let Some(answer) = self.carry_out(op, context, turn)? {
            self.answer(context, answer, turn);
        }
        Ok(())
    }

    /// What is done for each kind of operation. What is to be answered then, if that is known and not said yet.
    fn carry_out(
        &mut self,
        op: Op<'_>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Answer>, Error> {
        let agreed = Choice { number: context.agreed, chosen: &[], again: None };
        match op {
            connect @ Op::Connect { .. } => return self.apply_connect(connect, context, turn),
            Op::Disconnect { session, epoch, farewell, expiry_seconds, sent } => {
                self.disconnect(session, epoch, farewell, expiry_seconds, sent, context, turn)?;
            }
            Op::Subscribe { session, epoch, entries } => {
                return self.subscribe(session, epoch, entries, context, turn).map(Some);
            }
            Op::Unsubscribe { session, epoch, filters } => {
                return self.unsubscribe(session, epoch, filters, context, turn).map(Some);
            }
            Op::Enqueue { message, targets } => self.enqueue_for_all(message, targets, context, turn)?,
            Op::Finished { session, messages, sent } => self.finished(session, &messages, sent, turn)?,
            Op::Received { session, seqs } => self.received(session, &seqs, turn)?,
            Op::Accept { session, epoch, packet_id, place, message } => {
                return self.accept(session, epoch, packet_id, place, message, context, turn);
            }
            Op::Release { session, epoch, packet_id } => self.released(session, epoch, packet_id, turn)?,
            Op::Route { partition, subscriber, filter, route } => {
                return Ok(self.route(partition, subscriber, filter, Some(route), context, turn));
            }
            Op::Unroute { partition, subscriber, filter } => {
                return Ok(self.route(partition, subscriber, filter, None, context, turn));
            }
            Op::Publish { partition, message, again, chosen, .. } => {
                let choice = Choice { chosen: &chosen, again, ..agreed };
                self.publish(partition, message, None, choice, context, turn)?;
            }
            Op::InLine { number, partition, message, chosen, .. } => {
                let choice = Choice { chosen: &chosen, ..agreed };
                let matched = self.publish(partition, message, Some(number), choice, context, turn)?;
                if !context.is_forwarded {
                    // Nobody knew before whether there would be a subscriber.
                    return Ok(Some(Answer::Begun(Begun { parts: 0, matched })));
                }
            }
            Op::Redispatch { session, seqs } => self.redispatch(session, &seqs, context, turn)?,
            Op::Retain { partition, message } => self.retain(partition, message, 0, turn)?,
            Op::Expire { topics } => self.expire(&topics, context, turn)?,
            Op::Inbox { from, number, op } => {
                self.inbox(SlotId(from), number, op, false, context, turn)?;
                return Ok(None);
            }
            Op::Live { from, number, op } => {
                self.inbox(SlotId(from), number, op, true, context, turn)?;
                return Ok(None);
            }
            Op::Given { from, number } => {
                self.apply_given(SlotId(from), number, turn);
                return Ok(None);
            }
            Op::GivenUp { node } => {
                self.apply_given_up(node, turn);
                return Ok(None);
            }
            Op::Trim { to, number } => self.trim(SlotId(to), number, turn),
            Op::Due { at, session } => self.due(at, session, context, turn)?,
            Op::Will { partition, message, .. } => {
                self.publish(partition, message, None, agreed, context, turn)?;
            }
            Op::End { session } => self.end_by_order(session, context, turn)?,
            Op::EndOn { sessions, work } => self.end_on(&sessions, work, context, turn)?,
            Op::Roots { subscriber, home, filters } => {
                return Ok(self.route_everywhere(subscriber, home, &filters, context, turn));
            }
            Op::EnqueueBody { body, .. } | Op::RootsBody { body, .. } => return Err(self.bodiless(body)),
        }
        Ok(Some(Answer::Done))
    }

    #[inline(never)] // Or what it takes apart has its place beside that of messages.
    fn apply_connect(
        &mut self,
        op: Op<'_>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Answer>, Error> {
        let Op::Connect { name, clean_start, owner, binds, expiry_seconds, home, limits, will, sent, yields } =
            op
        else {
            unreachable!("it is a CONNECT");
        };
        if let Some(reason) = self.refuses(name, owner, binds, yields, context, turn)? {
            return Ok(Some(Answer::Refused(reason)));
        }
        let wanted = Wanted { name, clean_start, owner, expiry_seconds, home, limits, will, sent };
        self.connect(wanted, context, turn)?;
        Ok(None)
    }

    fn bodiless(&self, body: u64) -> Error {
        Error::Damaged {
            place: format!("slot {}", self.id),
            reason: format!("operation {body} of an outbox was sent on without its body"),
        }
    }

    pub(super) fn answer(&self, context: Context, answer: Answer, turn: &mut Turn<'_>) {
        if let Some(reply) = context.reply.filter(|_| self.leading) {
            turn.effects.answer(reply, answer);
        }
    }

    /// The Session, activated; `None` if it has ended.
    pub(super) fn activate(
        &mut self,
        session: SessionNumber,
        turn: &mut Turn<'_>,
    ) -> Result<Option<&mut Active>, Error> {
        match self.active.entry(session) {
            MapEntry::Occupied(entry) => Ok(Some(entry.into_mut())),
            MapEntry::Vacant(entry) => {
                let Some((name, row)) = load(turn.state, session)? else { return Ok(None) };
                let active = activate(turn.state, &name, row)?;
                self.names.insert(active.name.clone(), session);
                if active.row.home.is_none() {
                    self.idle.push(&active.row);
                }
                Ok(Some(entry.insert(Box::new(active))))
            }
        }
    }

    /// Enters an operation for another slot (or this one) in the outbox: its number there.
    pub(super) fn emit(&mut self, to: SlotId, op: &Op<'_>, context: Context, turn: &mut Turn<'_>) -> u64 {
        let mut bytes = Vec::new();
        record::encode_into(op, &mut bytes);
        let reply = context.reply;
        let (number, goes) = self.enter_outbox(to, &bytes, bytes.len(), reply, turn);
        if goes {
            turn.emitted.push_back(Emitted::Op { from: self.id, to, number, op: bytes.into(), reply });
        }
        number
    }

    /// Puts a row into the outbox for a slot, where it counts as so many bytes: its number, and whether it is to be given to
    /// that slot at once.
    pub(super) fn enter_outbox(
        &mut self,
        to: SlotId,
        row: &[u8],
        counted: usize,
        reply: Option<ReplyTo>,
        turn: &mut Turn<'_>,
    ) -> (u64, bool) {
        *turn.work += 1;
        let outbox = self.outboxes.entry(to).or_default();
        let number = outbox.push(counted);
        let goes = self.leading && outbox.goes_next(number, turn.led.contains(to), reply);
        self.is_backed_up |= outbox.is_full();
        turn.state.put_bytes(rows::outbox(self.id, to, number), row);
        turn.state.put(rows::outbox_next(self.id, to), &number);
        (number, goes)
    }

    fn inbox(
        &mut self,
        from: SlotId,
        number: u64,
        op: &[u8],
        is_live: bool,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let last = self.inboxes.get(&from).map_or(0, |inbox| inbox.applied());
        if number == last + 1 {
            let op = record::decode(op).map_err(|error| Error::Damaged {
                place: format!("operation {number} of slot {from} for slot {}", self.id),
                reason: error.to_string(),
            })?;
            let change = self.inboxes.entry(from).or_default().apply(is_live);
            turn.state.put(rows::inbox(self.id, from), &number);
            self.put_open(from, change, turn);
            if self.leading {
                self.inboxes.entry(from).or_default().show_new();
            }
            let gives = self.leading && is_live;
            if gives {
                self.show(from, number);
                turn.effects.begin_live(self.live(from, number));
            }
            let applied = self.apply_op(op, Context { agreed: number, is_forwarded: true, ..context }, turn);
            if gives {
                self.end_live(from, turn);
            }
            applied?;
        } else {
            // It was sent again, or is not its turn: the leader has decided on it for nothing.
            if let Ok(Op::InLine { number, .. }) = record::decode(op) {
                self.line.take(number);
            }
            if number <= last {
                self.answer(context, Answer::Done, turn);
            }
        }
        if number <= last + 1 && self.leading {
            let given = self.inboxes.get(&from).map_or(0, |inbox| inbox.given());
            turn.effects.outbox_applied(from, self.id, number, given);
        }
        Ok(())
    }

    fn trim(&mut self, to: SlotId, number: u64, turn: &mut Turn<'_>) {
        for number in self.outboxes.entry(to).or_default().trim(number) {
            self.leave_outbox(to, number, turn);
        }
        self.weigh_outboxes();
    }
}
