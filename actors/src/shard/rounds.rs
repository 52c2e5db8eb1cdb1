//! Rounds: what slots have gathered goes to the log with one write and one sync, while the next gathers; what is committed
//! is applied, and what follows from it is carried on.

use std::time::Duration;

use convoy_storage::engine;
use convoy_storage::replica::{Committed, Driver, ProposeError, Round, RoundError};
use convoy_wire::ReasonCode;

use super::slots::fail;
use super::{Shard, turn};
use crate::activity::Activity;
use crate::call::{Answer, ReplyTo, token};
use crate::clock::Now;
use crate::edge::Change;
use crate::metric;
use crate::slot::{Effects, Op, Turn};

/// Milliseconds that acknowledgements of Clients may wait for company before they get a record of their own.
const SAVE_EVERY: u64 = 100;

/// Bytes of applied changes that wait for the engine, beyond which they are written before the next record is applied.
const APPLIED_BYTES: usize = 2 << 20;

/// Bytes that one round takes of those who have much, with the rows that applying these writes: others wait as long.
const ROUND_BYTES: usize = 4 << 20;

/// A record of this size, counted likewise, is much.
const SMALL_BYTES: usize = 64 << 10;

/// Operations an outbox keeps after they were applied, before a record is made to delete them.
const TRIM_WORTH: u64 = 128;

impl Shard {
    /// The end of a burst of events: what has been gathered goes to the log, unless a sync is under way; then it
    /// gathers on.
    pub fn turn(&mut self, now: Now) {
        self.end_turn(now);
        self.turn_began_at = self.work;
        self.dear_work = 0;
    }

    fn end_turn(&mut self, now: Now) {
        let until = self.end_of_piece();
        if self.has_others {
            self.look_at_links(now);
            self.feel_quorums(now, false);
            self.open_arrived(now, until);
            self.return_to_led(now);
            self.install_snapshot();
            self.end_replicas();
        }
        self.ask_for_proofs();
        if self.has_others && self.driver.is_dirty() && !self.stalled && self.failure.is_none() {
            // Other nodes do not wait for this one's disk, and what they have said comes before what is proposed.
            self.round(now);
        }
        if self.is_settled() {
            self.cast_on(now);
        }
        self.outlet.casts.tell();
        self.tell_counts();
        self.outlet.edge.visit(now);
        self.walk(now);
        self.feel_shortage();
        self.outlet.edge.outputs.tell();
        self.tell_backed_up();
        self.tell_shortage();
        // Each part of the work has its share, so that none waits for ever for another.
        self.settle_until(now, until - self.piece / 2);
        if self.has_others {
            self.tell_asked();
        }
        if !self.leading_on.is_empty() {
            self.lead_on(now, until - self.piece / 4);
        }
        if self.has_backlog() {
            self.apply_backlog(now, until - self.piece / 4);
        }
        if self.reads_on && self.state.is_readable() && self.work < until {
            self.read_on(now, until);
        }
        // What is committed is applied before more is proposed, so that only so much can be behind.
        if self.driver.is_syncing() || self.failure.is_some() || !self.backlog.is_empty() || self.holds(now) {
            return;
        }
        self.write_state(now, until);
        if self.failure.is_some() {
            return;
        }
        if self.low_space || self.slots.table.iter().any(|slot| !slot.pending.is_empty()) {
            self.look_for_room(now);
        }
        let save = now.monotonic >= self.save_at;
        for slot in self.slots.table.iter_mut().filter(|slot| slot.is_serving()) {
            if slot.has_unsaved() && (save || slot.must_save() || !slot.pending.is_empty()) {
                slot.save_acknowledged(now.wall);
                self.save_at = now.monotonic + SAVE_EVERY;
            }
            if self.has_others && (save || !slot.pending.is_empty()) && slot.has_given() {
                slot.save_given(now.wall);
                self.save_at = now.monotonic + SAVE_EVERY;
            }
        }
        self.send_wills(now, false);
        let records = self.propose();
        if records > 0 {
            self.records.increment(records);
        }
        self.ask_for_proofs();
        if self.driver.is_dirty() {
            self.round(now);
        }
        self.settle_until(now, until);
    }

    /// Offers what slots have gathered to the log, up to the size of a round. What is small goes at once, so that nobody
    /// waits behind those who have much; they take turns.
    fn propose(&mut self) -> u64 {
        let (slots, mut records, mut left) = (self.slots.table.len(), 0, ROUND_BYTES);
        if self.slots.table.iter().all(|slot| slot.pending.is_empty()) {
            return 0;
        }
        for place in 0..slots {
            if self.slots.table[place].pending.next_weight_bytes() < SMALL_BYTES {
                records += u64::from(self.propose_next(place));
            }
        }
        for place in self.slots.by_turns(self.proposes_first) {
            self.proposes_first = place + 1;
            loop {
                let bytes = self.slots.table[place].pending.next_weight_bytes();
                if left == 0 || !self.propose_next(place) {
                    break;
                }
                records += 1;
                left = left.saturating_sub(bytes);
            }
            if left == 0 {
                break;
            }
        }
        records
    }

