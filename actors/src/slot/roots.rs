//! Root routes: those of Topic Filters that begin with a wildcard. Messages of any slot may match, so every slot has all of
//! them, in rows of its own, and asks nobody. A SUBSCRIBE of many is one operation in each slot, whose rows in the outboxes
//! share one body; where routes of partitions say it for each filter, this says it for a run of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use convoy_ids::SlotId;
use convoy_membership::PartitionKey;
use convoy_storage::engine::{Batch, Engine, Error, Family, Pair};
use convoy_storage::record;

use super::context::Context;
use super::op::{Op, RootFilter};
use super::rows::Key;
use super::state::decode;
use super::{Slot, Turn, rows};
use crate::call::Answer;
use crate::session::{Home, SessionNumber};
use crate::tenant::TENANT;
use crate::topic::RouteRow;

/// Topic Filters of one operation, and bytes of them after which another one begins: it is applied in one piece. Replicas
/// of all releases must agree on it: it never changes.
const RUN: usize = 256;
const RUN_BYTES: usize = 32 << 10;

/// Bytes of rows that are brought over at once.
const BATCH_BYTES: usize = 4 << 20;

/// Stands in the rows of root routes where others have their partition.
pub(super) fn everywhere() -> u64 {
    PartitionKey::root(TENANT).0
}

/// The next run of these.
fn run_of(filters: &[RootFilter<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |filter: &&RootFilter<'_>| {
        let fits = bytes < RUN_BYTES;
        bytes += filter.filter.len();
        fits
    };
    filters.iter().take(RUN).take_while(fits).count()
}

