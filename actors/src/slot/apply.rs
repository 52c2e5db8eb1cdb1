//! Applying a record: the same on every replica. The leader's effects (replies, deliveries, operations for other
//! slots) are given out on the way and are lost without harm: what must not be lost stands in a row.

use std::collections::hash_map::Entry as MapEntry;

use convoy_ids::{Index, SlotId, Term};
use convoy_storage::engine::{Error, Family};
use convoy_storage::record;
use convoy_wire::ReasonCode;

use super::active::{Active, activate, load};
use super::leader::Replies;
use super::op::{self, Again, Entry, Farewell, Op, RouteRow, Target};
use super::redispatch::SHARED;
use super::state::Kept;
use super::{Emitted, RootChange, Slot, Turn, client_of, rows, stored};
use crate::clock::Millis;
use crate::message::Message;
use crate::session::{
    Epoch, Grant, Home, Place, Queue, QueueLimits, Seq, SessionNumber, SessionRow, SubscriptionRow, Will,
};
use crate::shard::{Answer, ReplyTo};
use crate::topic::{Choice, Pick, Routes};

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
    at: Millis,
    /// A number that every replica knows, and the one that gave the operation out: of a message that came out of an
    /// outbox its number there, of any other operation the place of its record.
    agreed: u64,
    reply: Option<ReplyTo>,
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
        let mut replies: Replies = self.underway.take(term, index);
        let unreadable = |error| Failure::Record { slot: self.id, index, error };
        let (at, ops) = op::open(data).map_err(unreadable)?;
        let grants = self.grants;
        for (number, op) in op::iter(ops).enumerate() {
            let op = op.map_err(|error| Failure::Record { slot: self.id, index, error })?;
            let reply = match replies.front() {
                Some((of, _)) if *of as usize == number => replies.pop_front().map(|(_, reply)| reply),
                _ => None,
            };
            self.apply_op(op, Context { at, agreed: index.0, reply }, turn)?;
        }
        if self.grants != grants {
            turn.state.put(rows::grants(self.id), &self.grants);
        }
        Ok(())
    }

    fn apply_op(&mut self, op: Op<'_>, context: Context, turn: &mut Turn<'_>) -> Result<(), Error> {
        let done = Answer::Done;
        match op {
            Op::Connect { name, clean_start, expiry_seconds, home, limits, will, sent, yields } => {
                if yields && self.is_connected(name, turn)? {
                    // [MQTT-3.1.3-8]
                    self.answer(context, Answer::Refused(ReasonCode::ClientIdentifierNotValid), turn);
                    return Ok(());
                }
                self.connect(name, clean_start, expiry_seconds, home, limits, will, sent, context, turn)?;
                return Ok(());
            }
            Op::Disconnect { session, epoch, farewell, expiry_seconds, sent } => {
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
                for target in Target::all(targets) {
                    self.enqueue(target, message, turn)?;
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
            Op::Publish { partition, message, again, root_targets, chosen, .. } => {
                let choice = Choice { number: context.agreed, chosen: &chosen, again };
                self.publish(partition, message, root_targets, choice, context, turn)?;
            }
            Op::Redispatch { session, seqs } => self.redispatch(session, &seqs, context, turn)?,
            Op::Retain { partition, message } => self.retain(partition, message, turn)?,
            Op::Expire { topics } => {
                for (partition, topic) in topics {
                    self.expire(partition, topic, context, turn)?;
                }
            }
            Op::Inbox { from, number, op } => return self.inbox(SlotId(from), number, op, context, turn),
            Op::Trim { to, number } => self.trim(SlotId(to), number, turn),
            Op::Due { at, session } => self.due(at, session, context, turn)?,
            Op::End { session } => self.end_by_order(session, context, turn)?,
        }
        self.answer(context, done, turn);
        Ok(())
    }

    fn answer(&self, context: Context, answer: Answer, turn: &mut Turn<'_>) {
        if let Some(reply) = context.reply.filter(|_| self.leading) {
            turn.outlet.answer(reply, answer);
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
                    self.idle.push_back(session);
                }
                Ok(Some(entry.insert(active)))
            }
        }
    }

    /// The Session of a Client Identifier, if it has one.
    fn session_of(&self, name: &[u8], turn: &mut Turn<'_>) -> Result<Option<SessionNumber>, Error> {
        Ok(match self.names.get(name) {
            Some(&session) => Some(session),
            None => turn.state.get::<SessionRow>(&rows::client(self.id, name))?.map(|row| row.number),
        })
    }

    fn is_connected(&mut self, name: &[u8], turn: &mut Turn<'_>) -> Result<bool, Error> {
        let Some(session) = self.session_of(name, turn)? else { return Ok(false) };
        Ok(self.activate(session, turn)?.is_some_and(|active| active.row.home.is_some()))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of CONNECT")]
    fn connect(
        &mut self,
        name: &[u8],
        clean_start: bool,
        expiry_seconds: u32,
        home: Home,
        limits: QueueLimits,
        will: Option<Will>,
        sent: Seq,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let known = self.session_of(name, turn)?;
        let mut old_home = None;
        let mut session = None;
        if let Some(known) = known
            && let Some(active) = self.activate(known, turn)?
        {
            old_home = active.row.home;
            if let Some(link) = active.link.take() {
                active.sent = link.cursor;
            }
            if let Some(queue) = &mut active.queue {
                queue.note_sent(sent);
            }
            // A Session that ends with its connection has ended, and one past its time, though nobody swept it yet.
            let over = !active.row.outlives_connection()
                || active.row.ends_at().is_some_and(|end| end <= context.at);
            if old_home.is_some() {
                // The old connection ends now: its Will is due as after any other end [MQTT-3.1.4-3].
                active.row.home = None;
                active.row.disconnected_at = context.at;
                turn.state.delete(rows::live(known));
            } else {
                self.forget_due(known, turn);
            }
            if over || clean_start {
                self.end(known, context, turn)?;
            } else {
                // A Will whose delay has not passed is discarded [MQTT-3.1.3-9].
                if self.will_is_due(known, context.at) {
                    self.publish_will(known, context, turn)?;
                }
                session = Some(known);
            }
        }

        self.grants += 1;
        let epoch = Epoch(self.grants);
        let present = session.is_some();
        let number = session.unwrap_or_else(|| SessionNumber::new(self.id, self.grants));
        let known = self.active.get(&number).map(|active| &active.row);
        let subscriptions = known.map_or(0, |row| row.subscriptions);
        let created_at = known.map_or(context.at, |row| row.created_at);
        let has_queue = expiry_seconds > 0 || known.is_some_and(|row| row.has_queue);
        let row = SessionRow {
            number,
            epoch,
            expiry_seconds,
            home: Some(home),
            created_at,
            disconnected_at: 0,
            limits,
            will,
            subscriptions,
            has_queue,
        };
        turn.state.put(rows::client(self.id, name), &row);
        turn.state.put_bytes(rows::live(number), &[]);
        match self.active.entry(number) {
            MapEntry::Occupied(mut entry) => {
                let active = entry.get_mut();
                if active.queue.is_none() && row.has_queue {
                    active.queue = Some(Box::default());
                }
                active.row = row;
            }
            MapEntry::Vacant(entry) => {
                turn.state.put_bytes(rows::name(number), name);
                let queue = row.has_queue.then(Box::<Queue>::default);
                entry.insert(Active { name: name.into(), row, queue, link: None, sent: 0 });
                self.names.insert(name.into(), number);
            }
        }

        let Some(reply) = context.reply.filter(|_| self.leading) else { return Ok(()) };
        let (mut unreleased, mut groups) = (Vec::new(), Vec::new());
        if present {
            groups = self.groups_of(number, turn)?;
            let (from, to) = rows::all_unreleased(number);
            let found = turn.state.scan(&from, &to)?;
            unreleased.extend(found.iter().filter_map(|(key, _)| rows::packet_id_of_unreleased(key)));
        }
        let answer =
            Answer::Granted(Grant { session: number, epoch, present, has_queue, unreleased, groups });
        // The old connection acknowledges nothing any more before the new one hears of its grant.
        turn.outlet.take_over(old_home, reply, answer);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of DISCONNECT")]
    fn disconnect(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        farewell: Farewell,
        expiry_seconds: Option<u32>,
        sent: Seq,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(active) = self.activate(session, turn)?.filter(|active| active.row.epoch == epoch) else {
            return Ok(());
        };
        if active.row.home.is_none() {
            return Ok(());
        }
        active.link = None;
        active.row.home = None;
        active.row.disconnected_at = context.at;
        if let Some(expiry_seconds) = expiry_seconds {
            active.row.expiry_seconds = expiry_seconds;
        }
        if farewell == Farewell::Normal {
            active.row.will = None;
        }
        if let Some(queue) = &mut active.queue {
            queue.note_sent(sent);
            turn.state.put(rows::head(session), queue.head());
        }
        turn.state.delete(rows::live(session));
        if !active.row.outlives_connection() {
            return self.end(session, context, turn);
        }
        if self.will_is_due(session, context.at) {
            self.publish_will(session, context, turn)?;
        }
        self.save(session, turn);
        self.remember_due(session, turn);
        self.idle.push_back(session);
        if self.leading && self.active[&session].queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
            self.departed.push(session);
        }
        Ok(())
    }

    /// Writes the row of an active Session.
    fn save(&mut self, session: SessionNumber, turn: &mut Turn<'_>) {
        let active = &self.active[&session];
        turn.state.put(rows::client(self.id, &active.name), &active.row);
    }

    fn due_of(&self, session: SessionNumber) -> Option<Millis> {
        let row = &self.active[&session].row;
        [row.ends_at(), row.will_due_at()].into_iter().flatten().min()
    }

    fn remember_due(&mut self, session: SessionNumber, turn: &mut Turn<'_>) {
        if let Some(at) = self.due_of(session) {
            turn.state.put_bytes(rows::due(self.id, at, session), &[]);
            self.next_due = self.next_due.min(at);
        }
    }

    fn forget_due(&mut self, session: SessionNumber, turn: &mut Turn<'_>) {
        if let Some(at) = self.due_of(session) {
            turn.state.delete(rows::due(self.id, at, session));
        }
    }

    fn due(
        &mut self,
        at: Millis,
        session: SessionNumber,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        turn.state.delete(rows::due(self.id, at, session));
        if self.activate(session, turn)?.is_none() || self.due_of(session) != Some(at) {
            return Ok(());
        }
        let row = &self.active[&session].row;
        if row.ends_at().is_some_and(|end| end <= at) {
            return self.end(session, context, turn);
        }
        self.publish_will(session, context, turn)?;
        self.save(session, turn);
        self.remember_due(session, turn);
        Ok(())
    }

    fn will_is_due(&self, session: SessionNumber, at: Millis) -> bool {
        self.active[&session].row.will_due_at().is_some_and(|due| due <= at)
    }

    /// Sends the Will Message to its partition, once: with this the Session has none.
    fn publish_will(
        &mut self,
        session: SessionNumber,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let active = self.active.get_mut(&session).expect("the caller has activated the Session");
        let Some(will) = active.row.will.take() else { return Ok(()) };
        let place = will.place;
        match Message::decode(&will.message) {
            Ok(message) => {
                let expires_at = will.expiry_seconds.map(|seconds| context.at + u64::from(seconds) * 1000);
                let mut bytes = Vec::new();
                // It is this Client's own, for No Local [MQTT-3.8.3-3].
                Message { published_at: context.at, expires_at, publisher: session, ..message }
                    .encode_into(&mut bytes);
                let client = client_of(&active.name);
                let context = context.unanswered();
                self.emit(SlotId(place.slot), &publish(place, &bytes, client, None), context, turn);
                Ok(())
            }
            Err(error) => Err(Error::Damaged {
                place: format!("Will of Session {:x}", session.0),
                reason: error.to_string(),
            }),
        }
    }

    /// A Session ends: its Will is due, and everything of it goes.
    fn end(&mut self, session: SessionNumber, context: Context, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.publish_will(session, context, turn)?;
        let (from, to) = rows::subscriptions(session);
        let mut was_member = false;
        for (key, value) in turn.state.scan(&from, &to)? {
            let row: SubscriptionRow = super::state::decode(&key, &value)?;
            let Some(filter) = rows::filter_of_subscription(&key) else { continue };
            was_member |= filter.starts_with(SHARED);
            self.unroute(session, filter, &row.places, context.unanswered(), turn);
            turn.state.delete(key);
        }
        let active = self.active.remove(&session).expect("the caller has activated the Session");
        self.names.remove(&active.name);
        turn.state.delete(rows::client(self.id, &active.name));
        turn.state.delete(rows::name(session));
        if let Some(queue) = &active.queue {
            if was_member {
                self.redispatch_all(session, &active, context, turn)?;
            }
            if queue.next() > 0 {
                let (from, to) = (rows::queued(session, queue.floor()), rows::queued(session, Seq::MAX));
                turn.state.batch().delete_range(Family::Queue, &from, &to);
            }
            // A queue that nothing came into has a head too, once a connection ended.
            turn.state.delete(rows::head(session));
        }
        let ranges = [rows::all_unreleased(session), rows::all_received(session)];
        for (from, to) in ranges.iter().filter(|_| active.queue.is_some()) {
            for (key, _) in turn.state.scan(from, to)? {
                turn.state.delete(key);
            }
        }
        Ok(())
    }

    /// An operator ends the Session. Its connection is told by the leader, and has nothing left to take leave of.
    fn end_by_order(
        &mut self,
        session: SessionNumber,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(active) = self.activate(session, turn)? else { return Ok(()) };
        let home = active.row.home.take();
        if let Some(link) = active.link.take() {
            active.sent = link.cursor;
        }
        match home {
            Some(_) => {
                active.row.disconnected_at = context.at;
                turn.state.delete(rows::live(session));
            }
            None => self.forget_due(session, turn),
        }
        self.end(session, context, turn)?;
        if let Some(home) = home.filter(|_| self.leading) {
            turn.outlet.evict(home, true);
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        entries: Vec<Entry<'_>>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, Error> {
        let Some(active) = self.activate(session, turn)?.filter(|active| active.row.epoch == epoch) else {
            return Ok(Answer::Refused(ReasonCode::SessionTakenOver));
        };
        let home = active.row.home.filter(|_| !active.row.has_queue);
        let (mut more, mut existed) = (0, Vec::with_capacity(entries.len()));
        for entry in entries {
            let key = rows::subscription(session, entry.filter);
            existed.push(turn.state.contains(&key)?);
            turn.state.put(key, &entry.row);
            for place in &entry.row.places {
                let op = Op::Route {
                    partition: place.partition,
                    subscriber: session,
                    filter: entry.filter,
                    route: RouteRow { subscription: entry.row.subscription, home },
                };
                self.emit(SlotId(place.slot), &op, context, turn);
                more += answers(*place, turn);
            }
        }
        let new = existed.iter().filter(|existed| !**existed).count() as u32;
        if new > 0 {
            let active = self.active.get_mut(&session).expect("it was activated above");
            active.row.subscriptions += new;
            self.save(session, turn);
        }
        Ok(Answer::Subscribed { more, existed })
    }

    fn unsubscribe(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        filters: Vec<&str>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, Error> {
        if self.activate(session, turn)?.is_none_or(|active| active.row.epoch != epoch) {
            return Ok(Answer::Refused(ReasonCode::SessionTakenOver));
        }
        let (mut more, mut existed) = (0, Vec::with_capacity(filters.len()));
        for filter in filters {
            let key = rows::subscription(session, filter);
            let row: Option<SubscriptionRow> = turn.state.get(&key)?;
            existed.push(row.is_some());
            if let Some(row) = row {
                turn.state.delete(key);
                more += self.unroute(session, filter, &row.places, context, turn);
            }
        }
        let gone = existed.iter().filter(|existed| **existed).count() as u32;
        if gone > 0 {
            let active = self.active.get_mut(&session).expect("it was activated above");
            active.row.subscriptions -= gone.min(active.row.subscriptions);
            self.save(session, turn);
        }
        Ok(Answer::Subscribed { more, existed })
    }

    fn unroute(
        &mut self,
        session: SessionNumber,
        filter: &str,
        places: &[Place],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> u32 {
        for place in places {
            let op = Op::Unroute { partition: place.partition, subscriber: session, filter };
            self.emit(SlotId(place.slot), &op, context, turn);
        }
        places.iter().map(|place| answers(*place, turn)).sum()
    }

    /// A Subscription begins (with a route) or ends in a partition of this slot, or in the meta group.
    fn route(
        &mut self,
        partition: u64,
        subscriber: SessionNumber,
        filter: &str,
        route: Option<RouteRow>,
        context: Context,
        turn: &mut Turn<'_>,
    ) {
        let key = rows::route(self.id, partition, subscriber.0, filter);
        match &route {
            Some(route) => turn.state.put(key, route),
            None => turn.state.delete(key),
        }
        if self.id.is_meta() {
            // Every shard follows; the last one to do so tells the connection.
            let reply = context.reply.filter(|_| self.leading);
            let filter = filter.to_owned();
            turn.root_changes.push(RootChange { filter, subscriber, route, reply });
            return;
        }
        let seed = self.route_seed;
        let routes = self.partitions.entry(partition).or_insert_with(|| Routes::new(seed));
        match route {
            Some(route) => routes.insert(filter, subscriber, route),
            None => {
                routes.remove(filter, subscriber);
                if routes.is_empty() {
                    self.partitions.remove(&partition);
                }
            }
        }
        self.answer(context, Answer::Done, turn);
    }

    fn enqueue(&mut self, target: Target, message: &[u8], turn: &mut Turn<'_>) -> Result<(), Error> {
        let leading = self.leading;
        let Some(active) = self.activate(target.session, turn)? else { return Ok(()) };
        let limits = active.row.limits;
        let Some(queue) = &mut active.queue else { return Ok(()) };
        let (seq, came) = queue.push(message.len() as u32);
        let row = stored::Stored { came, delivery: target.delivery, message };
        turn.state.put_queued(target.session, seq, &row);
        while let Some(oldest) = queue.overflow(&limits) {
            let bytes = turn.state.queued_bytes(target.session, oldest)?;
            if queue.received.contains(&oldest) {
                turn.state.delete(rows::received(target.session, oldest));
            }
            queue.remove(oldest, bytes);
            turn.state.batch().delete(Family::Queue, &rows::queued(target.session, oldest));
            turn.state.put(rows::head(target.session), queue.head());
            if leading {
                metrics::counter!(crate::metric::QUEUE_DROPPED).increment(1);
            }
        }
        if leading {
            self.deliver_fresh(target.session, seq, target.delivery, message, turn);
        }
        Ok(())
    }

    fn finished(
        &mut self,
        session: SessionNumber,
        messages: &[(Seq, u32)],
        sent: Seq,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(queue) = self.activate(session, turn)?.and_then(|active| active.queue.as_mut()) else {
            return Ok(());
        };
        for &(seq, bytes) in messages {
            if queue.received.contains(&seq) {
                turn.state.delete(rows::received(session, seq));
            }
            if queue.remove(seq, bytes) {
                turn.state.batch().delete(Family::Queue, &rows::queued(session, seq));
            }
        }
        queue.note_sent(sent);
        turn.state.put(rows::head(session), queue.head());
        Ok(())
    }

    fn received(&mut self, session: SessionNumber, seqs: &[Seq], turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(active) = self.activate(session, turn)? else { return Ok(()) };
        let Some(queue) = &mut active.queue else { return Ok(()) };
        for &seq in seqs {
            if queue.holds(seq) {
                queue.received.insert(seq);
                turn.state.put_bytes(rows::received(session, seq), &[]);
            }
        }
        if self.leading {
            self.release(session, seqs, turn);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of PUBLISH")]
    fn accept(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        packet_id: u16,
        place: Place,
        message: &[u8],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Answer>, Error> {
        let Some(active) = self.activate(session, turn)?.filter(|active| active.row.epoch == epoch) else {
            return Ok(Some(Answer::Refused(ReasonCode::SessionTakenOver)));
        };
        let client = client_of(&active.name);
        let key = rows::unreleased(session, packet_id);
        // [MQTT-4.3.3-10]: until PUBREL the same identifier is the same message.
        if !turn.state.contains(&key)? {
            turn.state.put_bytes(key, &[]);
            let op = publish(place, message, client, None);
            // PUBREC of a Retained Message waits until its partition has it: the next SUBSCRIBE finds it, and what its
            // publisher sends next, at any QoS, comes behind it.
            let retain = Message::decode(message).is_ok_and(|message| message.retain);
            let reply = context.reply.filter(|_| retain);
            self.emit(SlotId(place.slot), &op, Context { reply, ..context }, turn);
            return Ok((!retain).then_some(Answer::Done));
        }
        Ok(Some(Answer::Done))
    }

    /// A message that came by the log: matched here, where the routes are, and passed on by the log.
    fn publish(
        &mut self,
        partition: u64,
        bytes: &[u8],
        root_targets: &[u8],
        choice: Choice<'_>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let message = Message::decode(bytes).map_err(|error| Error::Damaged {
            place: format!("slot {}", self.id),
            reason: error.to_string(),
        })?;
        if message.retain && choice.again.is_none() {
            self.retain(partition, bytes, turn)?;
        }
        let mut fan_out = std::mem::take(turn.fan_out);
        fan_out.clear();
        let pick = Pick::Agreed(choice);
        if let Some(routes) = self.partitions.get(&partition) {
            routes.find(&message, pick, &mut fan_out);
        }
        // Root routes belong to another log: what the leader found there stands in the record. Those that live with
        // their connection are the leader's alone.
        if self.leading {
            let from = fan_out.found().len();
            turn.root.find(&message, pick, &mut fan_out);
            fan_out.retain_from(from, |found| found.home.is_some());
        }
        for target in Target::all(root_targets) {
            fan_out.add_target(target);
        }
        fan_out.merge_in_order();
        // A record holds many messages: none may go out in the encoding of the one before it.
        turn.outlet.edge.begin_message();
        let mut by_slot: std::collections::BTreeMap<SlotId, Vec<u8>> = Default::default();
        for found in fan_out.found() {
            match found.home {
                Some(home) if self.leading => {
                    turn.outlet.deliver(home, &found.delivery, &message, turn.now);
                }
                Some(_) => {}
                None if found.delivery.qos == convoy_wire::QoS::AtMostOnce => {
                    if self.leading {
                        turn.outlet.pass(found.session, found.delivery, bytes);
                    }
                }
                None => Target { session: found.session, delivery: found.delivery }
                    .push(by_slot.entry(found.session.slot()).or_default()),
            }
        }
        *turn.fan_out = fan_out;
        for (slot, targets) in by_slot {
            let op = Op::Enqueue { message: bytes, targets: &targets };
            self.emit(slot, &op, context.unanswered(), turn);
        }
        Ok(())
    }

    fn retain(&mut self, partition: u64, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), Error> {
        let message = Message::decode(bytes).map_err(|error| Error::Damaged {
            place: format!("slot {}", self.id),
            reason: error.to_string(),
        })?;
        let before = turn.state.retained(self.id, partition, message.topic)?;
        // [MQTT-3.3.1-6]: no payload, no Retained Message.
        let after = (!message.payload.is_empty()).then_some((bytes, message.expires_at));
        self.put_retained(partition, message.topic, before, after, turn);
        Ok(())
    }

    /// A Retained Message goes if its time is over.
    fn expire(
        &mut self,
        partition: u64,
        topic: &str,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let before = turn.state.retained(self.id, partition, topic)?;
        if before.is_some_and(|kept| kept.expires_at.is_some_and(|at| at <= context.at)) {
            self.put_retained(partition, topic, before, None, turn);
        }
        Ok(())
    }

    fn put_retained(
        &mut self,
        partition: u64,
        topic: &str,
        before: Option<Kept>,
        after: Option<(&[u8], Option<Millis>)>,
        turn: &mut Turn<'_>,
    ) {
        turn.state.put_retained(self.id, partition, topic, after);
        let before = before.map(|kept| kept.bytes);
        let after = after.map(|(bytes, _)| bytes.len() as u32);
        let size = &mut self.retained;
        size.messages = size.messages + u64::from(after.is_some()) - u64::from(before.is_some());
        size.bytes = size.bytes + u64::from(after.unwrap_or(0)) - u64::from(before.unwrap_or(0));
        turn.state.put(rows::retained(self.id), &self.retained);
    }

    /// Enters an operation for another slot (or this one) in the outbox.
    pub(super) fn emit(&mut self, to: SlotId, op: &Op<'_>, context: Context, turn: &mut Turn<'_>) {
        let number = self.outboxes.entry(to).or_default().push();
        let mut bytes = Vec::new();
        record::encode_into(op, &mut bytes);
        turn.state.put_bytes(rows::outbox(self.id, to, number), &bytes);
        turn.state.put(rows::outbox_next(self.id, to), &number);
        if self.leading {
            let reply = context.reply;
            turn.emitted.push(Emitted { from: self.id, to, number, op: bytes, reply });
        }
    }

    fn inbox(
        &mut self,
        from: SlotId,
        number: u64,
        op: &[u8],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let last = self.inboxes.get(&from).copied().unwrap_or(0);
        if number == last + 1 {
            let op = record::decode(op).map_err(|error| Error::Damaged {
                place: format!("operation {number} of slot {from} for slot {}", self.id),
                reason: error.to_string(),
            })?;
            self.apply_op(op, Context { agreed: number, ..context }, turn)?;
            self.inboxes.insert(from, number);
            turn.state.put(rows::inbox(self.id, from), &number);
        } else if number <= last {
            self.answer(context, Answer::Done, turn);
        }
        if number <= last + 1 && self.leading {
            turn.outlet.outbox_applied(from, self.id, number);
        }
        Ok(())
    }

    fn trim(&mut self, to: SlotId, number: u64, turn: &mut Turn<'_>) {
        for number in self.outboxes.entry(to).or_default().trim(number) {
            turn.state.delete(rows::outbox(self.id, to, number));
        }
    }
}

/// A message on its way to its partition.
pub(super) fn publish(place: Place, message: &[u8], client: u64, again: Option<Again>) -> Op<'_> {
    let partition = place.partition;
    Op::Publish { partition, message, client, again, root_targets: &[], chosen: Vec::new() }
}

/// How many answers a route in `place` will get: every shard follows the root routes, and each answers for itself.
fn answers(place: Place, turn: &Turn<'_>) -> u32 {
    if SlotId(place.slot).is_meta() { u32::from(turn.outlet.post.shards()) } else { 1 }
}
