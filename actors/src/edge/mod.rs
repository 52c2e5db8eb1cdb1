//! The connections of a shard. Packets of Clients come in by way of the shard; what slots answer goes by `answers`,
//! messages by `deliver`, and time by `time`. An edge knows nothing of slots, nor of the shard around it: what it asks for
//! gathers here, and the shard takes it up.

mod adopting;
mod answers;
mod certificates;
mod changes;
mod count;
mod credits;
mod deliver;
mod groups;
mod late;
mod listening;
pub mod operators;
mod reading;
mod retrying;
mod shortage;
mod time;
mod unfinished;

use std::collections::{BTreeSet, VecDeque};

use convoy_ids::SlotId;
use convoy_wire::ReasonCode;
use metrics::Gauge;
use slab::Slab;

use crate::access::Credentials;
use crate::activity::Pulse;
use crate::call::SessionCall;
use crate::connection::{Connection, Encoded, Stage};
use crate::metric;
use crate::options::{Limits, Options};
use crate::peer::Peer;
use crate::query::Traffic;
use crate::session::Home;
use crate::tally::Tally;
use crate::topic::Announcement;

pub use answers::{acknowledge, acknowledge_ask, release_unknown, welcome};
use changes::Changes;
pub(crate) use changes::{Change, cost_of};
pub use count::Count;
use credits::Credits;
pub use groups::Returned;
use late::Outputs;
use listening::Listening;
use operators::Operators;
pub use retrying::RETRY;
use shortage::Shortage;
pub use time::Heed;
pub(crate) use time::LEAVING;
use time::{Dues, VISITS};

pub struct Edge {
    /// Each by itself: the table grows by doubling, and half of it may be empty.
    pub connections: Slab<Box<Connection>>,
    pub limits: Limits,
    /// Slots of the fleet.
    pub(crate) slots: u16,
    /// Shards of the node.
    shards: u16,
    /// Connections with output, or to be closed.
    pub dirty: Vec<u32>,
    /// Clients that wait to be told whether they are who they say.
    pub unproven: Vec<Credentials>,
    /// What connections ask of their Sessions' slots.
    pub calls: VecDeque<SessionCall>,
    /// Messages that cannot be sent to whom they were for: for their slots they count as acknowledged.
    pub(crate) unsendable: VecDeque<SessionCall>,
    /// What connections have to say of Shared Subscriptions.
    pub announcements: VecDeque<Announcement>,
    /// What came for members of Shared Subscriptions that have gone.
    pub returned: VecDeque<Returned>,
    /// Whether they tell how much they have under way.
    weighs_inflight: bool,
    /// Connections that are not read for a while because they published too fast.
    paused: Dues,
    /// Where the visit to all connections goes on that is under way.
    visit_from: Option<usize>,
    /// Connections that a turn visits.
    pub(crate) visits: usize,
    /// To whom time will do something before the next visit.
    soon: Dues,
    /// What this visit has seen so far.
    stock: Tally,
    /// What connections are still to be judged by.
    pub(crate) changes: Changes,
    /// Tells what the shard is doing.
    pub pulse: Pulse,
    /// By which Clients are silent.
    pub listening: Listening,
    /// Connections for which Retained Messages may be read on.
    pub hungry: Vec<Home>,
    /// Connections that wait for another leader, and those whose time has come to ask it.
    retries: Dues,
    pub retrying: VecDeque<Home>,
    /// Connections whose SUBSCRIBE or UNSUBSCRIBE goes on with its next piece.
    pub asking: VecDeque<Home>,
    /// Bytes of packets that are not whole.
    unfinished: unfinished::Total,
    pub(crate) encoded: Encoded,
    pub(crate) outputs: Outputs,
    /// Upper bits of the serials of this start of the node.
    start: u64,
    serials: u64,
    node: u64,
    /// There are no other nodes.
    is_alone: bool,
    shard: u16,
    /// Monotonic milliseconds of the current event.
    pub now: u64,
    /// What operators wait for.
    pub operators: Operators,
    pub tally: Tally,
    /// Traffic and waits of connections that are gone.
    gone: Traffic,
    credits: Credits,
    pub(crate) shortage: Shortage,
    open: Gauge,
    delivered: Count,
    dropped: Count,
    queue_dropped: Count,
}

impl Edge {
    /// `start` counts the starts of the node.
    pub fn new(node: u64, shard: u16, shards: u16, start: u32, options: &Options) -> Self {
        Self {
            connections: Slab::new(),
            limits: options.limits.clone(),
            slots: options.slots,
            shards,
            dirty: Vec::new(),
            unproven: Vec::new(),
            calls: VecDeque::new(),
            unsendable: VecDeque::new(),
            announcements: VecDeque::new(),
            returned: VecDeque::new(),
            weighs_inflight: options.shared.weighs_inflight(),
            paused: Dues::default(),
            visit_from: None,
            visits: VISITS,
            soon: Dues::default(),
            stock: Tally::default(),
            changes: Changes::default(),
            pulse: Pulse::default(),
            listening: Listening::default(),
            hungry: Vec::new(),
            retries: Dues::default(),
            retrying: VecDeque::new(),
            asking: VecDeque::new(),
            unfinished: unfinished::Total::default(),
            encoded: Encoded::new(options.limits.unread.clone()),
            outputs: Outputs::new(options.limits.unread.clone()),
            start: Home::serial_of(start),
            serials: 0,
            node,
            is_alone: options.is_alone(),
            shard,
            now: 0,
            operators: Operators::default(),
            tally: Tally::default(),
            gone: Traffic::default(),
            credits: Credits::default(),
            shortage: Shortage::default(),
            open: metrics::gauge!(metric::CONNECTIONS),
            delivered: Count::new(metrics::counter!(metric::DELIVERED)),
            dropped: Count::new(metrics::counter!(metric::OUTPUT_DROPPED)),
            queue_dropped: Count::new(metrics::counter!(metric::QUEUE_DROPPED)),
        }
    }