    /// Offers the oldest record of the slot at this place. False if there is none, or it cannot be taken now.
    fn propose_next(&mut self, place: usize) -> bool {
        let slot = &mut self.slots.table[place];
        while slot.is_serving()
            && let Some(mut record) = slot.pending.take()
        {
            match self.driver.propose(slot.id, std::mem::take(&mut record.bytes)) {
                Ok((term, index)) => {
                    slot.proposed = (term, index);
                    slot.underway.push(term, index, record);
                    self.unwritten.push((slot.id, index));
                    return true;
                }
                Err((error, bytes)) => {
                    record.bytes = bytes;
                    slot.pending.restore(record);
                    if matches!(error, ProposeError::TooLarge { .. }) {
                        // It will never fit: whoever asked for it is told, and nobody else waits behind it.
                        let refused = slot.refuse(|_, op| op.adds());
                        if refused.is_empty() {
                            fail(slot, &error);
                        }
                        for reply in refused {
                            self.outlet.answer(reply, Answer::Refused(ReasonCode::QuotaExceeded));
                        }
                        continue;
                    }
                    if error == ProposeError::Stalled {
                        self.stalled = true;
                    }
                    return false;
                }
            }
        }
        false
    }

    /// Before records are made, and at every tick: if little room is left, what waits for its record and adds to the disk
    /// is refused. To find out by a failed write would be too late to say so honestly: what is in the log may be
    /// committed yet.
    fn look_for_room(&mut self, now: Now) {
        // Where it cannot be told, the node says so, and what was seen last is true as long as writes succeed.
        let Ok(space) = self.state.engine().space() else { return };
        let wanted = self.options.min_free_bytes;
        // Compaction gives and takes room all the time: nobody is let in and refused by turns.
        let wanted = if self.low_space { wanted.saturating_add(wanted / 16) } else { wanted };
        let low = space.free < wanted;
        if low != self.low_space {
            self.low_space = low;
            match low {
                true => tracing::error!(
                    free = space.free,
                    "little room on the disk: what needs more of it is refused"
                ),
                false => {
                    tracing::info!(free = space.free, "there is room on the disk again");
                    self.outlet.edge.change(Change::Room);
                }
            }
        }
        if low {
            for slot in &mut self.slots.table {
                for reply in slot.refuse_additions(now.wall, &mut self.state) {
                    self.outlet.answer(reply, Answer::Refused(ReasonCode::QuotaExceeded));
                }
            }
        }
    }

    fn round(&mut self, now: Now) {
        self.outlet.edge.pulse.tell(Activity::Log, 0);
        match self.driver.round(&mut self.batch, &mut self.effects) {
            Ok(()) => {
                self.stalled &= !self.state.is_empty();
                self.unwritten.clear();
            }
            Err(RoundError::Full { path }) => {
                if !self.stalled {
                    tracing::error!(path, "disk full: publications that need it are refused");
                }
                self.stalled = true;
            }
            Err(RoundError::Stopped(reason)) => {
                self.fail_all(&reason);
                self.refuse_unwritten();
            }
            Err(RoundError::Failed(reason)) => self.fail_all(&reason),
        }
        self.take_effects(now);
    }

    /// Whoever waits for a record of which nothing was written is told.
    fn refuse_unwritten(&mut self) {
        for (slot, index) in std::mem::take(&mut self.unwritten) {
            let Some(slot) = self.slots.get(slot) else { continue };
            for reply in slot.underway.withdraw(index, &mut slot.pending) {
                self.outlet.answer(reply, unwritten(reply, self.has_others));
            }
        }
    }

    /// The writes of a round are on stable storage.
    pub fn synced(&mut self, now: Now, round: Round) {
        self.outlet.edge.now = now.monotonic;
        self.rounds.increment(1);
        self.driver.synced(round, &mut self.effects);
        self.reopen_slot(round);
        self.take_effects(now);
    }

    /// The sync failed: what is on disk is unknown, and nothing may be acknowledged.
    pub fn sync_failed(&mut self, reason: &str) {
        self.fail_all(reason);
    }

