//! Copies of a slot's state for replicas that are too far behind its log: the side of the leader. A copy is of one moment, and
//! minutes may pass until it is there; meanwhile the slot goes on, and the log keeps what follows the copy while it can.
//!
//! Pieces leave by a queue of their own, so that what Raft says waits for none of them. A shard sends one copy at a time, a few
//! pieces of it ahead of their answers and not more than so many between two ticks: reading them takes the time of this shard,
//! and writing them that of another node's disk. What is not answered is sent again, for a while. Then Raft is told that the
//! copy failed, after a pause, and asks for it again if it still wants it. Nothing of this outlives the term of the leader.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use convoy_ids::{NodeId, SlotId, Term};
use convoy_storage::engine::{Engine, Error, Family, View, Visit};
use convoy_storage::replica::{Outgoing, Role, SnapshotWanted};
use convoy_storage::snapshot::{CopyId, Message, Sender};

use super::Shard;
use crate::clock::Now;
use crate::metric;
use crate::options::Without;
use crate::slot;

/// Pieces under way that are not answered. Of the first one the answer is waited for: then the receiver knows the copy.
const WINDOW: u32 = 4;

/// Pieces that leave between two ticks.
const PIECES_PER_TICK: u32 = 8;

/// Milliseconds after which a piece is sent again.
const RESEND: u64 = 1_000;

/// Milliseconds without progress after which a copy is given up.
const PATIENCE: u64 = 30_000;

/// Milliseconds after which Raft is told that a copy failed, and asks for the next one.
const AGAIN: u64 = 5_000;

/// Milliseconds until somebody is asked again who has no time, or until the state of a slot can be copied.
const LATER: u64 = 1_000;

/// What a shard sends, and is to send.
#[derive(Default)]
pub(super) struct Sending {
    /// Whom Raft wants to have a copy, and when it may begin. No more than the slots here have replicas.
    wanted: BTreeMap<(SlotId, NodeId), u64>,
    /// Whose copy has failed, and when Raft is told.
    failed: BTreeMap<(SlotId, NodeId), u64>,
    underway: Option<Underway>,
    /// Copies that were begun in this life of the node.
    begun: u32,
    /// Of them, those that are in force.
    pub sent: u64,
    /// Pieces that may leave until the next tick.
    room: u32,
}

struct Underway {
    sender: Sender,
    to: NodeId,
    term: Term,
    /// All pieces before this one are there.
    taken: u32,
    /// The piece that was sent again because its answer came twice: what went with it was lost.
    went_back: Option<u32>,
    /// When something was sent last, and when an answer told of progress.
    sent_at: u64,
    moved_at: u64,
}

impl Underway {
    fn of(&self) -> (SlotId, NodeId) {
        (self.sender.slot(), self.to)
    }
}

impl Shard {
    /// Replicas are so far behind that the log does not reach back to them.
    pub(super) fn want_snapshots(&mut self, now: Now, wanted: Vec<SnapshotWanted>) {
        for SnapshotWanted { slot, to } in wanted {
            metrics::counter!(metric::SNAPSHOTS_WANTED).increment(1);
            tracing::info!(%slot, node = %to, "replica too far behind the log: it gets a copy of the state");
            self.sending.failed.remove(&(slot, to));
            if self.sending.underway.as_ref().is_some_and(|underway| underway.of() == (slot, to)) {
                continue;
            }
            self.sending.wanted.entry((slot, to)).or_insert(now.monotonic);
        }
    }

    /// What this replica is has changed: Raft asks again for what it wants in its new term.
    pub(super) fn forget_snapshots(&mut self, id: SlotId) {
        let Sending { wanted, failed, underway, .. } = &mut self.sending;
        wanted.retain(|(slot, _), _| *slot != id);
        failed.retain(|(slot, _), _| *slot != id);
        underway.take_if(|underway| underway.sender.slot() == id);
    }

    /// What time brings about of copies that are sent; at every tick.
    pub(super) fn send_snapshots(&mut self, now: Now) {
        self.sending.room = PIECES_PER_TICK;
        self.forget_who_has_left();
        let driver = &mut self.driver;
        self.sending.failed.retain(|(slot, to), at| {
            let rests = *at > now.monotonic;
            if !rests {
                driver.snapshot_ended(*slot, *to, false);
            }
            rests
        });
        let Some(underway) = &mut self.sending.underway else {
            return self.begin_snapshot(now);
        };
        if now.monotonic.saturating_sub(underway.moved_at) >= PATIENCE {
            return self.fail_snapshot(now, &"no answer");
        }
        if now.monotonic.saturating_sub(underway.sent_at) >= RESEND {
            let taken = underway.taken;
            underway.sender.go_back(taken);
            underway.went_back = None;
        }
        self.send_pieces(now);
    }

    /// Who is no member of a slot's group any more takes no copy, and would hold up those who wait for theirs.
    fn forget_who_has_left(&mut self) {
        let Sending { wanted, failed, underway, .. } = &mut self.sending;
        let driver = &self.driver;
        let is_there = |(slot, to): (SlotId, NodeId)| {
            driver.followers(slot).iter().any(|follower| follower.replica.node == to)
        };
        wanted.retain(|of, _| is_there(*of));
        failed.retain(|of, _| is_there(*of));
        underway.take_if(|underway| !is_there(underway.of()));
    }

