//! Topic partitions: which Subscriptions a message matches, and who gets it.

mod fan_out;
mod presence;
mod routes;
mod shared;
mod trie;

pub use fan_out::{FanOut, Found};
pub use presence::{Announcement, Level, News, Presence};
pub use routes::{Choice, Chooser, Pick, Routes, group_of};
pub use shared::{Options as SharedOptions, Strategy};
