//! What is known of a Session on disk and between actors.

use std::hash::{Hash, Hasher};

use convoy_ids::SlotId;
use convoy_storage::record::{Decode, Encode};

use crate::author::Author;
use crate::clock::Millis;

/// Number of a Session, never used twice in a fleet: its slot in the upper 16 bits, a count of that slot below. A new
/// Session of an old Client Identifier has a new number, so nothing of the old one can be taken for its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct SessionNumber(pub u64);

impl Hash for SessionNumber {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // The hash of our tables is a product, in which upper bits reach upper bits alone: first Sessions of all slots would
        // have one place, and one tag.
        hasher.write_u64(self.0.rotate_left(16));
    }
}

impl SessionNumber {
    pub fn new(slot: SlotId, count: u64) -> Self {
        assert!(count < 1 << 48, "a slot grants fewer than 2^48 Sessions");
        Self(u64::from(slot.0) << 48 | count)
    }

    /// The slot that owns the Session.
    pub fn slot(self) -> SlotId {
        SlotId((self.0 >> 48) as u16)
    }
}

/// Granted with every CONNECT, in ascending order per slot: a connection whose epoch is not the Session's is stale and
/// is refused, whatever it believes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Epoch(pub u64);

/// Where the connection of a Session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Home {
    pub node: u64,
    pub shard: u16,
    /// Its place in the shard's table.
    pub key: u32,
    /// Tells it from earlier connections in the same place, of this start of the node and of earlier ones.
    pub serial: u64,
}

/// The lower bits of a serial count connections, the others the starts of the node: 2^40 connections are enough for one.
const SERIAL_BITS: u32 = 40;

impl Home {
    /// The first serial of a start of a node, which no connection has.
    pub fn serial_of(start: u32) -> u64 {
        u64::from(start) << SERIAL_BITS
    }

    /// Which start of its node it is of.
    pub fn start(&self) -> u32 {
        (self.serial >> SERIAL_BITS) as u32
    }
}

/// How much may wait for a Session. What is beyond goes: what has expired, then the oldest that was not sent. Stands in the
/// record of its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct QueueLimits {
    pub messages: u32,
    pub bytes: u64,
    /// Milliseconds a message may wait.
    pub age: Millis,
}

impl QueueLimits {
    /// Whether so much may wait.
    pub fn hold(&self, messages: u64, bytes: u64) -> bool {
        messages <= u64::from(self.messages) && bytes <= self.bytes
    }
}

/// A Will Message and its delay (MQTT 5.0, 3.1.3.2 and 3.1.3.3).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Will {
    /// Where it is published.
    pub place: Place,
    /// As `Message::encode_into` writes it; its times are set when it is published.
    pub message: Vec<u8>,
    /// Message Expiry Interval of the Will in seconds, counted from its publication.
    pub expiry_seconds: Option<u32>,
    pub delay_seconds: u32,
    /// Whose it is: whether it may be published is decided when it is due.
    pub author: Author,
}

/// A Subscription of a Session (MQTT 5.0, 3.8.3.1), as its routes carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Subscription {
    /// Maximum QoS, 0 to 2.
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    /// Subscription Identifier; zero for none.
    pub identifier: u32,
}

impl Subscription {
    /// As 3.x has them.
    pub fn plain(qos: u8) -> Self {
        Self { qos, no_local: false, retain_as_published: false, identifier: 0 }
    }
}

/// The row of a Subscription: with it the places that hold its routes, which must go when it goes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct SubscriptionRow {
    pub subscription: Subscription,
    pub places: Vec<Place>,
}

/// A partition of a parent topic and the slot that holds it. It stands in records, which must not depend on what the
/// configuration says when they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Place {
    pub slot: u16,
    pub partition: u64,
}

impl Place {
    /// Whether it stands for every slot, as that of a Topic Filter does which begins with a wildcard.
    pub fn is_everywhere(&self) -> bool {
        SlotId(self.slot).is_meta()
    }
}

/// The row of a Session.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct SessionRow {
    pub number: SessionNumber,
    pub epoch: Epoch,
    /// The user name of whoever made it or took it up; empty for nobody. See `ClientIdOwner` of `access`.
    pub owner: String,
    /// Session Expiry Interval in seconds: 0 ends with the connection, `u32::MAX` never.
    pub expiry_seconds: u32,
    /// The connection; `None` while there is none.
    pub home: Option<Home>,
    pub created_at: Millis,
    pub disconnected_at: Millis,
    pub limits: QueueLimits,
    pub will: Option<Will>,
    pub subscriptions: u32,
    /// Its messages wait on disk. So they do on where a later CONNECT asked for an expiry of 0: what waits is its.
    pub has_queue: bool,
}

impl SessionRow {
    /// Whether it lasts. The others die with their connection.
    pub fn outlives_connection(&self) -> bool {
        self.expiry_seconds > 0
    }

    /// When the Session ends if nobody connects; `None` for never, or while connected.
    pub fn ends_at(&self) -> Option<Millis> {
        (self.home.is_none() && self.expiry_seconds != u32::MAX)
            .then(|| self.disconnected_at + u64::from(self.expiry_seconds) * 1000)
    }

    /// When the Will Message is due if nobody connects: after its delay or at the Session's end, whichever comes
    /// first (MQTT 5.0, 3.1.3.2.2).
    pub fn will_due_at(&self) -> Option<Millis> {
        let will = self.will.as_ref().filter(|_| self.home.is_none())?;
        let due = self.disconnected_at + u64::from(will.delay_seconds) * 1000;
        Some(self.ends_at().map_or(due, |end| due.min(end)))
    }
}

/// What a connection is told when it owns its Session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub session: SessionNumber,
    pub epoch: Epoch,
    pub present: bool,
    /// Its messages come from its slot.
    pub has_queue: bool,
    /// Identifiers of QoS 2 messages that were received and not yet released.
    pub unreleased: Vec<u16>,
    /// Shared Subscriptions that it has (see `topic::group_of`).
    pub groups: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    use rustc_hash::FxBuildHasher;

    use super::*;

    #[test]
    fn first_sessions_of_all_slots_have_places_of_their_own_in_a_table() {
        let hashes = (0..64).map(|slot| FxBuildHasher.hash_one(SessionNumber::new(SlotId(slot), 1)));
        // A table has its tags of the upper seven bits, and its places of the lower ones.
        let (tags, places): (BTreeSet<_>, BTreeSet<_>) = hashes.map(|hash| (hash >> 57, hash & 127)).unzip();
        assert!(tags.len() > 32 && places.len() > 32, "{} tags, {} places", tags.len(), places.len());
    }
}
