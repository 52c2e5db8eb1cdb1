//! What an operator may ask of a shard, and what it answers. A question is an event like any other: it is put to the shard
//! that owns what is asked for, does bounded work, and is asked again from where it stopped. So neither a million Sessions
//! nor a filter that nothing matches holds a shard up, and a cursor is the last key seen: what comes and goes meanwhile
//! moves nothing else.

use std::sync::Arc;

use convoy_ids::{ActorId, SlotId};
use convoy_membership::{FilterPartitions, PartitionKey, Partitioning};
use convoy_wire::{ProtocolVersion, ReasonCode, TopicFilter, TopicName};

use crate::access::{Access, Bans};
use crate::budget::Usage;
use crate::clock::Millis;
use crate::peer::Peer;
use crate::session::{Home, Place, SessionNumber, Subscription};
use crate::tenant::TENANT;

/// Where things are: which slot an identity belongs to, and which shard of this node runs a slot.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Slots of the fleet.
    pub slots: u16,
    /// Shards of this node.
    pub shards: u16,
    pub partitioning: Partitioning,
}

/// Rows that one question may look at, whatever it finds: some milliseconds.
pub(crate) const ROWS: usize = 256;

/// A question, or an order.
#[derive(Clone, Debug)]
pub enum Query {
    /// Sessions of a slot in the order of their Client Identifiers, those behind `after` that begin with `prefix`.
    Sessions { slot: SlotId, prefix: String, after: Option<String>, connected: Option<bool>, limit: usize },
    /// The Session of one Client Identifier.
    Session { client_id: String },
    /// What is known of Network Connections, all of one shard.
    Connections { shard: u16, homes: Vec<Home> },
    /// Subscriptions of a slot's Sessions behind the key `after`, of one of them or of all.
    Subscriptions {
        slot: SlotId,
        client_id: Option<String>,
        fits: SubscriptionFilter,
        after: Option<Vec<u8>>,
        limit: usize,
    },
    /// The Client Identifiers of Sessions, all of one slot.
    Names { slot: SlotId, sessions: Vec<SessionNumber> },
    /// Topic Filters with subscribers in the partitions of a slot, from `from` on.
    Filters { slot: SlotId, from: FilterCursor, limit: usize },
    /// Who gets a message on a topic: asked of its partition.
    Receivers { topic: String, limit: usize },
    /// Retained Messages of a slot that match a Topic Filter, from the key `at` on.
    Retained { slot: SlotId, filter: String, at: Option<Vec<u8>>, limit: usize },
    /// The Retained Message of one topic.
    RetainedMessage { topic: String },
    /// How the slots of a shard are.
    Slots { shard: u16 },
    /// What a shard holds for a user; for all without a user name, if the name is empty.
    Stored { shard: u16, user: String },
    /// How many connections of a shard would end if these rules held, or these bans.
    Cut { shard: u16, access: Option<Arc<Access>>, bans: Arc<Bans>, from: usize },
    /// Publishes a message; answered once it is safe for everybody who subscribed.
    Publish(Box<Publication>),
    /// Deletes the Retained Message of a topic, by a record.
    DeleteRetained { topic: String },
    /// Closes the connection of a Session with Administrative action.
    Kick { client_id: String },
    /// Ends a Session by a record, and closes its connection.
    EndSession { client_id: String },
}

/// Which Subscriptions are looked for.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionFilter {
    /// To exactly this Topic Filter.
    pub filter: Option<String>,
    /// Whose Topic Filter matches this Topic Name.
    pub topic: Option<String>,
}

impl SubscriptionFilter {
    /// Whether a Subscription to `filter` is one of them.
    pub(crate) fn fits(&self, filter: &str) -> bool {
        let matches = |topic: &str| {
            let plain = TopicFilter::new(filter).ok();
            let plain = plain.map(|filter| filter.shared().map_or(filter, |shared| shared.filter));
            plain.zip(TopicName::new(topic).ok()).is_some_and(|(filter, topic)| filter.matches(topic))
        };
        self.filter.as_ref().is_none_or(|wanted| wanted == filter)
            && self.topic.as_deref().is_none_or(matches)
    }
}

/// A message of the operator's.
#[derive(Clone, Debug, Default)]
pub struct Publication {
    pub topic: String,
    pub payload: Vec<u8>,
    /// 0 or 1.
    pub qos: u8,
    pub retain: bool,
    /// As [`convoy_wire::PublishProperties::put_forwardable`] writes them.
    pub properties: Vec<u8>,
}

/// Where a listing of Topic Filters goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterCursor {
    pub partition: u64,
    pub node: u32,
}

#[derive(Clone, Debug)]
pub enum Answer {
    /// With the Client Identifier to go on behind, if there may be more in this slot.
    Sessions {
        sessions: Vec<SessionEntry>,
        next: Option<String>,
    },
    /// In the order of the question; `None` for one that is gone.
    Connections(Vec<Option<ConnectionEntry>>),
    Subscriptions {
        subscriptions: Vec<SubscriptionEntry>,
        next: Option<Vec<u8>>,
    },
    Names(Vec<Option<String>>),
    Filters {
        filters: Vec<FilterEntry>,
        next: Option<FilterCursor>,
    },
    Receivers {
        place: Place,
        receivers: Vec<Receiver>,
        total: u64,
    },
    Retained {
        messages: Vec<RetainedEntry>,
        next: Option<Vec<u8>>,
    },
    Slots(Vec<SlotEntry>),
    Cut {
        clients: u64,
        /// From where to ask on, if those were not all.
        next: Option<usize>,
    },
    Stored(Usage),
    /// The order was carried out.
    Done,
    Failed(Problem),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is nothing of this name.
    NotFound,
    /// The Session is there, and no connection of it.
    NotConnected,
    /// The slot is not led here, or not yet.
    NotLed,
    /// A row could not be read.
    Storage(String),
    /// The order was refused, and nothing was changed.
    Refused(ReasonCode),
}