    /// Whether a connection may still be there: one of an earlier start of this node cannot.
    pub fn may_be_there(&self, home: &Home) -> bool {
        home.node != self.node && !self.is_alone || Home::serial_of(home.start()) == self.start
    }

    /// Where answers to operators go.
    pub fn operators_home(&self) -> Home {
        operators::home(self.node, self.shard, self.start)
    }

    pub fn open(&mut self, peer: Peer) -> u32 {
        self.serials += 1;
        let entry = self.connections.vacant_entry();
        let key = entry.key() as u32;
        let home = Home { node: self.node, shard: self.shard, key, serial: self.start | self.serials };
        let mut connection = Box::new(Connection::new(home, peer, self.now));
        connection.keep_alive.heard(self.listening.at(self.now));
        connection.doomed_at = Some(self.now + self.limits.connect_timeout + 1);
        connection.judged = self.changes.last();
        entry.insert(connection);
        self.open.increment(1.0);
        key
    }

    /// The Network Connection is closed: what was known of it, if it was open.
    pub fn remove(&mut self, key: u32) -> Option<Box<Connection>> {
        self.leave_groups(key);
        let connection = self.connections.try_remove(key as usize)?;
        self.open.decrement(1.0);
        self.forget_unfinished(key, connection.unfinished);
        self.outputs.forget(&connection);
        self.gone.merge(&connection.traffic);
        Some(connection)
    }

    pub(crate) fn find(&mut self, home: &Home) -> Option<&mut Connection> {
        find(&mut self.connections, home)
    }

    /// What a connection published has been passed on to everybody: it is read from again.
    pub(crate) fn casting_ends(&mut self, publisher: Option<Home>) {
        if let Some(home) = publisher
            && let Some(connection) = self.find(&home)
        {
            connection.is_casting = false;
            self.mark(home.key);
        }
    }

    pub fn mark(&mut self, key: u32) {
        if let Some(connection) = self.connections.get_mut(key as usize)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
    }

    /// A message of QoS 0 is dropped, for its receiver is too slow.
    pub fn note_dropped(&mut self) {
        self.dropped.add(1);
        self.tally.dropped += 1;
    }

    /// Tells the metrics what was counted.
    pub(crate) fn tell_counts(&mut self) {
        self.delivered.tell();
        self.dropped.tell();
        self.queue_dropped.tell();
    }

    /// Closes a connection with a Reason Code.
    pub fn close(&mut self, key: u32, reason: ReasonCode) {
        if let Some(connection) = self.connections.get_mut(key as usize) {
            if matches!(connection.stage, Stage::New | Stage::Authenticating | Stage::Connecting) {
                metric::refused(reason);
            }
            connection.close(reason);
            self.mark(key);
        }
    }

    /// Adds what a connection that is visited has.
    fn count_stock(&mut self, key: u32) {
        let Some(connection) = self.connections.get(key as usize) else { return };
        let stock = &mut self.stock;
        stock.traffic.merge(&connection.traffic);
        if connection.owns_session {
            stock.sessions_connected += 1;
            stock.count_connections(&connection.peer.listener, connection.version, 1);
        }
    }

    /// All connections were visited: tells what there is.
    fn tell_stock(&mut self) {
        let mut stock = std::mem::take(&mut self.stock);
        stock.traffic.merge(&self.gone);
        let tally = &mut self.tally;
        tally.connections = stock.connections;
        (tally.sessions_connected, tally.traffic) = (stock.sessions_connected, stock.traffic);
    }

    /// Whether there is something that the next turn goes on with.
    pub(crate) fn has_more(&self) -> bool {
        self.changes.is_walking() || self.is_visiting() || self.shortage.has_more()
    }

    /// The Session went to another connection [MQTT-3.1.4-3]. Returns the slots that have yet to answer for what this one
    /// published.
    pub fn taken_over(&mut self, home: &Home) -> BTreeSet<SlotId> {
        let Some(connection) = self.find(home) else { return BTreeSet::new() };
        let asked = connection.inbound.asked(connection.session.slot());
        connection.owns_session = false;
        connection.take_back_welcome();
        self.close(home.key, ReasonCode::SessionTakenOver);
        self.leave_groups(home.key);
        asked
    }

    /// An operator closes the connection. If the Session has ended there is nothing to take leave of.
    pub fn evict(&mut self, home: &Home, session_ended: bool) {
        let Some(connection) = self.find(home) else { return };
        connection.owns_session &= !session_ended;
        connection.close(ReasonCode::AdministrativeAction);
        if session_ended {
            self.leave_groups(home.key);
        }
        self.mark(home.key);
    }
}

/// The connection, if it is still there.
fn find<'a>(connections: &'a mut Slab<Box<Connection>>, home: &Home) -> Option<&'a mut Connection> {
    let found = connections.get_mut(home.key as usize)?;
    (found.home.serial == home.serial).then_some(&mut **found)
}
