//! Identifiers of a fleet: order, parse, print. No behaviour of any kind lives here.
#![no_std]

extern crate alloc;

mod actor;
mod node;
mod replica;
mod ring_version;
mod slot;
mod term;
mod zone;

pub use actor::ActorId;
pub use node::{NodeId, ParseNodeIdError};
pub use replica::ReplicaId;
pub use ring_version::RingVersion;
pub use slot::SlotId;
pub use term::{Index, Term};
pub use zone::Zone;
