//! Which partition of its parent topic a Topic Name or Topic Filter belongs to.
//!
//! A parent topic is the first level of a Topic Name. It is spread over `partitions` by the hash of the first
//! `partition_levels` levels, so one topic keeps one order and what a vehicle subscribes to (`cmd/VIN/#`) is registered
//! in one partition. For every pair that match (MQTT 5.0, 4.7), the Topic Name's partition is among the Topic Filter's:
//! else a message would miss its subscriber.

use convoy_ids::SlotId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Error, PartitionKey};

const SEED: u64 = 0x636f_6e76_6f79_0010;
const MAX_PARTITIONS: u16 = 1024;

/// How a parent topic is spread over the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitioning {
    /// Raise it for a parent topic that keeps one slot's leader busy. A Topic Filter with a wildcard in the first
    /// levels is registered in all of them and costs a record in each.
    pub partitions: u16,
    /// Levels that choose the partition. Raise it if too few first levels carry the load (`fleet/eu/VIN`): Topic Filters
    /// with a wildcard there (`fleet/eu/#`) are registered in every partition.
    pub partition_levels: u8,
}

/// The partitions in which a Topic Filter is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterPartitions<'a> {
    /// The first level is a wildcard: all partitions of all parents.
    Root,
    /// Every Topic Name that matches is in this one.
    One { parent: &'a str, partition: u16 },
    /// Any partition of the parent may have a Topic Name that matches.
    All { parent: &'a str },
}

impl Default for Partitioning {
    fn default() -> Self {
        Self { partitions: 8, partition_levels: 2 }
    }
}

impl Partitioning {
    /// Tells the first setting that cannot be.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_PARTITIONS).contains(&self.partitions) {
            return Err(Error::Partitions { partitions: self.partitions, most: MAX_PARTITIONS });
        }
        if self.partition_levels == 0 {
            return Err(Error::PartitionLevels);
        }
        Ok(())
    }

    /// Parent topic and partition of a Topic Name.
    #[inline]
    pub fn partition_of<'a>(&self, topic_name: &'a str) -> (&'a str, u16) {
        let bytes = topic_name.as_bytes();
        let mut levels_left = self.partition_levels;
        let mut parent_end = None;
        let mut end = bytes.len();
        for (at, _) in bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            parent_end.get_or_insert(at);
            levels_left -= 1;
            if levels_left == 0 {
                end = at;
                break;
            }
        }
        (&topic_name[..parent_end.unwrap_or(bytes.len())], self.partition_of_levels(&topic_name[..end]))
    }

    /// The key and slot of a Topic Name's partition, in a fleet of `slots` slots. Who asks for every PUBLISH remembers them by
    /// a [`Locator`](crate::Locator).
    #[inline]
    pub fn locate(&self, tenant: &str, topic_name: &str, slots: u16) -> (PartitionKey, SlotId) {
        let (parent, partition) = self.partition_of(topic_name);
        let key = PartitionKey::new(tenant, parent, partition);
        (key, key.slot(slots))
    }

    /// Where a Topic Filter is registered. A Shared Subscription's filter is the one behind its Share Name.
    pub fn partitions_of_filter<'a>(&self, filter: &'a str) -> FilterPartitions<'a> {
        let mut levels = filter.split('/').take(usize::from(self.partition_levels));
        let parent = levels.next().expect("splitting gives at least one level");
        if is_wildcard(parent) {
            FilterPartitions::Root
        } else if levels.any(is_wildcard) {
            FilterPartitions::All { parent }
        } else {
            FilterPartitions::One { parent, partition: self.partition_of(filter).1 }
        }
    }

    fn partition_of_levels(&self, levels: &str) -> u16 {
        (xxh3_64_with_seed(levels.as_bytes(), SEED) % u64::from(self.partitions)) as u16
    }
}

fn is_wildcard(level: &str) -> bool {
    level == "+" || level == "#"
}

#[cfg(test)]
mod tests {
    use super::*;
    use FilterPartitions::{All, One, Root};

    const DEFAULT: Partitioning = Partitioning { partitions: 8, partition_levels: 2 };

    #[test]
    fn partitions_are_the_same_in_every_release() {
        let topics = ["a", "a/b", "a/b/c", "cmd/VIN123/lock", "/", "", "$SYS/broker", "telemetry/eu/VIN123"];
        let expected =
            [("a", 7), ("a", 3), ("a", 3), ("cmd", 6), ("", 7), ("", 4), ("$SYS", 5), ("telemetry", 2)];
        assert_eq!(topics.map(|topic| DEFAULT.partition_of(topic)), expected);
        assert_eq!(
            DEFAULT.locate("default", "cmd/VIN123/lock", 64),
            (PartitionKey(12_573_309_980_378_634_979), SlotId(35))
        );
    }

