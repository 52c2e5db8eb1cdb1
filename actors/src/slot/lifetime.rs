//! A Session from its first CONNECT to its end, as every replica applies it: who has it, when its Will is due, when it
//! expires.

use std::collections::hash_map::Entry as MapEntry;

use convoy_ids::SlotId;
use convoy_storage::engine::Error;
use convoy_wire::ReasonCode;

use super::active::Active;
use super::context::Context;
use super::counted::Counted;
use super::{Note, Op, Slot, Turn, WillsUnderway, client_of, rows};
use crate::call::{Answer, Farewell};
use crate::clock::Millis;
use crate::message::Message;
use crate::session::{Epoch, Grant, Home, Queue, QueueLimits, Seq, SessionNumber, SessionRow, Will};
use crate::topic::SHARED;

/// What a CONNECT asks for.
pub(super) struct Wanted<'a> {
    pub name: &'a [u8],
    pub clean_start: bool,
    pub owner: &'a str,
    pub expiry_seconds: u32,
    pub home: Home,
    pub limits: QueueLimits,
    pub will: Option<Will>,
    pub sent: Seq,
}

impl Slot {
    /// The Session of a Client Identifier, if it has one.
    fn session_of(&self, name: &[u8], turn: &mut Turn<'_>) -> Result<Option<SessionNumber>, Error> {
        Ok(match self.names.get(name) {
            Some(&session) => Some(session),
            None => turn.state.get::<SessionRow>(&rows::client(self.id, name))?.map(|row| row.number),
        })
    }

