//! Makes the rows of slots agree with each other again after some of them were lost, so that a node can start on what is
//! left, and says what was lost.
//!
//! The rows given are those that can be read, in a folder of their own. What follows from others is made anew: counters,
//! what is due, who is connected, routes, and who holds a message that many queues hold. A Session of which a
//! Subscription is missing ends: its Client is told that there is none, and subscribes again. One that lost messages
//! goes on with the others. Where operations between two slots are missing, others of no effect take their numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use convoy_ids::SlotId;
use convoy_storage::engine::{Batch, Engine, Error, Family, Pair};
use convoy_storage::record::{self, BorrowDecode, Encode};
use rustc_hash::{FxHashMap, FxHashSet};

use super::op::Op;
use super::owner::{name_of_session, plain_name};
use super::state::{Kept, decode};
use super::{Counts, RetainedSize, rows, stored};
use crate::budget::User;
use crate::message::Message;
use crate::retained;
use crate::session::{Head, Seq, SessionNumber, SessionRow, SubscriptionRow};
use crate::topic::{RouteRow, SHARED};

/// By how much the numbers that a slot grants go up, so that no epoch and no Session of the old folder is one of the new.
const RAISE: u64 = 1 << 32;

/// Bytes that wait to be written.
const BATCH_BYTES: usize = 4 << 20;

/// What was lost beside the rows that could not be read: a slot, and whose it was.
pub type Losses = Vec<(SlotId, String)>;

/// Mends the slots of `damaged` among the first `slots` and the meta group, and raises the numbers of all.
pub fn mend(engine: &dyn Engine, slots: u16, damaged: &BTreeSet<SlotId>) -> Result<Losses, Error> {
    super::bring_over(engine, slots)?;
    let all: Vec<SlotId> = (0..slots).map(SlotId).chain([SlotId::META]).collect();
    let mut mend = Mend {
        engine,
        batch: Batch::new(),
        losses: Vec::new(),
        ended: FxHashSet::default(),
        outbox_bodies: FxHashSet::default(),
    };
    for &slot in damaged {
        mend.sessions(slot)?;
        mend.retained(slot)?;
    }
    mend.write()?;
    mend.routes(&all, damaged)?;
    mend.write()?;
    for &slot in damaged {
        for &other in &all {
            mend.outbox(slot, other)?;
            if !damaged.contains(&other) {
                mend.outbox(other, slot)?;
            }
        }
    }
    for &slot in damaged {
        mend.drop_outbox_bodies(slot)?;
    }
    for &slot in &all {
        mend.raise(slot)?;
    }
    mend.write()?;
    Ok(mend.losses)
}

struct Mend<'a> {
    engine: &'a dyn Engine,
    batch: Batch,
    losses: Losses,
    /// Sessions that ended because too little is left of them.
    ended: FxHashSet<SessionNumber>,
    /// Messages that operations in the outboxes of a slot refer to.
    outbox_bodies: FxHashSet<(SlotId, u64)>,
}

/// A Session as its rows are found.
struct Found {
    name: Vec<u8>,
    row: SessionRow,
    subscriptions: u32,
    shared: u64,
}

