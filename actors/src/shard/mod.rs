//! A shard is one thread's share of a node: connections, spread at accept, and slots, spread by their number. It is a
//! machine: events go in, and what is to be carried out (bytes to write, a sync, mail for other shards) is asked for
//! afterwards. What stays within the shard crosses no queue.

mod admit;
mod adopting;
mod asking;
mod backing_up;
mod budget;
mod calls;
mod casting;
mod certificates;
mod changes;
mod clearing;
mod connect;
mod credits;
mod effects;
mod epochs;
mod given;
mod giving;
mod holding;
mod in_line;
mod inbound;
mod late_connects;
mod leaderless;
mod leading;
mod live_to;
mod mail;
mod mailroom;
mod moving;
mod outlet;
mod packets;
mod proving;
mod publish;
mod query;
mod reaching;
mod reading;
mod receipts;
mod receiving_state;
mod retrying;
mod rounds;
mod sending_state;
mod shortage;
mod slots;
mod subscribe;
mod successors;
mod sys;
#[cfg(test)]
mod tests;
mod turned_away;
mod will_flow;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use convoy_ids::{Index, SlotId, Term};
use convoy_membership::Locator;
use convoy_storage::engine::{Batch, Engine, Generations};
use convoy_storage::replica::{self, Committed, Driver, Round};
use metrics::Counter;

use crate::access::{Access, Bans};
use crate::activity::Pulse;
use crate::budget::{Budget, Usage};
use crate::chance::Chance;
use crate::clock::Now;
use crate::connection::{Output, Stage};
use crate::edge::{Count, Edge, Heed};
use crate::identity::Identity;
use crate::metric;
use crate::options::{Options, Without};
use crate::peer::Peer;
use crate::retained;
use crate::session::{Delivery, SessionNumber};
use crate::slot::{Emitted, Led, Slot, State};
use crate::tally::Tally;
use crate::tenant::TENANT;
use crate::topic::{FanOut, Presence, Roots};

use mail::Where;
pub use mail::{Bounds, Error as MailError, Mail, OfOneNode, Post};
pub use moving::CommandError;
pub use outlet::Outlet;
pub use reaching::Parcel;
use slots::Slots;
pub use sys::SysTopics;

/// The slots' surroundings, borrowed apart from the slots themselves.
macro_rules! turn {
    ($shard:ident, $now:expr) => {
        Turn {
            now: $now,
            state: &mut $shard.state,
            budget: &mut $shard.budget,
            effects: &mut $shard.outlet,
            work: &mut $shard.work,
            roots: &mut $shard.roots,
            led: &$shard.led,
            fan_out: &mut $shard.fan_out,
            emitted: &mut $shard.emitted,
        }
    };
}
use turn;

/// The largest message that may be taken: a record of the log holds it beside the Sessions that it is for, and what was
/// gathered before it.
pub const MESSAGE_BYTES: usize = 32 << 20;

const _: () = assert!(MESSAGE_BYTES * 2 <= replica::Options::ENTRY_BYTES);

/// Bytes that may wait for the log. A round takes all of them at once.
const PENDING_BYTES_LIMIT: usize = 32 << 20;

/// Why a shard cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Engine(#[from] convoy_storage::engine::Error),
    #[error(transparent)]
    Replica(#[from] replica::Error),
}

