//! What addresses, users and pairs of both have used and failed of late. Guesses are slowed by it, and where many wait,
//! who has used least goes first.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, Instant};

/// Names that are kept at once. Beyond it all new ones share one account, until old ones are over: then strangers slow
/// each other and nobody who is kept.
const ACCOUNTS: usize = 1 << 16;

/// The account of all who are too many.
const OTHERS: u64 = u64::MAX;

/// How often it is looked for accounts that are over: it takes a millisecond.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Of what is used, so much is forgotten a second. Slowly, so that a vehicle that fails twice a minute still goes after
/// all who share its address and have not come yet.
const USES_FORGOTTEN: f64 = 1.0 / 60.0;

/// Something that leaks away.
#[derive(Clone, Copy, Debug)]
struct Leak {
    level: f64,
    at: Instant,
}

impl Leak {
    fn level(&self, now: Instant, rate: f64) -> f64 {
        (self.level - now.saturating_duration_since(self.at).as_secs_f64() * rate).max(0.0)
    }

    fn add(&mut self, now: Instant, rate: f64) {
        *self = Self { level: self.level(now, rate) + 1.0, at: now };
    }
}

#[derive(Debug)]
struct Account {
    uses: Leak,
    failures: Leak,
    waiting: u32,
}

pub struct Meter {
    /// Failures that are forgiven in a minute, and that may come at once; zero for any number.
    failures_per_minute: u32,
    accounts: HashMap<u64, Account>,
    swept_at: Option<Instant>,
    hasher: RandomState,
}

impl Meter {
    pub fn new(failures_per_minute: u32) -> Self {
        Self { failures_per_minute, accounts: HashMap::new(), swept_at: None, hasher: RandomState::new() }
    }

    /// The account of a name. Nobody outside can tell which names share one.
    pub fn number(&self, name: impl Hash) -> u64 {
        self.hasher.hash_one(name)
    }

    fn rate(&self) -> f64 {
        f64::from(self.failures_per_minute) / 60.0
    }

    /// Whether it may try now: it has not failed more often than is forgiven.
    pub fn may_try(&self, number: u64, now: Instant) -> bool {
        let limit = f64::from(self.failures_per_minute);
        let failed = |account: &Account| account.failures.level(now, self.rate());
        limit == 0.0 || self.account(number).is_none_or(|account| failed(account) + 1.0 <= limit)
    }

    /// What it has used of late.
    pub fn used(&self, number: u64, now: Instant) -> f64 {
        self.account(number).map_or(0.0, |account| account.uses.level(now, USES_FORGOTTEN))
    }

    pub fn waiting(&self, number: u64) -> u32 {
        self.account(number).map_or(0, |account| account.waiting)
    }

    pub fn use_one(&mut self, number: u64, now: Instant) {
        self.entry(number, now).uses.add(now, USES_FORGOTTEN);
    }

    pub fn fail(&mut self, number: u64, now: Instant) {
        if self.failures_per_minute > 0 {
            let rate = self.rate();
            self.entry(number, now).failures.add(now, rate);
        }
    }

    pub fn begin_waiting(&mut self, number: u64, now: Instant) {
        self.entry(number, now).waiting += 1;
    }

    pub fn end_waiting(&mut self, number: u64, now: Instant) {
        let account = self.entry(number, now);
        // Who began to wait on the common account may have one of its own by now.
        account.waiting = account.waiting.saturating_sub(1);
    }

    fn account(&self, number: u64) -> Option<&Account> {
        self.accounts.get(&number).or_else(|| self.accounts.get(&OTHERS))
    }

    fn entry(&mut self, number: u64, now: Instant) -> &mut Account {
        let new = Leak { level: 0.0, at: now };
        let is_new = !self.accounts.contains_key(&number);
        if is_new && self.accounts.len() >= ACCOUNTS {
            self.sweep(now);
        }
        let number = if is_new && self.accounts.len() >= ACCOUNTS { OTHERS } else { number };
        self.accounts.entry(number).or_insert(Account { uses: new, failures: new, waiting: 0 })
    }

    /// Takes those away of whom nothing is left to be known.
    fn sweep(&mut self, now: Instant) {
        if self.swept_at.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_EVERY) {
            return;
        }
        self.swept_at = Some(now);
        let rate = self.rate();
        self.accounts.retain(|_, account| {
            account.waiting > 0
                || account.uses.level(now, USES_FORGOTTEN) > 0.0
                || account.failures.level(now, rate) > 0.0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_too_often_waits_and_is_forgiven_at_a_rate() {
        let (mut meter, now) = (Meter::new(60), Instant::now());
        (0..60).for_each(|_| meter.fail(1, now));
        assert!(!meter.may_try(1, now) && meter.may_try(2, now));
        assert!(!meter.may_try(1, now + Duration::from_millis(900)));
        assert!(meter.may_try(1, now + Duration::from_millis(1100)));
        let mut unlimited = Meter::new(0);
        (0..1000).for_each(|_| unlimited.fail(1, now));
        assert!(unlimited.may_try(1, now));
    }

    #[test]
    fn what_was_used_is_forgotten() {
        let (mut meter, now) = (Meter::new(1), Instant::now());
        meter.use_one(1, now);
        meter.use_one(1, now);
        assert_eq!([meter.used(1, now), meter.used(2, now)], [2.0, 0.0]);
        assert_eq!(meter.used(1, now + Duration::from_secs(120)), 0.0);
    }

    #[test]
    fn no_more_accounts_are_kept_than_fit_and_new_ones_share_one() {
        let (mut meter, now) = (Meter::new(1), Instant::now());
        (0..ACCOUNTS as u64 + 9).for_each(|number| meter.fail(number, now));
        assert_eq!(meter.accounts.len(), ACCOUNTS + 1);
        assert!(!meter.may_try(ACCOUNTS as u64 + 100, now));
        let later = now + Duration::from_secs(3600);
        meter.fail(ACCOUNTS as u64 + 100, later);
        assert_eq!(meter.accounts.len(), 1);
    }
}