impl Mend<'_> {
    fn get<T: for<'de> BorrowDecode<'de, ()>>(&self, key: &[u8]) -> Result<Option<T>, Error> {
        let mut value = Vec::new();
        match self.engine.get(Family::Session, key, &mut value)? {
            true => decode(key, &value).map(Some),
            false => Ok(None),
        }
    }

    fn put<T: Encode>(&mut self, key: &[u8], value: &T) {
        let mut bytes = Vec::new();
        record::encode_into(value, &mut bytes);
        self.batch.put(Family::Session, key, &bytes);
    }

    fn write(&mut self) -> Result<(), Error> {
        self.engine.write(&self.batch)?;
        self.batch.clear();
        Ok(())
    }

    fn write_some(&mut self) -> Result<(), Error> {
        if self.batch.size_bytes() > BATCH_BYTES { self.write() } else { Ok(()) }
    }

    /// The rows of a range of the family `session`.
    fn scan(&self, (from, to): (Vec<u8>, Vec<u8>)) -> Result<Vec<Pair>, Error> {
        scan(self.engine, Family::Session, &from, &to)
    }

    fn lost(&mut self, slot: SlotId, what: String) {
        self.losses.push((slot, what));
    }

    fn sessions(&mut self, slot: SlotId) -> Result<(), Error> {
        let mut found: FxHashMap<SessionNumber, Found> = FxHashMap::default();
        for (key, value) in self.scan(rows::clients(slot, b""))? {
            let row: SessionRow = decode(&key, &value)?;
            let name = rows::name_of_client(&key).unwrap_or_default().to_vec();
            found.insert(row.number, Found { name, row, subscriptions: 0, shared: 0 });
        }
        for (key, _) in self.scan(rows::all_subscriptions(slot))? {
            let session = rows::session_of(&key).and_then(|session| found.get_mut(&session));
            if let (Some(session), Some(filter)) = (session, rows::filter_of_subscription(&key)) {
                session.subscriptions += 1;
                session.shared += u64::from(filter.starts_with(SHARED));
            }
        }
        let mut counts = Counts::default();
        let mut highest = 0;
        let kept: FxHashMap<_, _> = found
            .into_iter()
            .filter(|(number, found)| {
                highest = highest.max(found.row.epoch.0).max(number.0 & ((1 << 48) - 1));
                found.subscriptions == found.row.subscriptions
            })
            .collect();
        self.end_others(slot, &kept)?;
        for found in kept.values() {
            counts.sessions += 1;
            counts.subscriptions += u64::from(found.subscriptions);
            counts.shared += found.shared;
            self.batch.put(Family::Session, &rows::name(found.row.number), &found.name);
            if found.row.home.is_some() {
                self.batch.put(Family::Session, &rows::live(found.row.number), &[]);
            }
        }
        for (key, _) in self.scan(rows::all_due(slot))? {
            self.batch.delete(Family::Session, &key);
        }
        for found in kept.values() {
            let row = &found.row;
            if let Some(at) = [row.ends_at(), row.will_due_at()].into_iter().flatten().min() {
                self.batch.put(Family::Session, &rows::due(slot, at, row.number), &[]);
            }
        }
        let granted = self.get::<u64>(&rows::grants(slot))?.unwrap_or(0);
        self.put(&rows::grants(slot), &granted.max(highest));
        self.put(&rows::counts(slot), &counts);
        self.queues(slot, &kept)?;
        self.write()
    }

    /// What is left of Sessions that are not kept goes.
    fn end_others(&mut self, slot: SlotId, kept: &FxHashMap<SessionNumber, Found>) -> Result<(), Error> {
        let (from, to) = rows::of_slot(slot);
        let (mut gone, mut ending) = (BTreeSet::new(), BTreeSet::new());
        for (key, value) in scan(self.engine, Family::Session, &from, &to)? {
            let session = match rows::session_of_any(&key) {
                Some(session) => session,
                None => match rows::is_client(&key) {
                    true => decode::<SessionRow>(&key, &value)?.number,
                    false => continue,
                },
            };
            if rows::is_ending(&key) {
                ending.insert(session);
            }
            if !kept.contains_key(&session) {
                gone.insert(session);
                self.batch.delete(Family::Session, &key);
            }
        }
        for session in gone {
            self.ended.insert(session);
            if ending.contains(&session) {
                // It had ended before.
                continue;
            }
            let name = name_of_session(self.engine, session);
            self.lost(
                slot,
                format!("{name}, with all that it had: it ends, and its Client subscribes again"),
            );
        }
        Ok(())
    }

    fn queues(&mut self, slot: SlotId, kept: &FxHashMap<SessionNumber, Found>) -> Result<(), Error> {
        let (from, to) = rows::of_slot(slot);
        let nobody = rows::nobody(slot);
        let mut bodies: BTreeMap<u64, u32> = BTreeMap::new();
        let mut waiting: FxHashMap<SessionNumber, Waiting> = FxHashMap::default();
        let (mut gone, mut held) = (Vec::new(), Vec::new());
        self.engine.scan(Family::Queue, &from, &to, &mut |key, value| {
            let (Some(session), Some(seq), Ok(stored)) =
                (rows::session_of_queued(key), rows::seq_of_queued(key), stored::open(key, value))
            else {
                gone.push(key.to_vec());
                return ControlFlow::Continue(());
            };
            // Bodies come first: no Session has the number zero.
            if session == nobody {
                bodies.insert(seq, 0);
                return ControlFlow::Continue(());
            }
            let missing = stored.body.is_some_and(|body| !bodies.contains_key(&body.number));
            if missing || !kept.contains_key(&session) {
                gone.push(key.to_vec());
                return ControlFlow::Continue(());
            }
            if let Some(body) = stored.body {
                *bodies.entry(body.number).or_insert(0) += 1;
                held.push((session, seq, body.number));
            }
            let bytes = stored.body.map_or(stored.message.len() as u32, |body| body.bytes);
            waiting.entry(session).or_default().take(seq, bytes, stored.came);
            ControlFlow::Continue(())
        })?;
        for key in gone {
            self.batch.delete(Family::Queue, &key);
        }
        for range in [rows::all_holders(slot), rows::all_held_of(slot)] {
            for (key, _) in self.scan(range)? {
                self.batch.delete(Family::Session, &key);
            }
        }
        for (&number, holders) in &bodies {
            match holders {
                0 => self.batch.delete(Family::Queue, &rows::queued(nobody, number)),
                holders => self.put(&rows::holders(slot, number), holders),
            }
        }
        for (session, seq, number) in held {
            self.put(&rows::held(session, seq), &number);
        }
        let last = self.get::<u64>(&rows::bodies(slot))?.unwrap_or(0);
        let (from, to) = rows::outbox_bodies(slot);
        let on_the_way = self.engine.last(Family::Session, &from, &to)?;
        let on_the_way = on_the_way.and_then(|(key, _)| rows::number_of_outbox_body(&key));
        // Both kinds have their numbers from one counter, which may be lost itself.
        let used = bodies.keys().next_back().copied().max(on_the_way).unwrap_or(0);
        self.put(&rows::bodies(slot), &last.max(used));
        for (&session, found) in kept.iter().filter(|(_, found)| found.row.has_queue) {
            self.head(slot, session, found, waiting.remove(&session).unwrap_or_default())?;
        }
        Ok(())
    }

    /// The head of a queue as what waits in it makes it.
    fn head(
        &mut self,
        slot: SlotId,
        session: SessionNumber,
        found: &Found,
        waiting: Waiting,
    ) -> Result<(), Error> {
        let known: Option<Head> = self.get(&rows::head(session))?;
        // Without a head nobody knows which numbers the Client has seen.
        let unknown =
            if known.is_none() && found.row.home.is_none() && waiting.seqs.is_empty() { RAISE } else { 0 };
        let known = known.unwrap_or_default();
        let (head, lost) = known.of_what_is_left(&waiting.seqs, waiting.bytes, waiting.came, unknown);
        if lost > 0 {
            let name = plain_name(&found.name);
            self.lost(slot, format!("{lost} messages in the queue of Session {name}"));
        }
        self.put(&rows::head(session), &head);
        self.write_some()
    }

    fn retained(&mut self, slot: SlotId) -> Result<(), Error> {
        let mut size = RetainedSize::default();
        let mut sizes: BTreeMap<User, RetainedSize> = BTreeMap::new();
        let mut numbered = self.get::<u64>(&rows::numbered(slot))?.unwrap_or(0);
        let (from, to) = rows::of_slot(slot);
        self.engine.scan(Family::Retained, &from, &to, &mut |_, value| {
            if let Ok((number, message)) = retained::split(value) {
                numbered = numbered.max(number);
                let user = Message::decode(message).map_or(User::NOBODY, |message| message.user);
                let kept = Kept { bytes: message.len() as u32, expires_at: None, user };
                size.change(None, Some(kept));
                sizes.entry(user).or_default().change(None, Some(kept));
            }
            ControlFlow::Continue(())
        })?;
        self.put(&rows::numbered(slot), &numbered);
        self.put(&rows::retained(slot), &size);
        for (key, _) in self.scan(rows::all_retained_of(slot))? {
            self.batch.delete(Family::Session, &key);
        }
        sizes.remove(&User::NOBODY);
        for (user, size) in &sizes {
            self.put(&rows::retained_of(slot, *user), size);
        }
        Ok(())
    }

    /// Routes of damaged slots are made of the Subscriptions of all; those of ended Sessions go everywhere. Root routes are
    /// made for all slots where the meta group is damaged: an earlier release may have had them there.
    fn routes(&mut self, all: &[SlotId], damaged: &BTreeSet<SlotId>) -> Result<(), Error> {
        let is_of_all = damaged.contains(&SlotId::META);
        let everywhere: BTreeSet<SlotId> = all
            .iter()
            .copied()
            .filter(|slot| !slot.is_meta() && (is_of_all || damaged.contains(slot)))
            .collect();
        for &slot in all {
            for (key, _) in self.scan(rows::routes(slot))? {
                let ended = rows::split_route(&key)
                    .is_none_or(|(_, subscriber, _)| self.ended.contains(&SessionNumber(subscriber)));
                if ended {
                    self.batch.delete(Family::Session, &key);
                }
            }
            self.write_some()?;
        }
        for &slot in all {
            let mut homes = FxHashMap::default();
            for (key, value) in self.scan(rows::clients(slot, b""))? {
                let row: SessionRow = decode(&key, &value)?;
                homes.insert(row.number, row.home.filter(|_| !row.has_queue));
            }
            for (key, value) in self.scan(rows::all_subscriptions(slot))? {
                let row: SubscriptionRow = decode(&key, &value)?;
                let (Some(session), Some(filter)) =
                    (rows::session_of(&key), rows::filter_of_subscription(&key))
                else {
                    continue;
                };
                let Some(&home) = homes.get(&session) else { continue };
                let route = RouteRow { subscription: row.subscription, home };
                for place in &row.places {
                    let slots = if place.is_everywhere() { &everywhere } else { damaged };
                    let is_of = |slot: &&SlotId| place.is_everywhere() || place.slot == slot.0;
                    for &slot in slots.iter().filter(is_of) {
                        self.put(&rows::route(slot, place.partition, session.0, filter), &route);
                    }
                }
                self.write_some()?;
            }
            self.write_some()?;
        }
        Ok(())
    }

    /// The operations of one slot for another follow each other without a gap.
    fn outbox(&mut self, from: SlotId, to: SlotId) -> Result<(), Error> {
        let mut numbers = BTreeSet::new();
        for (key, op) in self.scan(rows::outboxes_to(from, to))? {
            if let Some((_, number)) = rows::split_outbox(&key).filter(|_| self.has_body(from, &op)) {
                numbers.insert(number);
            }
        }
        let applied = self.get::<u64>(&rows::inbox(to, from))?;
        let last = self.get::<u64>(&rows::outbox_next(from, to))?;
        let last = last.unwrap_or(0).max(applied.unwrap_or(0)).max(numbers.last().copied().unwrap_or(0));
        if last == 0 {
            return Ok(());
        }
        self.put(&rows::outbox_next(from, to), &last);
        let Some(applied) = applied.or((numbers.first() == Some(&1)).then_some(0)) else {
            // Which of them were applied is not known: none is applied twice.
            self.put(&rows::inbox(to, from), &last);
            self.lost(from, format!("up to {} operations on their way to slot {to}", numbers.len()));
            return Ok(());
        };
        let missing: Vec<u64> = (applied + 1..=last).filter(|number| !numbers.contains(number)).collect();
        if !missing.is_empty() {
            self.lost(from, format!("{} operations on their way to slot {to}", missing.len()));
        }
        for number in missing {
            self.put(&rows::outbox(from, to, number), &Op::Expire { topics: Vec::new() });
        }
        Ok(())
    }

    /// Whether the body is there that an operation of an outbox refers to, if it does. It is one that stays.
    fn has_body(&mut self, from: SlotId, op: &[u8]) -> bool {
        let Ok(Op::EnqueueBody { body, .. } | Op::RootsBody { body, .. }) = record::decode(op) else {
            return true;
        };
        let found = self.engine.get(Family::Session, &rows::outbox_body(from, body), &mut Vec::new());
        let found = found.is_ok_and(|found| found);
        if found {
            self.outbox_bodies.insert((from, body));
        }
        found
    }

    /// Messages go that no operation of an outbox refers to.
    fn drop_outbox_bodies(&mut self, slot: SlotId) -> Result<(), Error> {
        for (key, _) in self.scan(rows::outbox_bodies(slot))? {
            let number = rows::number_of_outbox_body(&key);
            if number.is_none_or(|number| !self.outbox_bodies.contains(&(slot, number))) {
                self.batch.delete(Family::Session, &key);
            }
        }
        Ok(())
    }

    fn raise(&mut self, slot: SlotId) -> Result<(), Error> {
        let granted = self.get::<u64>(&rows::grants(slot))?;
        self.put(&rows::grants(slot), &(granted.unwrap_or(0) + RAISE));
        Ok(())
    }
}

/// The messages that wait for a Session.
#[derive(Default)]
struct Waiting {
    seqs: BTreeSet<Seq>,
    bytes: u64,
    came: u64,
}

impl Waiting {
    fn take(&mut self, seq: Seq, bytes: u32, came: u64) {
        self.seqs.insert(seq);
        self.bytes += u64::from(bytes);
        self.came = self.came.max(came);
    }
}

fn scan(engine: &dyn Engine, family: Family, from: &[u8], to: &[u8]) -> Result<Vec<Pair>, Error> {
    let mut found = Vec::new();
    engine.scan(family, from, to, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
