//! Which slot an actor belongs to.
//!
//! The hash decides where durable state is kept, so it never changes between releases: XXH3 (64 bits) with fixed seeds,
//! each part of an identity seeding the hash of the next. No part is joined to another, so `("ab", "c")` and
//! `("a", "bc")` differ without a separator and nothing is allocated.
//!
//! The hash is public: a Client can choose names that fall into one slot, and an operator sees that as a hot slot. It
//! cannot reach another tenant's partition by such a choice, although a key stands for an identity there: routes and
//! Retained Messages keep their whole topic, so two tenants would have to collide on a parent topic that both use,
//! and the seed of that hash is the tenant's name, which no Client chooses.

use convoy_ids::{ActorId, SlotId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seeds of the two kinds of key; Topic and Retained actors of one partition share theirs, hence a slot.
const SESSION: u64 = 0x636f_6e76_6f79_0001;
const PARTITION: u64 = 0x636f_6e76_6f79_0002;
const ROOT: u64 = 0x636f_6e76_6f79_0003;

/// Identity of one partition of a parent topic, short enough for keys and maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey(pub u64);

impl PartitionKey {
    #[inline]
    pub fn new(tenant: &str, parent: &str, partition: u16) -> Self {
        let tenant = xxh3_64_with_seed(tenant.as_bytes(), PARTITION);
        let parent = xxh3_64_with_seed(parent.as_bytes(), tenant);
        Self(xxh3_64_with_seed(&partition.to_le_bytes(), parent))
    }

    /// Stands for all partitions of a tenant where a Topic Filter is registered whose first level is a wildcard.
    pub fn root(tenant: &str) -> Self {
        Self(xxh3_64_with_seed(tenant.as_bytes(), ROOT))
    }

    /// The slot of a partition that is not the root.
    #[inline]
    pub fn slot(self, slots: u16) -> SlotId {
        slot(self.0, slots)
    }
}

/// The slot that an actor belongs to in a fleet of `slots` slots (at least one).
#[inline]
pub fn slot_of(actor: &ActorId<'_>, slots: u16) -> SlotId {
    match *actor {
        ActorId::Session { tenant, client_id } => {
            let tenant = xxh3_64_with_seed(tenant.as_bytes(), SESSION);
            slot(xxh3_64_with_seed(client_id.as_bytes(), tenant), slots)
        }
        ActorId::Topic { tenant, parent, partition } | ActorId::Retained { tenant, parent, partition } => {
            PartitionKey::new(tenant, parent, partition).slot(slots)
        }
    }
}

#[inline]
fn slot(hash: u64, slots: u16) -> SlotId {
    SlotId((hash % u64::from(slots)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session<'a>(tenant: &'a str, client_id: &'a str) -> ActorId<'a> {
        ActorId::Session { tenant, client_id }
    }

    #[test]
    fn slots_are_the_same_in_every_release() {
        let actors = [
            session("", ""),
            session("default", "VIN-0001"),
            session(
                "default",
                "a Client Identifier that is longer than the sixteen bytes XXH3 takes at once",
            ),
            ActorId::Topic { tenant: "default", parent: "cmd", partition: 0 },
            ActorId::Topic { tenant: "default", parent: "cmd", partition: 7 },
            ActorId::Retained { tenant: "acme", parent: "", partition: 513 },
        ];
        assert_eq!(actors.map(|actor| slot_of(&actor, 64).0), [54, 16, 6, 20, 12, 16]);
        assert_eq!(actors.map(|actor| slot_of(&actor, 1021).0), [340, 787, 340, 604, 144, 746]);
        assert_eq!(PartitionKey::new("default", "cmd", 7), PartitionKey(7_152_348_160_711_113_804));
        assert_eq!(PartitionKey::root("default"), PartitionKey(12_356_748_945_876_705_880));
    }

    #[test]
    fn topic_and_retained_actors_of_a_partition_share_a_slot() {
        for partition in 0..100 {
            let (tenant, parent) = ("default", "telemetry");
            let topic = slot_of(&ActorId::Topic { tenant, parent, partition }, 1024);
            assert_eq!(topic, slot_of(&ActorId::Retained { tenant, parent, partition }, 1024));
            assert_eq!(topic, PartitionKey::new(tenant, parent, partition).slot(1024));
        }
    }

    #[test]
    fn parts_of_an_identity_are_not_joined() {
        assert_ne!(PartitionKey::new("ab", "c", 0), PartitionKey::new("a", "bc", 0));
        assert_ne!(PartitionKey::new("a", "b", 0), PartitionKey::new("b", "a", 0));
    }

    #[test]
    fn a_million_sessions_spread_evenly() {
        let mut counts = [0_u32; 64];
        for number in 0..1_000_000 {
            counts[usize::from(slot_of(&session("default", &format!("VIN{number:08}")), 64).0)] += 1;
        }
        // 15,625 expected, standard deviation 124.
        assert!(counts.iter().all(|count| (15_000..16_250).contains(count)), "{counts:?}");
    }
}
