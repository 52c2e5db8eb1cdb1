//! One shard's thread: its mailbox, its ticks, and the end of each turn, where what the turn has gathered goes out as
//! batches.

use convoy_actors::query::Answer;
use convoy_actors::{Activity, Error, Pulse, Shard};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

use super::bulk::Bulk;
use super::client::{self, Wake};
use super::clock::Clock;
use super::{Event, Mailbox, Room, Surroundings};
use crate::boot::{WAY_OUT, Watch};
use crate::observe::figures::Turns;

/// Bytes read from a socket at once. One buffer serves all connections of the shard.
const READ_BYTES: usize = 64 << 10;

/// While the disk is behind, it is asked so often whether it still is.
const HELD: Duration = Duration::from_millis(5);

/// Time between two lines of the log that say the same.
const SAID_EVERY: Duration = Duration::from_secs(10);

const TICK: Duration = Duration::from_millis(100);
const TICKS_A_SECOND: u32 = 10;

/// Time for mail of other shards in a turn.
const OPENING: Duration = Duration::from_millis(2);

/// Mail, or what is left of it, and its bytes when it came.
type Unopened = (usize, convoy_actors::Mail);

/// A shard and what its tasks share. Borrows never cross an `await`.
pub struct Driver {
    pub shard: RefCell<Shard>,
    pub clock: Clock,
    /// Of the shard: what is done here is told too.
    pub pulse: Pulse,
    pub scratch: RefCell<Box<[u8]>>,
    pub wakes: RefCell<Vec<Option<Rc<Wake>>>>,
    pub bulk: Bulk,
    pub received: metrics::Counter,
    pub sent: metrics::Counter,
    dirty: RefCell<Vec<u32>>,
    turn_due: Cell<bool>,
    turn_began: Cell<Instant>,
    turns: Cell<Turns>,
    congested: Cell<bool>,
    /// As it was reported last. To ask it looks at every outbox of every slot: that it is ready is reported at the end of the
    /// turn that makes it so, and that it is no longer with the next tick.
    is_ready: Cell<bool>,
    /// When it was last said that nothing is read.
    stop_said: Cell<Option<Instant>>,
    going_away: Cell<bool>,
    turn: Notify,
    pub surroundings: Surroundings,
    /// The last number of an operator's question, and those that wait for an answer.
    asked: RefCell<(u64, HashMap<u64, oneshot::Sender<Answer>>)>,
    /// Mail that did not fit its shard's mailbox, in order, by shard.
    held: RefCell<Vec<VecDeque<convoy_actors::Mail>>>,
    /// Mail for this shard that waits until less waits for the log. It counts for the mailbox until it is opened.
    unopened: RefCell<VecDeque<Unopened>>,
    room: RefCell<Room>,
}

impl Driver {
    /// After anything happened to the shard: wakes the tasks of connections that have something to do, and sees to it
    /// that the turn is ended once everybody who is ready has had theirs.
    pub fn after(&self) {
        self.authenticate();
        self.wake_dirty();
        if !self.turn_due.replace(true) {
            self.turn_began.set(Instant::now());
            self.turn.notify_one();
        }
    }

    /// Opens mail, as far as the shard can take it now and time allows. What is left is opened when this turn ends.
    /// Whether there was some.
    fn open_mail(&self) -> bool {
        if self.unopened.borrow().is_empty() {
            return false;
        }
        let me = &self.surroundings.shards[usize::from(self.surroundings.number)];
        let (began, mut is_opening, mut opened) = (Instant::now(), false, 0);
        while began.elapsed() < OPENING {
            let mut shard = self.shard.borrow_mut();
            if !shard.takes_mail() {
                break;
            }
            let Some((bytes, mut mail)) = self.unopened.borrow_mut().pop_front() else { break };
            is_opening = true;
            if shard.open(self.clock.now(), &mut mail) {
                me.mail_opened(bytes);
                opened += bytes;
            } else {
                self.unopened.borrow_mut().push_front((bytes, mail));
            }
        }
        let mut room = self.room.borrow_mut();
        room.note(began.elapsed(), opened);
        me.set_mail_room(room.bytes());
        is_opening
    }

