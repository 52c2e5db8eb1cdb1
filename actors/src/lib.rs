//! MQTT's rules and the actors that keep them: connections, Sessions, topic partitions, Retained partitions, in slots.
//!
//! Nothing here opens a socket, starts a task or reads a clock. A [`Shard`] takes events and is asked for their
//! effects; storage is reached through `convoy_storage`'s traits alone.

mod access;
mod activity;
mod author;
mod budget;
mod call;
mod chance;
pub mod channel;
mod clock;
mod connection;
mod dest;
mod edge;
mod identity;
pub mod inventory;
pub mod mail;
mod message;
pub mod meta;
mod metric;
mod options;
mod peer;
pub mod query;
mod reserved;
mod retained;
mod session;
mod shard;
mod slot;
#[cfg(test)]
mod spoil;
mod tally;
mod tenant;
mod topic;
mod unread;

pub use access::{
    Access, Action, Ban, Bans, ClientIdOwner, Credentials, DeniedPublish, Effect, Finding, Name, Network,
    Policy, Principal, Proof, Rule, Verdict,
};
pub use activity::{Activity, Beat, Pulse};
pub use author::Who;
pub use budget::{Allowance, Usage};
pub use chance::Secret;
pub use clock::{Millis, Now};
pub use connection::Output;
pub use edge::Heed;
pub use identity::Identity;
pub use metric::ALL as METRICS;
pub use options::{
    CatchUp, Excess, FAN_OUT_PIECE, Features, Limits, Moves, Options, RateLimits, SecondConnection, Without,
};
pub use peer::{Certificate, CertificateId, Listener, Peer, Transport};
pub use session::{Home, Place, QueueLimits, SessionNumber, Subscription};
pub use shard::SysTopics;
pub use shard::{CommandError, Error, MESSAGE_BYTES, Mail, Observation, Parcel, Shard};
pub use slot::{Losses, bring_over, mend};
pub use tally::{Kind, Tally, Waits};
pub use topic::{SharedOptions, Strategy};
pub use unread::Unread;
