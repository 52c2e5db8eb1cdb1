//! What connections ask of slots and slots of each other, within this shard or by mail.

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_storage::record;
use convoy_wire::{PacketId, ReasonCode};

use super::mail::{Letter, Where};
use super::outlet::Applied;
use super::slots::fail;
use super::{Shard, turn};
use crate::call::{Ack, Answer, ReplyTo, SessionCall};
use crate::clock::Now;
use crate::connection::SHARED_FROM;
use crate::edge::Returned;
use crate::message::Message;
use crate::metric;
use crate::options::Without;
use crate::session::{Delivery, Epoch, Place, SessionNumber, split_name};
use crate::slot::{Comes, Effects, Emitted, Held, Obsolete, Op, Turn, client_of, is_live, work_of};
use crate::topic::{Again, Announcement};

/// Units of work in one piece: packets, receivers, operations, messages that are read. A few milliseconds.
pub(super) const PIECE: u64 = 2048;

/// Units that a chunk of Retained Messages is worth.
pub(super) const FEED_WORK: u64 = 64;

impl Shard {
    /// An acknowledgement for a message out of a Session's queue.
    pub(super) fn session_ack(
        &mut self,
        now: Now,
        session: SessionNumber,
        epoch: Epoch,
        ack: Ack,
        packet_id: PacketId,
    ) {
        let slot = session.slot();
        if let Where::There(dest) = self.outlet.post.where_is(slot) {
            let call = SessionCall::Ack { session, epoch, ack, packet_id };
            return self.outlet.post.send(dest, Letter::Session { slot, call });
        }
        let Some(slot) = self.slots.get(slot) else { return };
        let mut turn = turn!(self, now);
        if slot.is_serving()
            && let Err(error) = slot.on_ack(session, epoch, ack, packet_id, &mut turn)
        {
            fail(slot, &error);
        }
    }

    /// What a connection asks of its Session's slot, wherever that is.
    pub(super) fn call(&mut self, now: Now, call: SessionCall) {
        let slot = match &call {
            SessionCall::Connect { name, .. } | SessionCall::Abandon { name, .. } => match split_name(name) {
                Some((tenant, client_id)) => convoy_membership::slot_of(
                    &convoy_ids::ActorId::Session { tenant, client_id },
                    self.options.slots,
                ),
                None => return,
            },
            SessionCall::Accept { asks: true, place, .. } => SlotId(place.slot),
            call => call.session().expect("only a CONNECT and its end name no Session").slot(),
        };
        match self.outlet.post.where_is(slot) {
            Where::Here => self.called(now, slot, call),
            Where::There(dest) => self.outlet.post.send(dest, Letter::Session { slot, call }),
            Where::Nowhere => self.called_nobody(slot, call),
        }
    }

    fn refuse_call(&mut self, reply: ReplyTo, reason: ReasonCode) {
        let answer = match reply.is_publish() {
            true => self.refusal(reason),
            false => Answer::Refused(reason),
        };
        self.outlet.answer(reply, answer);
    }

    /// What a connection asks of a slot that nobody leads, as far as is known here.
    #[cold]
    fn called_nobody(&mut self, slot: SlotId, call: SessionCall) {
        if let Some(reply) = call.reply() {
            self.refuse_call(reply, ReasonCode::ServerBusy);
        } else if matches!(call, SessionCall::Disconnect { .. } | SessionCall::Abandon { .. }) {
            // Or a Will is published, though its Client said good-bye.
            self.leaderless.keep(slot, call);
        }
    }

    /// What a connection asks of a slot of this shard.
    pub(super) fn called(&mut self, now: Now, id: SlotId, call: SessionCall) {
        let call = match call {
            SessionCall::Connect { .. } if self.has_others => match self.connects_now(now, id, call) {
                Some(call) => call,
                None => return,
            },
            call => call,
        };
        if let SessionCall::Abandon { name, home } = &call {
            self.late_connects.abandon(client_of(name), home);
        }
        self.take_call(now, id, call);
    }

