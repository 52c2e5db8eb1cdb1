//! The memory of a process, looked at while it runs: one that died cannot be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::fleet::highest_resident_bytes;

const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Memory {
    highest: Arc<AtomicU64>,
    watching: JoinHandle<()>,
}

impl Memory {
    pub(super) fn watch(pid: u32) -> Self {
        let highest = Arc::new(AtomicU64::new(0));
        let seen = highest.clone();
        let watching = tokio::spawn(async move {
            while let Ok(bytes) = highest_resident_bytes(pid) {
                seen.store(bytes, Ordering::Relaxed);
                sleep(PAUSE).await;
            }
        });
        Self { highest, watching }
    }

    /// In bytes, as far as it was seen.
    pub(super) fn highest(self) -> u64 {
        self.watching.abort();
        self.highest.load(Ordering::Relaxed)
    }
}
