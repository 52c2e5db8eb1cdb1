//! Applying a record: the same on every replica. The leader's effects (replies, deliveries, operations for other
//! slots) are given out on the way and are lost without harm: what must not be lost stands in a row.

use std::collections::hash_map::Entry as MapEntry;

use convoy_ids::{Index, SlotId, Term};
use convoy_storage::engine::Error;
use convoy_storage::record;
use convoy_wire::ReasonCode;

use super::active::{Active, activate, load};
use super::ahead::Copy;
use super::leader::Aside;
use super::op::{self, Op};
use super::{Emitted, Note, Slot, Turn, WillsUnderway, ending, rows};
use crate::call::{Answer, Begun, ReplyTo};
use crate::clock::Millis;
use crate::session::{SessionNumber, Target};
use crate::topic::Choice;

/// Bytes of a record that are as much work as one small operation.
pub(super) const UNIT_BYTES: usize = 512;

/// Bytes of a message or an operation, copied once, that are as much work as a small one.
const COPIED_BYTES: usize = 2048;

/// Units of work of a message or an operation of so many bytes that is read and passed on.
pub fn work_of(bytes: usize) -> u64 {
    1 + (bytes / COPIED_BYTES) as u64
}

/// Why a slot cannot go on. Nothing after this record is applied until the reason is gone.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Engine(#[from] Error),
    #[error("record {index} of slot {slot} cannot be read: {error}")]
    Record { slot: SlotId, index: Index, error: record::Error },
}

/// What is known of the operation being applied.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) at: Millis,
    /// A number that every replica knows, and the one that gave the operation out: of a message that came out of an
    /// outbox its number there, of any other operation the place of its record.
    pub(super) agreed: u64,
    pub(super) reply: Option<ReplyTo>,
    /// It came out of an outbox.
    pub(super) is_forwarded: bool,
}

