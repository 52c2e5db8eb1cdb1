//! What a slot's Sessions count as against the limits of their users and of the node (see [`crate::budget`]). Each is
//! weighed when something of it has changed, and what it was counted as before is remembered with it: so the sums follow
//! from what is there, and no path can forget to give something back.

use convoy_ids::SlotId;
use convoy_storage::engine::{Engine, Error, Family};
use rustc_hash::FxHashMap;
use std::ops::ControlFlow;

use super::active::{Active, end_of};
use super::counted::{Counted, wanted_by};
use super::op::Op;
use super::state::decode;
use super::{Slot, Turn, rows};
use crate::budget::{Budget, Usage, User};
use crate::clock::Millis;
use crate::session::{Head, Queue, Seq, SessionNumber, SessionRow, Will};

impl Active {
    /// Counts what there is of it now.
    pub fn weigh(&mut self, budget: &mut Budget) {
        let before = self.counted;
        self.counted = Counted::weigh(before.user, &self.row, self.queue.as_deref());
        budget.change(before.user, &before.usage(), &self.counted.usage());
    }

    /// It belongs to whom its row says.
    pub fn weigh_anew(&mut self, budget: &mut Budget) {
        self.forget(budget);
        self.counted.user = User::of(&self.row.owner);
        self.weigh(budget);
    }

    /// It counts no more.
    pub fn forget(&mut self, budget: &mut Budget) {
        let before = std::mem::take(&mut self.counted);
        budget.change(before.user, &before.usage(), &Usage::default());
    }
}

impl Slot {
    /// To be called when the Will or the queue of an active Session has changed.
    pub(super) fn weigh(&mut self, session: SessionNumber, turn: &mut Turn<'_>) {
        if let Some(active) = self.active.get_mut(&session) {
            active.weigh(turn.budget);
        }
    }

    /// What a CONNECT adds to the Session that it finds, if it finds one.
    pub fn added_by_connect(
        &self,
        name: &[u8],
        expiry_seconds: u32,
        will: Option<&Will>,
        at: Millis,
        state: &mut super::State,
    ) -> Result<Usage, Error> {
        let wanted = wanted_by(expiry_seconds, will);
        let row = state.get::<SessionRow>(&rows::client(self.id, name))?;
        let Some(row) = row.filter(|row| row.ends_at().is_none_or(|end| end > at)) else { return Ok(wanted) };
        let has = wanted_by(if row.has_queue { row.expiry_seconds } else { 0 }, row.will.as_ref());
        Ok(wanted.without(&has))
    }

    /// A CONNECT waits for its outcome, or has it.
    pub(super) fn connects(&mut self, op: &Op<'_>, begins: bool) {
        let Op::Connect { owner, expiry_seconds, will, .. } = op else { return };
        let (user, wanted) = (User::of(owner), wanted_by(*expiry_seconds, will.as_ref()));
        match begins {
            _ if wanted == Usage::default() => {}
            true => self.connecting.add(user, &wanted),
            false => self.connecting.remove(user, &wanted),
        }
    }
}

/// Counts what the rows of a slot hold. What cannot be read is not counted: whoever needs it will say so, and a node with
/// a damaged row starts.
pub fn count_stored(id: SlotId, engine: &dyn Engine, budget: &mut Budget) {
    for (_, counted) in stored_of(id, engine) {
        budget.change(counted.user, &Usage::default(), &counted.usage());
    }
}

/// Takes back what was counted of a slot's Sessions; of those that are not `active` that is what their rows hold.
pub fn uncount_stored(
    id: SlotId,
    engine: &dyn Engine,
    active: &FxHashMap<SessionNumber, Box<Active>>,
    budget: &mut Budget,
) {
    let of_active = active.iter().map(|(session, active)| (*session, active.counted));
    let of_rows = stored_of(id, engine).into_iter().filter(|(session, _)| !active.contains_key(session));
    for (_, counted) in of_active.chain(of_rows) {
        budget.change(counted.user, &counted.usage(), &Usage::default());
    }
}

/// What the Sessions of a slot count as by their rows.
fn stored_of(id: SlotId, engine: &dyn Engine) -> Vec<(SessionNumber, Counted)> {
    let mut sessions = Vec::new();
    let (from, to) = rows::clients(id, b"");
    let scanned = engine.scan(Family::Session, &from, &to, &mut |key, value| {
        if let Ok(row) = decode::<SessionRow>(key, value) {
            sessions.push((row.number, Counted::of(&row, None)));
        }
        ControlFlow::Continue(())
    });
    // In the order of their queues: what is near to each other is read once.
    sessions.sort_unstable_by_key(|(session, _)| *session);
    let counted = count_queues(id, engine, &mut sessions);
    if let Err(error) = scanned.and(counted) {
        tracing::warn!(slot = %id, %error, "some of what is stored is not counted against its limits");
    }
    sessions
}

/// Adds what is queued for these Sessions, which ascend.
fn count_queues(
    id: SlotId,
    engine: &dyn Engine,
    sessions: &mut [(SessionNumber, Counted)],
) -> Result<(), Error> {
    let mut heads = FxHashMap::default();
    let (from, to) = rows::heads(id);
    engine.scan(Family::Session, &from, &to, &mut |key, value| {
        if let (Some(session), Ok(head)) = (rows::session_of_head(key), decode::<Head>(key, value)) {
            heads.insert(session, head);
        }
        ControlFlow::Continue(())
    })?;
    let (lasting, queues): (Vec<_>, Vec<_>) = sessions
        .iter_mut()
        .filter(|(_, counted)| counted.lasts)
        .map(|(session, counted)| {
            let head = heads.remove(session).unwrap_or_default();
            let (from, to) = (rows::queued(*session, head.floor), rows::queued(*session, Seq::MAX));
            ((counted, head), (from, to))
        })
        .unzip();
    let ranges: Vec<_> = queues.iter().map(|(from, to)| (&from[..], &to[..])).collect();
    let mut ends = vec![None; ranges.len()];
    let read = engine.last_of_each(Family::Queue, &ranges, &mut |number, key, value| {
        ends[number] = end_of(key, value).ok();
    });
    for ((counted, head), end) in lasting.into_iter().zip(ends) {
        counted.queued += Queue::recover(head, end, Default::default()).bytes();
    }
    read
}
