//! Replication of slots: a driver of many Raft groups, without a disk, a clock or a thread of its own.
//!
//! Events go in ([`Driver::propose`], [`Driver::step`], [`Driver::tick`]) and mark groups as dirty; [`Driver::round`]
//! gathers what all of them have to write into one batch, together with the state the caller has applied. Then one
//! sync makes it durable, and [`Driver::synced`] lets out what depended on it. The caller's turn of the loop:
//!
//! ```ignore
//! if driver.is_dirty() || !state.is_empty() {
//!     driver.round(&mut state, &mut effects)?;
//! }
//! if let Some(round) = effects.sync.take() {
//!     // elsewhere: engine.sync(), then here: driver.synced(round, &mut effects)
//! }
//! for committed in effects.committed.drain(..) {
//!     apply(&committed, &mut state);
//!     Driver::put_applied(committed.slot, committed.index, &mut state);
//!     driver.advance_applied(committed.slot, committed.index);
//! }
//! ```
//!
//! Invariants, each with its test:
//!
//! - nothing is committed, voted or acknowledged before the rows it rests on are synced on this node;
//! - entries of a slot come out in the order of its log, each once, from behind the applied index on disk;
//! - a group's replicas and the state that was applied under them are written together;
//! - a message reaches the replica that it is for and none that came after it on its node;
//! - a full disk loses nothing and doubles nothing: the same rows are offered again;
//! - a damaged row is named and never served, and a replica whose log was lost takes no part;
//! - a leader that was deposed proves nothing, and who asked it for a proof is told;
//! - a leader whose disk stalls gives up what others can lead;
//! - the same calls with the same seed have the same effects.

mod chance;
mod driver;
mod effects;
mod error;
mod group;
mod kept;
mod log;
mod logger;
mod members;
mod options;
mod proofs;
mod row;
mod tail;
mod terms;
mod transport;

#[cfg(test)]
pub(crate) mod tests;

pub use driver::{Driver, Opened};
pub use effects::{
    Answer, Committed, Effects, Failure, Follower, Outgoing, Proof, ProofId, Role, RoleChange, Round,
    SnapshotWanted,
};
pub use error::{Error, ProposeError, ReconfigureError, RoundError, StepError};
pub use members::{Base, Members, Replica};
pub use options::{Options, OptionsError};
pub(crate) use row::applied_under;
pub use row::{applied, check as check_row};
pub use transport::{Addressed, addressed};
