//! Events in, effects out, on the model engine.

mod alone;
mod chaos;
mod disk;
mod fleet;
mod hostile;
mod idle;
mod regroup;
mod station;