pub struct Shard {
    options: Options,
    /// Who may do what.
    access: Arc<Access>,
    /// Who may not connect, whatever rules say.
    bans: Arc<Bans>,
    revoked: certificates::Revoked,
    outlet: Outlet,
    /// Packets that were taken and receivers that were found so far: what a turn is measured by where no clock is.
    work: u64,
    /// How much that was when the last turn ended.
    turn_began_at: u64,
    /// What long packets have taken of this turn that name Topic Filters.
    dear_work: u64,
    slots: Slots,
    driver: Driver,
    /// What all shards of the node keep their rows in.
    rows: Arc<Generations>,
    state: State,
    /// What is stored on this node.
    budget: Budget,
    /// Subscriptions whose first level is a wildcard, of the slots.
    roots: Roots,
    /// Who is there of Shared Subscriptions.
    presence: Presence,
    /// Last number that was given to a message which goes by its partition's log.
    numbers: u64,
    will_flow: will_flow::WillFlow,
    /// Retained Messages that are read once the state is written.
    unread: VecDeque<retained::Request>,
    /// The slot, by its place, that is read on for first, and whether something is left to be read.
    reads_first: usize,
    reads_on: bool,
    chance: Chance,
    /// Mixed with the count of messages that were matched here: chance for Shared Subscriptions, at the price of nothing.
    draws: u64,
    published_so_far: u64,
    /// Which partitions messages belong to.
    locator: Locator,
    fan_out: FanOut,
    emitted: VecDeque<Emitted>,
    /// Units of work in one piece.
    piece: u64,
    /// The slots of which it is known where they are led.
    led: Led,
    /// Those that are led elsewhere since connections heard of them last, or by nobody.
    moved: leading::Moved,
    /// Those that are led again, for which something may have waited.
    returning: Vec<SlotId>,
    leaderless: leaderless::Leaderless,
    asking: asking::Asking,
    late_connects: late_connects::LateConnects,
    epochs: epochs::Epochs,
    adopting: adopting::Adopting,
    clearing: clearing::Clearing,
    giving: giving::Giving,
    successors: successors::Successors,
    reaching: reaching::Reaching,
    /// Slots here that have begun to lead, or have to send again what waits for one that has, and are not done with it.
    leading_on: BTreeSet<SlotId>,
    proving: proving::Proving,
    /// Slots have replicas on other nodes.
    has_others: bool,
    to_replicas: Vec<replica::Outgoing>,
    sending: sending_state::Sending,
    receiving: receiving_state::Receiving,
    moving: moving::Moving,
    to_snapshots: Vec<replica::Outgoing>,
    /// Which life of the node this is.
    start: u32,
    effects: replica::Effects,
    /// Given to the driver's rounds, which write it with theirs.
    batch: Batch,
    sync: Option<Round>,
    /// The disk is full: publications that need a record are refused.
    stalled: bool,
    /// Little room is left on the disk: it is for those who come to read.
    low_space: bool,
    /// Monotonic milliseconds since which nothing is written, because the disk is behind.
    held_since: Option<u64>,
    /// Much waits for the log: publishers are told to wait for it.
    is_short: bool,
    /// Records that are committed and still to be applied, in their order.
    backlog: VecDeque<Committed>,
    /// All records that were applied.
    #[cfg(test)]
    tape: Vec<Committed>,
    /// Records whose changes are on their way to the engine.
    applied: Vec<(SlotId, Index)>,
    /// Records that were proposed and not written yet.
    unwritten: Vec<(SlotId, Index)>,
    /// Nothing can be promised any more: the reason.
    failure: Option<String>,
    /// The slot, by its place, that is asked first for more than a little in the next round.
    proposes_first: usize,
    /// When acknowledgements of Clients are put on record next, if nothing else does it sooner.
    save_at: u64,
    asks: u64,
    /// Slots, of whichever shard, that have much waiting for others: they are asked before a message is taken for them.
    backed_up: BTreeSet<SlotId>,
    // Kept between uses for their memory.
    properties: Vec<u8>,
    message: Vec<u8>,
    targets: Vec<(SlotId, Vec<u8>)>,
    /// Copies of QoS 0 of the message that is being matched, for Sessions of slots here.
    passing: Vec<(SessionNumber, Delivery, Bytes)>,
    spare: Vec<Vec<u8>>,
    /// What the node tells of itself.
    sys: Arc<SysTopics>,
    published: Count,
    records: Counter,
    rounds: Counter,
}

