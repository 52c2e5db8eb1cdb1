//! Topic partitions: which Subscriptions a message matches, and who gets it.

mod fan_out;
mod routes;
mod shared;
mod trie;

pub use fan_out::{FanOut, Found};
pub use routes::Routes;
pub use shared::Pick;
