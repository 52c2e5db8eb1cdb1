//! A slot is a replicated state machine: its log is the only way in, and everything its actors know follows from it.
//! Sessions, topic partitions and Retained partitions of a slot are keyed state in here, one mailbox, no locks.

mod active;
mod adopt;
mod ahead;
mod apply;
mod body;
mod budget;
mod context;
mod counted;
mod deliver;
mod effects;
mod ending;
mod enqueue;
mod farewells;
mod giving;
mod handle;
mod heir;
mod idle;
mod in_line;
mod inbox;
mod leader;
mod leading;
mod leaving;
mod lifetime;
mod mend;
mod observe;
mod op;
mod outbox;
mod outbox_body;
mod overflow;
mod owner;
mod pause;
mod publish;
mod recover;
mod redispatch;
mod retain;
mod room;
mod roots;
mod rows;
mod state;
mod stored;
mod subscribe;
mod totals;
mod unruly;
mod wills;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use convoy_ids::{Index, SlotId, Term};
use convoy_membership::Partitioning;
use convoy_storage::record::{Decode, Encode};
use rustc_hash::{FxHashMap, FxHashSet};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::budget::{Budget, Sums, User};
use crate::call::ReplyTo;
use crate::clock::{Millis, Now};
use crate::retained::Sweep;
use crate::session::{Delivery, Epoch, Place, Seq, SessionNumber};
use crate::topic::{FanOut, Roots, Routes};
use heir::Heir;
use idle::Idle;

pub use active::Active;
pub use context::work_of;
pub use counted::wanted_by;

pub use effects::{Effects, Note};
pub use farewells::{Farewells, WillRoom, WillsUnderway};
pub use giving::{Leadership, Live, is_live};
pub use in_line::InLine;
pub use inbox::Comes;
#[cfg(test)]
pub use leader::SLOT_BYTES;
pub use leader::{LATE_BYTES, Pending, Underway};
pub use leading::Led;
pub use leaving::{Gone, Leaving};
pub use mend::{Losses, mend};
pub use op::{Obsolete, Op, targets_run};
#[cfg(test)]
pub use op::{iter as ops_of, open as open_record};
pub use owner::{Owner, check_queued, check_state, name_of_session, owner_of, plain_name};
pub use publish::publish;
pub use roots::bring_over;
#[cfg(test)]
pub use rows::client_key;
pub use rows::{fleet as fleet_key, is_half_way};
pub use state::State;
pub use wills::{Held, Wills};

/// One slot of this shard.
pub struct Slot {
    pub id: SlotId,
    /// This replica leads: it proposes, and what it applies has effects.
    pub leading: bool,
    /// Sessions that expired while it was led here.
    pub expired: u64,
    /// Messages that fell out of full queues while it was led here.
    pub dropped: u64,
    /// The term it was elected for. It leads once a record of that term is applied: only then does its state hold
    /// everything that was promised before.
    pub elected: Option<Term>,
    /// Who is to lead it instead; of the leader alone.
    pub heir: Heir,
    /// What could not be applied or read; the slot serves nobody until that is mended.
    pub failure: Option<String>,
    /// Numbers granted so far, to Sessions and to epochs.
    grants: u64,
    /// Number of the last message that has a row of its own.
    bodies: u64,
    counts: Counts,
    /// What CONNECTs ask for that have no outcome yet; of the leader alone.
    pub connecting: Sums,
    pub pauses: pause::Pauses,
    /// Each by itself: the table grows by doubling, and half of it may be empty.
    active: FxHashMap<SessionNumber, Box<Active>>,
    retained: RetainedSize,
    /// Of it, what users have that have a name.
    retained_of: FxHashMap<User, RetainedSize>,
    /// Users of whom the record that is being applied changes what they have there.
    recounted: Vec<User>,
    /// Number of the last Retained Message that was decided on and is applied.
    pub numbered: u64,
    /// Of the leader alone.
    pub line: InLine,
    /// Of the leader alone.
    pub wills: Wills,
    pub farewells: Farewells,
    /// Active Sessions by tenant and Client Identifier.
    names: FxHashMap<Box<[u8]>, SessionNumber>,
    /// Sessions that may be passivated.
    idle: Idle,
    partitions: FxHashMap<u64, Routes>,
    /// Their numbers, for who goes through them.
    partitions_in_order: BTreeSet<u64>,
    outboxes: outbox::Outboxes,
    outbox_bodies: outbox_body::OutboxBodies,
    /// One of them is full.
    is_backed_up: bool,
    /// Epochs up to this one were granted before it was led here; of the leader alone.
    led_since: Epoch,
    /// The term in which this replica, elected, has applied what earlier leaders promised.
    pub caught_up: Option<Term>,
    /// The last record that was proposed here.
    pub proposed: (Term, Index),
    /// The last record that was applied here.
    pub applied: Index,
    /// Where the piece begins of the Sessions that have a connection which is looked at next for connections that are gone; of
    /// the leader alone.
    leaving: Leaving,
    /// Sessions whose connections are being taken leave of; of the leader alone.
    left: FxHashSet<SessionNumber>,
    /// What was applied of each other slot's outbox.
    inboxes: inbox::Inboxes,
    /// How many times it has begun to lead here.
    times_led: u32,
    waiting: giving::Waiting,
    given_up: giving::GivenUp,
    pub pending: Pending,
    pub underway: Underway,
    /// Sessions whose Clients acknowledged something that is not on record yet.
    unsaved: Vec<SessionNumber>,
    /// Sessions whose queue is read on once the state is written.
    pub deferred: VecDeque<SessionNumber>,
    /// Sessions for whom more waits than may, which is looked at once the state is written.
    pub overfull: VecDeque<SessionNumber>,
    /// Sessions whose Clients left messages behind, from these on, which other members of Shared Subscriptions may get once
    /// the state is written.
    pub departed: VecDeque<(SessionNumber, Seq)>,
    /// Sessions that have ended and of which something is left.
    ending: BTreeSet<SessionNumber>,
    /// Units of work that the record which is being applied may still do for Sessions that end.
    end_work: u32,
    sweep: Sweep,
    asked: Asked,
    /// When the next thing is due; `u64::MAX` for nothing.
    next_due: Millis,
    route_seed: u64,
    /// Slots of the fleet.
    slots: u16,
    partitioning: Partitioning,
}

