//! What a shard is told of the configuration. Everything a Client can make grow has its bound here.

mod features;
mod rate;

use convoy_ids::NodeId;
use convoy_membership::Partitioning;
use convoy_storage::replica;
use convoy_wire::TopicFilter;

use crate::budget::Allowance;
use crate::chance::Secret;
use crate::session::QueueLimits;
use crate::topic::SharedOptions;
use crate::unread::Unread;

pub use features::Features;
pub use rate::{Excess, RateLimits};

#[derive(Clone, Debug)]
pub struct Options {
    /// Slots of the fleet, fixed when it is born.
    pub slots: u16,
    pub partitioning: Partitioning,
    pub limits: Limits,
    /// Where 5.0 Clients are sent when the node shuts down.
    pub server_reference: Option<Box<str>>,
    /// The nodes that hold a replica of every slot, this one among them, in the order in which they are preferred as leaders.
    /// None for a node that is alone.
    pub replicas: Vec<NodeId>,
    /// Replicas of slots go from node to node, as ring versions say. Then `replicas` are the nodes of the fleet, and which of
    /// them has which slot is on their disks. Without it each has all.
    pub moves: Option<Moves>,
    /// How replicas that were away get what they have missed.
    pub catch_up: CatchUp,
    /// How Shared Subscriptions choose.
    pub shared: SharedOptions,
    /// Bytes that stay free on the disk: with less, publications that need a record are refused, and what is left is
    /// for those who come to read.
    pub min_free_bytes: u64,
    /// Where chance begins that no Client may know; drawn at each start.
    pub secret: Secret,
    /// Receivers of one message that are served before others have their turn.
    pub fan_out_piece: usize,
    /// For a simulation alone: no configuration reaches it.
    pub without: Without,
}

impl Options {
    /// Whether no other node ever takes part: a fleet of one node is none that others may join.
    pub fn is_alone(&self) -> bool {
        self.moves.is_none() && self.replicas.len() < 2
    }

    /// Those of a node that is alone, with everything else as it is where nothing is said of it.
    pub fn alone(slots: u16, partitioning: Partitioning, secret: Secret) -> Self {
        Self {
            slots,
            partitioning,
            limits: Limits::default(),
            server_reference: None,
            replicas: Vec::new(),
            moves: None,
            catch_up: CatchUp::default(),
            shared: SharedOptions::default(),
            min_free_bytes: 1 << 20,
            secret,
            fan_out_piece: FAN_OUT_PIECE,
            without: Without::default(),
        }
    }
}

/// What a node has to be told, at its start, of a fleet whose replicas move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moves {
    /// The nodes that the fleet began with. Each had the first replica there of every slot, and the log of a slot begins with
    /// this group.
    pub founders: Vec<NodeId>,
    /// This node is one of them and has the disk that it had then: what is not there of its first replicas, and was not ended, is
    /// made.
    pub founds: bool,
    /// Numbers of replicas that were given out when this node was given an empty disk. What had one of them here is lost, and
    /// has voted.
    pub given: u64,
    /// Milliseconds after which others take the place of a node that is away; and when members have changed for whatever reason,
    /// a ring version follows. None where an operator says both.
    pub replace_after: Option<u64>,
}

/// What is kept of logs for replicas that were away, and how the state goes to those for whom that is too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// Bytes of applied records that a shard keeps of its slots together: see [`replica::Options::kept_log_bytes`].
    pub kept_log_bytes: u64,
    /// The pieces in which it is given up: see [`replica::Options::segment_entries`].
    pub segment_entries: u64,
    /// Bytes of rows in a piece of a copy. More of them makes fewer messages, each of which holds up its shard for longer.
    pub piece_bytes: usize,
}

impl Default for CatchUp {
    fn default() -> Self {
        let replica::Options { kept_log_bytes, segment_entries, .. } = replica::Options::default();
        Self { kept_log_bytes, segment_entries, piece_bytes: 256 << 10 }
    }
}

/// What [`Options::fan_out_piece`] is but for tests: to deliver to so many, and to write to them, takes two
/// milliseconds.
pub const FAN_OUT_PIECE: usize = 512;

