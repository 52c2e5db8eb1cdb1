//! Opaque, ordered records per slot that outlive crashes, and their replication.
//!
//! - [`engine`]: what the rest needs of a disk, with RocksDB and a model in memory behind it;
//! - [`envelope`]: how a record is marked so that a wrong, foreign or damaged one is never taken for a right one;
//! - [`in_force`]: which rows of a database are in force, without starting a node;
//! - [`record`]: how the fields of a record become bytes;
//! - [`replica`]: slots as Raft groups, one driver for all that a node holds;
//! - [`snapshot`]: a slot's state, copied in pieces to a replica that is behind the log.
//!
//! This room knows slots, terms, quorums and bytes. It knows no topic, no Client, no placement and no socket.

pub mod engine;
pub mod envelope;
pub mod in_force;
pub mod record;
pub mod replica;
pub mod sealed;
pub mod snapshot;
