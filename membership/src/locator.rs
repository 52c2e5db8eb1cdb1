//! Remembers the slots of partitions: a fleet has few parent topics, and every PUBLISH asks for the slot of one.

use convoy_ids::SlotId;

use crate::{PartitionKey, Partitioning};

/// Longer parent topics are worked out each time.
const PARENT_BYTES: usize = 21;

/// Partitions that are remembered, each in the place of its number: many parent topics push each other out, which costs
/// no more than not to remember.
const PLACES: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Known {
    /// No partition has a number beyond `u16::MAX - 1`: a place in which nothing is remembered names that.
    partition: u16,
    slot: SlotId,
    parent_len: u8,
    parent: [u8; PARENT_BYTES],
    key: PartitionKey,
}

/// [`Partitioning::locate`] for one tenant, with a memory.
#[derive(Debug)]
pub struct Locator {
    tenant: &'static str,
    partitioning: Partitioning,
    slots: u16,
    known: Box<[Known; PLACES]>,
}

impl Locator {
    pub fn new(tenant: &'static str, partitioning: Partitioning, slots: u16) -> Self {
        let nothing = Known {
            partition: u16::MAX,
            slot: SlotId(0),
            parent_len: 0,
            parent: [0; PARENT_BYTES],
            key: PartitionKey(0),
        };
        Self { tenant, partitioning, slots, known: Box::new([nothing; PLACES]) }
    }

    /// The key and slot of a Topic Name's partition.
    #[inline]
    pub fn locate(&mut self, topic_name: &str) -> (PartitionKey, SlotId) {
        let (parent, partition) = self.partitioning.partition_of(topic_name);
        let known = &self.known[usize::from(partition) % PLACES];
        let is_it = known.partition == partition
            && known.parent.get(..usize::from(known.parent_len)) == Some(parent.as_bytes());
        match is_it {
            true => (known.key, known.slot),
            false => self.learn(parent, partition),
        }
    }

    #[inline(never)]
    fn learn(&mut self, parent: &str, partition: u16) -> (PartitionKey, SlotId) {
        let key = PartitionKey::new(self.tenant, parent, partition);
        let slot = key.slot(self.slots);
        let mut bytes = [0; PARENT_BYTES];
        if let Some(place) = bytes.get_mut(..parent.len()) {
            place.copy_from_slice(parent.as_bytes());
            let parent_len = parent.len() as u8;
            self.known[usize::from(partition) % PLACES] =
                Known { partition, slot, parent_len, parent: bytes, key };
        }
        (key, slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_is_worked_out() {
        for (partitions, partition_levels) in [(1, 1), (8, 2), (1024, 3)] {
            let partitioning = Partitioning { partitions, partition_levels };
            let mut locator = Locator::new("default", partitioning, 64);
            let longest = "p".repeat(PARENT_BYTES);
            let parents = ["", "a", "ab", "$SYS", &longest, &format!("{longest}q"), "telemetry"];
            for _ in 0..2 {
                for parent in parents {
                    // Some share a place, and are asked for twice in a row and in turn.
                    for below in (0..300).flat_map(|number| [number, number / 2]) {
                        let topic = format!("{parent}/{below}/x/y");
                        let expected = partitioning.locate("default", &topic, 64);
                        assert_eq!(locator.locate(&topic), expected, "{topic}");
                    }
                    assert_eq!(
                        locator.locate(parent),
                        partitioning.locate("default", parent, 64),
                        "{parent}"
                    );
                }
            }
        }
    }
}
