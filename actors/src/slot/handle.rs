//! What the leader makes of a connection's call: admission first, then an operation for the log.

use convoy_storage::engine::Error;
use convoy_wire::ReasonCode;
use rustc_hash::FxHashSet;

use super::farewells::Ended;
use super::op::{Entry, Op};
use super::{Note, Slot, Turn, rows};
use crate::call::{Answer, ReplyTo, SessionCall};
use crate::options::Limits;
use crate::session::{Epoch, SessionNumber, SubscriptionRow, Target, Wanted};

impl Slot {
    pub fn on_call(&mut self, call: SessionCall, limits: &Limits, turn: &mut Turn<'_>) -> Result<(), Error> {
        let at = turn.now.wall;
        match call {
            connect @ SessionCall::Connect { .. } => self.on_connect(connect, turn)?,
            SessionCall::Abandon { home, .. } => {
                // Nobody is there to be told. One that was proposed is given back when it is granted.
                self.refuse(|_, op| matches!(op, Op::Connect { home: of, .. } if *of == home));
            }
            SessionCall::Ready { session, epoch, home, receive_maximum, is_plain } => {
                if is_plain {
                    self.make_plain(session, epoch, turn)?;
                }
                self.ready(session, epoch, home, receive_maximum, turn)?;
            }
            SessionCall::Adopt { session, epoch, home, progress, reply } => {
                self.adopt(session, epoch, home, progress, reply, turn)?;
            }
            SessionCall::Disconnect { session, epoch, farewell, expiry_seconds, reply } => {
                let ended = Ended { session, epoch, farewell, expiry_seconds, sent: None, reply };
                let row = self.active.get(&session).map(|active| &active.row);
                let will_bytes = row.map_or(0, |row| ended.will_bytes(row));
                self.on_end(ended, will_bytes, turn.now);
            }
            SessionCall::Subscribe { session, epoch, wanted, reply } => {
                if let Some(reason) = self.on_subscribe(session, epoch, wanted, reply, limits, turn)? {
                    turn.effects.answer(reply, Answer::Refused(reason));
                }
            }
            SessionCall::Unsubscribe { session, epoch, filters, reply } => {
                let filters = filters.iter().map(String::as_str).collect();
                self.pending.push(at, &Op::Unsubscribe { session, epoch, filters }, Some(reply));
            }
            SessionCall::Ack { session, epoch, ack, packet_id } => {
                self.on_ack(session, epoch, ack, packet_id, turn)?;
            }
            SessionCall::Accept { reply, place, .. } if self.is_full_towards(&place) => {
                turn.effects.note(Note::OutboxFull);
                turn.effects.answer(reply, Answer::Refused(ReasonCode::QuotaExceeded));
            }
            SessionCall::Accept { session, epoch, packet_id, place, message, asks: _, reply } => {
                let packet_id = packet_id.get();
                let op = Op::Accept { session, epoch, packet_id, place, message: &message };
                self.pending.push(at, &op, Some(reply));
            }
            SessionCall::Keep { session, epoch, delivery, message } => {
                if self.epoch(session) == Some(epoch) {
                    let mut targets = Vec::new();
                    Target { session, delivery }.push(&mut targets);
                    self.pending.push(at, &Op::Enqueue { message: &message, targets: &targets }, None);
                }
            }
            SessionCall::Release { session, epoch, packet_id, reply } => {
                let op = Op::Release { session, epoch, packet_id: packet_id.get() };
                self.pending.push(at, &op, Some(reply));
            }
        }
        Ok(())
    }

    fn on_connect(&mut self, call: SessionCall, turn: &mut Turn<'_>) -> Result<(), Error> {
        let SessionCall::Connect {
            name,
            clean_start,
            owner,
            binds,
            expiry_seconds,
            limits,
            will,
            yields,
            reply,
        } = call
        else {
            unreachable!("it is a CONNECT");
        };
        let at = turn.now.wall;
        // As before a Disconnect, where another connection has the Session.
        if let Some(&session) = self.names.get(&name[..]) {
            self.save_acknowledged_of(session, at);
        }
        let op = Op::Connect {
            name: &name,
            clean_start,
            owner: &owner,
            binds,
            expiry_seconds,
            home: reply.home,
            limits,
            will: will.map(|will| *will),
            sent: self.sent_so_far(&name, turn)?,
            yields,
        };
        self.connects(&op, true);
        self.pause(&name);
        self.pending.push(at, &op, Some(reply));
        Ok(())
    }