    /// Has the credentials looked up of Clients who have to prove who they are.
    fn authenticate(&self) {
        let unproven = self.shard.borrow_mut().take_unproven();
        for credentials in unproven {
            let home = credentials.home;
            if let Some(verdict) = self.surroundings.auth.ask(credentials) {
                self.shard.borrow_mut().proven(self.clock.now(), home, verdict);
            }
        }
    }

    /// Whether much waits for the log, or mail for another shard that has much to do: then nothing is read that could
    /// cause more.
    pub fn is_congested(&self) -> bool {
        self.congested.get()
    }

    /// Whether the node goes down.
    pub fn is_going_away(&self) -> bool {
        self.going_away.get()
    }

    fn wake_dirty(&self) {
        let mut dirty = self.dirty.borrow_mut();
        self.shard.borrow_mut().take_dirty(&mut dirty);
        let wakes = self.wakes.borrow();
        for key in dirty.drain(..) {
            if let Some(Some(wake)) = wakes.get(key as usize) {
                wake.wake();
            }
        }
    }

    fn end_turn(&self) {
        self.turn_due.set(false);
        let now = self.clock.now();
        let sync = {
            let mut shard = self.shard.borrow_mut();
            shard.turn(now);
            let others = self.surroundings.shards.iter().zip(0..);
            others.for_each(|(handle, of)| shard.set_mail_room(of, handle.mail_room()));
            let mut held = self.held.borrow_mut();
            for (to, mail) in shard.take_mail() {
                let queue = &mut held[usize::from(to)];
                let over = match queue.is_empty() {
                    true => self.surroundings.shards[usize::from(to)].try_mail(mail),
                    false => Some(mail),
                };
                if over.is_some() {
                    metrics::counter!(crate::observe::metrics::MAIL_HELD).increment(1);
                }
                queue.extend(over);
            }
            for (number, answer) in shard.take_answers() {
                if let Some(waiting) = self.asked.borrow_mut().1.remove(&number) {
                    let _ = waiting.send(answer);
                }
            }
            shard.take_sync()
        };
        self.say_to_others();
        if let Some(round) = sync {
            let me = self.surroundings.shards[usize::from(self.surroundings.number)].clone();
            self.surroundings.syncer.request(me, round);
        }
        self.wake_dirty();
        self.feel();
        let is_written_on = self.bulk.next_turn();
        if self.open_mail() || is_written_on || self.shard.borrow().has_more() {
            self.after();
        }
        let mut turns = self.turns.get();
        turns.add(self.turn_began.get().elapsed());
        self.turns.set(turns);
    }

    /// Notes whether there is congestion, and lets everybody read again once it is over.
    fn feel(&self) {
        let mail_waits = self.held.borrow().iter().any(|held| !held.is_empty());
        let much_waits = self.shard.borrow().is_congested();
        let congested = mail_waits || much_waits;
        if congested && !self.congested.get() {
            let reason = if much_waits { "log" } else { "mail" };
            metrics::counter!(crate::observe::metrics::READING_STOPPED, "reason" => reason).increment(1);
            let is_said = self.stop_said.get().is_some_and(|at| at.elapsed() < SAID_EVERY);
            if much_waits && !is_said {
                self.stop_said.set(Some(Instant::now()));
                let shard = self.surroundings.number;
                tracing::warn!(
                    shard,
                    "too much waits for the log: nothing is read from clients of this shard"
                );
            }
        }
        self.shard.borrow_mut().listens(self.clock.now(), !congested);
        if self.congested.replace(congested) && !congested {
            for wake in self.wakes.borrow().iter().flatten() {
                wake.wake();
            }
        }
    }

    /// Sends mail on that had to wait.
    fn relieve(&self) {
        for (to, handle) in self.surroundings.shards.iter().enumerate() {
            loop {
                let Some(mail) = self.held.borrow_mut()[to].pop_front() else { break };
                if let Some(back) = handle.try_mail(mail) {
                    self.held.borrow_mut()[to].push_front(back);
                    break;
                }
            }
        }
        self.feel();
    }

