//! How many Network Connections there may be, and how fast new ones come. Both are decided before a byte is read: an
//! unknown Client costs us a socket and nothing more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::config::LimitsOptions;
use crate::observe::metrics::{CONNECTIONS_ACCEPTED, CONNECTIONS_REFUSED};

pub struct Admission {
    open: AtomicU64,
    limit: u64,
    bucket: Mutex<Bucket>,
}

/// Tokens for new connections: one second's worth may be saved up.
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

/// A place among the connections, given back when this is dropped.
pub struct Admitted(Arc<Admission>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    TooMany,
    TooFast,
}

impl Admission {
    pub fn new(limits: &LimitsOptions) -> Self {
        let per_second = f64::from(limits.connects_per_second);
        Self {
            open: AtomicU64::new(0),
            limit: u64::from(limits.connections),
            bucket: Mutex::new(Bucket { tokens: per_second, per_second, filled: Instant::now() }),
        }
    }

    pub fn admit(self: &Arc<Self>, now: Instant) -> Result<Admitted, Refusal> {
        let refused = if !self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now) {
            Refusal::TooFast
        } else if self.open.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.open.fetch_sub(1, Ordering::Relaxed);
            Refusal::TooMany
        } else {
            metrics::counter!(CONNECTIONS_ACCEPTED).increment(1);
            return Ok(Admitted(Arc::clone(self)));
        };
        let reason = match refused {
            Refusal::TooMany => "too_many",
            Refusal::TooFast => "too_fast",
        };
        metrics::counter!(CONNECTIONS_REFUSED, "reason" => reason).increment(1);
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn admission(connections: u32, connects_per_second: u32) -> Arc<Admission> {
        let limits = LimitsOptions { connections, connects_per_second, ..LimitsOptions::default() };
        Arc::new(Admission::new(&limits))
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let admission = admission(1, 1000);
        let now = Instant::now();
        let first = admission.admit(now).ok();
        assert_eq!(admission.admit(now).err(), Some(Refusal::TooMany));
        drop(first);
        assert!(admission.admit(now).is_ok());
    }

    #[test]
    fn connections_beyond_the_rate_are_refused_until_time_has_passed() {
        let admission = admission(1000, 2);
        let now = Instant::now() + Duration::from_secs(1);
        let outcomes: Vec<_> = (0..3).map(|_| admission.admit(now).err()).collect();
        assert_eq!(outcomes, [None, None, Some(Refusal::TooFast)]);
        assert!(admission.admit(now + Duration::from_millis(600)).is_ok());
    }
}
