//! A slot begins from its rows: routes and counters are read, Sessions stay on disk until they are needed.

use convoy_ids::SlotId;
use convoy_storage::engine::{Engine, Error, Family};
use convoy_storage::record::{self, BorrowDecode};
use rustc_hash::FxHashMap;
use std::ops::ControlFlow;

use super::budget::{count_stored, uncount_stored};
use super::farewells::{WillRoom, WillsUnderway};
use super::inbox::Inbox;
use super::op::Op;
use super::outbox::{Outbox, Outboxes};
use super::state::decode;
use super::{
    Asked, Counts, Farewells, InLine, Leaving, Pending, RetainedSize, Slot, State, Underway, Wills, active,
    rows,
};
use crate::budget::{Budget, Sums};
use crate::clock::{Millis, Now};
use crate::options::Options;
use crate::retained::Sweep;
use crate::session::{Epoch, SessionNumber};
use crate::topic::{Roots, RouteRow, Routes};

/// What is due is taken up in runs of this many, so that a million Sessions that expire at once cost a little each
/// turn and not one long one.
const DUE_RUN: usize = 64;

/// Subscriptions of the Sessions that a run takes up: each that ends is a route to take away, or several.
const DUE_SUBSCRIPTIONS: u32 = 256;

impl Slot {
    /// Reads a slot from its rows. Its root routes go to `roots`.
    pub fn recover(
        id: SlotId,
        engine: &dyn Engine,
        options: &Options,
        roots: &mut Roots,
        budget: &mut Budget,
    ) -> Result<Self, Error> {
        let mut slot = Self::before_its_rows(id, options);
        slot.recover_counters(engine)?;
        count_stored(id, engine, budget);
        scan(engine, rows::all_retained_of(id), |key, value| {
            if let Some(user) = rows::user_of(key) {
                slot.recover_retained(user, decode(key, value)?, budget);
            }
            Ok(())
        })?;
        slot.recover_retained_of_nobody(budget);
        slot.recover_routes(engine, roots)?;
        slot.recover_inboxes(engine)?;
        slot.recover_outboxes(engine)?;
        scan(engine, rows::all_ending(id), |key, _| {
            slot.ending.extend(rows::session_of(key));
            Ok(())
        })?;
        Ok(slot)
    }

    fn before_its_rows(id: SlotId, options: &Options) -> Self {
        Self {
            id,
            bodies: 0,
            leading: false,
            expired: 0,
            dropped: 0,
            elected: None,
            heir: Default::default(),
            failure: None,
            grants: 0,
            counts: Counts::default(),
            connecting: Sums::default(),
            pauses: Default::default(),
            retained: RetainedSize::default(),
            retained_of: FxHashMap::default(),
            recounted: Vec::new(),
            numbered: 0,
            line: InLine::default(),
            wills: Wills::default(),
            farewells: Farewells::default(),
            active: FxHashMap::default(),
            names: FxHashMap::default(),
            idle: Default::default(),
            partitions: FxHashMap::default(),
            partitions_in_order: Default::default(),
            outboxes: Outboxes::new(),
            outbox_bodies: Default::default(),
            is_backed_up: false,
            led_since: Epoch(0),
            caught_up: None,
            proposed: Default::default(),
            applied: Default::default(),
            leaving: Leaving::default(),
            left: Default::default(),
            inboxes: Default::default(),
            times_led: 0,
            waiting: Default::default(),
            given_up: Default::default(),
            pending: Pending::default(),
            underway: Underway::default(),
            unsaved: Vec::new(),
            deferred: Default::default(),
            overfull: Default::default(),
            departed: Default::default(),
            ending: Default::default(),
            end_work: 0,
            sweep: Sweep::default(),
            asked: Asked::default(),
            next_due: 0,
            route_seed: options.secret.of_tables(),
            slots: options.slots,
            partitioning: options.partitioning,
        }
    }

    fn recover_counters(&mut self, engine: &dyn Engine) -> Result<(), Error> {
        let id = self.id;
        self.grants = read(engine, &rows::grants(id))?;
        self.counts = read(engine, &rows::counts(id))?;
        self.retained = read(engine, &rows::retained(id))?;
        self.bodies = read(engine, &rows::bodies(id))?;
        self.numbered = read(engine, &rows::numbered(id))?;
        Ok(())
    }