    pub(super) fn take_call(&mut self, now: Now, id: SlotId, call: SessionCall) {
        let unable = match self.slots.get(id) {
            Some(slot) if slot.failure.is_some() || self.failure.is_some() => {
                Some(ReasonCode::ServerUnavailable)
            }
            Some(slot) if !slot.leading => Some(ReasonCode::ServerBusy),
            Some(_) if matches!(call, SessionCall::Adopt { .. }) => None,
            Some(_) if self.stalled => Some(ReasonCode::QuotaExceeded),
            Some(slot) if self.low_space => match slot.adds(&call, now.wall, &mut self.state) {
                Ok(adds) => adds.then_some(ReasonCode::QuotaExceeded),
                Err(error) => {
                    fail(slot, &error);
                    Some(ReasonCode::ServerUnavailable)
                }
            },
            Some(_) => None,
            None => Some(ReasonCode::ServerBusy),
        };
        let unable = unable.or_else(|| self.over_budget(now, id, &call));
        if self.failure.is_some() && matches!(call, SessionCall::Release { .. }) {
            // It changes nothing that it is not on record: PUBREL comes again. To be refused, its Client would be closed
            // and could not come back to read.
            return;
        }
        let unable = unable.or_else(|| match self.turns_away(call.reply())? {
            Answer::Refused(reason) => Some(reason),
            _ => Some(ReasonCode::ServerBusy),
        });
        if let Some(reason) = unable
            && let Some(reply) = call.reply()
        {
            return self.refuse_call(reply, reason);
        }
        if let SessionCall::Accept { asks: true, .. } = call {
            return self.admit(now, call);
        }
        let publisher = match &call {
            SessionCall::Accept { reply, .. } => Some(*reply),
            _ => None,
        };
        let without = self.options.without;
        let mut turn = turn!(self, now);
        // What nobody is told of has no say either where the slot is not led: what it would add would wait for nothing.
        let Some(slot) = self.slots.get(id).filter(|slot| slot.leading) else { return };
        let called = match without {
            Without::Owner | Without::Steps => slot.bend(without, call, &mut turn),
            _ => Ok(call),
        };
        let called = called.and_then(|call| slot.on_call(call, &self.options.limits, &mut turn));
        if let Err(error) = called {
            fail(slot, &error);
        }
        let is_full = slot.pending.is_full() || self.is_short;
        if let Some(publisher) = publisher.filter(|_| is_full) {
            self.outlet.answer(publisher, Answer::Full);
        }
    }

    /// Takes up what the current event has caused within the shard, as far as a piece of work goes; the rest is for the next
    /// turns. What records have caused comes before every packet and all mail that is taken later: see
    /// [`Shard::is_settled`].
    pub(super) fn settle(&mut self, now: Now) {
        self.settle_until(now, self.end_of_piece());
    }

    /// Where a piece of work ends that begins now.
    pub(super) fn end_of_piece(&self) -> u64 {
        self.work + self.piece
    }

    /// The same as a part of a piece of work that ends there.
    pub(super) fn settle_until(&mut self, now: Now, until: u64) {
        loop {
            // Of these there are no more than of what was counted before: packets, letters, operations.
            if let Some(announcement) = self.outlet.edge.announcements.pop_front() {
                self.announce(announcement);
                continue;
            }
            if let Some(call) = self.outlet.edge.calls.pop_front() {
                self.call(now, call);
                continue;
            }
            self.note_taken();
            self.note_given_up();
            if let Some(applied) = self.outlet.applied.pop_front() {
                self.outbox_applied(now, applied);
                continue;
            }
            if self.work >= until || !self.settle_one(now) {
                return;
            }
        }
    }

    /// Takes up one of those that may cause many others. False if there is none.
    fn settle_one(&mut self, now: Now) -> bool {
        if let Some(emitted) = self.emitted.pop_front() {
            self.forward(now, emitted);
        } else if let Some(Returned { session, delivery, message }) = self.outlet.edge.returned.pop_front() {
            self.work += 1;
            self.dispatch_again(now, session, 0, &delivery, &message);
        } else if let Some(call) = self.outlet.edge.unsendable.pop_front() {
            self.work += 1;
            self.call(now, call);
        } else if let Some(home) = self.outlet.edge.retrying.pop_front() {
            self.work += 1;
            self.retry(now, home);
        } else if let Some(home) = self.outlet.edge.asking.pop_front() {
            self.ask_on(home);
        } else if self.state.is_readable()
            && let Some(home) = self.outlet.edge.hungry.pop()
        {
            self.work += FEED_WORK;
            self.feed(now, home);
        } else {
            return false;
        }
        true
    }

    /// Whether what records have caused is all on its way. Until it is no packet is taken, and no mail.
    pub(super) fn is_settled(&self) -> bool {
        self.emitted.is_empty()
    }

