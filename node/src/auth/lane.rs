//! The queue of proofs that take milliseconds and megabytes. It is bounded, and no stranger can fill it for others: each
//! turn goes to whoever has used least, by address and by user, and when it is full whoever takes most of it leaves. Who
//! has failed too often waits longer. A user at an address where it was let in before passes the line of strangers,
//! so that nobody is locked out by guesses from elsewhere.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::meter::Meter;

/// Whoever has not had a turn by then is refused, while its connection is still there to be told: a CONNECT without a
/// verdict is waited for as long as a connection without a CONNECT, ten seconds by default.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often it is looked for who may try again, while all who wait have failed too often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// For whom a proof counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// An IPv4 address, or a network of 64 bits.
    pub address: u64,
    pub user: u64,
    /// Of both.
    pub pair: u64,
    /// This user was let in from there before.
    pub is_known: bool,
}

/// What comes out of the queue.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<J> {
    /// It is to be looked at.
    Begin(J),
    /// It has waited too long: for others, or, if it is `slowed`, because of what its address or user has failed.
    Late { job: J, slowed: bool },
}

struct Waiting<J> {
    job: J,
    asker: Asker,
    since: Instant,
}

pub struct Lane<J> {
    state: Mutex<State<J>>,
    more: Condvar,
}

struct State<J> {
    waiting: VecDeque<Waiting<J>>,
    limit: usize,
    addresses: Meter,
    users: Meter,
    pairs: Meter,
    is_closed: bool,
}

