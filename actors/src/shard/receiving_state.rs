//! Copies of a slot's state that its leader sends: the side of the replica that is too far behind the log.
//!
//! Pieces are staged on the disk, beside the rows that are in force; in memory there is one of them. A shard takes one copy at a
//! time. When all of it is there and what was applied here is written, one batch puts it in force; then the slot is made
//! anew from its new rows, the disk is synced, and only then the replica takes part again, for what it would promise has
//! to outlive a crash. Until that batch is durable a crash leaves the old state, and of the copy nothing: it begins anew.

use std::collections::BTreeMap;

use convoy_ids::{NodeId, SlotId, Term};
use convoy_storage::engine;
use convoy_storage::replica::{Outgoing, Replica, Role, Round};
use convoy_storage::snapshot::{CopyId, Message, Receiver, Refused, Taken};

use super::Shard;
use super::slots::fail;
use crate::clock::Now;
use crate::metric;
use crate::slot::Slot;

/// Milliseconds after which a copy of which nothing comes makes room for others: its sender has given it up long ago.
const IDLE: u64 = 60_000;

/// What a shard receives.
#[derive(Default)]
pub(super) struct Receiving {
    staging: Option<Staging>,
    reopening: Option<Reopening>,
    /// The last copy of each slot that was put in force in this life of the node: its sender may ask again.
    in_force: BTreeMap<SlotId, Origin>,
    /// How many they were.
    pub received: u64,
}

/// Whose copy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    from: NodeId,
    copy: CopyId,
}

impl Origin {
    /// Whether the same node has sent the other one later.
    fn is_before(&self, other: &Self) -> bool {
        self.from == other.from && self.copy < other.copy
    }
}

struct Staging {
    origin: Origin,
    /// Of the leader that sends it.
    term: Term,
    receiver: Receiver,
    is_whole: bool,
    heard_at: u64,
}

impl Staging {
    fn is_of(&self, slot: SlotId, origin: Origin) -> bool {
        self.receiver.slot() == slot && self.origin == origin
    }
}

/// A slot that is closed until what was written of it is durable.
struct Reopening {
    slot: SlotId,
    /// The copy that is in force; none if it could not be put there.
    arrived: Option<Origin>,
    round: Round,
}

/// A piece that has come.
struct Piece<'a> {
    slot: SlotId,
    origin: Origin,
    term: Term,
    number: u32,
    bytes: &'a [u8],
}