/// A Session, as its slot knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    pub client_id: String,
    /// The user whose it is.
    pub owner: Option<String>,
    pub number: SessionNumber,
    /// The connection, while there is one.
    pub home: Option<Home>,
    pub created_at: Millis,
    pub disconnected_at: Option<Millis>,
    pub expiry_seconds: u32,
    pub subscriptions: u32,
    pub has_will: bool,
    /// Of a Session whose messages wait on disk; `None` where they wait with the connection.
    pub queue: Option<QueueEntry>,
}

/// What waits for a Session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueEntry {
    pub messages: u64,
    pub bytes: u64,
    /// Of them, sent and not acknowledged.
    pub inflight: u64,
}

/// A Network Connection.
#[derive(Clone, Debug)]
pub struct ConnectionEntry {
    pub peer: Peer,
    pub version: ProtocolVersion,
    pub keep_alive_seconds: u64,
    pub clean_start: bool,
    pub connected_at: Millis,
    pub last_packet_at: Millis,
    pub traffic: Traffic,
    /// Of a Session that ends with this connection.
    pub queue: Option<QueueEntry>,
    pub receive_maximum: u16,
    pub user: Option<String>,
}

/// What has gone over a Network Connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub messages_received: u64,
    pub messages_sent: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// Bytes of payloads that were sent.
    pub payload_bytes_sent: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionEntry {
    pub client_id: String,
    pub filter: String,
    pub subscription: Subscription,
    pub places: Vec<Place>,
}

/// A Topic Filter with subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterEntry {
    pub filter: String,
    pub place: Place,
    /// Sessions that subscribed to it.
    pub subscribers: u64,
    /// Share Names with the number of their members.
    pub shares: Vec<(String, u64)>,
}

/// A Session that gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub session: SessionNumber,
    pub subscription: Subscription,
    /// It is one of the members of whom one gets the message.
    pub share: Option<String>,
    pub is_live_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedEntry {
    pub topic: String,
    pub qos: u8,
    pub published_at: Millis,
    pub expires_at: Option<Millis>,
    pub payload_bytes: u64,
    /// With [`Query::RetainedMessage`] only.
    pub payload: Vec<u8>,
    /// As [`convoy_wire::Forwardable`] reads them; with [`Query::RetainedMessage`] only.
    pub properties: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotEntry {
    pub slot: SlotId,
    pub shard: u16,
    /// It serves.
    pub leading: bool,
    /// Replicas that vote, this one among them.
    pub voters: u64,
    /// Those of them that have all of the log, as far as its leader knows; of others none is known.
    pub current: u64,
    pub term: u64,
    /// Last entry of the log.
    pub last: u64,
    /// Last entry whose changes are in the state.
    pub applied: u64,
    pub log_entries: u64,
    pub sessions_active: u64,
    pub partitions: u64,
    pub retained_messages: u64,
    pub retained_bytes: u64,
    pub failure: Option<String>,
}

impl Layout {
    pub fn slot_of_client(&self, client_id: &str) -> SlotId {
        convoy_membership::slot_of(&ActorId::Session { tenant: TENANT, client_id }, self.slots)
    }

    pub fn place_of_topic(&self, topic: &str) -> Place {
        let (partition, slot) = self.partitioning.locate(TENANT, topic, self.slots);
        Place { slot: slot.0, partition: partition.0 }
    }

    /// The partitions that a Topic Filter touches; of a Shared Subscription, the filter behind its Share Name.
    pub fn places_of_filter(&self, filter: &str) -> Vec<Place> {
        let place = |partition: PartitionKey, slot: SlotId| Place { slot: slot.0, partition: partition.0 };
        let of = |parent: &str, partition: u16| {
            let key = PartitionKey::new(TENANT, parent, partition);
            place(key, key.slot(self.slots))
        };
        match self.partitioning.partitions_of_filter(filter) {
            FilterPartitions::Root => vec![place(PartitionKey::root(TENANT), SlotId::META)],
            FilterPartitions::One { parent, partition } => vec![of(parent, partition)],
            FilterPartitions::All { parent } => {
                (0..self.partitioning.partitions).map(|partition| of(parent, partition)).collect()
            }
        }
    }

    pub fn shard_of(&self, slot: SlotId) -> u16 {
        if slot.is_meta() { 0 } else { slot.0 % self.shards }
    }

    /// The shard that answers a question.
    pub fn shard_for(&self, query: &Query) -> u16 {
        let slot = match query {
            Query::Connections { shard, .. }
            | Query::Slots { shard }
            | Query::Stored { shard, .. }
            | Query::Cut { shard, .. } => return *shard,
            Query::Sessions { slot, .. }
            | Query::Subscriptions { slot, .. }
            | Query::Names { slot, .. }
            | Query::Filters { slot, .. }
            | Query::Retained { slot, .. } => *slot,
            Query::Session { client_id } | Query::Kick { client_id } | Query::EndSession { client_id } => {
                self.slot_of_client(client_id)
            }
            Query::Receivers { topic, .. }
            | Query::RetainedMessage { topic }
            | Query::DeleteRetained { topic } => SlotId(self.place_of_topic(topic).slot),
            Query::Publish(publication) => SlotId(self.place_of_topic(&publication.topic).slot),
        };
        self.shard_of(slot)
    }
}