impl Context {
    /// Of something that follows from the operation and that nobody waits for.
    pub(super) fn unanswered(self) -> Self {
        Self { reply: None, ..self }
    }
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
        let done = Answer::Done;
        if self.leading && context.reply.is_some() {
            self.connects(&op, false);
            self.resume_after(&op);
        }
        match op {
            Op::Connect {
                name,
                clean_start,
                owner,
                binds,
                expiry_seconds,
                home,
                limits,
                will,
                sent,
                yields,
            } => {
                if binds && self.is_of_another(owner, name, context, turn)? {
                    if self.leading {
                        turn.effects.note(Note::NotItsOwner);
                    }
                    // Nothing of it is touched: whoever knows a Client Identifier has no right to its Session.
                    self.answer(context, Answer::Refused(ReasonCode::NotAuthorized), turn);
                    return Ok(());
                }
                if yields && self.is_connected(name, turn)? {
                    // [MQTT-3.1.3-8]
                    self.answer(context, Answer::Refused(ReasonCode::ClientIdentifierNotValid), turn);
                    return Ok(());
                }
                self.connect(
                    name,
                    clean_start,
                    owner,
                    expiry_seconds,
                    home,
                    limits,
                    will,
                    sent,
                    context,
                    turn,
                )?;
                return Ok(());
            }
            Op::Disconnect { session, epoch, farewell, expiry_seconds, sent } => {
                if self.leading {
                    self.farewells.applied();
                    self.left.remove(&session);
                }
                self.disconnect(session, epoch, farewell, expiry_seconds, sent, context, turn)?;
            }
            Op::Subscribe { session, epoch, entries } => {
                let answer = self.subscribe(session, epoch, entries, context, turn)?;
                self.answer(context, answer, turn);
                return Ok(());
            }
            Op::Unsubscribe { session, epoch, filters } => {
                let answer = self.unsubscribe(session, epoch, filters, context, turn)?;
                self.answer(context, answer, turn);
                return Ok(());
            }
            Op::Enqueue { message, targets } => {
                // A record holds many messages: none may go out in the encoding of the one before it.
                turn.effects.begin_message();
                let body = self.begin_body(message, targets, turn);
                for target in Target::all(targets) {
                    self.enqueue(target, message, body, context, turn)?;
                }
                if let Some(body) = body {
                    turn.state.release_body(rows::nobody(self.id), body.number)?;
                }
            }
            Op::Finished { session, messages, sent } => self.finished(session, &messages, sent, turn)?,
            Op::Received { session, seqs } => self.received(session, &seqs, turn)?,
            Op::Accept { session, epoch, packet_id, place, message } => {
                if let Some(answer) = self.accept(session, epoch, packet_id, place, message, context, turn)? {
                    self.answer(context, answer, turn);
                }
                return Ok(());
            }
            Op::Release { session, epoch, packet_id } => {
                if self.activate(session, turn)?.is_some_and(|active| active.row.epoch == epoch) {
                    turn.state.delete(rows::unreleased(session, packet_id));
                }
            }
            Op::Route { partition, subscriber, filter, route } => {
                self.route(partition, subscriber, filter, Some(route), context, turn);
                return Ok(());
            }
            Op::Unroute { partition, subscriber, filter } => {
                self.route(partition, subscriber, filter, None, context, turn);
                return Ok(());
            }
            Op::Publish { partition, message, again, chosen, .. } => {
                let choice = Choice { number: context.agreed, chosen: &chosen, again };
                self.publish(partition, message, None, choice, context, turn)?;
            }
            Op::InLine { number, partition, message, chosen, .. } => {
                let choice = Choice { number: context.agreed, chosen: &chosen, again: None };
                let matched = self.publish(partition, message, Some(number), choice, context, turn)?;
                if !context.is_forwarded {
                    // Nobody knew before whether there would be a subscriber.
                    self.answer(context, Answer::Begun(Begun { parts: 0, matched }), turn);
                    return Ok(());
                }
            }
            Op::Redispatch { session, seqs } => self.redispatch(session, &seqs, context, turn)?,
            Op::Retain { partition, message } => self.retain(partition, message, 0, turn)?,
            Op::Expire { topics } => {
                self.asked.expiry = false;
                for (partition, topic) in topics {
                    self.expire(partition, topic, context, turn)?;
                }
            }
            Op::Inbox { from, number, op } => {
                return self.inbox(SlotId(from), number, op, false, context, turn);
            }
            Op::Live { from, number, op } => {
                return self.inbox(SlotId(from), number, op, true, context, turn);
            }
            Op::Given { from, number } => {
                self.apply_given(SlotId(from), number, turn);
                return Ok(());
            }
            Op::GivenUp { node } => {
                self.apply_given_up(node, turn);
                return Ok(());
            }
            Op::Trim { to, number } => self.trim(SlotId(to), number, turn),
            Op::Due { at, session } => {
                // Those of an earlier leader were not counted here; then some are asked for twice, and happen once.
                self.asked.due = self.asked.due.saturating_sub(1);
                if self.asked.due == 0 {
                    self.asked.due_wills = WillsUnderway::default();
                }
                self.due(at, session, context, turn)?;
            }
            Op::Will { partition, message, .. } => {
                let choice = Choice { number: context.agreed, chosen: &[], again: None };
                self.publish(partition, message, None, choice, context, turn)?;
            }
            Op::End { session } => self.end_by_order(session, context, turn)?,
            Op::EndOn { sessions, work } => self.end_on(&sessions, work, context, turn)?,
            Op::Roots { subscriber, home, filters } => {
                self.route_everywhere(subscriber, home, &filters, turn);
                let begins = filters.iter().any(|filter| filter.subscription.is_some());
                let registered = Answer::RootsRegistered { slot: self.id, until: self.numbered };
                match home.filter(|_| begins) {
                    Some(_) => self.answer_route(context.reply, registered, turn),
                    None => self.answer(context, if begins { registered } else { done }, turn),
                }
                return Ok(());
            }
            Op::EnqueueBody { body, .. } | Op::RootsBody { body, .. } => {
                return Err(Error::Damaged {
                    place: format!("slot {}", self.id),
                    reason: format!("operation {body} of an outbox was sent on without its body"),
                });
            }
        }
        self.answer(context, done, turn);
        Ok(())
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
