//! Topic partitions: which Subscriptions a message matches, and who gets it.

use std::hash::Hasher;

use rustc_hash::FxHasher;

mod fan_out;
mod presence;
mod roots;
mod route;
mod routes;
mod shared;
mod trie;

pub use fan_out::{FanOut, Found};
pub use presence::{Announcement, Level, News, Presence};
pub use roots::{Roots, find_all};
pub use route::{Again, RouteRow};
pub use routes::{Choice, Chooser, Pick, Routes, group_of};
pub use shared::{Options as SharedOptions, SHARED, Strategy};
#[cfg(test)]
pub use trie::naive;

/// Tells topics apart, but for a few that only wait for each other.
pub fn hash_of(topic: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(topic.as_bytes());
    hasher.finish()
}