/// Hash of a Client Identifier, with its tenant. It decides who gets a message: it never changes.
pub fn client_of(name: &[u8]) -> u64 {
    xxh3_64_with_seed(name, 0)
}

/// What applying and delivering may touch beside the slot itself.
pub struct Turn<'a> {
    pub now: Now,
    pub state: &'a mut State,
    pub budget: &'a mut Budget,
    pub effects: &'a mut dyn Effects,
    /// Units of work that were done so far.
    pub work: &'a mut u64,
    /// Subscriptions whose first level is a wildcard, of the slots of this shard.
    pub roots: &'a mut Roots,
    /// Slots that are led on this node.
    pub led: &'a Led,
    pub fan_out: &'a mut FanOut,
    /// What is to be carried to other slots.
    pub emitted: &'a mut VecDeque<Emitted>,
}

/// What time has brought about and this leader has proposed, until it is applied.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// Operations [`Op::Due`], and the Wills of all of them until the last one is applied.
    due: usize,
    due_wills: WillsUnderway,
    /// An [`Op::Expire`].
    expiry: bool,
    /// An [`Op::EndOn`].
    ends: bool,
}

/// How much a slot keeps in Retained Messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct RetainedSize {
    pub messages: u64,
    pub bytes: u64,
}

/// How many there are of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Counts {
    pub sessions: u64,
    /// Of them all, shared ones included.
    pub subscriptions: u64,
    pub shared: u64,
}

/// What a record causes in other slots, in this order.
#[derive(Debug)]
pub enum Emitted {
    /// An operation on its way from an outbox to the slot it is for.
    Op { from: SlotId, to: SlotId, number: u64, op: Bytes, reply: Option<ReplyTo> },
    /// The same of an operation [`Op::Enqueue`] whose message others share.
    Message { from: SlotId, to: SlotId, number: u64, message: Bytes, targets: Box<[u8]> },
    /// A copy of QoS 0 for a Session that outlives its connection.
    Copy { from: SlotId, session: SessionNumber, delivery: Delivery, message: Bytes },
}

impl Slot {
    /// The epoch of an active Session.
    fn epoch(&self, session: SessionNumber) -> Option<Epoch> {
        self.active.get(&session).map(|active| active.row.epoch)
    }

    /// Whether it leads and nothing has stopped it.
    pub fn is_serving(&self) -> bool {
        self.leading && self.failure.is_none()
    }

    /// Whether this slot is so far behind with what came from here that Clients may not add to it; of a root route,
    /// whether any is.
    fn is_full_towards(&self, place: &Place) -> bool {
        match place.is_everywhere() {
            true => self.is_backed_up,
            false => self.is_full_for(SlotId(place.slot)),
        }
    }

    /// The same of any slot.
    pub fn is_full_for(&self, to: SlotId) -> bool {
        self.outboxes.get(&to).is_some_and(outbox::Outbox::is_full)
    }

    /// Whether there is a slot for which so much waits here that Clients may not add to it.
    pub fn is_backed_up(&self) -> bool {
        self.is_backed_up
    }

    /// Something has gone from an outbox.
    fn weigh_outboxes(&mut self) {
        self.is_backed_up = self.is_backed_up && self.outboxes.values().any(outbox::Outbox::is_full);
    }

    /// Bytes on their way to other slots.
    pub fn outbox_bytes(&self) -> u64 {
        self.outboxes.values().map(outbox::Outbox::waiting_bytes).sum()
    }

    /// Retained Messages of this slot.
    pub fn retained(&self) -> RetainedSize {
        self.retained
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Active Sessions.
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// The routes of a partition, if anybody subscribed there.
    pub fn routes(&self, partition: u64) -> Option<&Routes> {
        self.partitions.get(&partition)
    }
}
