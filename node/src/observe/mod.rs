//! What an operator sees from outside: logs, metrics and what this machine has spent on us.

pub mod figures;
pub mod logs;
pub mod metrics;
pub mod sys;
mod teller;
mod usage;
