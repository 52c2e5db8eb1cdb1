//! Stories: what Clients do, what strikes, and what has to hold afterwards.

pub mod attack;
pub mod bounds;
pub mod damage;
pub mod disk_full;
pub mod durability;
pub mod load;
mod ping;
mod plain;
pub mod power_cut;
mod report;
pub mod stalled_sync;

use std::path::Path;

pub use ping::Latency;
pub use report::Report;

use crate::invariant::Violation;
use crate::oracle::Ledger;

/// Leaves the history beside the node's log, if something was found in it.
fn keep_history(folder: &Path, ledger: &Ledger, violations: &[Violation]) {
    if violations.is_empty() {
        return;
    }
    let file = folder.join("history.txt");
    match ledger.write_to(&file) {
        Ok(()) => eprintln!("the history is in {}", file.display()),
        Err(error) => eprintln!("the history could not be kept in {}: {error}", file.display()),
    }
}