/// What an operator may ask a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    pub connections: u64,
    pub slots: u64,
    pub slots_led: u64,
    pub sessions_active: u64,
    /// Sessions whose connection is in this shard.
    pub sessions_connected: u64,
    /// Sessions of the slots, connected or not.
    pub sessions: u64,
    pub sessions_expired: u64,
    pub subscriptions: u64,
    pub shared_subscriptions: u64,
    pub retained_messages: u64,
    pub retained_bytes: u64,
    /// What counts against the limits of the node.
    pub stored: Usage,
    /// Because receivers are too slow, or their queues full.
    pub messages_dropped: u64,
    /// Copies of slots' state that were sent by this node and are in force elsewhere, and those that are in force here.
    pub snapshots_sent: u64,
    pub snapshots_received: u64,
    /// Replicas that came to this node, and those that went, since its start.
    pub replicas_opened: u64,
    pub replicas_closed: u64,
    pub tally: Tally,
    /// The disk is full, or nearly so.
    pub stalled: bool,
    /// Why it cannot serve, if so.
    pub failures: Vec<String>,
}

impl Observation {
    /// Adds what another shard tells.
    pub fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.slots += other.slots;
        self.slots_led += other.slots_led;
        self.sessions_active += other.sessions_active;
        self.sessions_connected += other.sessions_connected;
        self.sessions += other.sessions;
        self.sessions_expired += other.sessions_expired;
        self.subscriptions += other.subscriptions;
        self.shared_subscriptions += other.shared_subscriptions;
        self.retained_messages += other.retained_messages;
        self.retained_bytes += other.retained_bytes;
        self.stored = self.stored.and(&other.stored);
        self.messages_dropped += other.messages_dropped;
        self.snapshots_sent += other.snapshots_sent;
        self.snapshots_received += other.snapshots_received;
        self.replicas_opened += other.replicas_opened;
        self.replicas_closed += other.replicas_closed;
        self.tally.merge(&other.tally);
        self.stalled |= other.stalled;
        self.failures.extend(other.failures.iter().cloned());
    }
}

/// How slots are replicated.
fn replication(options: &Options, seed: u64) -> replica::Options {
    let mut replication = replica::Options {
        kept_log_bytes: options.catch_up.kept_log_bytes,
        segment_entries: options.catch_up.segment_entries,
        seed,
        lone_groups: options.without == Without::OneBatch,
        ..replica::Options::default()
    };
    if options.is_alone() {
        // There are no followers to whom applied entries could go from memory.
        replication.cached_log_bytes = 0;
    }
    replication
}

impl Shard {
    /// Opens the slots of this shard. It leads them once its first round is synced.
    pub fn new(identity: Identity, rows: Arc<Generations>, options: Options) -> Result<Self, Error> {
        let engine = Arc::clone(&rows) as Arc<dyn Engine>;
        let Identity { node, start, shard, shards } = identity;
        let post = Post::new(node, shard, shards, options.slots, options.is_alone());
        let edge = Edge::new(node.get(), shard, shards, start, &options);
        let mut chance = Chance::of(&options.secret, &identity);
        let mut driver = Driver::new(Arc::clone(&engine), node, replication(&options, chance.number()));
        let mut budget = Budget::new(options.limits.stored);
        let (slots, roots) = moving::open_all(&options, &post, &engine, &mut driver, &mut budget)?;
        let has_others = driver.has_others() || options.moves.is_some();
        let mut opened = Self {
            outlet: Outlet::new(edge, post, &options, has_others),
            work: 0,
            turn_began_at: 0,
            dear_work: 0,
            slots,
            driver,
            rows,
            state: State::new(engine, options.limits.unread.clone()),
            budget,
            roots,
            presence: Presence::default(),
            numbers: 0,
            will_flow: Default::default(),
            unread: VecDeque::new(),
            reads_first: 0,
            reads_on: false,
            draws: chance.number(),
            chance,
            published_so_far: 0,
            locator: Locator::new(TENANT, options.partitioning, options.slots),
            fan_out: FanOut::default(),
            emitted: VecDeque::new(),
            piece: calls::PIECE,
            led: Led::default(),
            moved: leading::Moved::new(),
            returning: Vec::new(),
            leaderless: Default::default(),
            asking: Default::default(),
            late_connects: Default::default(),
            epochs: Default::default(),
            adopting: Default::default(),
            clearing: Default::default(),
            giving: Default::default(),
            successors: Default::default(),
            reaching: Default::default(),
            leading_on: BTreeSet::new(),
            proving: proving::Proving::default(),
            has_others,
            to_replicas: Vec::new(),
            sending: Default::default(),
            receiving: Default::default(),
            moving: Default::default(),
            to_snapshots: Vec::new(),
            start,
            effects: replica::Effects::new(),
            batch: Batch::new(),
            sync: None,
            stalled: false,
            low_space: false,
            held_since: None,
            is_short: false,
            backlog: VecDeque::new(),
            #[cfg(test)]
            tape: Vec::new(),
            applied: Vec::new(),
            unwritten: Vec::new(),
            failure: None,
            proposes_first: 0,
            save_at: 0,
            asks: 0,
            backed_up: BTreeSet::new(),
            properties: Vec::new(),
            message: Vec::new(),
            targets: Vec::new(),
            passing: Vec::new(),
            spare: Vec::new(),
            access: Arc::default(),
            bans: Arc::default(),
            revoked: certificates::Revoked::default(),
            sys: Arc::default(),
            published: Count::new(metrics::counter!(metric::PUBLISHED)),
            records: metrics::counter!(metric::RECORDS),
            rounds: metrics::counter!(metric::ROUNDS),
            options,
        };
        opened.begin_reaching();
        opened.load_fleet();
        Ok(opened)
    }

