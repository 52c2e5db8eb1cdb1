//! The slots of a shard at work: publishing, records, rounds, and the mail between slots and connections.

use std::ops::Range;

use convoy_ids::{NodeId, SlotId};
use convoy_storage::engine::{self, Engine};
use convoy_storage::record;
use convoy_storage::replica::{Committed, Driver, ProposeError, Role, Round, RoundError};
use convoy_wire::{PacketId, QoS, ReasonCode};

use super::mail::{Answer, Letter, Mail, Post, ReplyTo};
use super::outlet::Local;
use super::{Error, Shard};
use crate::clock::Now;
use crate::message::Message;
use crate::options::Options;
use crate::retained;
use crate::session::{Epoch, Place, SessionNumber};
use crate::slot::{Ack, Emitted, Op, RootChange, SessionCall, Slot, Target, Turn};
use crate::topic::{Pick, Routes};

/// Milliseconds that acknowledgements of Clients may wait for company before they get a record of their own.
const SAVE_EVERY: u64 = 100;

/// Operations an outbox keeps after they were applied, before a record is made to delete them.
const TRIM_WORTH: u64 = 128;

/// The slots of this shard, by their number.
pub struct Slots {
    table: Vec<Slot>,
    shards: u16,
    has_meta: bool,
}

impl Slots {
    pub fn open(
        options: &Options,
        post: &Post,
        engine: &dyn Engine,
        node: NodeId,
        driver: &mut Driver,
        root: &mut Routes,
    ) -> Result<Self, Error> {
        let mut table = Vec::new();
        let here = post.here();
        for number in (here..options.slots).step_by(usize::from(post.shards())) {
            let id = SlotId(number);
            table.push(Slot::recover(id, engine, options.seed, root)?);
            driver.open(id, &[node])?;
        }
        // Every shard follows the meta group's routes; the first one leads it.
        let meta = Slot::recover(SlotId::META, engine, options.seed, root)?;
        let has_meta = post.is_here(SlotId::META);
        if has_meta {
            table.push(meta);
            driver.open(SlotId::META, &[node])?;
        }
        Ok(Self { table, shards: post.shards(), has_meta })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.table.iter()
    }

    /// Bytes that wait for the log.
    pub fn pending_bytes(&self) -> usize {
        self.table.iter().map(|slot| slot.pending.len_bytes()).sum()
    }

    fn place(&self, id: SlotId) -> usize {
        match id.is_meta() {
            true => self.table.len() - usize::from(self.has_meta),
            false => usize::from(id.0 / self.shards),
        }
    }

    /// The slot, if it is this shard's.
    pub fn get(&mut self, id: SlotId) -> Option<&mut Slot> {
        let place = self.place(id);
        self.table.get_mut(place).filter(|slot| slot.id == id)
    }
}

/// The slots' surroundings, borrowed apart from the slots themselves.
macro_rules! turn {
    ($shard:ident, $now:expr) => {
        Turn {
            now: $now,
            state: &mut $shard.state,
            outlet: &mut $shard.outlet,
            root: &$shard.root,
            fan_out: &mut $shard.fan_out,
            emitted: &mut $shard.emitted,
            root_changes: &mut $shard.root_changes,
        }
    };
}