    #[test]
    fn levels_behind_the_first_ones_do_not_matter() {
        let partitioning = Partitioning { partitions: 1024, partition_levels: 2 };
        assert_eq!(partitioning.partition_of("a/b"), partitioning.partition_of("a/b/c/d"));
        assert_eq!(partitioning.partition_of("a/b"), partitioning.partition_of("a/b/"));
        assert_ne!(partitioning.partition_of("a/b"), partitioning.partition_of("a/c"));
        assert_ne!(partitioning.partition_of("a").1, partitioning.partition_of("a/").1);
    }

    #[test]
    fn locate_agrees_with_the_actor_it_names() {
        for topic in ["cmd/VIN1/lock", "cmd", "/x"] {
            let (parent, partition) = DEFAULT.partition_of(topic);
            let actor = convoy_ids::ActorId::Topic { tenant: "acme", parent, partition };
            assert_eq!(DEFAULT.locate("acme", topic, 1024).1, crate::slot_of(&actor, 1024));
        }
    }

    #[test]
    fn filters_with_a_wildcard_in_the_first_levels_are_registered_everywhere() {
        for filter in ["#", "+", "+/a", "+/#"] {
            assert_eq!(DEFAULT.partitions_of_filter(filter), Root, "{filter}");
        }
        for filter in ["a/#", "a/+", "a/+/c", "a/+/#"] {
            assert_eq!(DEFAULT.partitions_of_filter(filter), All { parent: "a" }, "{filter}");
        }
        let (parent, partition) = DEFAULT.partition_of("a/b");
        for filter in ["a/b", "a/b/#", "a/b/+", "a/b/c", "a/b/+/#"] {
            assert_eq!(DEFAULT.partitions_of_filter(filter), One { parent, partition }, "{filter}");
        }
        let (parent, partition) = DEFAULT.partition_of("a");
        assert_eq!(DEFAULT.partitions_of_filter("a"), One { parent, partition });
    }

    #[test]
    fn more_levels_make_more_filters_register_everywhere() {
        let one = Partitioning { partitions: 8, partition_levels: 1 };
        assert!(matches!(one.partitions_of_filter("a/#"), One { parent: "a", .. }));
        let three = Partitioning { partitions: 8, partition_levels: 3 };
        assert_eq!(three.partitions_of_filter("a/b/#"), All { parent: "a" });
        assert!(matches!(three.partitions_of_filter("a/b/c/#"), One { parent: "a", .. }));
    }

    /// MQTT 5.0, 4.7, as the text of the specification has it.
    fn matches(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            ([first, filter @ ..], [name, topic @ ..]) => {
                (*first == "+" || first == name) && matches(filter, topic)
            }
            _ => false,
        }
    }

    #[test]
    fn a_filter_is_registered_wherever_a_topic_that_matches_is_published() {
        let mut texts = vec![];
        for length in 1..=4 {
            for number in 0..4_usize.pow(length) {
                let levels = (0..length).map(|at| ["a", "", "+", "#"][number / 4_usize.pow(at) % 4]);
                texts.push(levels.collect::<Vec<_>>());
            }
        }
        let is_name = |levels: &[&str]| !levels.iter().any(|level| is_wildcard(level));
        let is_filter = |levels: &[&str]| !levels[..levels.len() - 1].contains(&"#");
        let mut pairs = 0;
        for partition_levels in 1..=4 {
            let partitioning = Partitioning { partitions: 1024, partition_levels };
            for topic in texts.iter().filter(|levels| is_name(levels)) {
                for filter in texts.iter().filter(|levels| is_filter(levels) && matches(levels, topic)) {
                    pairs += 1;
                    let (topic, filter) = (topic.join("/"), filter.join("/"));
                    let (parent, partition) = partitioning.partition_of(&topic);
                    let registered = match partitioning.partitions_of_filter(&filter) {
                        Root => true,
                        One { parent: p, partition: at } => (p, at) == (parent, partition),
                        All { parent: p } => p == parent,
                    };
                    assert!(registered, "{filter} misses {topic} at {partition_levels} levels");
                }
            }
        }
        assert!(pairs > 1000, "{pairs}");
    }
}
