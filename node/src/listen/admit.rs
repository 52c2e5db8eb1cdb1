//! How many Network Connections there may be, and how fast new ones come, of a listener and of the node. Both are decided
//! before a byte is read: an unknown Client costs us a socket and nothing more.

use metrics::{Counter, Gauge};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::config::Listener;
use crate::observe::metrics::{CONNECTIONS_ACCEPTED, CONNECTIONS_REFUSED, LISTENER_CONNECTIONS};

/// Places, and tokens for new ones: one second's worth may be saved up.
pub struct Limit {
    open: AtomicU64,
    limit: u64,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    tokens: f64,
    per_second: f64,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * self.per_second).min(self.per_second);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

impl Limit {
    pub fn new(connections: u32, connects_per_second: u32) -> Self {
        let per_second = f64::from(connects_per_second);
        Self {
            open: AtomicU64::new(0),
            limit: u64::from(connections),
            bucket: Mutex::new(Bucket { tokens: per_second, per_second, filled: Instant::now() }),
        }
    }

    fn enter(&self, now: Instant) -> Result<(), Refusal> {
        if !self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now) {
            return Err(Refusal::TooFast);
        }
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.leave();
            return Err(Refusal::TooMany);
        }
        Ok(())
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The door of one listener.
pub struct Admission {
    own: Limit,
    node: Arc<Limit>,
    open: Gauge,
    accepted: Counter,
    too_many: Counter,
    too_fast: Counter,
}

/// A place among the connections, given back when this is dropped.
pub struct Admitted(Arc<Admission>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.own.leave();
        self.0.node.leave();
        self.0.open.decrement(1.0);
    }
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    TooMany,
    TooFast,
}

impl Admission {
    pub fn new(name: &str, listener: &Listener, node: Arc<Limit>) -> Self {
        let refused = |reason| metrics::counter!(CONNECTIONS_REFUSED, "listener" => name.to_owned(), "reason" => reason);
        Self {
            own: Limit::new(
                listener.connections.unwrap_or(u32::MAX),
                listener.connects_per_second.unwrap_or(u32::MAX),
            ),
            node,
            open: metrics::gauge!(LISTENER_CONNECTIONS, "listener" => name.to_owned()),
            accepted: metrics::counter!(CONNECTIONS_ACCEPTED, "listener" => name.to_owned()),
            too_many: refused("too_many"),
            too_fast: refused("too_fast"),
        }
    }

    pub fn admit(self: &Arc<Self>, now: Instant) -> Result<Admitted, Refusal> {
        let entered =
            self.own.enter(now).and_then(|()| self.node.enter(now).inspect_err(|_| self.own.leave()));
        match entered {
            Ok(()) => {
                self.accepted.increment(1);
                self.open.increment(1.0);
                Ok(Admitted(Arc::clone(self)))
            }
            Err(refusal) => {
                match refusal {
                    Refusal::TooMany => self.too_many.increment(1),
                    Refusal::TooFast => self.too_fast.increment(1),
                }
                Err(refusal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn admission(own: Limit, node: &Arc<Limit>) -> Arc<Admission> {
        Arc::new(Admission {
            own,
            node: Arc::clone(node),
            open: Gauge::noop(),
            accepted: Counter::noop(),
            too_many: Counter::noop(),
            too_fast: Counter::noop(),
        })
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let admission = admission(Limit::new(u32::MAX, u32::MAX), &Arc::new(Limit::new(1, 1000)));
        let now = Instant::now();
        let first = admission.admit(now).ok();
        assert_eq!(admission.admit(now).err(), Some(Refusal::TooMany));
        drop(first);
        assert!(admission.admit(now).is_ok());
    }

    #[test]
    fn connections_beyond_the_rate_are_refused_until_time_has_passed() {
        let admission = admission(Limit::new(u32::MAX, u32::MAX), &Arc::new(Limit::new(1000, 2)));
        let now = Instant::now() + Duration::from_secs(1);
        let outcomes: Vec<_> = (0..3).map(|_| admission.admit(now).err()).collect();
        assert_eq!(outcomes, [None, None, Some(Refusal::TooFast)]);
        assert!(admission.admit(now + Duration::from_millis(600)).is_ok());
    }

    #[test]
    fn a_full_listener_leaves_room_in_another_and_a_full_node_in_none() {
        let node = Arc::new(Limit::new(2, 1000));
        let (narrow, wide) = (admission(Limit::new(1, 1000), &node), admission(Limit::new(9, 1000), &node));
        let now = Instant::now();
        let first = narrow.admit(now).ok();
        assert_eq!(narrow.admit(now).err(), Some(Refusal::TooMany));
        let second = wide.admit(now).ok();
        assert_eq!(wide.admit(now).err(), Some(Refusal::TooMany));
        // Who was refused by the node left the listener's place.
        drop(first);
        let third = narrow.admit(now).ok();
        assert!(third.is_some());
        drop((second, third));
        assert_eq!((node.open.load(Ordering::Relaxed), wide.own.open.load(Ordering::Relaxed)), (0, 0));
    }
}