    /// Tells what this shard is doing; whoever drives it says when something begins and when it rests.
    pub fn pulse(&self) -> &Pulse {
        &self.outlet.edge.pulse
    }

    /// Tells the metrics what was counted.
    fn tell_counts(&mut self) {
        self.published.tell();
        self.outlet.edge.tell_counts();
    }

    /// A Network Connection was accepted. Its key names it from now on, until [`Shard::closed`].
    pub fn accept(&mut self, now: Now, peer: Peer) -> u32 {
        self.outlet.edge.now = now.monotonic;
        let key = self.outlet.edge.open(peer);
        self.refuse_revoked(key);
        key
    }

    /// Who is at the other end of a Network Connection.
    pub fn peer(&self, key: u32) -> Option<&Peer> {
        self.outlet.edge.connections.get(key as usize).map(|connection| &connection.peer)
    }

    /// Connections that have something to write, to read on or to be closed for.
    pub fn take_dirty(&mut self, into: &mut Vec<u32>) {
        into.append(&mut self.outlet.edge.dirty);
    }

    /// The bytes to be written to a Client; `sent` is what the caller has written out and gives back. Whether more was asked
    /// for to send to it, perhaps of another shard: then a turn is due.
    pub fn take_output(&mut self, now: impl FnOnce() -> Now, key: u32, sent: &mut Output) -> bool {
        if sent.is_empty() {
            let buffer = std::mem::take(sent).into_buffer();
            if buffer.capacity() > 0 && buffer.capacity() <= 64 << 10 && self.spare.len() < 256 {
                self.spare.push(buffer);
            }
        }
        let Edge { connections, outputs, .. } = &mut self.outlet.edge;
        let Some(connection) = connections.get_mut(key as usize) else { return false };
        connection.is_dirty = false;
        outputs.give_out(connection);
        connection.unwritten_answers = connection.output.answer_bytes();
        if !connection.output.is_empty() {
            connection.traffic.bytes_sent += connection.output.len() as u64;
            let next = Output::with_buffer(self.spare.pop().unwrap_or_default());
            *sent = std::mem::replace(&mut connection.output, next);
            let now = now();
            self.outlet.edge.refill(key, now);
            if !self.outlet.edge.hungry.is_empty() {
                self.settle(now);
                return true;
            }
        } else if connection.output.is_empty() {
            let buffer = std::mem::take(&mut connection.output).into_buffer();
            if buffer.capacity() > 0 && self.spare.len() < 256 {
                self.spare.push(buffer);
            }
        }
        false
    }