    /// Whether the last piece has left something.
    pub(super) fn has_unsettled(&self) -> bool {
        let edge = &self.outlet.edge;
        let feeds = !edge.hungry.is_empty() && self.state.is_readable();
        let asks = !edge.asking.is_empty() || !edge.retrying.is_empty();
        let holds = !edge.returned.is_empty() || !edge.unsendable.is_empty() || asks;
        !self.is_settled() || holds || feeds
    }

    /// All of it, for what is rare and must not overtake it.
    pub(super) fn settle_all(&mut self, now: Now) {
        while !self.is_settled() {
            self.settle(now);
        }
    }

    /// The CONNECTs that have waited for a Will are answered.
    pub(super) fn grant_held(&mut self, held: Vec<Held>) {
        for Held { old, reply, answer, .. } in held {
            self.outlet.take_over(old, reply, answer);
        }
    }

    pub(super) fn outbox_applied(&mut self, now: Now, Applied { from, to, number, given }: Applied) {
        if let Some(slot) = self.slots.get(from) {
            slot.outbox_applied(to, number, given);
            let (arrived, held) = slot.wills.applied(to, number, now.monotonic);
            self.will_flow.arrived(arrived);
            self.grant_held(held);
        }
    }

    /// A QoS 0 message for a Session that outlives its connection, wherever its slot is.
    pub(super) fn pass(
        &mut self,
        now: Now,
        from: SlotId,
        session: SessionNumber,
        delivery: Delivery,
        whole: Bytes,
    ) {
        if self.outlet.post.where_is(session.slot()) != Where::Here {
            self.outlet.edge.begin_with(&whole);
            let Ok(message) = Message::decode(&whole) else { return };
            return self.outlet.pass_away(from, session, delivery, &message);
        }
        let mut turn = turn!(self, now);
        match self.slots.get(session.slot()) {
            Some(slot) if !slot.is_serving() => {}
            Some(slot) if self.options.without == Without::Place => {
                slot.pass_on(session, delivery, &whole, &mut turn);
            }
            Some(slot) => slot.pass(session, delivery, &whole, &mut turn),
            None => {}
        }
    }

    /// What a record has caused goes to the slot it is for.
    pub(super) fn forward(&mut self, now: Now, emitted: Emitted) {
        self.work += emitted.work();
        match emitted {
            Emitted::Op { from, to, number, op, reply } => {
                let dest = match self.outlet.post.where_is(to) {
                    Where::Here => return self.forwarded(now, from, to, number, &op, Some(&op), reply),
                    Where::There(dest) => dest,
                    // It goes when the slot is led next.
                    Where::Nowhere => return,
                };
                let mail = self.outlet.post.to(dest);
                let op = match op.len() < SHARED_FROM {
                    true => mail.lay(|bytes| bytes.extend_from_slice(&op)),
                    false => mail.share(op),
                };
                self.outlet.post.send(dest, Letter::Outbox { from, to, number, op, reply });
            }
            Emitted::Message { from, to, number, message, targets } => {
                let dest = match self.outlet.post.where_is(to) {
                    Where::Here => {
                        return self.forwarded_message(now, from, to, number, &message, &targets);
                    }
                    Where::There(dest) => dest,
                    Where::Nowhere => return,
                };
                let mail = self.outlet.post.to(dest);
                let message = mail.share(message);
                let targets = mail.lay(|bytes| bytes.extend_from_slice(&targets));
                self.outlet.post.send(dest, Letter::OutboxMessage { from, to, number, message, targets });
            }
            Emitted::Copy { from, session, delivery, message } => {
                self.pass(now, from, session, delivery, message);
            }
        }
    }

    /// A message for Sessions of a slot comes out of another slot's outbox.
    pub(super) fn forwarded_message(
        &mut self,
        now: Now,
        from: SlotId,
        to: SlotId,
        number: u64,
        message: &Bytes,
        targets: &[u8],
    ) {
        // One that is not led, or has stopped, gets it when it is led next, as any operation.
        if let Some(slot) = self.slots.get(to).filter(|slot| slot.is_serving())
            && slot.comes(from, number) != Comes::Early
        {
            slot.pending.push_forwarded(now.wall, from, number, message, targets);
        }
    }