    fn recover_routes(&mut self, engine: &dyn Engine, roots: &mut Roots) -> Result<(), Error> {
        let (id, route_seed) = (self.id, self.route_seed);
        let everywhere = super::roots::everywhere();
        scan(engine, rows::routes(id), |key, value| {
            let Some((partition, subscriber, filter)) = rows::split_route(key) else { return Ok(()) };
            let route: RouteRow = decode(key, value)?;
            if partition == everywhere {
                roots.insert(id, filter, SessionNumber(subscriber), route);
                return Ok(());
            }
            let routes = self.partitions.entry(partition).or_insert_with(|| Routes::new(route_seed));
            routes.insert(filter, SessionNumber(subscriber), route);
            Ok(())
        })?;
        self.partitions_in_order = self.partitions.keys().copied().collect();
        Ok(())
    }

    fn recover_inboxes(&mut self, engine: &dyn Engine) -> Result<(), Error> {
        let id = self.id;
        scan(engine, rows::inboxes(id), |key, value| {
            if let Some(from) = rows::peer_of(key) {
                self.inboxes.insert(from, Inbox::recover(decode(key, value)?));
            }
            Ok(())
        })?;
        scan(engine, rows::all_open(id), |key, value| {
            if let Some(from) = rows::peer_of(key) {
                self.inboxes.entry(from).or_default().recover_open(decode(key, value)?);
            }
            Ok(())
        })?;
        scan(engine, rows::all_given_up(id), |key, value| {
            if let Some(node) = rows::node_of_given_up(key) {
                self.given_up.insert(node, decode(key, value)?);
            }
            Ok(())
        })
    }

    fn recover_outboxes(&mut self, engine: &dyn Engine) -> Result<(), Error> {
        let id = self.id;
        scan(engine, rows::outbox_nexts(id), |key, value| {
            if let Some(to) = rows::peer_of(key) {
                self.outboxes.insert(to, Outbox::recover(decode(key, value)?));
            }
            Ok(())
        })?;
        scan(engine, rows::outboxes(id), |key, op| {
            if let Some((to, number)) = rows::split_outbox(key) {
                let counted = match record::decode(op) {
                    Ok(Op::EnqueueBody { body, bytes, targets }) => {
                        self.outbox_bodies.hold(to, number, body);
                        bytes as usize + targets.len()
                    }
                    Ok(Op::RootsBody { body, bytes }) => {
                        self.outbox_bodies.hold(to, number, body);
                        bytes as usize
                    }
                    _ => op.len(),
                };
                self.outboxes.entry(to).or_default().recover_row(number, counted);
            }
            Ok(())
        })?;
        self.is_backed_up = self.outboxes.values().any(Outbox::is_full);
        Ok(())
    }

    /// Takes back what this slot has in the surroundings that it shares with others: its root routes in `roots`, and what is
    /// counted of it. Its rows are still those of its state, all of which is written. To be followed by
    /// [`Slot::recover`], from whatever rows it has then.
    pub fn withdraw(&self, engine: &dyn Engine, roots: &mut Roots, budget: &mut Budget) -> Result<(), Error> {
        let everywhere = super::roots::everywhere();
        scan(engine, rows::routes(self.id), |key, _| {
            if let Some((partition, subscriber, filter)) = rows::split_route(key)
                && partition == everywhere
            {
                roots.remove(self.id, filter, SessionNumber(subscriber));
            }
            Ok(())
        })?;
        uncount_stored(self.id, engine, &self.active, budget);
        self.withdraw_retained(budget);
        Ok(())
    }