/// A rule that is left out, to see that a check which should notice does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Without {
    #[default]
    Nothing,
    /// A root route is answered for when it is applied, behind everything that came before it.
    RootAnswer,
    /// A SUBSCRIBE is asked for when other shards have taken what its connection sent before.
    Hearing,
    /// A message of QoS 0 waits for what is ahead of it on the way to the same queue.
    Place,
    /// What no record stands behind is acknowledged when it is proven that the slot was led when it was matched.
    Proof,
    /// Such a proof is begun after the match.
    LaterProof,
    /// What waits in outboxes is sent again to a slot that is led anew.
    Resend,
    /// Connections end when another node leads the slots that they rest on, or is not heard any more.
    Leave,
    /// A message for a Session that ends with its connection is acknowledged when the node of that has taken it over.
    Receipt,
    /// What came by the log, and is not known to be with the connections that it is for, is given again by the next leader.
    Again,
    /// By its number a connection knows what it was given of that.
    Known,
    /// Connections of a node that cannot be given what they are owed are given up on record, and end.
    GivenUp,
    /// A copy of a slot's state has the QoS 2 messages that are half on their way.
    HalfWay,
    /// A replica whose disk was lost comes again under another number.
    NewNumbers,
    /// A group's members and the state that was applied under them are one batch.
    OneBatch,
    /// A leader adopts a connection whose Session is its own still, and no other.
    Owner,
    /// A leader that adopts a connection goes on with each of its messages from the step that it had come to.
    Steps,
    /// An answer to an attempt that is over is not heard.
    Attempt,
    /// Whose message was not taken gets no later one taken in the same attempt.
    TurnAway,
    /// A leader takes nothing that was meant for an earlier one.
    HeardLed,
    /// A message for a queue is acknowledged when its record is committed, and not when it comes.
    Commit,
    /// A slot applies what comes out of an outbox once.
    Number,
    /// Routes are replicated: who begins to lead has those of the leader before.
    Routes,
    /// A Session is granted when the connection that had it is closed.
    Fence,
    /// A CONNECT that comes late takes no Session from a connection that is newer.
    Late,
    /// What is sent to a Client again has DUP.
    Dup,
    /// Of two Retained Messages the one that comes later in the log is kept, whatever clocks say.
    LogOrder,
}

/// What becomes of a second connection with a Client Identifier that is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecondConnection {
    /// It takes the Session over, and the first one is closed [MQTT-3.1.4-3].
    #[default]
    TakesOver,
    /// It is refused while the first one lasts. A Client whose connection died unnoticed has to wait for the end of
    /// its Keep Alive.
    IsRefused,
}