    /// Nothing can be written any more: what needs a record is refused, and what can be read is delivered on.
    pub(super) fn fail_all(&mut self, reason: &str) {
        if self.failure.is_some() {
            return;
        }
        tracing::error!(reason, "storage failed: what needs a record is refused until the next start");
        self.failure = Some(reason.to_owned());
        self.state.freeze();
        for slot in &mut self.slots.table {
            // What came out of an outbox stands there, and another leader carries it out.
            for reply in
                slot.refuse(|_, op| self.has_others && matches!(op, Op::Inbox { .. } | Op::Live { .. }))
            {
                self.outlet.answer(reply, Answer::Unknown);
            }
            for reply in slot.refuse(|_, _| true) {
                self.outlet.answer(reply, unwritten(reply, self.has_others));
            }
            slot.underway.lose(std::mem::take(&mut slot.pending));
        }
        self.give_back_lost();
        if self.has_others {
            // Others lead soon, and whoever is of this node is to hear them at once.
            let led: Vec<convoy_ids::SlotId> =
                self.slots.iter().filter(|slot| slot.leading).map(|slot| slot.id).collect();
            led.into_iter().for_each(|id| self.lose(id));
        }
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
        self.to_replicas.append(&mut self.effects.messages);
        self.hear_proofs(now);
        if !self.effects.snapshots.is_empty() {
            let wanted = std::mem::take(&mut self.effects.snapshots);
            self.want_snapshots(now, wanted);
        }
        self.end_moved();
        self.backlog.extend(std::mem::take(&mut self.effects.committed));
        self.apply_backlog(now, self.end_of_piece());
    }

    /// Applies what is committed, until a piece of work ends; the rest is for the next turns, between which others have theirs.
    fn apply_backlog(&mut self, now: Now, until: u64) {
        if !self.backlog.is_empty() && self.holds(now) {
            return;
        }
        while self.work < until
            && self.is_settled()
            && let Some(record) = self.backlog.pop_front()
        {
            self.apply(now, &record);
            // What records cause is many times what they say: memory is bounded by one of them, not by a round.
            if self.state.size_bytes() > APPLIED_BYTES {
                self.write_state(now, until);
                if self.holds(now) {
                    break;
                }
            }
            self.settle_until(now, until);
        }
        self.write_state(now, until);
        self.settle_until(now, until);
    }

    pub(super) fn apply(&mut self, now: Now, record: &Committed) {
        self.outlet.edge.pulse.tell(Activity::Apply, u32::from(record.slot.0));
        self.outlet.applying = self.slots.get(record.slot).map_or(self.outlet.applying, |of| of.leadership());
        #[cfg(test)]
        self.tape.push(record.clone());
        let is_command = self.is_of_commands(record.slot) && !record.data.is_empty();
        if is_command && !self.apply_command(record) {
            return;
        }
        let Some(slot) = self.slots.get(record.slot) else { return };
        if slot.failure.is_some() {
            return;
        }
        if !record.data.is_empty() && !is_command {
            let before = self.state.batch().mark();
            let mut turn = turn!(self, now);
            turn.effects.begin_message();
            if let Err(error) = slot.apply(record.term, record.index, &record.data, &mut turn) {
                fail(slot, &error);
                // A record is applied whole or not at all: it comes again when the slot does.
                return self.state.batch().rewind(before);
            }
        }
        Driver::put_applied(record.slot, record.index, self.state.batch());
        slot.applied = record.index;
        self.applied.push((record.slot, record.index));
        if !slot.leading && slot.elected == Some(record.term) {
            self.lead(now, record.slot);
        }
    }

    /// Makes applied state visible to reads; what was put off until then goes on.
    pub(super) fn write_state(&mut self, now: Now, until: u64) {
        if self.state.is_empty() {
            return;
        }
        self.outlet.edge.pulse.tell(Activity::State, 0);
        if self.failure.is_none() {
            match self.state.write(&mut self.driver) {
                Ok(()) => {}
                Err(engine::Error::Full { path }) => {
                    if !self.stalled {
                        tracing::error!(path, "disk full: publications that need it are refused");
                    }
                    self.stalled = true;
                    return;
                }
                Err(error) => self.fail_all(&error.to_string()),
            }
        }
        if self.failure.is_none() {
            // Only what is in the engine may go from the log.
            for (slot, index) in self.applied.drain(..) {
                self.driver.advance_applied(slot, index);
            }
        }
        self.read_on(now, until);
    }

    /// What was put off until the state can be read goes on, until a piece of work ends: slots have it by turns.
    fn read_on(&mut self, now: Now, until: u64) {
        self.reads_on = false;
        for place in self.slots.by_turns(self.reads_first) {
            if self.read_on_for(place, now, until) && !self.reads_on {
                (self.reads_on, self.reads_first) = (true, place);
            }
        }
        self.read_unread(now, until);
        self.reads_on |= !self.unread.is_empty();
    }