    /// Whether the Client has not been told yet that it is connected.
    pub fn is_half_open(&self, key: u32) -> bool {
        self.outlet
            .edge
            .connections
            .get(key as usize)
            .is_some_and(|connection| connection.stage.is_half_open())
    }

    /// Whether packets of this Client are taken now.
    pub fn is_reading(&self, key: u32) -> bool {
        let limits = &self.options.limits;
        self.outlet.edge.connections.get(key as usize).is_some_and(|connection| connection.is_reading(limits))
    }

    /// The same, asked by whoever would read now and does what this says.
    pub fn heed(&mut self, now: impl FnOnce() -> Now, key: u32) -> Heed {
        self.outlet.edge.heed(now, key)
    }

    /// All that the Client has sent so far was read.
    pub fn read_out(&mut self, key: u32) {
        let connection = self.outlet.edge.connections.get_mut(key as usize);
        // The rest of a packet is on its way.
        if let Some(connection) = connection.filter(|connection| connection.input.is_empty()) {
            connection.inbound.read_out();
        }
    }

    /// Where bytes are not read: the Client has ended its side of the Network Connection, and nothing is before that.
    /// Whether the connection is to be closed for it.
    pub fn ends(&mut self, now: Now, key: u32) -> bool {
        self.outlet.edge.ends(now, key)
    }

    /// Whether anything is read from now on, from whomever: no Client is silent while nobody listens.
    pub fn listens(&mut self, now: Now, listens: bool) {
        self.outlet.edge.listening.set(listens, now.monotonic);
    }

    /// So many milliseconds have just passed in which the shard was not given the time to do anything.
    pub fn was_away(&mut self, millis: u64) {
        self.outlet.edge.listening.was_away(millis);
    }

    /// The Client does not take what is written to it; what it took before that, if anything, it took just now.
    pub fn write_stalls(&mut self, now: Now, key: u32) {
        if let Some(connection) = self.outlet.edge.connections.get_mut(key as usize) {
            connection.unread_since = Some(now.monotonic);
        }
    }

    /// The Client has taken everything.
    pub fn write_ends(&mut self, key: u32) {
        if let Some(connection) = self.outlet.edge.connections.get_mut(key as usize) {
            connection.unread_since = None;
        }
    }

    /// Whether packets wait that came while none were taken.
    pub fn has_whole_input(&self, key: u32) -> bool {
        self.outlet.edge.connections.get(key as usize).is_some_and(|connection| connection.has_whole_input)
    }

    /// Whether records can be taken now.
    fn takes_records(&self) -> bool {
        !self.stalled && !self.low_space && self.failure.is_none()
    }

    /// Whether the Network Connection is to be closed once its output is written.
    pub fn is_closing(&self, key: u32) -> bool {
        self.outlet
            .edge
            .connections
            .get(key as usize)
            .is_none_or(|connection| matches!(connection.stage, Stage::Closing | Stage::Gone))
    }

    /// Whether the Network Connection is to be closed whatever is still to be written.
    pub fn is_gone(&self, key: u32) -> bool {
        let connection = self.outlet.edge.connections.get(key as usize);
        connection.is_none_or(|connection| connection.stage == Stage::Gone)
    }

    /// The round whose writes are to be synced, if one has begun since this was asked last.
    pub fn take_sync(&mut self) -> Option<Round> {
        self.sync.take()
    }

    /// Whether records are left to be applied.
    fn has_backlog(&self) -> bool {
        !self.backlog.is_empty() && !self.stalled && self.failure.is_none()
    }

    /// Whether a turn has left something that the next one goes on with at once.
    pub fn has_more(&self) -> bool {
        let reads = self.reads_on && self.state.is_readable();
        let walks = self.outlet.edge.has_more() || !self.presence.is_current();
        self.has_backlog() && !self.is_held()
            || reads
            || walks
            || self.outlet.casts.goes_on(self.is_short)
            || self.has_unsettled()
            || !self.leading_on.is_empty()
            || self.reaching.has_arrived() && self.takes_mail()
    }