    /// Makes known what the first shard knows of the fleet.
    fn tell_fleet(&self) {
        let Some(others) = self.surroundings.others.as_ref().filter(|_| self.surroundings.number == 0) else {
            return;
        };
        let shard = self.shard.borrow();
        others.fleet.send_if_modified(|known| {
            // Before it was heard of, what was on disk is the newest.
            let is_news = shard.known_fleet().birth().is_some() && **known != *shard.known_fleet();
            if is_news {
                *known = Arc::new(shard.known_fleet().clone());
            }
            is_news
        });
    }

    fn report(&self) {
        let number = self.surroundings.number;
        metrics::gauge!(crate::observe::metrics::MAIL_BYTES, "shard" => number.to_string())
            .set(self.surroundings.shards[usize::from(number)].mail_bytes() as f64);
        metrics::gauge!(crate::observe::metrics::MAIL_ROOM, "shard" => number.to_string())
            .set(self.surroundings.shards[usize::from(number)].mail_room() as f64);
        let shard = self.shard.borrow();
        self.is_ready.set(shard.is_ready());
        self.surroundings.board.put(
            self.surroundings.number,
            self.is_ready.get(),
            shard.observe(),
            self.turns.get(),
        );
    }
}

/// Starts the thread of a shard, which is made there.
pub fn start(
    shard: impl FnOnce() -> Result<Shard, Error> + Send + 'static,
    mailbox: Mailbox,
    surroundings: Surroundings,
    watch: Watch,
) -> io::Result<thread::JoinHandle<()>> {
    let name = format!("convoy-shard-{}", surroundings.number);
    thread::Builder::new().name(name).spawn(move || {
        let _watch = watch;
        let shard = match shard() {
            Ok(shard) => shard,
            Err(error) => return tracing::error!(%error, "the shard cannot begin{WAY_OUT}"),
        };
        let pulse = shard.pulse().clone();
        surroundings.watchdog.watch_me(thread::current().name().unwrap_or_default(), pulse.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime needs an epoll and nothing else");
        let driver = Rc::new(Driver {
            shard: RefCell::new(shard),
            clock: Clock::since(surroundings.begin),
            pulse,
            scratch: RefCell::new(vec![0; READ_BYTES].into()),
            wakes: RefCell::new(Vec::new()),
            bulk: Bulk::default(),
            received: metrics::counter!(crate::observe::metrics::RECEIVED_BYTES),
            sent: metrics::counter!(crate::observe::metrics::SENT_BYTES),
            dirty: RefCell::new(Vec::new()),
            turn_due: Cell::new(false),
            turn_began: Cell::new(Instant::now()),
            turns: Cell::default(),
            congested: Cell::new(false),
            is_ready: Cell::new(false),
            stop_said: Cell::new(None),
            going_away: Cell::new(false),
            turn: Notify::new(),
            asked: RefCell::default(),
            unopened: RefCell::default(),
            room: RefCell::default(),
            held: RefCell::new((0..surroundings.shards.len()).map(|_| VecDeque::new()).collect()),
            surroundings,
        });
        let tasks = LocalSet::new();
        tasks.block_on(&runtime, run(driver, mailbox));
    })
}

async fn run(driver: Rc<Driver>, mut mailbox: Mailbox) {
    let turns = Rc::clone(&driver);
    tokio::task::spawn_local(async move {
        loop {
            let is_held = turns.shard.borrow().is_held();
            let due = turns.turn.notified();
            if !is_held {
                due.await;
            } else if tokio::time::timeout(HELD, due).await.is_err() {
                turns.after();
                continue;
            }
            turns.pulse.begin(Activity::Turn, 0);
            turns.end_turn();
            if !turns.is_ready.get() {
                turns.report();
            }
            turns.pulse.rest();
        }
    });
    driver.after();
    #[cfg(debug_assertions)]
    tokio::task::spawn_local(burn(Rc::clone(&driver)));

    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut ticked, mut ticked_at) = (0, driver.clock.now().monotonic);
    let (mut events, mut heard) = (Vec::new(), Vec::new());
    let number = driver.surroundings.number;
    let unheard = driver.surroundings.others.as_ref().map(|others| Arc::clone(others.inward.shard(number)));
    let news = || async {
        match &unheard {
            Some(unheard) => unheard.news().await,
            None => std::future::pending().await,
        }
    };
    let mut shutting_down = None;
    loop {
        tokio::select! {
            received = mailbox.recv_many(&mut events, 64) => {
                if received == 0 {
                    return;
                }
                for event in events.drain(..) {
                    driver.pulse.begin(Activity::Event, 0);
                    match take(&driver, event) {
                        Flow::Goes => {}
                        Flow::Ends(gone) => shutting_down = Some(gone),
                    }
                }
            }
            _ = ticks.tick() => {
                driver.pulse.begin(Activity::Tick, 0);
                let now = driver.clock.now();
                let mut shard = driver.shard.borrow_mut();
                // Nobody was listened to while this thread was stopped, or starved, or busy with one thing.
                let passed = now.monotonic - std::mem::replace(&mut ticked_at, now.monotonic);
                let (away, tick) = (passed.saturating_sub(TICK.as_millis() as u64), TICK.as_millis() as u64);
                if away > tick {
                    shard.was_away(away);
                }
                shard.tick(now);
                ticked += 1;
                if ticked % TICKS_A_SECOND == 0 {
                    driver.clock.adjust();
                    shard.tick_connections(now);
                }
                drop(shard);
                driver.tell_fleet();
                driver.report();
            }
            () = news() => {
                driver.pulse.begin(Activity::Event, 1);
                driver.hear_others(&mut heard);
            }
        }
        driver.open_mail();
        if driver.is_congested() {
            driver.relieve();
        }
        driver.after();
        if shutting_down.is_some() && driver.shard.borrow().observe().connections == 0 {
            driver.end_turn();
            shutting_down = None;
        }
        driver.pulse.rest();
    }
}

