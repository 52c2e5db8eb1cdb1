//! Events in, effects out, on the model engine.

mod alone;
mod chaos;
mod disk;
pub(crate) mod fleet;
mod hostile;
mod idle;
mod kept_log;
mod late_disk;
mod lives;
mod proofs;
mod regroup;
pub(crate) mod station;
mod stopped;