impl Shard {
    /// Passes a message of QoS 0 or 1, or one whose publisher's Session ends with its connection, to everybody who
    /// subscribed. Tells how many parts have yet to become safe, each of which answers to `reply`; `None` if the
    /// partition is another shard's, which will tell.
    pub(super) fn publish(
        &mut self,
        now: Now,
        place: Place,
        message: &Message<'_>,
        reply: Option<ReplyTo>,
    ) -> Result<Option<u32>, ReasonCode> {
        let slot = SlotId(place.slot);
        let shard = self.outlet.post.shard_of(slot);
        if shard != self.outlet.post.here() {
            let mail = self.outlet.post.to(shard);
            let message = mail.lay(|bytes| message.encode_into(bytes));
            mail.letters.push(Letter::Publish { place, message, reply });
            return Ok(None);
        }
        let takes_records = self.takes_records();
        let Self { slots, fan_out, root, .. } = self;
        let Some(slot) = slots.get(slot).filter(|slot| slot.is_serving()) else {
            return Err(ReasonCode::ServerBusy);
        };
        fan_out.clear();
        if let Some(routes) = slot.routes(place.partition) {
            routes.find(message, Pick::RoundRobin, fan_out);
        }
        if !root.is_empty() {
            root.find(message, Pick::RoundRobin, fan_out);
        }
        fan_out.merge();
        let needs_record =
            |found: &crate::topic::Found| found.home.is_none() && found.delivery.qos > QoS::AtMostOnce;
        if !takes_records && (message.retain || fan_out.found().iter().any(needs_record)) {
            return Err(ReasonCode::QuotaExceeded);
        }
        if message.retain && !message.payload.is_empty() {
            self.room_for_retained(place, message.topic)?;
        }
        let Self { slots, fan_out, outlet, .. } = self;
        let queues = fan_out.found().iter().filter(|found| needs_record(found));
        for slot in queues.map(|found| found.session.slot()) {
            if slots.get(slot).is_some_and(|slot| slot.failure.is_some()) {
                return Err(ReasonCode::ServerUnavailable);
            }
        }

        outlet.edge.begin_message();
        let mut encoded = false;
        for (_, targets) in &mut self.targets {
            targets.clear();
        }
        for found in fan_out.found() {
            if let Some(home) = found.home {
                outlet.deliver(home, found.session, &found.delivery, message, now);
                continue;
            }
            if !encoded {
                encoded = true;
                self.message.clear();
                message.encode_into(&mut self.message);
            }
            if found.delivery.qos == QoS::AtMostOnce {
                outlet.pass(found.session, found.delivery, &self.message);
                continue;
            }
            let slot = found.session.slot();
            let at = self.targets.iter().position(|(of, _)| *of == slot).unwrap_or_else(|| {
                self.targets.push((slot, Vec::new()));
                self.targets.len() - 1
            });
            Target { session: found.session, delivery: found.delivery }.push(&mut self.targets[at].1);
        }

        let mut parts = 0;
        for (slot, targets) in self.targets.iter().filter(|(_, targets)| !targets.is_empty()) {
            parts += 1;
            if let Some(slot) = slots.get(*slot) {
                slot.pending.push(now.wall, &Op::Enqueue { message: &self.message, targets }, reply);
                continue;
            }
            let mail = outlet.post.to(outlet.post.shard_of(*slot));
            let message = mail.lay(|bytes| bytes.extend_from_slice(&self.message));
            let targets = mail.lay(|bytes| bytes.extend_from_slice(targets));
            mail.letters.push(Letter::Enqueue { slot: *slot, message, targets, reply });
        }
        if message.retain {
            parts += 1;
            self.message.clear();
            message.encode_into(&mut self.message);
            let op = Op::Retain { partition: place.partition, message: &self.message };
            slots.get(SlotId(place.slot)).expect("it was found above").pending.push(now.wall, &op, reply);
        }
        Ok(Some(parts))
    }