    /// Mail for other shards.
    pub fn take_mail(&mut self) -> impl Iterator<Item = (u16, Mail)> + '_ {
        self.outlet.post.take()
    }

    /// Another shard opens so many bytes of mail in a while: in one turn it is to be sent no more.
    pub fn set_mail_room(&mut self, shard: u16, bytes: usize) {
        self.outlet.post.set_room(shard, bytes);
    }

    /// So much waits for the log, or to be passed on to very many, that nothing more is taken from Clients until it has
    /// gone there.
    pub fn is_congested(&self) -> bool {
        // Where nothing is written nothing is waited for: the connections that there are can only end.
        let too_much = |bytes| bytes > PENDING_BYTES_LIMIT;
        self.failure.is_none() && too_much(self.slots.pending_bytes())
            || too_much(self.outlet.casts.len_bytes())
    }

    /// Whether mail of other shards can be taken: what it asks for waits as that of Clients does. Where records are refused
    /// nothing more comes to wait.
    pub fn takes_mail(&self) -> bool {
        let has_room = !self.outlet.casts.is_full() && (!self.takes_records() || !self.is_congested());
        has_room && self.is_settled()
    }

    /// It is known where every slot of the fleet is led, and those that are led here have caught up, so that all Clients
    /// can be served.
    pub fn is_ready(&self) -> bool {
        let serves = |slot: &Slot| slot.is_serving() && !slot.has_unsent(&self.led);
        let is_well = |slot: &Slot| match self.outlet.post.where_is(slot.id) {
            Where::Here => serves(slot),
            Where::There(_) | Where::Nowhere => slot.failure.is_none(),
        };
        self.failure.is_none() && self.outlet.post.knows_all() && self.slots.iter().all(is_well)
    }

    /// The slots that are led here, each in a term: whether they serve or not.
    pub fn terms_led(&self) -> impl Iterator<Item = (SlotId, Term)> + '_ {
        self.slots.iter().filter_map(|slot| Some((slot.id, self.driver.term_led(slot.id)?)))
    }

    /// What has failed for good in this start, of the shard or of a slot.
    pub fn failures(&self) -> impl Iterator<Item = &String> {
        self.failure.iter().chain(self.slots.iter().filter_map(|slot| slot.failure.as_ref()))
    }

    pub fn observe(&self) -> Observation {
        let failures = self.failures();
        Observation {
            connections: self.outlet.edge.connections.len() as u64,
            slots: self.slots.iter().count() as u64,
            slots_led: self.slots.iter().filter(|slot| slot.leading).count() as u64,
            sessions_active: self.slots.iter().map(|slot| slot.active() as u64).sum(),
            sessions_connected: self.outlet.edge.tally.sessions_connected,
            sessions: self.slots.iter().map(|slot| slot.counts().sessions).sum(),
            sessions_expired: self.slots.iter().map(|slot| slot.expired).sum(),
            subscriptions: self.slots.iter().map(|slot| slot.counts().subscriptions).sum(),
            shared_subscriptions: self.slots.iter().map(|slot| slot.counts().shared).sum(),
            retained_messages: self.slots.iter().map(|slot| slot.retained().messages).sum(),
            retained_bytes: self.slots.iter().map(|slot| slot.retained().bytes).sum(),
            stored: self.budget.total(),
            messages_dropped: self.outlet.edge.tally.dropped
                + self.slots.iter().map(|slot| slot.dropped).sum::<u64>(),
            snapshots_sent: self.sending.sent,
            snapshots_received: self.receiving.received,
            replicas_opened: self.moving.opened,
            replicas_closed: self.moving.closed,
            tally: self.outlet.edge.tally.clone(),
            stalled: self.stalled || self.low_space,
            failures: failures.cloned().collect(),
        }
    }
}
