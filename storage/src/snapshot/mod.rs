//! Copies of a slot's applied state, from one replica to another that is too far behind its log.
//!
//! A [`Sender`] reads a [`View`](crate::engine::View) of its engine, which is of one moment in all families, and cuts it
//! into pieces. A [`Receiver`] takes them in their order and stages them beside the rows that are in force
//! ([`Generations`](crate::engine::Generations)); when all are there, [`Receiver::install`] puts them in force with the
//! rows of the log that go on behind them. Each piece says how many rows there were until then and their checksum, so
//! that one that is missing, twice there or of another copy is found at once and not at the end.
//!
//! After a break the receiver says which piece it wants next, and the sender goes back to it. A sender that is gone, or
//! a receiver, begins another copy. Neither has a clock: how fast pieces follow each other is their caller's.

mod message;
mod piece;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

pub use message::Message;
pub use receiver::{Receiver, Refused, Taken};
pub use sender::{Sender, SenderError};

use crate::record::{Decode, Encode};

/// Names a copy. Whoever sends one gives it a number that none of its others has or had, over restarts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[bincode(crate = "crate::record")]
pub struct CopyId(pub u64);