    /// The same for one slot: whether something is left.
    fn read_on_for(&mut self, place: usize, now: Now, until: u64) -> bool {
        let mut turn = turn!(self, now);
        let slot = &mut self.slots.table[place];
        let sessions = slot.departed.len() + slot.overfull.len() + slot.deferred.len();
        for _ in 0..sessions {
            if *turn.work >= until {
                break;
            }
            *turn.work += 1;
            let read = if let Some(left) = slot.departed.pop_front() {
                slot.offer_again(left, &self.presence, &mut turn)
            } else if let Some(session) = slot.overfull.pop_front() {
                slot.relieve(session, &mut turn)
            } else if let Some(session) = slot.deferred.pop_front() {
                slot.pump(session, &mut turn)
            } else {
                break;
            };
            if let Err(error) = read {
                fail(slot, &error);
                slot.departed.clear();
                slot.overfull.clear();
                slot.deferred.clear();
                break;
            }
        }
        slot.passivate();
        slot.propose_ends(now.wall);
        !(slot.departed.is_empty() && slot.overfull.is_empty() && slot.deferred.is_empty())
    }

    /// A slot that has stopped here is for another replica to lead.
    fn leave_stopped(&mut self) {
        for slot in self.slots.iter().filter(|slot| slot.failure.is_some() && slot.elected.is_some()) {
            self.driver.leave(slot.id);
        }
    }

    /// What time alone brings about: to be called every 100 ms or so.
    pub fn tick(&mut self, now: Now) {
        self.outlet.edge.now = now.monotonic;
        self.driver.tick();
        if self.has_others {
            // One each 50 ms: an election begins after half a second to a second without a leader.
            self.driver.tick();
            self.driver.watch_disk(Duration::from_millis(now.monotonic));
            self.leave_stopped();
            self.look_at_links(now);
            self.give_way(now);
            self.send_snapshots(now);
            self.expire_staging(now);
            self.move_replicas(now);
            self.end_unled(now);
            self.end_waits_for_predecessors();
        }
        self.tell_stored();
        self.tell_counts();
        self.look_for_room(now);
        self.give_back_lost();
        if self.failure.is_some() {
            self.read_on(now, self.end_of_piece());
        } else if self.stalled {
            self.write_state(now, self.end_of_piece());
            if self.driver.is_dirty() && !self.driver.is_syncing() {
                self.round(now);
            } else if self.state.is_empty() && !self.driver.is_dirty() {
                self.stalled = false;
            }
            if !self.stalled {
                tracing::info!("there is room on the disk again");
            }
        }
        let wills = self.slots.table.iter_mut().map(|slot| &mut slot.wills);
        let overdue: Vec<_> = wills.flat_map(|wills| wills.overdue(now.monotonic)).collect();
        if !overdue.is_empty() {
            metrics::counter!(metric::WILLS_OVERTAKEN).increment(overdue.len() as u64);
            self.grant_held(overdue);
        }
        let mut failures = Vec::new();
        self.send_wills(now, true);
        let mut room = self.will_room(now, true);
        for place in self.slots.by_turns(self.will_flow.first) {
            let slot = &mut self.slots.table[place];
            if slot.failure.is_some() {
                continue;
            }
            self.outlet.edge.pulse.tell(Activity::Sweep, u32::from(slot.id.0));
            let had_room = !room.was_short;
            if let Err(error) = slot.sweep(now, &mut room, &mut self.state) {
                failures.push((slot.id, error));
            }
            slot.trim_outboxes(now, TRIM_WORTH);
            slot.propose_ends(now.wall);
            if had_room && room.was_short {
                self.will_flow.first = place;
            }
        }
        let waiting = self.slots.iter().map(|slot| slot.farewells.waiting()).sum();
        self.will_flow.swept(&room, waiting);
        for (id, error) in failures {
            fail(self.slots.get(id).expect("it was visited"), &error);
        }
        self.turn(now);
    }

    /// What time alone does to connections: to be called every second or so.
    pub fn tick_connections(&mut self, now: Now) {
        self.outlet.edge.visit_all(now);
        self.presence.forget_gone();
        let mut failures = Vec::new();
        for slot in &mut self.slots.table {
            if let Err(error) = slot.sweep_retained(now, &self.state) {
                failures.push((slot.id, error));
            }
        }
        for (id, error) in failures {
            fail(self.slots.get(id).expect("it was visited"), &error);
        }
    }
}

/// What is told of something that could not be written: where others lead soon, it is for them.
fn unwritten(reply: ReplyTo, has_others: bool) -> Answer {
    // A SUBSCRIBE may wait for what stands in another slot's outbox.
    let may_come_again =
        reply.is_publish() || matches!(reply.token & token::KIND, token::ASK | token::QUEUED);
    match has_others && may_come_again {
        true => Answer::Unknown,
        false => Answer::Refused(ReasonCode::ServerUnavailable),
    }
}
