//! Authentication: whether Clients are who they say. Shards ask and go on. What is remembered is told at once, a password
//! that was drawn is looked at by a thread that does nothing else, and what takes milliseconds and megabytes waits in a
//! lane for threads of its own: so no proof that is cheap waits behind one that is dear. All that waits is bounded:
//! whoever comes when too many wait is told Server busy, or makes room for who takes less of it.
//!
//! Time tells nobody who is known: a wrong password and an unknown name take the same way and the same work.

pub mod bans;
mod cache;
mod lane;
mod meter;
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
use std::time::{Duration, Instant};

use crate::boot::Watch;
use crate::config::AuthOptions;
use crate::drive::ShardHandle;
use crate::listen::LogLimit;
use crate::observe::metrics::{AUTHENTICATION_SECONDS, AUTHENTICATIONS};
use cache::{Cache, Fingerprint, fingerprint};
use lane::{Asker, Lane, Turn};
use users::{User, Users};

/// Users at addresses that are remembered, some hundred bytes each, and for how long.
const HOMES: usize = 1 << 16;
const HOME_AGE: Duration = Duration::from_secs(24 * 3600);

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
    /// Addresses at which a user was let in.
    homes: Mutex<Cache>,
    lane: Lane<Job>,
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
            homes: Mutex::new(Cache::new(HOMES, HOME_AGE)),
            lane: Lane::new(options.waiting as usize, options.failures_per_minute),
            key,
            log: LogLimit::default(),
        });
        let (queue, jobs) = sync_channel(options.waiting as usize);
        let both = || (Arc::clone(&state), Arc::clone(shards));
        let (own, theirs) = both();
        begin("convoy-auth".to_owned(), watch(), move || own.work_at_once(&jobs, &theirs))?;
        for number in 0..options.threads {
            let (own, theirs) = both();
            begin(format!("convoy-auth-{number}"), watch(), move || own.work(&theirs))?;
        }
        Ok(Self { state, queue })
    }

    /// Looks credentials up. The verdict comes to the shard as an event, unless it can be told at once. Called by
    /// shards: it waits for nobody.
    pub fn ask(&self, credentials: Credentials) -> Option<Verdict> {
        let now = Instant::now();
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

    /// Who has shown a password that was drawn gets in at once. All others, whatever is wrong with them and whether they
    /// are known or not, take the same way: what this costs, and then a turn in the lane.
    fn work_at_once(&self, jobs: &Receiver<Job>, shards: &[ShardHandle]) {
        while let Ok(job) = jobs.recv() {
            let users = self.users();
            let user = users.as_ref().and_then(|users| users.get(&job.credentials.user));
            let drawn = user.map(|user| &user.stored).filter(|stored| stored.is_drawn());
            let granted = password::verify_drawn(drawn, &job.credentials.password);
            if granted || !users.as_ref().is_some_and(|users| users.have_dear_ones()) {
                self.tell(&job, user, granted, shards);
                continue;
            }
            let now = Instant::now();
            let asker = self.asker(&job.credentials, now);
            if let Some(left) = self.lane.push(job, asker, now) {
                turn_away(&left, "busy", ReasonCode::ServerBusy, shards);
            }
        }
        // Nobody can ask any more.
        self.lane.close();
    }

    /// Takes turns in the lane.
    fn work(&self, shards: &[ShardHandle]) {
        while let Some(turn) = self.lane.next() {
            match turn {
                Turn::Late { job, slowed: true } => {
                    turn_away(&job, "slowed", ReasonCode::ConnectionRateExceeded, shards);
                }
                Turn::Late { job, slowed: false } => turn_away(&job, "busy", ReasonCode::ServerBusy, shards),
                Turn::Begin(job) => {
                    let users = self.users();
                    let granted = users
                        .as_ref()
                        .is_some_and(|users| users.prove(&job.credentials.user, &job.credentials.password));
                    let user = users.as_ref().and_then(|users| users.get(&job.credentials.user));
                    self.tell(&job, user, granted, shards);
                }
            }
        }
    }

    /// Tells a shard what was found with this line of the users file, unless the line is another one by now.
    fn tell(&self, job: &Job, user: Option<&User>, granted: bool, shards: &[ShardHandle]) {
        let Job { credentials, fingerprint, asked_at } = job;
        let settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
        let is_current = self.users().is_some_and(|now| now.get(&credentials.user) == user);
        let granted = granted && is_current;
        let now = Instant::now();
        if is_current || user.is_none() {
            locked(&self.cache).put(*fingerprint, granted, now);
        }
        count(if granted { "granted" } else { "refused" });
        metrics::histogram!(AUTHENTICATION_SECONDS).record(asked_at.elapsed().as_secs_f64());
        if !granted {
            self.lane.failed(&self.asker(credentials, now), now);
            self.failed(credentials, now);
        } else if user.is_some_and(|user| !user.stored.is_drawn()) {
            locked(&self.homes).put(self.home(credentials), true, now);
        }
        let shard = &shards[usize::from(credentials.home.shard)];
        shard.proven(credentials.home, verdict(&credentials.user, granted));
        drop(settled);
    }

    fn asker(&self, credentials: &Credentials, now: Instant) -> Asker {
        let is_known = locked(&self.homes).get(&self.home(credentials), now) == Some(true);
        Asker { is_known, ..self.lane.asker(&credentials.user, credentials.address) }
    }

    /// A user at an address, as it is remembered.
    fn home(&self, credentials: &Credentials) -> Fingerprint {
        let address = lane::household(credentials.address).to_string();
        fingerprint(&self.key, &credentials.user, address.as_bytes(), "home")
    }

    /// Says who could not prove what, without the password.
    fn failed(&self, credentials: &Credentials, now: Instant) {
        let Credentials { user, client_id, address, .. } = credentials;
        self.log.say(now, |unsaid| {
            tracing::warn!(?user, ?client_id, %address, unsaid, "bad user name or password");
        });
    }
}

fn begin(name: String, watch: Watch, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let guarded = move || {
        let _watch = watch;
        work();
    };
    thread::Builder::new().name(name).spawn(guarded).map(drop)
}

/// Tells a Client that nothing was found out of it.
fn turn_away(job: &Job, outcome: &'static str, reason: ReasonCode, shards: &[ShardHandle]) {
    count(outcome);
    let home = job.credentials.home;
    shards[usize::from(home.shard)].proven(home, Verdict::Refused(reason));
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