    /// Proposes what is due, unless what was proposed last is still on its way: a disk that stays full must not fill our
    /// memory. Whatever else waits for the log does not matter, for on a busy slot something always does. Wills go as there is
    /// `room` for them.
    pub fn sweep(&mut self, now: Now, room: &mut WillRoom, state: &mut State) -> Result<(), Error> {
        if !self.leading || now.wall < self.next_due || !state.is_empty() || self.asked.due > 0 {
            return Ok(());
        }
        let (from, to) = rows::due_until(self.id, now.wall);
        let mut found = Vec::new();
        scan_some(&**state.engine(), (from, to.clone()), |key, _| {
            found.extend(rows::split_due(key));
            if found.len() < DUE_RUN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let is_none_due = found.is_empty();
        let (mut taken, mut subscriptions) = (0, 0);
        let mut wills = WillsUnderway::default();
        for (at, session) in found {
            let row = active::load(state, session)?.map(|(_, row)| row);
            let will = row.as_ref().and_then(|row| row.will.as_ref()).map_or(0, |will| will.message.len());
            if will > 0 {
                if !room.take(will) {
                    break;
                }
                wills.add(will);
            }
            self.pending.push(now.wall, &Op::Due { at, session }, None);
            taken += 1;
            subscriptions += row.map_or(0, |row| row.subscriptions);
            if subscriptions >= DUE_SUBSCRIPTIONS {
                break;
            }
        }
        if is_none_due {
            let (_, end) = rows::due_until(self.id, Millis::MAX - 1);
            let mut next = Millis::MAX;
            scan_some(&**state.engine(), (to, end), |key, _| {
                next = rows::split_due(key).map_or(next, |(at, _)| at);
                ControlFlow::Break(())
            })?;
            self.next_due = next;
        }
        (self.asked.due, self.asked.due_wills) = (taken, wills);
        Ok(())
    }

    /// Proposes to remove Retained Messages that have expired: to be called about once a second.
    pub fn sweep_retained(&mut self, now: Now, state: &State) -> Result<(), Error> {
        if !self.is_serving() || self.retained.messages == 0 || self.asked.expiry {
            return Ok(());
        }
        let expired = self.sweep.expired(&**state.engine(), self.id, now.wall)?;
        if !expired.is_empty() {
            let topics = expired.iter().map(|(partition, topic)| (*partition, topic.as_str())).collect();
            self.pending.push(now.wall, &Op::Expire { topics }, None);
            self.asked.expiry = true;
        }
        Ok(())
    }

    /// Lets idle Sessions go from memory, the longest idle first.
    pub fn passivate(&mut self) {
        while let Some((session, will_bytes)) = self.idle.pop_beyond() {
            let Some(active) = self.active.get(&session) else { continue };
            if active.overflow.as_ref().is_some_and(|overflow| !overflow.is_idle()) {
                // What is to go from its queue is remembered until it has gone.
                self.idle.put(session, will_bytes);
                break;
            }
            if active.row.home.is_none() {
                let active = self.active.remove(&session).expect("it is there");
                self.names.remove(&active.name);
            }
        }
    }

    /// Operations of the outboxes that are known to be applied and worth deleting.
    pub fn trim_outboxes(&mut self, now: Now, worth: u64) {
        if !self.is_serving() {
            return;
        }
        for (to, outbox) in &mut self.outboxes {
            if let Some(number) = outbox.ask_to_trim(worth) {
                self.pending.push(now.wall, &Op::Trim { to: to.0, number }, None);
            }
        }
    }

    /// Slot `to` has applied everything up to `number`, and asks for nothing up to `given` again.
    pub fn outbox_applied(&mut self, to: SlotId, number: u64, given: u64) {
        self.outboxes.entry(to).or_default().applied(number, given);
        self.weigh_outboxes();
    }
}

/// A row of which there is one; what it is before it was written, if it was not.
fn read<T: Default + for<'a> BorrowDecode<'a, ()>>(engine: &dyn Engine, key: &[u8]) -> Result<T, Error> {
    let mut value = Vec::new();
    if engine.get(Family::Session, key, &mut value)? { decode(key, &value) } else { Ok(T::default()) }
}

fn scan_some(
    engine: &dyn Engine,
    (from, to): (Vec<u8>, Vec<u8>),
    mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Result<(), Error> {
    engine.scan(Family::Session, &from, &to, &mut visit)
}

fn scan(
    engine: &dyn Engine,
    range: (Vec<u8>, Vec<u8>),
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    scan_some(engine, range, |key, value| {
        outcome = visit(key, value);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome
}