/// For the story of a shard that is stuck: not in what users run.
#[cfg(debug_assertions)]
async fn burn(driver: Rc<Driver>) {
    let told = std::env::var("CONVOY_DEBUG_BURN").ok().and_then(|seconds| seconds.parse().ok());
    let Some(burns) = told.filter(|_| driver.surroundings.number == 0).map(Duration::from_secs) else {
        return;
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    driver.pulse.begin(Activity::Query, 7);
    let began = Instant::now();
    while began.elapsed() < burns {
        std::hint::spin_loop();
    }
    driver.pulse.rest();
}

enum Flow {
    Goes,
    Ends(std::sync::mpsc::Sender<()>),
}

fn take(driver: &Rc<Driver>, event: Event) -> Flow {
    let now = driver.clock.now();
    match event {
        Event::Accepted(accepted) => {
            if let Err(error) = client::start(driver, accepted) {
                tracing::debug!(%error, "a connection was lost at once");
            }
        }
        Event::Mail(mail) => driver.unopened.borrow_mut().push_back((mail.len_bytes(), mail)),
        Event::Synced(round, Ok(())) => driver.shard.borrow_mut().synced(now, round),
        Event::Asked(query, answer) => {
            let number = driver.asked.borrow().0 + 1;
            let mut asked = driver.asked.borrow_mut();
            asked.0 = number;
            // Who has gone away meanwhile is forgotten.
            asked.1.retain(|_, waiting| !waiting.is_closed());
            asked.1.insert(number, answer);
            drop(asked);
            driver.shard.borrow_mut().query(now, number, *query);
        }
        Event::Told(topics) => driver.shard.borrow_mut().tell(now, &topics),
        Event::Synced(_, Err(reason)) => driver.shard.borrow_mut().sync_failed(&reason),
        Event::Proven(home, verdict) => driver.shard.borrow_mut().proven(now, home, verdict),
        Event::Access(access) => driver.shard.borrow_mut().set_access(now, access),
        Event::Bans(bans, added) => driver.shard.borrow_mut().set_bans(now, bans, &added),
        Event::RevokedCertificates(listener, ids) => {
            driver.shard.borrow_mut().revoke_certificates(now, listener, ids);
        }
        Event::Revoked(users) => driver.shard.borrow_mut().revoke(now, &users),
        Event::Ordered(command, answer) => {
            let _ = answer.send(driver.shard.borrow_mut().command(&command));
        }
        Event::Away(away) => driver.shard.borrow_mut().see_away(away),
        Event::ShutDown(gone) => {
            driver.going_away.set(true);
            driver.shard.borrow_mut().shut_down(now);
            return Flow::Ends(gone);
        }
    }
    Flow::Goes
}