    /// Why a CONNECT does not get the Session that it names, if so. Nothing of it is touched then: whoever knows a Client
    /// Identifier has no right to its Session.
    pub(super) fn refuses(
        &mut self,
        name: &[u8],
        owner: &str,
        binds: bool,
        yields: bool,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<Option<ReasonCode>, Error> {
        if binds && self.is_of_another(owner, name, context, turn)? {
            if self.leading {
                turn.effects.note(Note::NotItsOwner);
            }
            return Ok(Some(ReasonCode::NotAuthorized));
        }
        // [MQTT-3.1.3-8]
        let is_held = yields && self.is_connected(name, turn)?;
        Ok(is_held.then_some(ReasonCode::ClientIdentifierNotValid))
    }

    /// Whether there is a Session that lasts, or has a connection, and belongs to somebody else. One that nobody owns
    /// can be taken up by anybody.
    fn is_of_another(
        &mut self,
        owner: &str,
        name: &[u8],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let Some(session) = self.session_of(name, turn)? else { return Ok(false) };
        let Some(active) = self.activate(session, turn)? else { return Ok(false) };
        let row = &active.row;
        let is_over = row.ends_at().is_some_and(|end| end <= context.at);
        Ok(!is_over && !row.owner.is_empty() && row.owner != owner)
    }

    fn is_connected(&mut self, name: &[u8], turn: &mut Turn<'_>) -> Result<bool, Error> {
        let Some(session) = self.session_of(name, turn)? else { return Ok(false) };
        Ok(self.activate(session, turn)?.is_some_and(|active| active.row.home.is_some()))
    }

    /// A connection gets the Session of its Client Identifier: the one that there is, or a new one.
    pub(super) fn connect(
        &mut self,
        wanted: Wanted<'_>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let name = wanted.name;
        let (old_home, resumed) = self.leave_old(&wanted, context, turn)?;
        let (session, epoch, has_queue) = self.enter(wanted, resumed, context, turn);
        let Some(reply) = context.reply.filter(|_| self.leading) else { return Ok(()) };
        let grant = self.grant(session, epoch, resumed.is_some(), has_queue, turn)?;
        // The old connection acknowledges nothing any more before the new one hears of its grant, nor before its Will is
        // matched.
        if self.wills.is_underway(name)
            && let Some(old) = old_home
        {
            turn.effects.close_old(old);
        }
        let (now, answer) = (turn.now.monotonic, Answer::Granted(grant));
        if let Some(answer) = self.wills.hold(name, now, old_home, reply, answer) {
            turn.effects.take_over(old_home, reply, answer);
        }
        Ok(())
    }

    /// The connection that has the Session has it no longer, and the Session ends if it does not go on with the next one:
    /// which connection, and which Session goes on.
    fn leave_old(
        &mut self,
        wanted: &Wanted<'_>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(Option<Home>, Option<SessionNumber>), Error> {
        let Some(known) = self.session_of(wanted.name, turn)? else { return Ok((None, None)) };
        let Some(active) = self.activate(known, turn)? else { return Ok((None, None)) };
        let old_home = active.row.home;
        active.link = None;
        if let Some(queue) = &mut active.queue
            && queue.note_sent(wanted.sent)
        {
            turn.state.put(rows::head(known), &queue.head());
        }
        // A Session that ends with its connection has ended, and one past its time, though nobody swept it yet.
        let over =
            !active.row.outlives_connection() || active.row.ends_at().is_some_and(|end| end <= context.at);
        if old_home.is_some() {
            // The old connection ends now: its Will is due as after any other end [MQTT-3.1.4-3].
            active.row.home = None;
            active.row.disconnected_at = context.at;
            turn.state.delete(rows::live(known));
        } else {
            self.forget_due(known, turn);
        }
        if over || wanted.clean_start {
            self.end(known, context, turn)?;
            return Ok((old_home, None));
        }
        // A Will whose delay has not passed is discarded [MQTT-3.1.3-9].
        if self.will_is_due(known, context.at) {
            self.publish_will(known, context, turn)?;
        }
        Ok((old_home, Some(known)))
    }

    /// The Session has the connection from now on, under an epoch of its own: which one, and whether it has a queue.
    fn enter(
        &mut self,
        wanted: Wanted<'_>,
        resumed: Option<SessionNumber>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> (SessionNumber, Epoch, bool) {
        let Wanted { name, owner, expiry_seconds, home, limits, will, .. } = wanted;
        self.grants += 1;
        let epoch = Epoch(self.grants);
        let number = resumed.unwrap_or_else(|| SessionNumber::new(self.id, self.grants));
        let known = self.active.get(&number).map(|active| &active.row);
        let subscriptions = known.map_or(0, |row| row.subscriptions);
        let created_at = known.map_or(context.at, |row| row.created_at);
        let has_queue = expiry_seconds > 0 || known.is_some_and(|row| row.has_queue);
        let row = SessionRow {
            number,
            epoch,
            owner: owner.to_owned(),
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
                active.weigh_anew(turn.budget);
            }
            MapEntry::Vacant(entry) => {
                self.counts.sessions += 1;
                turn.state.put_bytes(rows::name(number), name);
                let queue = row.has_queue.then(Box::<Queue>::default);
                let mut active = Active::new(name, row, queue);
                active.counted = Counted::default();
                active.weigh_anew(turn.budget);
                entry.insert(Box::new(active));
                self.names.insert(name.into(), number);
            }
        }
        (number, epoch, has_queue)
    }

    /// What the connection is told of its Session.
    fn grant(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        present: bool,
        has_queue: bool,
        turn: &mut Turn<'_>,
    ) -> Result<Grant, Error> {
        let (mut unreleased, mut groups) = (Vec::new(), Vec::new());
        if present {
            groups = self.groups_of(session, turn)?;
            let (from, to) = rows::all_unreleased(session);
            let found = turn.state.scan(&from, &to)?;
            unreleased.extend(found.iter().filter_map(|(key, _)| rows::packet_id_of_unreleased(key)));
        }
        Ok(Grant { session, epoch, present, has_queue, unreleased, groups })
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of DISCONNECT")]
    pub(super) fn disconnect(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        farewell: Farewell,
        expiry_seconds: Option<u32>,
        sent: Seq,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if self.leading {
            self.farewells.applied();
            self.left.remove(&session);
        }
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
            turn.state.put(rows::head(session), &queue.head());
        }
        turn.state.delete(rows::live(session));
        if !active.row.outlives_connection() {
            return self.end(session, context, turn);
        }
        if self.will_is_due(session, context.at) {
            self.publish_will(session, context, turn)?;
        }
        self.save(session, turn);
        self.weigh(session, turn);
        self.remember_due(session, turn);
        self.idle.push(&self.active[&session].row);
        if self.leading && self.active[&session].queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
            self.departed.push_back((session, 0));
        }
        Ok(())
    }

