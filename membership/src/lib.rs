//! Where everything lives: the ring and its placement, the slots of actors, the partitions of topics, and what this
//! node believes of the fleet.
//!
//! - [`ring`]: which nodes keep the replicas of a slot, as a pure function of a ring version;
//! - [`slot_of`] and [`PartitionKey`]: which slot an actor belongs to;
//! - [`Partitioning`]: which partition of its parent topic a Topic Name or Topic Filter belongs to, and [`Locator`],
//!   which remembers the slots of partitions;
//! - [`swim`]: which nodes are alive, suspect or down;
//! - [`View`]: who leads each slot, as far as this node knows.
//!
//! This room knows nodes, zones and names. It opens no file and no socket, and reads no clock.

mod error;
mod locator;
mod options;
mod partition;
pub mod ring;
mod slot_of;
pub mod swim;
mod view;

pub use error::Error;
pub use locator::Locator;
pub use options::Options;
pub use partition::{FilterPartitions, Partitioning};
pub use ring::{Member, Move, Ring, moves};
pub use slot_of::{PartitionKey, slot_of};
pub use view::View;
