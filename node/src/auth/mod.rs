//! Authentication: whether Clients are who they say. Shards ask and go on; threads of their own do what takes
//! milliseconds and megabytes, a few at a time. What waits for them is bounded: whoever comes when too many wait is told
//! Server busy, at the price of nothing.

mod cache;
mod failures;
pub mod password;
pub mod reload;
pub mod users;

use convoy_actors::{Credentials, Principal, Proof, Verdict};
use convoy_wire::ReasonCode;
use ring::hmac;
use ring::rand::SystemRandom;
use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Instant;

use crate::boot::Watch;
use crate::config::AuthOptions;
use crate::drive::ShardHandle;
use crate::listen::LogLimit;
use crate::observe::metrics::{AUTHENTICATION_SECONDS, AUTHENTICATIONS};
use cache::{Cache, Fingerprint, fingerprint};
use failures::Failures;
use users::Users;

/// Asks whether Clients are who they say. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    state: Arc<State>,
    queue: SyncSender<Job>,
}

struct State {
    /// `None` while nobody is known.
    users: Mutex<Option<Arc<Users>>>,
    /// Held for reading from the last look at `users` until the verdict is in its shard's mailbox, and for writing while
    /// users change: a verdict that rests on old users is in the mailbox before the news that they are gone.
    settled: RwLock<()>,
    cache: Mutex<Cache>,
    failures: Mutex<Failures>,
    key: hmac::Key,
    log: LogLimit,
}

/// Credentials to be verified.
struct Job {
    credentials: Credentials,
    fingerprint: Fingerprint,
    asked_at: Instant,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Auth {
    /// `watch` makes a guard for each thread.
    pub fn start(
        options: &AuthOptions,
        users: Option<Users>,
        shards: &Arc<[ShardHandle]>,
        watch: impl Fn() -> Watch,
    ) -> io::Result<Self> {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .map_err(|_| io::Error::other("no random numbers to be had"))?;
        let state = Arc::new(State {
            users: Mutex::new(users.map(Arc::new)),
            settled: RwLock::new(()),
            cache: Mutex::new(Cache::new(options.cache_entries as usize, options.cache_age)),
            failures: Mutex::new(Failures::new(options.failures_per_minute)),
            key,
            log: LogLimit::default(),
        });
        let (queue, jobs) = sync_channel(options.waiting as usize);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..options.threads {
            let (state, jobs, shards) = (Arc::clone(&state), Arc::clone(&jobs), Arc::clone(shards));
            let watch = watch();
            thread::Builder::new().name(format!("convoy-auth-{number}")).spawn(move || {
                let _watch = watch;
                state.work(&jobs, &shards);
            })?;
        }
        Ok(Self { state, queue })
    }

    /// Looks credentials up. The verdict comes to the shard as an event, unless it can be told at once. Called by
    /// shards: it waits for nobody.
    pub fn ask(&self, credentials: Credentials) -> Option<Verdict> {
        let now = Instant::now();
        if !locked(&self.state.failures).allow(credentials.address, now) {
            count("rate_limited");
            return Some(Verdict::Refused(ReasonCode::ConnectionRateExceeded));
        }
        let users = self.state.users();
        let line =
            users.as_ref().and_then(|users| users.get(&credentials.user)).map_or("", |user| &user.text);
        let fingerprint = fingerprint(&self.state.key, &credentials.user, &credentials.password, line);
        let known = locked(&self.state.cache).get(&fingerprint, now);
        if let Some(granted) = known {
            count(if granted { "granted_again" } else { "refused_again" });
            if !granted {
                self.state.failed(&credentials, now);
            }
            return Some(verdict(&credentials.user, granted));
        }
        match self.queue.try_send(Job { credentials, fingerprint, asked_at: now }) {
            Ok(()) => None,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                count("busy");
                Some(Verdict::Refused(ReasonCode::ServerBusy))
            }
        }
    }

    /// Other users are known from now on. Those who are gone, or have another password, are returned; every verdict that
    /// rests on what they were is in a mailbox by now.
    fn set_users(&self, users: Users) -> BTreeSet<String> {
        let _settled = self.state.settled.write().unwrap_or_else(PoisonError::into_inner);
        let users = Arc::new(users);
        let old = locked(&self.state.users).replace(Arc::clone(&users));
        old.map_or_else(BTreeSet::new, |old| old.not_in(&users))
    }
}

impl State {
    fn users(&self) -> Option<Arc<Users>> {
        locked(&self.users).clone()
    }

    fn work(&self, jobs: &Mutex<Receiver<Job>>, shards: &[ShardHandle]) {
        loop {
            let job = locked(jobs).recv();
            // Nobody can ask any more.
            let Ok(Job { credentials, fingerprint, asked_at }) = job else { return };
            let users = self.users();
            let user = users.as_ref().and_then(|users| users.get(&credentials.user));
            // Somebody unknown takes as long as somebody known.
            let stored = user.map(|user| &user.stored).or_else(|| users.as_ref()?.slowest());
            let matches = stored.is_some_and(|stored| stored.verify(&credentials.password));
            let granted = matches && user.is_some();

            let settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
            let is_current = self.users().is_some_and(|now| now.get(&credentials.user) == user);
            let granted = granted && is_current;
            let now = Instant::now();
            if is_current || user.is_none() {
                locked(&self.cache).put(fingerprint, granted, now);
            }
            count(if granted { "granted" } else { "refused" });
            metrics::histogram!(AUTHENTICATION_SECONDS).record(asked_at.elapsed().as_secs_f64());
            if !granted {
                self.failed(&credentials, now);
            }
            let shard = &shards[usize::from(credentials.home.shard)];
            shard.proven(credentials.home, verdict(&credentials.user, granted));
            drop(settled);
        }
    }

    /// Says who could not prove what, without the password.
    fn failed(&self, credentials: &Credentials, now: Instant) {
        locked(&self.failures).count(credentials.address, now);
        let Credentials { user, client_id, address, .. } = credentials;
        self.log.say(now, |unsaid| {
            tracing::warn!(?user, ?client_id, %address, unsaid, "bad user name or password");
        });
    }
}

fn verdict(user: &str, granted: bool) -> Verdict {
    match granted {
        true => Verdict::Granted(Principal { user: Some(user.into()), proof: Proof::Password }),
        false => Verdict::Refused(ReasonCode::BadUserNameOrPassword),
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(AUTHENTICATIONS, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests;