    /// Begins the copy that has waited longest, if all that was applied is written: it is of that moment.
    fn begin_snapshot(&mut self, now: Now) {
        let due = self.sending.wanted.iter().filter(|(_, at)| **at <= now.monotonic);
        let Some((&(slot, to), _)) = due.min_by_key(|(_, at)| **at) else { return };
        if self.failure.is_some() || !self.state.is_empty() {
            return;
        }
        let Some(Role::Leader { term }) = self.driver.role(slot) else {
            self.sending.wanted.remove(&(slot, to));
            return;
        };
        let Some(base) = self.driver.base(slot) else {
            self.sending.wanted.insert((slot, to), now.monotonic + LATER);
            return;
        };
        self.sending.wanted.remove(&(slot, to));
        self.sending.begun += 1;
        // Unlike every other of this slot by this node: each of its lives has a number, and the slot one shard in it.
        let copy = CopyId(u64::from(self.start) << 32 | u64::from(self.sending.begun));
        let mut view = Arc::clone(&self.rows).view();
        if self.options.without == Without::HalfWay {
            view = Box::new(WithoutHalfWay(view));
        }
        match Sender::new(view, slot, base, copy) {
            Ok(sender) => {
                tracing::info!(%slot, node = %to, copy = copy.0, "copy of the state begins");
                let (sent_at, moved_at) = (now.monotonic, now.monotonic);
                let underway = Underway { sender, to, term, taken: 0, went_back: None, sent_at, moved_at };
                self.sending.underway = Some(underway);
                self.send_pieces(now);
            }
            Err(error) => self.rest_after_failure(now, (slot, to), &error),
        }
    }

    /// Sends what may be under way.
    fn send_pieces(&mut self, now: Now) {
        let Sending { underway: Some(underway), room, .. } = &mut self.sending else { return };
        let ahead = if underway.taken == 0 { 1 } else { WINDOW };
        while *room > 0 && underway.sender.number() < underway.taken + ahead {
            let (number, slot) = (underway.sender.number(), underway.sender.slot());
            let piece = match underway.sender.next_piece(self.options.catch_up.piece_bytes) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => return self.fail_snapshot(now, &error),
            };
            *room -= 1;
            underway.sent_at = now.monotonic;
            metrics::counter!(metric::SNAPSHOT_BYTES_SENT).increment(piece.len() as u64);
            let (term, copy) = (underway.term.0, underway.sender.copy());
            let bytes = Message::Piece { term, copy, number, piece: &piece }.encode();
            self.to_snapshots.push(Outgoing { slot, to: underway.to, bytes });
        }
    }

    /// The receiver of a copy has answered.
    pub(super) fn hear_of_snapshot(&mut self, now: Now, from: NodeId, slot: SlotId, message: &Message<'_>) {
        let (Message::Wanted { copy, .. }
        | Message::Unknown { copy }
        | Message::Later { copy }
        | Message::InForce { copy }) = *message
        else {
            return;
        };
        let Some(underway) = &mut self.sending.underway else { return };
        if (underway.of(), underway.sender.copy()) != ((slot, from), copy) {
            return;
        }
        match *message {
            Message::Wanted { next, .. } if next > underway.taken => {
                underway.taken = next;
                underway.sender.taken(next);
                (underway.sent_at, underway.moved_at) = (now.monotonic, now.monotonic);
                self.send_pieces(now);
            }
            // It has met a piece that comes behind this one.
            Message::Wanted { next, .. } if next == underway.taken && underway.went_back != Some(next) => {
                underway.went_back = Some(next);
                underway.sender.go_back(next);
                self.send_pieces(now);
            }
            Message::Later { .. } => {
                self.sending.underway = None;
                self.sending.wanted.insert((slot, from), now.monotonic + LATER);
            }
            // Raft asks it what it has, and wants another copy if that is too little.
            Message::Unknown { .. } => {
                tracing::info!(%slot, node = %from, copy = copy.0, "copy of the state was lost by its receiver");
                metrics::counter!(metric::SNAPSHOTS_FAILED).increment(1);
                self.sending.underway = None;
                self.driver.snapshot_ended(slot, from, true);
            }
            Message::InForce { .. } => {
                tracing::info!(%slot, node = %from, copy = copy.0, "copy of the state is in force");
                metrics::counter!(metric::SNAPSHOTS_SENT).increment(1);
                self.sending.sent += 1;
                self.sending.underway = None;
                self.driver.snapshot_ended(slot, from, true);
            }
            Message::Wanted { .. } | Message::Piece { .. } => {}
        }
    }

    fn fail_snapshot(&mut self, now: Now, reason: &dyn std::fmt::Display) {
        if let Some(underway) = self.sending.underway.take() {
            self.rest_after_failure(now, underway.of(), reason);
        }
    }

    fn rest_after_failure(&mut self, now: Now, (slot, to): (SlotId, NodeId), reason: &dyn std::fmt::Display) {
        tracing::warn!(%slot, node = %to, %reason, "copy of the state given up");
        metrics::counter!(metric::SNAPSHOTS_FAILED).increment(1);
        self.sending.failed.insert((slot, to), now.monotonic + AGAIN);
    }
}

/// A view in which messages that are half on their way are not there: see [`Without::HalfWay`].
struct WithoutHalfWay(Box<dyn View>);

impl View for WithoutHalfWay {
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error> {
        self.0.get(family, key, into)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error> {
        self.0.scan(family, from, to, &mut |key, value| match family == Family::Session
            && slot::is_half_way(key)
        {
            true => ControlFlow::Continue(()),
            false => visit(key, value),
        })
    }
}
