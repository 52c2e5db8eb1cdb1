//! How many Network Connections there may be, and how fast new ones come, of a listener, of the node and of an address. It
//! is decided before a byte is read: an unknown Client costs us a socket and nothing more.

use metrics::{Counter, Gauge};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::addresses::{Addresses, Place};
use crate::config::{AddressLimits, LimitsOptions, Listener};
use crate::observe::metrics::{
    CONNECTIONS_ACCEPTED, CONNECTIONS_HALF_OPEN, CONNECTIONS_REFUSED, LISTENER_CONNECTIONS,
};

/// Places, and tokens for new ones: one second's worth may be saved up.
pub struct Limit {
    open: AtomicU64,
    limit: u64,
    bucket: Mutex<Bucket>,
}

pub(super) struct Bucket {
    tokens: f64,
    per_second: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn full(connects_per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(connects_per_second);
        Self { tokens: per_second, per_second, filled: now }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
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
        Self {
            open: AtomicU64::new(0),
            limit: u64::from(connections),
            bucket: Mutex::new(Bucket::full(connects_per_second, Instant::now())),
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

/// What all listeners share.
pub struct Shared {
    node: Limit,
    half_open: AtomicU64,
    half_open_limit: u64,
    addresses: Arc<Addresses>,
    half_open_now: Gauge,
}

impl Shared {
    /// Where there is room for fewer connections than the limits say, shares of it shrink alike: an address whose Clients
    /// are not connected by MQTT yet must not take all of the places that there are for such.
    pub fn new(limits: &LimitsOptions, connections: u32) -> Self {
        let (mut half_open, mut of_address) = (limits.half_open, limits.address);
        if connections < limits.connections {
            let at_most = AddressLimits::of_node(connections, connections.div_ceil(2), u32::MAX);
            half_open = half_open.min(connections.div_ceil(2));
            of_address.connections = of_address.connections.min(at_most.connections);
            of_address.half_open = of_address.half_open.min(at_most.half_open);
        }
        let node = Limit::new(connections, limits.connects_per_second);
        Self::of(node, half_open, Addresses::new(of_address, limits.addresses_exempt.clone()))
    }

    fn of(node: Limit, half_open: u32, addresses: Addresses) -> Self {
        Self {
            node,
            half_open: AtomicU64::new(0),
            half_open_limit: u64::from(half_open),
            addresses: Arc::new(addresses),
            half_open_now: metrics::gauge!(CONNECTIONS_HALF_OPEN),
        }
    }

    fn enter(&self, now: Instant) -> Result<(), Refusal> {
        self.node.enter(now)?;
        if self.half_open.fetch_add(1, Ordering::Relaxed) >= self.half_open_limit {
            self.half_open.fetch_sub(1, Ordering::Relaxed);
            self.node.leave();
            return Err(Refusal::HalfOpen);
        }
        self.half_open_now.increment(1.0);
        Ok(())
    }

    fn opened(&self) {
        self.half_open.fetch_sub(1, Ordering::Relaxed);
        self.half_open_now.decrement(1.0);
    }
}

/// Who may connect to one listener.
pub struct Admission {
    name: String,
    own: Limit,
    shared: Arc<Shared>,
    open: Gauge,
    accepted: Counter,
}

/// A place among the connections, given back when this is dropped.
pub struct Admitted {
    admission: Arc<Admission>,
    /// Of its address, once that is known.
    place: Option<Place>,
    is_half_open: bool,
}

impl Admitted {
    /// The connection is one of this address, as it turns out behind a proxy.
    pub fn belongs_to(&mut self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        let entered = self.admission.shared.addresses.enter(address, now);
        self.place = entered.inspect_err(|refusal| self.admission.count(*refusal))?;
        Ok(())
    }

    /// Whether the Client is not connected by MQTT yet.
    pub fn is_half_open(&self) -> bool {
        self.is_half_open
    }

    /// The Client is connected.
    pub fn opened(&mut self) {
        if std::mem::take(&mut self.is_half_open) {
            self.admission.shared.opened();
        }
        if let Some(place) = &mut self.place {
            place.open();
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.opened();
        self.admission.own.leave();
        self.admission.shared.node.leave();
        self.admission.open.decrement(1.0);
    }
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    TooMany,
    TooFast,
    /// Too many are not connected by MQTT yet.
    HalfOpen,
    AddressTooMany,
    AddressTooFast,
    AddressHalfOpen,
}

impl Refusal {
    /// As the metric has it.
    fn word(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::TooFast => "too_fast",
            Self::HalfOpen => "half_open",
            Self::AddressTooMany => "address_too_many",
            Self::AddressTooFast => "address_too_fast",
            Self::AddressHalfOpen => "address_half_open",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "there are as many connections as there may be",
            Self::TooFast => "connections come faster than connects_per_second",
            Self::HalfOpen => "limits.half_open connections have not been connected by MQTT yet",
            Self::AddressTooMany => "its address has limits.connections_per_address connections",
            Self::AddressTooFast => "its address connects faster than limits.connects_per_second_per_address",
            Self::AddressHalfOpen => {
                "limits.half_open_per_address connections of its address have not been connected by MQTT yet"
            }
        })
    }
}

impl Admission {
    pub fn new(name: &str, listener: &Listener, shared: Arc<Shared>) -> Self {
        Self {
            name: name.to_owned(),
            own: Limit::new(
                listener.connections.unwrap_or(u32::MAX),
                listener.connects_per_second.unwrap_or(u32::MAX),
            ),
            shared,
            open: metrics::gauge!(LISTENER_CONNECTIONS, "listener" => name.to_owned()),
            accepted: metrics::counter!(CONNECTIONS_ACCEPTED, "listener" => name.to_owned()),
        }
    }

    /// A place for a connection of `address`, or of one that is not known yet.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>, now: Instant) -> Result<Admitted, Refusal> {
        // An address that is refused has taken nothing of what others share.
        let place = match address {
            Some(address) => self.shared.addresses.enter(address, now),
            None => Ok(None),
        };
        let entered = place.and_then(|place| {
            self.own.enter(now)?;
            self.shared.enter(now).inspect_err(|_| self.own.leave())?;
            Ok(place)
        });
        let place = entered.inspect_err(|refusal| self.count(*refusal))?;
        self.accepted.increment(1);
        self.open.increment(1.0);
        Ok(Admitted { admission: Arc::clone(self), place, is_half_open: true })
    }

    fn count(&self, refusal: Refusal) {
        let (listener, reason) = (self.name.clone(), refusal.word());
        metrics::counter!(CONNECTIONS_REFUSED, "listener" => listener, "reason" => reason).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shared(node: Limit, half_open: u32) -> Arc<Shared> {
        let limits = AddressLimits { connections: 9, half_open: 9, connects_per_second: 9 };
        Arc::new(Shared::of(node, half_open, Addresses::new(limits, Vec::new())))
    }

    fn admission(own: Limit, shared: &Arc<Shared>) -> Arc<Admission> {
        Arc::new(Admission {
            name: "narrow".to_owned(),
            own,
            shared: Arc::clone(shared),
            open: Gauge::noop(),
            accepted: Counter::noop(),
        })
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let admission = admission(Limit::new(u32::MAX, u32::MAX), &shared(Limit::new(1, 1000), 9));
        let now = Instant::now();
        let first = admission.admit(None, now).ok();
        assert_eq!(admission.admit(None, now).err(), Some(Refusal::TooMany));
        drop(first);
        assert!(admission.admit(None, now).is_ok());
    }

    #[test]
    fn connections_beyond_the_rate_are_refused_until_time_has_passed() {
        let admission = admission(Limit::new(u32::MAX, u32::MAX), &shared(Limit::new(1000, 2), 9));
        let now = Instant::now() + Duration::from_secs(1);
        let outcomes: Vec<_> = (0..3).map(|_| admission.admit(None, now).err()).collect();
        assert_eq!(outcomes, [None, None, Some(Refusal::TooFast)]);
        assert!(admission.admit(None, now + Duration::from_millis(600)).is_ok());
    }

    #[test]
    fn a_full_listener_leaves_room_in_another_and_a_full_node_in_none() {
        let node = shared(Limit::new(2, 1000), 9);
        let (narrow, wide) = (admission(Limit::new(1, 1000), &node), admission(Limit::new(9, 1000), &node));
        let now = Instant::now();
        let first = narrow.admit(None, now).ok();
        assert_eq!(narrow.admit(None, now).err(), Some(Refusal::TooMany));
        let second = wide.admit(None, now).ok();
        assert_eq!(wide.admit(None, now).err(), Some(Refusal::TooMany));
        // Who was refused by the node left the listener's place.
        drop(first);
        let third = narrow.admit(None, now).ok();
        assert!(third.is_some());
        drop((second, third));
        assert_eq!((node.node.open.load(Ordering::Relaxed), wide.own.open.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn strangers_take_no_more_than_their_share_and_give_it_back_when_they_are_known() {
        let node = shared(Limit::new(9, 1000), 1);
        let (admission, now) = (admission(Limit::new(9, 1000), &node), Instant::now());
        let mut first = admission.admit(None, now).expect("a place");
        assert_eq!(admission.admit(None, now).err(), Some(Refusal::HalfOpen));
        first.opened();
        let second = admission.admit(None, now).expect("a place");
        drop((first, second));
        assert_eq!(node.half_open.load(Ordering::Relaxed), 0);
        assert_eq!(node.node.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn where_there_is_little_room_an_address_leaves_others_places_to_connect() {
        // 1,024 descriptors leave room for so many.
        for connections in [64, 723, 10_000, 1_000_000] {
            let limits = LimitsOptions { connects_per_second: u32::MAX, ..LimitsOptions::default() };
            let address = AddressLimits { connects_per_second: u32::MAX, ..LimitsOptions::default().address };
            let node = Arc::new(Shared::new(&LimitsOptions { address, ..limits }, connections));
            let (admission, now) = (admission(Limit::new(u32::MAX, u32::MAX), &node), Instant::now());
            let from = |last| Some([203, 0, 113, last].into());
            let guesses: Vec<_> =
                (0..connections).map_while(|_| admission.admit(from(7), now).ok()).collect();
            let vehicles: Vec<_> =
                (0..connections).map_while(|_| admission.admit(from(8), now).ok()).collect();
            assert!(!guesses.is_empty() && vehicles.len() >= guesses.len(), "of {connections}");
        }
    }

    #[test]
    fn an_address_that_is_refused_takes_nothing_from_others() {
        let node = shared(Limit::new(99, 1000), 99);
        let (admission, now) = (admission(Limit::new(99, 1000), &node), Instant::now());
        let address = Some([203, 0, 113, 7].into());
        let held: Vec<_> = (0..99).filter_map(|_| admission.admit(address, now).ok()).collect();
        assert_eq!((held.len(), node.node.open.load(Ordering::Relaxed)), (9, 9));
        let mut behind_a_proxy = admission.admit(None, now).expect("a place");
        assert!(behind_a_proxy.belongs_to([203, 0, 113, 7].into(), now).is_err());
        assert!(behind_a_proxy.belongs_to([203, 0, 113, 8].into(), now).is_ok());
    }
}
