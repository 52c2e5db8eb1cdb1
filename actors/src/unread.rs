//! What waits in memory until Clients read it, of all shards of a node, and how much may. What many wait for is there once
//! and counts once, for as long as anybody holds it. What is small is copied for each: a shard counts its own, and says at
//! the end of a turn by how much that has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The budget of a node: its clones are the same one.
#[derive(Clone, Debug)]
pub struct Unread {
    limit: usize,
    used: Arc<AtomicUsize>,
}

impl Unread {
    /// So many bytes may wait.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: Arc::default() }
    }

    /// Bytes that may wait.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that wait.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that others will hold as well, counted until the last of them lets go.
    pub fn share(&self, bytes: Vec<u8>) -> Bytes {
        self.used.fetch_add(bytes.capacity(), Ordering::Relaxed);
        Bytes::from_owner(Shared { bytes, used: Arc::clone(&self.used) })
    }

    /// What somebody has for itself has become `now` bytes from `before`.
    pub fn change(&self, before: usize, now: usize) {
        // Around the end of the numbers, where it has become less.
        self.used.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }
}

struct Shared {
    bytes: Vec<u8>,
    used: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes.capacity(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_hold_counts_once_until_the_last_lets_go() {
        let unread = Unread::new(100);
        let whole = unread.share(vec![0; 40]);
        let part = whole.slice(10..);
        unread.change(0, 7);
        assert_eq!(unread.used(), 47);
        drop(whole);
        unread.change(7, 3);
        assert_eq!((unread.used(), part.len()), (43, 30));
        drop(part);
        assert_eq!(unread.used(), 3);
    }
}