impl Slot {
    /// Sends root routes of a Session to all slots. How many answers there will be.
    pub(super) fn emit_roots(
        &mut self,
        subscriber: SessionNumber,
        home: Option<Home>,
        mut filters: &[RootFilter<'_>],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> u32 {
        let mut more = 0;
        while let Some((run, rest)) =
            filters.split_at_checked(run_of(filters)).filter(|(run, _)| !run.is_empty())
        {
            filters = rest;
            let op = Op::Roots { subscriber, home, filters: run.to_vec() };
            more += self.emit_everywhere(&op, context, turn);
        }
        more
    }

    /// Root routes begin, change or end in this slot. What is answered, unless it waits.
    pub(super) fn route_everywhere(
        &mut self,
        subscriber: SessionNumber,
        home: Option<Home>,
        filters: &[RootFilter<'_>],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Option<Answer> {
        *turn.work += filters.len() as u64;
        let (everywhere, mut value) = (everywhere(), Vec::new());
        for &RootFilter { filter, subscription } in filters {
            let key = rows::route(self.id, everywhere, subscriber.0, filter);
            // Straight to the batch: nobody reads them until the next start.
            match subscription.map(|subscription| RouteRow { subscription, home }) {
                Some(route) => {
                    value.clear();
                    record::encode_into(&route, &mut value);
                    turn.state.batch().put(Family::Session, &key, &value);
                    turn.roots.insert(self.id, filter, subscriber, route);
                }
                None => {
                    turn.state.batch().delete(Family::Session, &key);
                    turn.roots.remove(self.id, filter, subscriber);
                }
            }
        }
        if filters.iter().all(|filter| filter.subscription.is_none()) {
            return Some(Answer::Done);
        }
        let registered = Answer::RootsRegistered { slot: self.id, until: self.numbered };
        if home.is_some() {
            self.answer_route(context.reply, registered, turn);
            return None;
        }
        Some(registered)
    }
}

/// Earlier releases kept root routes in the meta group alone: here they are brought over to all of the first `slots` slots.
/// What is on its way to the meta group is taken in first, as it would have done it. A row goes there with the batch that
/// puts it into the slots, so a crash leaves it in one place or in the other, and the next start goes on. To be called
/// before slots are opened.
///
/// # Errors
///
/// Rows cannot be read, or written. What was brought over until then has been.
pub fn bring_over(engine: &dyn Engine, slots: u16) -> Result<(), Error> {
    take_in(engine, slots)?;
    let (mut from, to) = rows::routes(SlotId::META);
    loop {
        let (mut batch, mut next) = (Batch::new(), None);
        engine.scan(Family::Session, &from, &to, &mut |key, value| {
            if batch.size_bytes() > BATCH_BYTES {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            if let Some((partition, subscriber, filter)) = rows::split_route(key) {
                for slot in (0..slots).map(SlotId) {
                    batch.put(Family::Session, &rows::route(slot, partition, subscriber, filter), value);
                }
            }
            batch.delete(Family::Session, key);
            ControlFlow::Continue(())
        })?;
        if batch.size_bytes() > 0 {
            engine.write(&batch)?;
        }
        match next {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}

/// The meta group takes what waits for it in the outboxes of slots.
fn take_in(engine: &dyn Engine, slots: u16) -> Result<(), Error> {
    let (mut batch, mut changed) = (Batch::new(), BTreeMap::<Key, Option<Vec<u8>>>::new());
    for from in (0..slots).map(SlotId) {
        let (first, to) = rows::outboxes_to(from, SlotId::META);
        let mut waiting: Vec<Pair> = Vec::new();
        engine.scan(Family::Session, &first, &to, &mut |key, op| {
            waiting.push((key.to_vec(), op.to_vec()));
            ControlFlow::Continue(())
        })?;
        let inbox = rows::inbox(SlotId::META, from);
        let mut value = Vec::new();
        let applied: u64 = match engine.get(Family::Session, &inbox, &mut value)? {
            true => decode(&inbox, &value)?,
            false => 0,
        };
        let mut last = applied;
        for (key, op) in &waiting {
            let Some((_, number)) = rows::split_outbox(key).filter(|(_, number)| *number > applied) else {
                continue;
            };
            let of = |partition, subscriber: SessionNumber, filter| {
                rows::route(SlotId::META, partition, subscriber.0, filter)
            };
            match decode(key, op)? {
                Op::Route { partition, subscriber, filter, route } => {
                    let mut value = Vec::new();
                    record::encode_into(&route, &mut value);
                    changed.insert(of(partition, subscriber, filter), Some(value));
                }
                Op::Unroute { partition, subscriber, filter } => {
                    changed.insert(of(partition, subscriber, filter), None);
                }
                _ => {}
            }
            last = number;
        }
        if last > applied {
            value.clear();
            record::encode_into(&last, &mut value);
            batch.put(Family::Session, &inbox, &value);
        }
    }
    for (key, value) in changed {
        match value {
            Some(value) => batch.put(Family::Session, &key, &value),
            None => batch.delete(Family::Session, &key),
        }
    }
    if batch.size_bytes() > 0 { engine.write(&batch) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use convoy_storage::engine::Model;

    use super::*;
    use crate::session::Subscription;

    const SLOTS: u16 = 3;
    const SUBSCRIBER: SessionNumber = SessionNumber(1 << 48 | 5);

    fn route(qos: u8) -> RouteRow {
        RouteRow { subscription: Subscription::plain(qos), home: None }
    }

    fn encoded<T: record::Encode>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        record::encode_into(value, &mut bytes);
        bytes
    }

    fn rows_of(engine: &dyn Engine) -> BTreeMap<Key, Vec<u8>> {
        let mut rows = BTreeMap::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            rows.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        };
        engine.scan(Family::Session, &[], &[0xff; 32], visit).unwrap();
        rows
    }

    /// A folder of an earlier release: filters `+/0` and so on, of which the slot of the Session has sent changes that the
    /// meta group has not taken.
    fn earlier(count: usize) -> Model {
        let (engine, mut batch) = (Model::new(), Batch::new());
        let mut put = |key: Key, value: &[u8]| batch.put(Family::Session, &key, value);
        let (partition, slot) = (everywhere(), SUBSCRIBER.slot());
        for at in 0..count {
            let key = rows::route(SlotId::META, partition, SUBSCRIBER.0, &format!("+/{at}"));
            put(key, &encoded(&route(1)));
        }
        let op = |filter, route| match route {
            Some(route) => encoded(&Op::Route { partition, subscriber: SUBSCRIBER, filter, route }),
            None => encoded(&Op::Unroute { partition, subscriber: SUBSCRIBER, filter }),
        };
        // The first one was taken, and something has happened since.
        for (number, filter, route) in
            [(4, "+/0", None), (5, "+/1", Some(route(2))), (6, "+/2", None), (7, "#", Some(route(0)))]
        {
            put(rows::outbox(slot, SlotId::META, number), &op(filter, route));
        }
        put(rows::inbox(SlotId::META, slot), &encoded(&4_u64));
        put(rows::outbox_next(slot, SlotId::META), &encoded(&7_u64));
        engine.write(&batch).unwrap();
        engine.sync().unwrap();
        engine
    }

    #[test]
    fn what_the_meta_group_had_or_was_sent_is_in_every_slot() {
        let engine = earlier(4);
        bring_over(&engine, SLOTS).unwrap();
        let found = rows_of(&engine);
        let of_slot = |slot: u16, filter: &str| {
            let value = found.get(&rows::route(SlotId(slot), everywhere(), SUBSCRIBER.0, filter))?;
            Some(record::decode::<RouteRow>(value).unwrap().subscription.qos)
        };
        for slot in 0..SLOTS {
            let qos = ["+/0", "+/1", "+/2", "+/3", "#"].map(|filter| of_slot(slot, filter));
            assert_eq!(qos, [Some(1), Some(2), None, Some(1), Some(0)]);
        }
        assert!(!found.keys().any(|key| key.starts_with(&rows::routes(SlotId::META).0)));
        // What is sent to it again was taken.
        assert_eq!(found[&rows::inbox(SlotId::META, SUBSCRIBER.slot())], encoded(&7_u64));
        // The next start finds nothing to be brought over.
        let writes = engine.writes();
        bring_over(&engine, SLOTS).unwrap();
        assert_eq!(engine.writes(), writes);
    }

    #[test]
    fn a_crash_while_routes_are_brought_over_loses_none() {
        // More than go at once.
        let count = 40_000;
        let whole = earlier(count);
        bring_over(&whole, SLOTS).unwrap();
        let expected = rows_of(&whole);
        let pieces = whole.unsynced();
        assert!(pieces > 2, "{pieces}");
        for keep in 0..pieces {
            let engine = earlier(count);
            bring_over(&engine, SLOTS).unwrap();
            let engine = engine.crash(keep);
            bring_over(&engine, SLOTS).unwrap();
            assert!(rows_of(&engine) == expected, "behind {keep} of {pieces} pieces");
        }
    }
}
