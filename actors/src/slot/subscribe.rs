//! Subscriptions: a row with their Session, and a route in every partition that the Topic Filter touches. Those whose
//! filter begins with a wildcard touch all: see [`super::roots`].

use convoy_ids::SlotId;
use convoy_storage::engine::Error;
use convoy_wire::ReasonCode;

use super::context::Context;
use super::op::{Entry, Op, RootFilter};
use super::{Slot, Turn, rows};
use crate::call::Answer;
use crate::retained;
use crate::session::{Epoch, Place, SessionNumber, Subscription, SubscriptionRow};
use crate::topic::{RouteRow, Routes};

impl Slot {
    pub(super) fn subscribe(
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
        let (mut more, mut existed, mut bytes) = (0, Vec::with_capacity(entries.len()), 0);
        let mut roots = Vec::new();
        for (at, entry) in (0..).zip(entries) {
            // Each says of itself where it was registered.
            let reply = context.reply.map(|reply| reply.of_entry(at));
            let key = rows::subscription(session, entry.filter);
            existed.push(turn.state.contains(&key)?);
            if existed.last() == Some(&false) {
                self.count_subscription(entry.filter, true);
                bytes += entry.filter.len() as u64;
            }
            turn.state.put(key, &entry.row);
            for place in &entry.row.places {
                if place.is_everywhere() {
                    let subscription = Some(entry.row.subscription);
                    roots.push(RootFilter { filter: entry.filter, subscription });
                    continue;
                }
                let op = Op::Route {
                    partition: place.partition,
                    subscriber: session,
                    filter: entry.filter,
                    route: RouteRow { subscription: entry.row.subscription, home },
                };
                self.emit(SlotId(place.slot), &op, Context { reply, ..context }, turn);
                more += 1;
            }
        }
        more += self.emit_roots(session, home, &roots, context, turn);
        let new = existed.iter().filter(|existed| !**existed).count() as u32;
        if new > 0 {
            let active = self.active.get_mut(&session).expect("it was activated above");
            active.row.subscriptions += new;
            active.filter_bytes = active.filter_bytes.map(|before| before + bytes);
            self.save(session, turn);
        }
        Ok(Answer::Subscribed { more, existed })
    }

    /// A Client of 3.x has resumed the Session: its Subscriptions are from now on as that version has them. Options that a
    /// 5.0 Client asked for would hide its own messages from it, or set the RETAIN flag where 3.1.1 forbids that
    /// [MQTT-3.3.1-9].
    pub(super) fn make_plain(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if self.active.get(&session).is_none_or(|active| active.row.subscriptions == 0) {
            return Ok(());
        }
        let (from, to) = rows::subscriptions(session);
        let found = turn.state.scan(&from, &to)?;
        let mut entries = Vec::new();
        for (key, value) in &found {
            let mut row: SubscriptionRow = super::state::decode(key, value)?;
            let plain = Subscription::plain(row.subscription.qos);
            if let Some(filter) = rows::filter_of_subscription(key)
                && row.subscription != plain
            {
                row.subscription = plain;
                entries.push(Entry { filter, row });
            }
        }
        if !entries.is_empty() {
            self.pending.push(turn.now.wall, &Op::Subscribe { session, epoch, entries }, None);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(
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
        let (mut more, mut existed, mut bytes) = (0, Vec::with_capacity(filters.len()), 0);
        let mut roots = Vec::new();
        for filter in filters {
            let key = rows::subscription(session, filter);
            let row: Option<SubscriptionRow> = turn.state.get(&key)?;
            existed.push(row.is_some());
            if let Some(row) = row {
                turn.state.delete(key);
                self.count_subscription(filter, false);
                bytes += filter.len() as u64;
                if row.places.iter().any(Place::is_everywhere) {
                    roots.push(RootFilter { filter, subscription: None });
                } else {
                    more += self.unroute(session, filter, &row.places, context, turn);
                }
            }
        }
        more += self.emit_roots(session, None, &roots, context, turn);
        let gone = existed.iter().filter(|existed| **existed).count() as u32;
        if gone > 0 {
            let active = self.active.get_mut(&session).expect("it was activated above");
            active.row.subscriptions -= gone.min(active.row.subscriptions);
            active.filter_bytes = active.filter_bytes.map(|before| before.saturating_sub(bytes));
            self.save(session, turn);
        }
        Ok(Answer::Subscribed { more, existed })
    }

    pub(super) fn unroute(
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
        places.len() as u32
    }

    /// A Subscription begins (with a route) or ends in a partition of this slot. What is answered, unless it waits.
    pub(super) fn route(
        &mut self,
        partition: u64,
        subscriber: SessionNumber,
        filter: &str,
        route: Option<RouteRow>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Option<Answer> {
        let key = rows::route(self.id, partition, subscriber.0, filter);
        match &route {
            Some(route) => turn.state.put(key, route),
            None => turn.state.delete(key),
        }
        let place = Place { slot: self.id.0, partition };
        let is_live = route.as_ref().is_some_and(|route| route.home.is_some());
        let answer = match &route {
            Some(_) => Answer::Registered(retained::Place { place, until: self.numbered }),
            None => Answer::Done,
        };
        let seed = self.route_seed;
        let in_order = &mut self.partitions_in_order;
        let routes = self.partitions.entry(partition).or_insert_with(|| {
            in_order.insert(partition);
            Routes::new(seed)
        });
        match route {
            Some(route) => routes.insert(filter, subscriber, route),
            None => {
                routes.remove(filter, subscriber);
                if routes.is_empty() {
                    self.partitions.remove(&partition);
                    self.partitions_in_order.remove(&partition);
                }
            }
        }
        if is_live {
            self.answer_route(context.reply, answer, turn);
            return None;
        }
        Some(answer)
    }
}