/// Bounds of what one Client can ask for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Milliseconds from the connection to its CONNECT, and as many from there to its answer.
    pub connect_timeout: u64,
    /// Bytes of a CONNECT: all that an unknown Client can make us hold.
    pub connect_packet_bytes: u32,
    /// Bytes of a Client Identifier.
    pub client_id_bytes: u16,
    /// Bytes of any other packet; 5.0 Clients are told as Maximum Packet Size.
    pub packet_bytes: u32,
    /// QoS 1 and 2 messages that a Client may have unacknowledged; 5.0 Clients are told as Receive Maximum, of others
    /// no more is read.
    pub receive_maximum: u16,
    /// Messages under way to a Client that gave no Receive Maximum.
    pub inflight_default: u16,
    /// Messages under way to any Client.
    pub inflight_maximum: u16,
    /// Topic Aliases that a Client may use.
    pub topic_alias_maximum: u16,
    /// Seconds a Session of 3.x without Clean Session outlives its connection.
    pub session_expiry_default: u32,
    /// Seconds any Session may outlive its connection.
    pub session_expiry_maximum: u32,
    /// Seconds; 0 leaves it to the Client, also to have none.
    pub keep_alive_maximum: u16,
    /// What waits for one Session.
    pub queue: QueueLimits,
    /// Bytes that wait to be written to one connection, beyond which QoS 0 messages for it are dropped and others
    /// wait in its Session.
    pub output_bytes: usize,
    /// Bytes of answers that wait to be written to one connection, beyond which nothing is read from it.
    pub answer_bytes: usize,
    /// Bytes of one connection that may wait for records of slots, or in mail of other shards, beyond which nothing is
    /// read from it.
    pub underway_bytes: usize,
    /// Milliseconds in which a Client may take nothing of what waits for it before its connection is closed.
    pub unread_timeout: u64,
    /// Bytes of packets that are not whole or not judged yet, of all connections of the shard together.
    pub unfinished_bytes: usize,
    /// What may wait in memory until Clients read it, of all shards of the node together.
    pub unread: Unread,
    /// Subscriptions of one Session; more are refused.
    pub subscriptions_per_session: u32,
    /// Bytes of their Topic Filters; more are refused.
    pub filter_bytes_per_session: u64,
    /// What may be stored of the node, and of each user.
    pub stored: Allowance,
    pub topic_levels: u16,
    pub topic_bytes: u16,
    /// Levels of a Topic Filter with `+`, a last `#` not counted: it bounds what matching one message costs, whoever
    /// subscribed what (the head of `topic/trie` says how). See [`Limits::wildcard_levels_of`].
    pub wildcard_levels: u16,
    /// What of MQTT 5.0 is switched off.
    pub features: Features,
    /// How fast a Client may publish.
    pub publish: RateLimits,
    /// What becomes of a second connection with a Client Identifier that is connected.
    pub second_connection: SecondConnection,
    /// Milliseconds a publisher waits for its acknowledgement before its connection is closed.
    pub acknowledge_timeout: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: 10_000,
            connect_packet_bytes: 128 << 10,
            client_id_bytes: u16::MAX,
            packet_bytes: 1 << 20,
            receive_maximum: 1024,
            inflight_default: 32,
            inflight_maximum: 1024,
            topic_alias_maximum: 16,
            session_expiry_default: 2 * 3600,
            session_expiry_maximum: u32::MAX,
            keep_alive_maximum: 0,
            queue: QueueLimits { messages: 1000, bytes: 64 << 20, age: 3 * 24 * 3600 * 1000 },
            output_bytes: 1 << 20,
            answer_bytes: 64 << 10,
            underway_bytes: 1 << 20,
            unread_timeout: 60_000,
            unfinished_bytes: 64 << 20,
            unread: Unread::new(256 << 20),
            subscriptions_per_session: 1_000,
            filter_bytes_per_session: 256 << 10,
            stored: Allowance::default(),
            topic_levels: 128,
            topic_bytes: 4096,
            wildcard_levels: 12,
            features: Features::default(),
            publish: RateLimits::default(),
            second_connection: SecondConnection::default(),
            acknowledge_timeout: 30_000,
        }
    }
}

impl Limits {
    /// Whether a Topic Name is neither longer nor deeper than is allowed.
    #[inline]
    pub fn allow_topic(&self, topic: &str) -> bool {
        topic.len() <= usize::from(self.topic_bytes)
            && topic.bytes().filter(|byte| *byte == b'/').count() < usize::from(self.topic_levels)
    }

    /// The key of the limit that a Topic Filter exceeds.
    pub fn exceeded_by(&self, filter: TopicFilter<'_>) -> Option<&'static str> {
        if filter.as_str().len() > usize::from(self.topic_bytes) {
            return Some("topic_bytes");
        }
        if filter.check_levels(usize::from(self.topic_levels)).is_err() {
            return Some("topic_levels");
        }
        let plain = filter.shared().map_or(filter, |shared| shared.filter);
        let (mut levels, mut runs, mut was_wild) = (0, 0, false);
        for level in plain.levels().filter(|level| *level != "#") {
            levels += 1;
            runs += usize::from(level == "+" && !was_wild);
            was_wild = level == "+";
        }
        (runs > 0 && levels > self.wildcard_levels_of(runs)).then_some("wildcard_levels")
    }

    /// Levels of a Topic Filter whose `+` stand in so many runs, a last `#` not counted. There are few ways to place one
    /// run or two, so they may be placed among more levels than any number of them: twice as many, and one more.
    pub fn wildcard_levels_of(&self, runs: usize) -> usize {
        let levels = usize::from(self.wildcard_levels);
        match runs {
            1 => 2 * levels,
            2 => levels + 1,
            _ => levels,
        }
    }
}