impl<J> Lane<J> {
    pub fn new(limit: usize, failures_per_minute: u32) -> Self {
        let meter = || Meter::new(failures_per_minute);
        let (addresses, users, pairs) = (meter(), meter(), meter());
        let waiting = VecDeque::new();
        let state = State { waiting, limit, addresses, users, pairs, is_closed: false };
        Self { state: Mutex::new(state), more: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The accounts of a user and an address. `is_known` is left to the caller.
    pub fn asker(&self, user: &str, address: IpAddr) -> Asker {
        let state = self.state();
        let address = state.addresses.number(household(address));
        let user = state.users.number(user);
        Asker { address, user, pair: state.pairs.number((address, user)), is_known: false }
    }

    /// Lets a proof wait. Returned is one that is not to wait any more, perhaps this one: the newest of those who take
    /// most of the queue, strangers first.
    pub fn push(&self, job: J, asker: Asker, now: Instant) -> Option<J> {
        let mut state = self.state();
        state.count_waiting(&asker, now, true);
        state.waiting.push_back(Waiting { job, asker, since: now });
        let left = if state.waiting.len() > state.limit { state.take_heaviest(now) } else { None };
        drop(state);
        self.more.notify_one();
        left
    }

    /// Waits for a proof whose turn it is. `None` once the lane is closed.
    pub fn next(&self) -> Option<Turn<J>> {
        let mut state = self.state();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(turn) = state.pick(Instant::now()) {
                return Some(turn);
            }
            state = match state.waiting.is_empty() {
                true => self.more.wait(state).unwrap_or_else(PoisonError::into_inner),
                false => {
                    let waited = self.more.wait_timeout(state, LOOK_EVERY);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// A proof was wrong.
    pub fn failed(&self, asker: &Asker, now: Instant) {
        let mut state = self.state();
        state.addresses.fail(asker.address, now);
        state.users.fail(asker.user, now);
        state.pairs.fail(asker.pair, now);
    }

    pub fn close(&self) {
        self.state().is_closed = true;
        self.more.notify_all();
    }
}

impl<J> State<J> {
    fn count_waiting(&mut self, asker: &Asker, now: Instant, begins: bool) {
        for (meter, number) in [(&mut self.addresses, asker.address), (&mut self.users, asker.user)] {
            match begins {
                true => meter.begin_waiting(number, now),
                false => meter.end_waiting(number, now),
            }
        }
    }

    fn may_try(&self, asker: &Asker, now: Instant) -> bool {
        match asker.is_known {
            true => self.pairs.may_try(asker.pair, now),
            false => self.addresses.may_try(asker.address, now) && self.users.may_try(asker.user, now),
        }
    }

    /// Who is late leaves; else who has used least has its turn, those who are known first.
    fn pick(&mut self, now: Instant) -> Option<Turn<J>> {
        let is_late = |first: &Waiting<J>| now.saturating_duration_since(first.since) >= PATIENCE;
        if self.waiting.front().is_some_and(is_late) {
            let Waiting { job, asker, .. } = self.take(0, now)?;
            return Some(Turn::Late { job, slowed: !self.may_try(&asker, now) });
        }
        let used = |asker: &Asker| match asker.is_known {
            true => self.pairs.used(asker.pair, now),
            false => self.addresses.used(asker.address, now) + self.users.used(asker.user, now),
        };
        let mut best: Option<((bool, f64), usize)> = None;
        for (at, Waiting { asker, .. }) in self.waiting.iter().enumerate() {
            let weight = (!asker.is_known, used(asker));
            if best.is_none_or(|(least, _)| weight < least) && self.may_try(asker, now) {
                best = Some((weight, at));
            }
        }
        let Waiting { job, asker, .. } = self.take(best?.1, now)?;
        self.addresses.use_one(asker.address, now);
        self.users.use_one(asker.user, now);
        self.pairs.use_one(asker.pair, now);
        Some(Turn::Begin(job))
    }

    fn take_heaviest(&mut self, now: Instant) -> Option<J> {
        let weight = |Waiting { asker, .. }: &Waiting<J>| {
            let of = |meter: &Meter, number| f64::from(meter.waiting(number)) + meter.used(number, now);
            (!asker.is_known, of(&self.addresses, asker.address) + of(&self.users, asker.user))
        };
        let mut heaviest: Option<((bool, f64), usize)> = None;
        for (at, waiting) in self.waiting.iter().enumerate() {
            let weight = weight(waiting);
            if heaviest.is_none_or(|(most, _)| weight >= most) {
                heaviest = Some((weight, at));
            }
        }
        self.take(heaviest?.1, now).map(|Waiting { job, .. }| job)
    }

    fn take(&mut self, at: usize, now: Instant) -> Option<Waiting<J>> {
        let taken = self.waiting.remove(at)?;
        self.count_waiting(&taken.asker, now, false);
        Some(taken)
    }
}

/// Of IPv6 a Client has as many addresses as it likes, all of one network.
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Job = (&'static str, u32);

    fn lane(limit: usize, failures_per_minute: u32) -> Lane<Job> {
        Lane::new(limit, failures_per_minute)
    }

    fn asker(lane: &Lane<Job>, user: &str, address: u32) -> Asker {
        lane.asker(user, std::net::Ipv4Addr::from_bits(address).into())
    }

    fn picked(lane: &Lane<Job>, now: Instant) -> Option<Turn<Job>> {
        lane.state().pick(now)
    }

    #[test]
    fn one_address_cannot_fill_the_line_for_others() {
        let (lane, now) = (lane(100, 0), Instant::now());
        for guess in 0..1500 {
            lane.push(("guess", guess), asker(&lane, "ann", 1), now);
        }
        for vehicle in 0..12 {
            let user = format!("car-{vehicle}");
            let left = lane.push(("car", vehicle), asker(&lane, &user, 100 + vehicle), now);
            assert_eq!(left.map(|(who, _)| who), Some("guess"));
        }
        // The guesser has the first turn, and then every vehicle before the guesser has a second one.
        let turns: Vec<_> = (0..13).filter_map(|_| picked(&lane, now)).collect();
        let cars = turns.iter().filter(|turn| matches!(turn, Turn::Begin(("car", _)))).count();
        assert_eq!(cars, 12, "{turns:?}");
    }

    #[test]
    fn many_addresses_that_guess_one_user_leave_turns_to_other_users() {
        let (lane, now) = (lane(100, 0), Instant::now());
        for guess in 0..1500 {
            lane.push(("guess", guess), asker(&lane, "ann", guess), now);
        }
        assert_eq!(lane.push(("bob", 0), asker(&lane, "bob", 5000), now).map(|(who, _)| who), Some("guess"));
        picked(&lane, now);
        assert_eq!(picked(&lane, now), Some(Turn::Begin(("bob", 0))));
    }

    #[test]
    fn a_user_is_not_locked_out_where_it_is_known() {
        let (lane, now) = (lane(100, 2), Instant::now());
        for guess in 0..1500 {
            let asker = asker(&lane, "ann", guess);
            lane.failed(&asker, now);
            lane.push(("guess", guess), asker, now);
        }
        let home = Asker { is_known: true, ..asker(&lane, "ann", 9000) };
        assert_eq!(lane.push(("ann", 0), home, now).map(|(who, _)| who), Some("guess"));
        assert_eq!(picked(&lane, now), Some(Turn::Begin(("ann", 0))));
        // Who guesses is slowed, from wherever it comes.
        assert_eq!(picked(&lane, now), None);
    }

    #[test]
    fn who_fails_waits_its_time_and_who_waits_too_long_is_refused() {
        let (lane, now) = (lane(100, 2), Instant::now());
        let one = asker(&lane, "ann", 1);
        lane.failed(&one, now);
        lane.push(("first", 0), one, now);
        assert_eq!(picked(&lane, now), Some(Turn::Begin(("first", 0))));
        lane.failed(&one, now);
        lane.push(("second", 0), one, now);
        assert_eq!(picked(&lane, now + PATIENCE / 2), None);
        let late = Turn::Late { job: ("second", 0), slowed: true };
        assert_eq!(picked(&lane, now + PATIENCE), Some(late));
        lane.push(("third", 0), asker(&lane, "bob", 2), now);
        let late = Turn::Late { job: ("third", 0), slowed: false };
        assert_eq!(picked(&lane, now + PATIENCE), Some(late));
        assert_eq!(lane.state().addresses.waiting(one.address), 0);
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let lane = lane(1, 1);
        let of = |address: &str| lane.asker("ann", address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn a_closed_lane_lets_its_threads_go() {
        let lane = lane(1, 1);
        lane.close();
        assert_eq!(lane.next(), None);
    }
}
