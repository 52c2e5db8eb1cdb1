//! How the nodes of a fleet trust and reach each other.
//!
//! Trust: an [`authority`] whose certificates members show, a key by which they [`seal`] datagrams, and a [`token`] by which a
//! node becomes a member. Reach: [`link`]s, which carry frames of the replicas, of the shards and of snapshots, and the [`door`]
//! by which they come in.
//!
//! Each node dials each other one for what it has to say, by a connection for each lane. What is said may be lost: replicas and
//! shards say it again. So nothing here waits for anybody: a queue that is full drops, a link that breaks forgets what it
//! held, and is dialled again at once.

pub mod authority;
pub mod door;
mod file;
pub mod lane;
pub mod link;
mod metric;
mod random;
pub mod seal;
pub mod token;

pub use lane::Lane;
pub use metric::ALL as METRICS;