    /// Why nothing of it is subscribed, if so. Of what limits do not allow the others are.
    fn on_subscribe(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        mut wanted: Vec<Wanted>,
        reply: ReplyTo,
        limits: &Limits,
        turn: &mut Turn<'_>,
    ) -> Result<Option<ReasonCode>, Error> {
        if self.epoch(session) != Some(epoch) {
            return Ok(Some(ReasonCode::SessionTakenOver));
        }
        if wanted.iter().flat_map(|wanted| &wanted.places).any(|to| self.is_full_towards(to)) {
            turn.effects.note(Note::OutboxFull);
            return Ok(Some(ReasonCode::QuotaExceeded));
        }
        if let Some((granted, limit)) = self.granted(limits, session, &wanted, turn)? {
            turn.effects.note(Note::Met(limit));
            if !granted.contains(&true) {
                return Ok(Some(ReasonCode::QuotaExceeded));
            }
            let mut kept = granted.iter();
            wanted.retain(|_| kept.next() == Some(&true));
            turn.effects.answer(reply, Answer::Granting(granted));
        }
        let entries = wanted.iter().map(|wanted| Entry {
            filter: &wanted.filter,
            row: SubscriptionRow { subscription: wanted.subscription, places: wanted.places.clone() },
        });
        let op = Op::Subscribe { session, epoch, entries: entries.collect() };
        self.pending.push(turn.now.wall, &op, Some(reply));
        Ok(None)
    }

    /// Which Topic Filters the Session may have where limits do not allow all of them: those that fit, in their order, and
    /// those that it has already. With the limit that the first of the others meets.
    fn granted(
        &mut self,
        limits: &Limits,
        session: SessionNumber,
        wanted: &[Wanted],
        turn: &mut Turn<'_>,
    ) -> Result<Option<(Vec<bool>, &'static str)>, Error> {
        let (limit, limit_bytes) =
            (limits.subscriptions_per_session as usize, limits.filter_bytes_per_session);
        let mut count = self.active.get(&session).map_or(0, |active| active.row.subscriptions as usize);
        let all = count + wanted.len();
        if all <= limit && all as u64 * u64::from(limits.topic_bytes) <= limit_bytes {
            return Ok(None);
        }
        // Each of them is looked up.
        *turn.work += 2 * wanted.len() as u64;
        let mut bytes = self.filter_bytes(session, turn)?;
        let (mut granted, mut new, mut met) = (Vec::with_capacity(wanted.len()), FxHashSet::default(), None);
        for wanted in wanted {
            let filter = wanted.filter.as_str();
            let exists = new.contains(filter) || turn.state.contains(&rows::subscription(session, filter))?;
            let exceeded = match () {
                () if exists => None,
                () if count >= limit => Some("subscriptions_per_session"),
                () if bytes + filter.len() as u64 > limit_bytes => Some("filter_bytes_per_session"),
                () => None,
            };
            if exceeded.is_none() && !exists {
                new.insert(filter);
                count += 1;
                bytes += filter.len() as u64;
            }
            granted.push(exceeded.is_none());
            met = met.or(exceeded);
        }
        Ok(met.map(|met| (granted, met)))
    }

    /// Bytes of the Topic Filters of an active Session: counted when somebody asks first, and kept from then on.
    fn filter_bytes(&mut self, session: SessionNumber, turn: &mut Turn<'_>) -> Result<u64, Error> {
        let Some(active) = self.active.get_mut(&session) else { return Ok(0) };
        if let Some(bytes) = active.filter_bytes {
            return Ok(bytes);
        }
        let mut bytes = 0;
        if active.row.subscriptions > 0 {
            let (from, to) = rows::subscriptions(session);
            for (key, _) in turn.state.scan(&from, &to)? {
                bytes += rows::filter_of_subscription(&key).map_or(0, |filter| filter.len() as u64);
            }
        }
        active.filter_bytes = Some(bytes);
        Ok(bytes)
    }
}