impl Shard {
    /// Messages about copies of slots' state, for the shard on another node that has the slot. They may be lost, doubled or
    /// late; what replicas say to each other must not wait for them.
    pub fn take_snapshot_messages(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.to_snapshots)
    }

    /// Such a message from another node.
    pub fn hear_snapshot_message(&mut self, now: Now, from: NodeId, slot: SlotId, bytes: &[u8]) {
        self.outlet.edge.now = now.monotonic;
        match Message::decode(bytes) {
            Ok(Message::Piece { term, copy, number, piece }) => {
                let (origin, term) = (Origin { from, copy }, Term(term));
                self.hear_piece(now, &Piece { slot, origin, term, number, bytes: piece });
            }
            Ok(message) => self.hear_of_snapshot(now, from, slot, &message),
            Err(error) => refuse(slot, from, &error),
        }
    }

    fn hear_piece(&mut self, now: Now, piece: &Piece<'_>) {
        let &Piece { slot, origin, term, number, .. } = piece;
        if self.receiving.in_force.get(&slot) == Some(&origin) {
            return self.answer_sender(slot, origin, Message::InForce { copy: origin.copy });
        }
        if !self.follows(slot, origin.from, term) {
            return refuse(slot, origin.from, &"it does not lead the slot in this term");
        }
        if self.receiving.in_force.get(&slot).is_some_and(|last| origin.is_before(last)) {
            return refuse(slot, origin.from, &"a later copy is in force");
        }
        // It is sent again, and there may be room then.
        if self.failure.is_some() || self.stalled || self.low_space || self.state.engine().is_behind() {
            return;
        }
        match &mut self.receiving.staging {
            Some(staging) if staging.is_of(slot, origin) => {
                staging.heard_at = now.monotonic;
                if !staging.is_whole {
                    let taken = staging.receiver.take(&self.rows, piece.bytes);
                    let next = staging.receiver.next();
                    self.piece_taken(piece, next, taken);
                }
            }
            _ if number > 0 => {
                self.answer_sender(slot, origin, Message::Unknown { copy: origin.copy });
            }
            _ => self.begin_staging(now, piece),
        }
    }

    /// The first piece of a copy, if there is nothing in its way.
    fn begin_staging(&mut self, now: Now, piece: &Piece<'_>) {
        let &Piece { slot, origin, term, .. } = piece;
        if let Some(staging) = &self.receiving.staging {
            let is_of_slot = staging.receiver.slot() == slot;
            if is_of_slot && origin.is_before(&staging.origin) {
                return refuse(slot, origin.from, &"a later copy is on its way");
            }
            if !is_of_slot && !self.is_outdated(staging) {
                return self.answer_sender(slot, origin, Message::Later { copy: origin.copy });
            }
        }
        if self.receiving.reopening.is_some() {
            return self.answer_sender(slot, origin, Message::Later { copy: origin.copy });
        }
        self.abandon_staging("another copy has begun");
        let taken = match Receiver::begin(&self.rows, piece.bytes) {
            Ok((receiver, taken)) => {
                let found = (receiver.slot(), receiver.copy());
                let (heard_at, is_whole) = (now.monotonic, false);
                self.receiving.staging = Some(Staging { origin, term, receiver, is_whole, heard_at });
                if found != (slot, origin.copy) {
                    self.abandon_staging("its piece is of another");
                    return refuse(slot, origin.from, &"the piece is of another copy");
                }
                tracing::info!(%slot, from = %origin.from, copy = origin.copy.0, "copy of the state is received");
                Ok(taken)
            }
            Err(refused) => Err(refused),
        };
        self.piece_taken(piece, 0, taken);
    }

    /// A piece was taken, or not; `next` is wanted in that case.
    fn piece_taken(&mut self, piece: &Piece<'_>, next: u32, taken: Result<Taken, Refused>) {
        let &Piece { slot, origin, .. } = piece;
        let copy = origin.copy;
        if taken.is_ok() {
            metrics::counter!(metric::SNAPSHOT_BYTES_RECEIVED).increment(piece.bytes.len() as u64);
        }
        match taken {
            Ok(Taken::More { next }) | Err(Refused::NotNext { next, .. }) => {
                self.answer_sender(slot, origin, Message::Wanted { copy, next });
            }
            Ok(Taken::Whole) => {
                if let Some(staging) = &mut self.receiving.staging {
                    staging.is_whole = true;
                }
            }
            // It is sent again when there is room.
            Err(Refused::Engine(engine::Error::Full { .. })) => {}
            Err(Refused::Engine(error)) => self.fail_all(&error.to_string()),
            Err(Refused::NoRoom) => self.answer_sender(slot, origin, Message::Later { copy }),
            Err(refused @ (Refused::OtherCopy | Refused::Malformed(_) | Refused::Replica(_))) => {
                refuse(slot, origin.from, &refused);
                self.answer_sender(slot, origin, Message::Wanted { copy, next });
            }
        }
    }

    fn answer_sender(&mut self, slot: SlotId, to: Origin, message: Message<'_>) {
        self.to_snapshots.push(Outgoing { slot, to: to.from, bytes: message.encode() });
    }

    /// Whether this replica takes that node for the leader of the slot, in this term. It is elected by a quorum, so it has all
    /// that is committed, and who else sends a copy is none of its voters, or is not up to date.
    fn follows(&self, slot: SlotId, from: NodeId, of: Term) -> bool {
        self.driver.role(slot) == Some(Role::Follower { term: of, leader: Some(from) })
    }

    /// Whether nothing more comes of it: its leader leads no longer.
    fn is_outdated(&self, staging: &Staging) -> bool {
        self.driver.role(staging.receiver.slot()).is_none_or(|role| role.term() > staging.term)
    }

    /// What time brings about of copies that are received; at every tick.
    pub(super) fn expire_staging(&mut self, now: Now) {
        let Some(staging) = &self.receiving.staging else { return };
        if self.is_outdated(staging) {
            self.abandon_staging("its sender leads no longer");
        } else if now.monotonic.saturating_sub(staging.heard_at) >= IDLE {
            self.abandon_staging("nothing more came of it");
        }
    }

    /// The slot is no longer here.
    pub(super) fn forget_received(&mut self, slot: SlotId) {
        if self.receiving.staging.as_ref().is_some_and(|staging| staging.receiver.slot() == slot) {
            self.abandon_staging("its replica is ended");
        }
        self.receiving.in_force.remove(&slot);
    }

    fn abandon_staging(&mut self, reason: &str) {
        if let Some(staging) = self.receiving.staging.take() {
            self.abandon(staging, reason);
        }
    }

    fn abandon(&mut self, staging: Staging, reason: &str) {
        let slot = staging.receiver.slot();
        tracing::info!(%slot, reason, "copy of the state is not taken");
        if let Err(error) = staging.receiver.abandon(&self.rows) {
            tracing::warn!(%slot, %error, "what was staged takes room until the next start");
        }
    }

    /// Puts the copy in force that is there as a whole, once all that was applied before is written.
    pub(super) fn install_snapshot(&mut self) {
        if self.failure.is_some() || self.stalled || !self.state.is_empty() {
            return;
        }
        let Some(staging) = self.receiving.staging.take_if(|staging| staging.is_whole) else { return };
        let (slot, origin) = (staging.receiver.slot(), staging.origin);
        if !self.follows(slot, origin.from, staging.term) {
            return self.abandon(staging, "its sender leads no longer");
        }
        let replaced = self.replace_slot(slot, &staging.receiver);
        let is_closed = self.driver.role(slot).is_none();
        let arrived = match replaced {
            Ok(true) => Some(origin),
            Ok(false) => {
                self.abandon(staging, "the log reaches that point");
                Some(origin)
            }
            Err(error) => {
                metrics::counter!(metric::SNAPSHOTS_FAILED).increment(1);
                tracing::warn!(%slot, %error, "copy of the state could not be put in force");
                self.abandon(staging, "it could not be put in force");
                if matches!(&error, Refused::Engine(engine::Error::Failed(_) | engine::Error::Stopped { .. }))
                {
                    return self.fail_all(&error.to_string());
                }
                None
            }
        };
        if is_closed {
            let round = self.driver.want_sync(&mut self.effects);
            if self.effects.sync.is_some() {
                self.sync = self.effects.sync.take();
            }
            self.receiving.reopening = Some(Reopening { slot, arrived, round });
        } else if let Some(origin) = arrived {
            self.snapshot_in_force(slot, origin);
        }
    }

    /// Puts a copy in force in place of a slot's rows, and makes the slot anew from the rows that it has then: these, or if that
    /// could not be done those of before. In either case its replica may be closed; what it had given out is forgotten then,
    /// and comes again when it is opened.
    fn replace_slot(&mut self, id: SlotId, receiver: &Receiver) -> Result<bool, Refused> {
        let Some(slot) = self.slots.get(id) else { return Ok(false) };
        if let Err(error) = slot.withdraw(&*self.rows, &mut self.roots, &mut self.budget) {
            // Some of it is gone, and what is left is not all that it has.
            fail(slot, &error);
            return Err(error.into());
        }
        let installed = receiver.install(&self.rows, &mut self.driver);
        let is_closed = self.driver.role(id).is_none();
        if is_closed {
            self.backlog.retain(|record| record.slot != id);
        }
        self.state.replaced(id);
        let made = Slot::recover(id, &*self.rows, &self.options, &mut self.roots, &mut self.budget);
        match made {
            Ok(made) => {
                let before = std::mem::replace(slot, made);
                (slot.expired, slot.dropped) = (before.expired, before.dropped);
                if !is_closed {
                    // Records were passed over: that is mended by records that come again, or by a copy.
                    slot.failure = before.failure;
                }
            }
            Err(error) => fail(slot, &error),
        }
        if self.is_of_commands(id) {
            self.load_fleet();
        }
        installed
    }

    /// What was written is durable: a slot that waits for this sync takes part again.
    pub(super) fn reopen_slot(&mut self, synced: Round) {
        let reopening = self.receiving.reopening.take_if(|reopening| reopening.round == synced);
        let Some(Reopening { slot, arrived, .. }) = reopening else { return };
        // Who it is stands with its log.
        let me = Replica::first(self.driver.node()).id;
        match self.driver.open(slot, me, &[]) {
            Ok(opened) => {
                if let Some(origin) = arrived {
                    metrics::counter!(metric::SNAPSHOTS_RECEIVED).increment(1);
                    self.receiving.received += 1;
                    tracing::info!(%slot, from = %origin.from, applied = %opened.applied, "copy of the state is in force");
                    self.snapshot_in_force(slot, origin);
                }
            }
            Err(error) => {
                if let Some(slot) = self.slots.get(slot) {
                    fail(slot, &error);
                }
            }
        }
    }

    fn snapshot_in_force(&mut self, slot: SlotId, origin: Origin) {
        self.receiving.in_force.insert(slot, origin);
        self.answer_sender(slot, origin, Message::InForce { copy: origin.copy });
    }
}

/// A message about a copy was not what it should be.
fn refuse(slot: SlotId, from: NodeId, reason: &dyn std::fmt::Display) {
    metrics::counter!(metric::SNAPSHOT_MESSAGES_REFUSED).increment(1);
    tracing::debug!(%slot, %from, %reason, "message about a copy of the state refused");
}
