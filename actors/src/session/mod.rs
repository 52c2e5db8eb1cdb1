//! A Session lasts from its first CONNECT until it expires; connections come and go. Its state is replicated in the
//! slot of its Client Identifier; what is here are its rules.

mod behind;
mod holes;
mod inflight;
mod queue;
mod state;

pub use behind::{Behind, Place as TopicPlace};
pub use inflight::{Answer, Inflight, Seq, Stage, packet_id};
pub use queue::{Excess, Head, Queue};
pub use state::{
    Epoch, Grant, Home, Place, QueueLimits, SessionNumber, SessionRow, Subscription, SubscriptionRow, Will,
};
