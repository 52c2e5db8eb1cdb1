//! What waits to be written to a link: frames in the form in which they are written, of all shards, in the order in which they
//! came. A shard that has many for one turn takes the lock once.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::frame;
use crate::Lane;
use crate::metric;

/// Of one lane to one node.
#[derive(Debug)]
pub struct Queue {
    lane: Lane,
    limit: usize,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// There is a link.
    is_open: bool,
    /// Nothing is to be sent any more.
    is_over: bool,
    bytes: Vec<u8>,
}

impl Queue {
    pub fn new(lane: Lane) -> Self {
        Self::with_limit(lane, lane.queue_bytes())
    }

    /// With room for so many bytes.
    pub fn with_limit(lane: Lane, limit: usize) -> Self {
        Self { lane, limit, waiting: Mutex::default(), news: Notify::new() }
    }

    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Whether there is a link: without one nothing waits.
    pub fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// Bytes that wait.
    pub fn len_bytes(&self) -> usize {
        self.lock().bytes.len()
    }

    /// Puts frames into it. What finds no link or no room is dropped and counted.
    pub fn push<'f>(&self, frames: impl IntoIterator<Item = (u16, &'f [u8])>) {
        let (mut down, mut full) = (0, 0);
        let mut waiting = self.lock();
        let before = waiting.bytes.len();
        for (to, bytes) in frames {
            if !waiting.is_open {
                down += bytes.len();
            } else if waiting.bytes.len() + frame::len(bytes) > self.limit {
                full += bytes.len();
            } else {
                frame::encode(to, bytes, &mut waiting.bytes);
            }
        }
        let has_news = before == 0 && !waiting.bytes.is_empty();
        drop(waiting);
        if has_news {
            self.news.notify_one();
        }
        for (bytes, reason) in [(down, "down"), (full, "full")] {
            if bytes > 0 {
                let labels = [("lane", self.lane.name()), ("reason", reason)];
                metrics::counter!(metric::DROPPED_BYTES, &labels).increment(bytes as u64);
            }
        }
    }

    /// There is a link from now on, for as long as the guard lives; then what waits is dropped.
    pub fn open(&self) -> OpenQueue<'_> {
        self.lock().is_open = true;
        OpenQueue(self)
    }

    /// Nothing is to be sent there any more.
    pub fn end(&self) {
        self.lock().is_over = true;
        self.news.notify_one();
    }

    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Frames are appended whole or not at all.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue while there is a link.
#[derive(Debug)]
pub struct OpenQueue<'q>(&'q Queue);

impl OpenQueue<'_> {
    /// Waits until something is there, and takes all of it in exchange for `into`, which is emptied. False if nothing is to be
    /// sent any more.
    pub async fn take(&self, into: &mut Vec<u8>) -> bool {
        into.clear();
        loop {
            {
                let mut waiting = self.0.lock();
                if waiting.is_over {
                    return false;
                }
                if !waiting.bytes.is_empty() {
                    mem::swap(&mut waiting.bytes, into);
                    return true;
                }
            }
            self.0.news.notified().await;
        }
    }
}

impl Drop for OpenQueue<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        (waiting.is_open, waiting.bytes) = (false, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_for_a_link_that_is_not_there() {
        let queue = Queue::new(Lane::Raft);
        queue.push([(1, &b"lost"[..])]);
        let open = queue.open();
        assert_eq!(queue.len_bytes(), 0);
        queue.push([(1, &b"kept"[..])]);
        assert_eq!(queue.len_bytes(), frame::len(b"kept"));
        drop(open);
        assert_eq!((queue.is_open(), queue.len_bytes()), (false, 0));
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_a_smaller_one_behind_it_is_not() {
        let queue = Queue::with_limit(Lane::Shards, 2 * frame::len(&[0; 10]));
        let _open = queue.open();
        queue.push([(1, &[0; 10][..]), (2, &[0; 11][..]), (3, &[0; 10][..]), (4, &[][..])]);
        assert_eq!(queue.len_bytes(), 2 * frame::len(&[0; 10]));
    }
}
