//! What happened, in an order that can be judged.
//!
//! [`History`] is written by Clients and faults while a run goes on; [`Ledger`] is what the invariants read afterwards.

mod clocks;
mod disturbance;
mod history;
mod ledger;
mod message;
mod topic;

pub use clocks::Clocks;
pub use disturbance::Disturbances;
pub use history::{Closer, Event, Fault, Fleet, History, Link, Retain, Terms, What, Will};
pub use ledger::{Connection, Delivery, Ledger, Life, Present, Sent, Span};
pub use message::{Message, Name, Qos};
pub use topic::{matches, shared};
