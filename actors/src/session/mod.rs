//! A Session lasts from its first CONNECT until it expires; connections come and go. Its state is replicated in the
//! slot of its Client Identifier; what is here are its rules.

mod behind;
mod delivery;
mod holes;
mod inflight;
mod name;
mod progress;
mod queue;
mod state;
mod wanted;

pub use behind::{Behind, Place as TopicPlace};
pub use delivery::{Delivery, Target};
pub use inflight::{Answer, Inflight, Seq, Stage, packet_id};
pub use name::{name_of, split_name};
pub use progress::Progress;
pub use queue::{Excess, Head, Queue};
pub use state::{
    Epoch, Grant, Home, Place, QueueLimits, SessionNumber, SessionRow, Subscription, SubscriptionRow, Will,
};
pub use wanted::Wanted;