    /// Writes the row of an active Session.
    pub(super) fn save(&mut self, session: SessionNumber, turn: &mut Turn<'_>) {
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

    pub(super) fn forget_due(&mut self, session: SessionNumber, turn: &mut Turn<'_>) {
        if let Some(at) = self.due_of(session) {
            turn.state.delete(rows::due(self.id, at, session));
        }
    }

    /// A Subscription is there that was not, or is gone.
    pub(super) fn count_subscription(&mut self, filter: &str, is_new: bool) {
        let one = |count: u64| if is_new { count + 1 } else { count.saturating_sub(1) };
        self.counts.subscriptions = one(self.counts.subscriptions);
        if filter.starts_with(SHARED) {
            self.counts.shared = one(self.counts.shared);
        }
    }

    pub(super) fn due(
        &mut self,
        at: Millis,
        session: SessionNumber,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        // Those of an earlier leader were not counted here; then some are asked for twice, and happen once.
        self.asked.due = self.asked.due.saturating_sub(1);
        if self.asked.due == 0 {
            self.asked.due_wills = WillsUnderway::default();
        }
        turn.state.delete(rows::due(self.id, at, session));
        if self.activate(session, turn)?.is_none() || self.due_of(session) != Some(at) {
            return Ok(());
        }
        let row = &self.active[&session].row;
        if row.ends_at().is_some_and(|end| end <= at) {
            self.expired += u64::from(self.leading);
            return self.end(session, context, turn);
        }
        self.publish_will(session, context, turn)?;
        self.save(session, turn);
        self.weigh(session, turn);
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
                let op =
                    Op::Will { partition: place.partition, message: &bytes, client, author: will.author };
                let name = active.name.clone();
                let to = SlotId(place.slot);
                let number = self.emit(to, &op, context, turn);
                if self.leading {
                    self.wills.sent(&name, to, number, bytes.len(), turn.now.monotonic);
                }
                Ok(())
            }
            Err(error) => Err(Error::Damaged {
                place: format!("Will of Session {:x}", session.0),
                reason: error.to_string(),
            }),
        }
    }

    /// A Session ends: its Will is due, and everything of it goes, perhaps in pieces.
    pub(super) fn end(
        &mut self,
        session: SessionNumber,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        self.publish_will(session, context, turn)?;
        let mut active = self.active.remove(&session).expect("the caller has activated the Session");
        active.forget(turn.budget);
        self.counts.sessions = self.counts.sessions.saturating_sub(1);
        self.names.remove(&active.name);
        turn.state.delete(rows::client(self.id, &active.name));
        turn.state.delete(rows::name(session));
        self.end_at_once(session, &active, context, turn)
    }

    /// An operator ends the Session. Its connection is told by the leader, and has nothing left to take leave of.
    pub(super) fn end_by_order(
        &mut self,
        session: SessionNumber,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(active) = self.activate(session, turn)? else { return Ok(()) };
        let home = active.row.home.take();
        active.link = None;
        match home {
            Some(_) => {
                active.row.disconnected_at = context.at;
                turn.state.delete(rows::live(session));
            }
            None => self.forget_due(session, turn),
        }
        self.end(session, context, turn)?;
        if let Some(home) = home.filter(|_| self.leading) {
            turn.effects.evict(home, true);
        }
        Ok(())
    }
}