    /// An operation comes out of another slot's outbox. `shared`: its bytes, if others have them too.
    #[expect(clippy::too_many_arguments, reason = "the fields of a letter")]
    pub(super) fn forwarded(
        &mut self,
        now: Now,
        from: SlotId,
        to: SlotId,
        number: u64,
        op: &[u8],
        shared: Option<&Bytes>,
        mut reply: Option<ReplyTo>,
    ) {
        // One that is not led, or has stopped, gets it when it is led next, out of the outbox, and keeps no room until then.
        let Some(slot) = self.slots.get(to).filter(|slot| slot.is_serving()) else { return };
        let comes = slot.comes(from, number);
        if comes == Comes::Early {
            return;
        }
        let decided = match record::decode(op) {
            Ok(Op::Roots { filters, .. }) => {
                self.work += work_of(op.len());
                let Some(slot) = self.slots.get(to) else { return };
                let begins = filters.iter().any(|filter| filter.subscription.is_some());
                if self.options.without == Without::RootAnswer
                    && begins
                    && let Some(reply) = reply.take()
                {
                    let until = slot.numbered;
                    self.outlet.answer(reply, Answer::RootsRegistered { slot: to, until });
                }
                let copied = || Bytes::copy_from_slice(op);
                let op = shared.cloned().unwrap_or_else(copied);
                return slot.pending.push_roots(now.wall, from, number, &op, reply);
            }
            Ok(op) => self.decide(to, op),
            Err(_) => None,
        };
        let op = decided.as_deref().unwrap_or(op);
        if self.options.without == Without::Number
            && matches!(comes, Comes::Known | Comes::Again)
            && let (Ok(op), Some(slot)) = (record::decode::<Op<'_>>(op), self.slots.get(to))
        {
            return slot.pending.push(now.wall, &op, None);
        }
        if comes == Comes::Again {
            self.give_again(now, from, to, number, op);
        }
        let is_live = self.has_others && is_live(op);
        if let Some(slot) = self.slots.get(to) {
            let op = match is_live {
                true => Op::Live { from: from.0, number, op },
                false => Op::Inbox { from: from.0, number, op },
            };
            slot.pending.push(now.wall, &op, reply);
        }
    }

    /// A message that comes by the log, with what the leader decides about it.
    fn decide(&mut self, to: SlotId, op: Op<'_>) -> Option<Vec<u8>> {
        match op {
            Op::Publish { partition, message, client, again, .. } => {
                self.choose(to, partition, message, client, again)
            }
            // Of a Will this leader decides too whether it may still be published, by the rules of now.
            Op::Will { partition, message, client, author } => {
                let allowed = Message::decode(message).is_ok_and(|message| {
                    self.access.may_publish(&author.who(), message.topic, message.qos as u8, message.retain)
                });
                if !allowed {
                    metric::denied("will");
                    // The number is taken up, and nothing else happens.
                    return Some(encoded(&Op::Expire { topics: Vec::new() }));
                }
                let plain = self.without_keeping(Place { slot: to.0, partition }, message);
                let message = plain.as_deref().unwrap_or(message);
                let chosen = self.choose(to, partition, message, client, None);
                let place = Place { slot: to.0, partition };
                chosen.or_else(|| Some(encoded(&crate::slot::publish(place, message, client, None))))
            }
            _ => None,
        }
    }

    fn choose(
        &mut self,
        to: SlotId,
        partition: u64,
        bytes: &[u8],
        client: u64,
        again: Option<Again>,
    ) -> Option<Vec<u8>> {
        let message = Message::decode(bytes).ok()?;
        let in_line = message.retain && again.is_none();
        if !in_line && !self.has_to_decide(to, partition) {
            return None;
        }
        let chosen = self.decision(to, partition, &message, client, again);
        let root_targets = Obsolete;
        Some(if in_line {
            let number = self.enter(to, &message);
            encoded(&Op::InLine { number, partition, message: bytes, root_targets, chosen })
        } else {
            encoded(&Op::Publish { partition, message: bytes, client, again, root_targets, chosen })
        })
    }

    /// Tells all shards what connections here have to say of Shared Subscriptions.
    fn announce(&mut self, announcement: Announcement) {
        for dest in self.outlet.post.others() {
            self.outlet.post.send(dest, Letter::Presence(announcement.clone()));
        }
        self.presence.take(self.outlet.post.this(), &announcement);
    }
}

fn encoded(op: &Op<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::encode_into(op, &mut bytes);
    bytes
}