    /// Whether one more Retained Message fits. Each shard has its share of what the node may keep; a topic that has
    /// one already may always change it.
    fn room_for_retained(&mut self, place: Place, topic: &str) -> Result<(), ReasonCode> {
        let shards = u64::from(self.outlet.post.shards());
        let limits = &self.options.limits;
        let kept = self.slots.iter().map(|slot| slot.retained());
        let (messages, bytes) =
            kept.fold((0, 0), |(messages, bytes), kept| (messages + kept.messages, bytes + kept.bytes));
        if messages < limits.retained_messages / shards && bytes < limits.retained_bytes / shards {
            return Ok(());
        }
        match self.state.retained_bytes(SlotId(place.slot), place.partition, topic) {
            Ok(Some(_)) => Ok(()),
            _ => Err(ReasonCode::QuotaExceeded),
        }
    }

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
        let Some(slot) = self.slots.get(slot) else {
            let call = SessionCall::Ack { session, epoch, ack, packet_id };
            let shard = self.outlet.post.shard_of(slot);
            return self.outlet.post.send(shard, Letter::Session { slot, call });
        };
        let mut turn = turn!(self, now);
        if slot.is_serving()
            && let Err(error) = slot.on_ack(session, epoch, ack, packet_id, &mut turn)
        {
            fail(slot, &error);
        }
    }

    /// What a connection asks of its Session's slot, wherever that is.
    fn call(&mut self, now: Now, call: SessionCall) {
        let slot = match &call {
            SessionCall::Connect { name, .. } => match crate::slot::split_name(name) {
                Some((tenant, client_id)) => convoy_membership::slot_of(
                    &convoy_ids::ActorId::Session { tenant, client_id },
                    self.options.slots,
                ),
                None => return,
            },
            call => call.session().expect("only a CONNECT names no Session").slot(),
        };
        let shard = self.outlet.post.shard_of(slot);
        if shard == self.outlet.post.here() {
            self.called(now, slot, call);
        } else {
            self.outlet.post.send(shard, Letter::Session { slot, call });
        }
    }

    /// What a connection asks of a slot of this shard.
    fn called(&mut self, now: Now, id: SlotId, call: SessionCall) {
        let unable = match self.slots.get(id) {
            Some(slot) if slot.failure.is_some() || self.failure.is_some() => {
                Some(ReasonCode::ServerUnavailable)
            }
            Some(slot) if !slot.leading => Some(ReasonCode::ServerBusy),
            Some(_) if self.stalled => Some(ReasonCode::QuotaExceeded),
            // What is left is for those who come to read.
            Some(_) if self.low_space && call.adds() => Some(ReasonCode::QuotaExceeded),
            Some(_) => None,
            None => Some(ReasonCode::ServerBusy),
        };
        if let Some(reason) = unable
            && let Some(reply) = call.reply()
        {
            return self.outlet.answer(reply, Answer::Refused(reason));
        }
        let limit = self.options.limits.subscriptions_per_session;
        let mut turn = turn!(self, now);
        let Some(slot) = self.slots.get(id) else { return };
        if let Err(error) = slot.on_call(call, limit, &mut turn) {
            fail(slot, &error);
        }
    }

    /// Takes up what the current event has caused within the shard, until there is nothing left.
    pub(super) fn settle(&mut self, now: Now) {
        loop {
            if let Some(call) = self.outlet.edge.calls.pop_front() {
                self.call(now, call);
                continue;
            }
            if !self.root_changes.is_empty() {
                for change in std::mem::take(&mut self.root_changes) {
                    self.change_root(change);
                }
                continue;
            }
            if !self.emitted.is_empty() {
                for emitted in std::mem::take(&mut self.emitted) {
                    self.forward(now, emitted);
                }
                continue;
            }
            if self.root_is_led && !self.root_is_known {
                self.know_root(now);
                let (here, shards) = (self.outlet.post.here(), self.outlet.post.shards());
                for shard in (0..shards).filter(|shard| *shard != here) {
                    self.outlet.post.send(shard, Letter::RootIsKnown);
                }
                continue;
            }
            if let Some(local) = self.outlet.local.pop_front() {
                self.take_local(now, local);
                continue;
            }
            if self.state.is_empty()
                && let Some(home) = self.outlet.edge.hungry.pop()
            {
                self.feed(now, home);
                continue;
            }
            return;
        }
    }

    fn take_local(&mut self, now: Now, local: Local) {
        match local {
            Local::OutboxApplied { from, to, number } => {
                if let Some(slot) = self.slots.get(from) {
                    slot.outbox_applied(to, number);
                }
            }
            Local::Pass { session, delivery, message } => {
                let Ok(message) = Message::decode(&message) else { return };
                let mut turn = turn!(self, now);
                if let Some(slot) = self.slots.get(session.slot()).filter(|slot| slot.is_serving()) {
                    slot.pass(session, delivery, &message, &mut turn);
                }
            }
        }
    }

    /// A root route begins or ends: here, and in every other shard, each of which answers for itself.
    fn change_root(&mut self, change: RootChange) {
        let RootChange { filter, subscriber, route, reply } = change;
        let (here, shards) = (self.outlet.post.here(), self.outlet.post.shards());
        for shard in (0..shards).filter(|shard| *shard != here) {
            let filter = filter.clone();
            self.outlet.post.send(shard, Letter::RootRoute { filter, subscriber, route, reply });
        }
        match route {
            Some(route) => self.root.insert(&filter, subscriber, route),
            None => self.root.remove(&filter, subscriber),
        }
        if let Some(reply) = reply {
            self.outlet.answer(reply, Answer::Done);
        }
    }

    /// All root routes are known: slots that were elected meanwhile are led.
    fn know_root(&mut self, now: Now) {
        self.root_is_known = true;
        for id in std::mem::take(&mut self.elected) {
            self.lead(now, id);
        }
    }

    /// An operation out of an outbox goes to the slot it is for.
    fn forward(&mut self, now: Now, emitted: Emitted) {
        let Emitted { from, to, number, op, reply } = emitted;
        let shard = self.outlet.post.shard_of(to);
        if shard == self.outlet.post.here() {
            self.forwarded(now, from, to, number, &op, reply);
        } else {
            let mail = self.outlet.post.to(shard);
            let op = mail.lay(|bytes| bytes.extend_from_slice(&op));
            mail.letters.push(Letter::Outbox { from, to, number, op, reply });
        }
    }

    fn forwarded(
        &mut self,
        now: Now,
        from: SlotId,
        to: SlotId,
        number: u64,
        op: &[u8],
        reply: Option<ReplyTo>,
    ) {
        // What the root routes match belongs into the record: they are another log's, and other replicas of this slot
        // may know them differently.
        let mut with_roots = Vec::new();
        let mut op = op;
        if !self.root.is_empty()
            && let Ok(Op::Publish { partition, message: bytes, .. }) = record::decode(op)
            && let Ok(message) = Message::decode(bytes)
        {
            self.fan_out.clear();
            // As the slot picks for those that live with their connection, when it applies this.
            self.root.find(&message, Pick::Agreed(number), &mut self.fan_out);
            let mut targets = Vec::new();
            let lasting = self.fan_out.found().iter().filter(|found| found.home.is_none());
            for found in lasting {
                Target { session: found.session, delivery: found.delivery }.push(&mut targets);
            }
            let publish = Op::Publish { partition, message: bytes, root_targets: &targets };
            record::encode_into(&publish, &mut with_roots);
            op = &with_roots;
        }
        if let Some(slot) = self.slots.get(to) {
            slot.pending.push(now.wall, &Op::Inbox { from: from.0, number, op }, reply);
        }
    }

    /// Reads Retained Messages on for a connection.
    fn feed(&mut self, now: Now, home: crate::session::Home) {
        let Some(connection) = self.outlet.edge.connections.get_mut(home.key as usize) else { return };
        if connection.home.serial != home.serial {
            return;
        }
        let Some(request) = connection.retained.pop_front() else { return };
        let shard = self.outlet.post.shard_of(request.slot());
        if shard == self.outlet.post.here() {
            self.read_retained(now, request);
        } else {
            self.outlet.post.send(shard, Letter::Retained(Box::new(request)));
        }
    }

    fn read_retained(&mut self, now: Now, request: retained::Request) {
        let slot = request.slot();
        let home = request.home();
        match retained::serve(request, &**self.state.engine(), now.wall) {
            Ok(chunk) if home.shard == self.outlet.post.here() => self.outlet.edge.on_retained(chunk, now),
            Ok(chunk) => self.outlet.post.send(home.shard, Letter::RetainedChunk(Box::new(chunk))),
            Err(error) => {
                if let Some(slot) = self.slots.get(slot) {
                    fail(slot, &error);
                }
            }
        }
    }

    /// Mail from another shard.
    pub fn mail(&mut self, now: Now, mail: Mail) {
        self.outlet.edge.now = now.monotonic;
        let Mail { bytes, letters } = mail;
        let part = |range: Range<u32>| &bytes[range.start as usize..range.end as usize];
        for letter in letters {
            match letter {
                Letter::Publish { place, message, reply } => {
                    let message = Message::decode(part(message)).expect("another shard has encoded it");
                    let answer = match self.publish(now, place, &message, reply) {
                        Ok(parts) => Answer::Begun { parts: parts.unwrap_or(0) },
                        Err(reason) => Answer::Refused(reason),
                    };
                    if let Some(reply) = reply {
                        self.outlet.answer(reply, answer);
                    }
                }
                Letter::Enqueue { slot, message, targets, reply } => {
                    let takes_records = self.takes_records();
                    match self.slots.get(slot).filter(|slot| slot.is_serving() && takes_records) {
                        Some(slot) => {
                            let op = Op::Enqueue { message: part(message), targets: part(targets) };
                            slot.pending.push(now.wall, &op, reply);
                        }
                        None => {
                            if let Some(reply) = reply {
                                self.outlet.answer(reply, Answer::Refused(ReasonCode::QuotaExceeded));
                            }
                        }
                    }
                }
                Letter::Pass { session, delivery, message } => {
                    self.take_local(now, Local::Pass { session, delivery, message: part(message).to_vec() });
                }
                Letter::Session { slot, call } => self.called(now, slot, call),
                Letter::Outbox { from, to, number, op, reply } => {
                    self.forwarded(now, from, to, number, part(op), reply);
                }
                Letter::OutboxApplied { from, to, number } => {
                    self.take_local(now, Local::OutboxApplied { from, to, number });
                }
                Letter::RootRoute { filter, subscriber, route, reply } => {
                    match route {
                        Some(route) => self.root.insert(&filter, subscriber, route),
                        None => self.root.remove(&filter, subscriber),
                    }
                    if let Some(reply) = reply {
                        self.outlet.answer(reply, Answer::Done);
                    }
                }
                Letter::RootIsKnown => self.know_root(now),
                Letter::Retained(request) => self.read_retained(now, *request),
                Letter::Deliver { home, delivery, message, .. } => {
                    let message = Message::decode(part(message)).expect("another shard has encoded it");
                    self.outlet.edge.begin_message();
                    self.outlet.edge.deliver(&home, &delivery, &message, now);
                }
                Letter::Send { home, packet_id, dup, delivery, message } => {
                    let message = Message::decode(part(message)).expect("another shard has encoded it");
                    self.outlet.edge.send(&home, packet_id, dup, &delivery, &message, now);
                }
                Letter::Release { home, packet_id } => self.outlet.edge.release(&home, packet_id),
                Letter::Answer { to, answer } => self.outlet.edge.answer(to, answer),
                Letter::TakenOver { home, then } => {
                    self.outlet.edge.taken_over(&home);
                    if let Some((reply, answer)) = then {
                        self.outlet.answer(reply, *answer);
                    }
                }
                Letter::RetainedChunk(chunk) => self.outlet.edge.on_retained(*chunk, now),
            }
            self.settle(now);
        }
    }

    /// The end of a burst of events: what has been gathered goes to the log, unless a sync is under way; then it
    /// gathers on.
    pub fn turn(&mut self, now: Now) {
        self.settle(now);
        if self.driver.is_syncing() || self.failure.is_some() {
            return;
        }
        self.write_state(now);
        self.look_for_room();
        let save = now.monotonic >= self.save_at;
        let mut records = 0;
        for slot in self.slots.table.iter_mut().filter(|slot| slot.is_serving()) {
            if slot.has_unsaved() && (save || slot.must_save() || !slot.pending.is_empty()) {
                slot.save_acknowledged(now.wall);
                self.save_at = now.monotonic + SAVE_EVERY;
            }
            while let Some(mut record) = slot.pending.take() {
                match self.driver.propose(slot.id, std::mem::take(&mut record.bytes)) {
                    Ok((term, index)) => {
                        slot.underway.push(term, index, record.replies);
                        records += 1;
                    }
                    Err((error, bytes)) => {
                        record.bytes = bytes;
                        slot.pending.restore(record);
                        if error == ProposeError::Stalled {
                            self.stalled = true;
                        }
                        break;
                    }
                }
            }
        }
        if records > 0 {
            self.records.increment(records);
        }
        if self.driver.is_dirty() {
            self.round(now);
        }
    }

    /// Before records are made: if little room is left, publications that wait for theirs are refused. To find out by
    /// a failed write would be too late to say so honestly: what is in the log may be committed yet.
    fn look_for_room(&mut self) {
        let pending = self.slots.table.iter().any(|slot| !slot.pending.is_empty());
        if !pending && !self.low_space {
            return;
        }
        let Ok(space) = self.state.engine().space() else { return };
        let low = space.free < self.options.min_free_bytes;
        if low != self.low_space {
            self.low_space = low;
            match low {
                true => {
                    tracing::error!(free = space.free, "little room on the disk: publications are refused")
                }
                false => tracing::info!(free = space.free, "there is room on the disk again"),
            }
        }
        if low {
            for slot in &mut self.slots.table {
                for reply in slot.pending.refuse_additions() {
                    self.outlet.answer(reply, Answer::Refused(ReasonCode::QuotaExceeded));
                }
            }
        }
    }

    fn round(&mut self, now: Now) {
        match self.driver.round(&mut self.batch, &mut self.effects) {
            Ok(()) => self.stalled = !self.state.is_empty(),
            Err(RoundError::Full { path }) => {
                if !self.stalled {
                    tracing::error!(path, "disk full: publications that need it are refused");
                }
                self.stalled = true;
            }
            Err(RoundError::Failed(reason)) => self.fail_all(&reason),
        }
        self.take_effects(now);
    }

    /// The writes of a round are on stable storage.
    pub fn synced(&mut self, now: Now, round: Round) {
        self.outlet.edge.now = now.monotonic;
        self.rounds.increment(1);
        self.driver.synced(round, &mut self.effects);
        self.take_effects(now);
    }

    /// The sync failed: what is on disk is unknown, and nothing may be acknowledged.
    pub fn sync_failed(&mut self, reason: &str) {
        self.fail_all(reason);
    }

    fn fail_all(&mut self, reason: &str) {
        tracing::error!(reason, "storage failed: nothing is acknowledged any more");
        self.failure = Some(reason.to_owned());
    }

    /// Applies what is committed, and carries on what follows from it.
    fn take_effects(&mut self, now: Now) {
        if self.effects.sync.is_some() {
            self.sync = self.effects.sync.take();
        }
        for failed in std::mem::take(&mut self.effects.failures) {
            if let Some(slot) = self.slots.get(failed.slot) {
                fail(slot, &failed.error);
            }
        }
        for change in std::mem::take(&mut self.effects.roles) {
            self.change_role(change.slot, change.role);
        }
        let committed = std::mem::take(&mut self.effects.committed);
        for record in &committed {
            self.apply(now, record);
        }
        self.write_state(now);
        // With one voter nobody else is there to be told.
        self.effects.messages.clear();
        self.effects.reads.clear();
        self.effects.snapshots.clear();
        self.settle(now);
    }

    fn apply(&mut self, now: Now, record: &Committed) {
        let Some(slot) = self.slots.get(record.slot) else { return };
        if slot.failure.is_some() {
            return;
        }
        if !record.data.is_empty() {
            let before = self.state.batch().mark();
            let mut turn = turn!(self, now);
            turn.outlet.edge.begin_message();
            if let Err(error) = slot.apply(record.term, record.index, &record.data, &mut turn) {
                fail(slot, &error);
                // A record is applied whole or not at all: it comes again when the slot does.
                return self.state.batch().rewind(before);
            }
        }
        Driver::put_applied(record.slot, record.index, self.state.batch());
        self.applied.push((record.slot, record.index));
        if !slot.leading && slot.elected == Some(record.term) {
            self.lead(now, record.slot);
        }
    }

    /// A slot has applied what earlier leaders promised: it is led from here, once the root routes are known.
    fn lead(&mut self, now: Now, id: SlotId) {
        if id.is_meta() {
            self.root_is_led = true;
        } else if !self.root_is_known {
            return self.elected.push(id);
        }
        let Self { slots, state, outlet, emitted, .. } = self;
        let edge = &outlet.edge;
        let Some(slot) = slots.get(id).filter(|slot| slot.elected.is_some()) else { return };
        if let Err(error) = slot.lead(now, state, |home| !edge.is_of_this_start(home), emitted) {
            fail(slot, &error);
        }
    }

    /// Makes applied state visible to reads; what was put off until then goes on.
    fn write_state(&mut self, now: Now) {
        if self.state.is_empty() {
            return;
        }
        match self.state.write() {
            Ok(()) => {}
            Err(engine::Error::Full { path }) => {
                if !self.stalled {
                    tracing::error!(path, "disk full: publications that need it are refused");
                }
                self.stalled = true;
                return;
            }
            Err(error) => return self.fail_all(&error.to_string()),
        }
        // Only what is in the engine may go from the log.
        for (slot, index) in self.applied.drain(..) {
            self.driver.advance_applied(slot, index);
        }
        let mut turn = turn!(self, now);
        for slot in &mut self.slots.table {
            slot.passivate();
            for session in std::mem::take(&mut slot.deferred) {
                if let Err(error) = slot.pump(session, &mut turn) {
                    fail(slot, &error);
                    break;
                }
            }
        }
    }

    /// What an earlier leader promised is applied before this one serves: see [`Slot::elected`].
    fn change_role(&mut self, id: SlotId, role: Role) {
        let Some(slot) = self.slots.get(id) else { return };
        match role {
            Role::Leader { term } => slot.elected = Some(term),
            _ if slot.leading => slot.follow(),
            _ => slot.elected = None,
        }
    }

    /// What time alone brings about: to be called every 100 ms or so.
    pub fn tick(&mut self, now: Now) {
        self.outlet.edge.now = now.monotonic;
        self.driver.tick();
        if self.stalled {
            self.write_state(now);
            if self.driver.is_dirty() && !self.driver.is_syncing() {
                self.round(now);
            } else if self.state.is_empty() && !self.driver.is_dirty() {
                self.stalled = false;
            }
            if !self.stalled {
                tracing::info!("there is room on the disk again");
            }
        }
        let mut failures = Vec::new();
        for slot in self.slots.table.iter_mut().filter(|slot| slot.failure.is_none()) {
            match slot.sweep(now, &mut self.state) {
                Ok(_) => {}
                Err(error) => failures.push((slot.id, error)),
            }
            slot.trim_outboxes(now, TRIM_WORTH);
        }
        for (id, error) in failures {
            fail(self.slots.get(id).expect("it was visited"), &error);
        }
        self.turn(now);
    }

    /// What time alone does to connections: to be called every second or so.
    pub fn tick_connections(&mut self, now: Now) {
        self.outlet.edge.tick(now);
    }
}

/// A slot that cannot read or apply what it must serves nobody, and says why.
fn fail(slot: &mut Slot, error: &dyn std::fmt::Display) {
    tracing::error!(slot = %slot.id, %error, "slot stopped");
    slot.failure = Some(format!("slot {}: {error}", slot.id));
}
