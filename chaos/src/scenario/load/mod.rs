//! The Clients of a run, each in a role that puts its own promises to the test.
//!
//! | Role | Does | Tests |
//! | --- | --- | --- |
//! | desk | publishes at QoS 1 and 2 from a lasting Session, now and then takes itself over | loss, exactly once, order, takeover |
//! | courier | publishes from clean Sessions | outcomes that stay unknown |
//! | van | a lasting Session that comes and goes | loss, exactly once, order, Session Present, takeover |
//! | reader | subscribes and unsubscribes | UNSUBACK stays true |
//! | guest | clean starts, short intervals | what ended does not return |
//! | door | sets and deletes a Retained Message | Retained Messages |
//! | visitor | reads them | Retained Messages |
//! | wagon | has a Will and ends in every way | Wills |
//! | watcher | sees the Wills | Wills |
//! | foreman | publishes jobs at QoS 1 and 2 | Shared Subscriptions |
//! | member | of a group that takes jobs: stays, comes and goes, unsubscribes, or lets its Session end | Shared Subscriptions |
//! | clock | publishes what is soon out of date | Message Expiry |
//! | sleeper | a lasting Session that is away for long | Message Expiry |
//! | hose | publishes more than a queue holds | overflow |
//! | tank | a lasting Session that is away meanwhile | overflow |
//!
//! Roles are spread over the versions and over the transports that the Server has, so each is met in several of them.
//!
//! No queue but that of a tank may overflow, since overflow is declared loss: desks hold back while a van is far behind,
//! and what is sent freely is little.

mod groups;
mod overflow;
mod queues;
mod retained;
mod time;
mod wills;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use convoy_wire::ProtocolVersion;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Place};
use crate::invariant::Violation;
use crate::oracle::{History, Message, Name, Qos, Retain, Terms};
use crate::sim::seed::{Seed, Stream};

/// How many Clients there are of each role.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub desks: usize,
    pub couriers: usize,
    pub vans: usize,
    pub readers: usize,
    pub guests: usize,
    pub doors: usize,
    pub wagons: usize,
    pub watchers: usize,
    pub foremen: usize,
    pub members: usize,
    pub clocks: usize,
    pub sleepers: usize,
    pub hoses: usize,
    pub tanks: usize,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            desks: 4,
            couriers: 2,
            vans: 6,
            readers: 2,
            guests: 3,
            doors: 4,
            wagons: 6,
            watchers: 2,
            foremen: 2,
            members: 10,
            clocks: 1,
            sleepers: 3,
            hoses: 1,
            tanks: 2,
        }
    }
}

/// Messages of one desk on one topic at one QoS that may be on their way to a van. A van has at most
/// 2 topics × 2 levels × desks × LAG in its queue, below the 1,000 that a Session holds.
const LAG: u64 = 40;
/// No packet for so long: the queues have drained.
const QUIET: Duration = Duration::from_secs(3);
/// After the faults, every Client has to be back in this time.
const RETURN_LIMIT: Duration = Duration::from_secs(30);
/// The longest Will Delay Interval in use.
const WILL_DELAY_MAX: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Faults are over; whoever writes finishes what is in flight.
    Settling,
    /// Nothing is written any more; whoever reads does so until it is quiet.
    Draining,
}

struct Field {
    places: Vec<Place>,
    history: History,
    seed: Seed,
    crowd: Crowd,
    phase: watch::Receiver<Phase>,
    /// (van, publisher, topic, QoS) → the last sequence delivered.
    progress: Mutex<HashMap<(Name, Name, Name, Qos), u64>>,
    failures: Mutex<Vec<String>>,
}

/// Running Clients.
pub struct Load {
    field: Arc<Field>,
    phase: watch::Sender<Phase>,
    writers: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts everybody; back when those who watch have subscribed.
    pub async fn start(places: Vec<Place>, history: &History, seed: Seed, crowd: Crowd) -> Self {
        let (phase, receiver) = watch::channel(Phase::Running);
        let field = Arc::new(Field {
            places,
            history: history.clone(),
            seed,
            crowd,
            phase: receiver,
            progress: Mutex::default(),
            failures: Mutex::default(),
        });
        let mut load = Self { field: field.clone(), phase, writers: Vec::new(), readers: Vec::new() };
        let mut ready = Vec::new();
        for at in 0..crowd.watchers {
            let (said, heard) = tokio::sync::oneshot::channel();
            ready.push(heard);
            load.readers.push(tokio::spawn(wills::watcher(field.clone(), at, said)));
        }
        for at in 0..crowd.vans {
            let (said, heard) = tokio::sync::oneshot::channel();
            ready.push(heard);
            load.readers.push(tokio::spawn(queues::van(field.clone(), at, said)));
        }
        for heard in ready {
            // A Client that could not subscribe has put its reason among the failures.
            let _ = heard.await;
        }
        load.readers.extend((0..crowd.readers).map(|at| tokio::spawn(queues::reader(field.clone(), at))));
        load.readers.extend((0..crowd.members).map(|at| tokio::spawn(groups::member(field.clone(), at))));
        load.readers.extend((0..crowd.sleepers).map(|at| tokio::spawn(time::sleeper(field.clone(), at))));
        load.readers.extend((0..crowd.tanks).map(|at| tokio::spawn(overflow::tank(field.clone(), at))));
        load.writers.extend((0..crowd.hoses).map(|at| tokio::spawn(overflow::hose(field.clone(), at))));
        load.writers.extend((0..crowd.desks).map(|at| tokio::spawn(queues::desk(field.clone(), at))));
        load.writers.extend((0..crowd.couriers).map(|at| tokio::spawn(queues::courier(field.clone(), at))));
        load.writers.extend((0..crowd.guests).map(|at| tokio::spawn(queues::guest(field.clone(), at))));
        load.writers.extend((0..crowd.doors).map(|at| tokio::spawn(retained::door(field.clone(), at))));
        load.writers.extend((0..crowd.wagons).map(|at| tokio::spawn(wills::wagon(field.clone(), at))));
        load.writers.extend((0..crowd.foremen).map(|at| tokio::spawn(groups::foreman(field.clone(), at))));
        load.writers.extend((0..crowd.clocks).map(|at| tokio::spawn(time::clock(field.clone(), at))));
        let visitors = crowd.doors.min(2);
        load.writers.extend((0..visitors).map(|at| tokio::spawn(retained::visitor(field.clone(), at))));
        load
    }

    /// Lets everybody finish and drain. What kept a Client from that is a broken promise of liveness.
    pub async fn rest(self) -> Vec<Violation> {
        self.phase.send_replace(Phase::Settling);
        for writer in self.writers {
            join(&self.field, writer).await;
        }
        self.phase.send_replace(Phase::Draining);
        for reader in self.readers {
            join(&self.field, reader).await;
        }
        retained::read_all(&self.field).await;
        let failures = std::mem::take(&mut *lock(&self.field.failures));
        let at = self.field.history.len();
        failures.into_iter().map(|said| Violation { invariant: "16 liveness", at, said }).collect()
    }
}

async fn join(field: &Field, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        field.fail(format!("a Client of the suite died: {error}"));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both versions by turns.
fn version(at: usize) -> ProtocolVersion {
    if at.is_multiple_of(2) { ProtocolVersion::V5 } else { ProtocolVersion::V311 }
}

impl Field {
    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    fn is_running(&self) -> bool {
        self.phase() == Phase::Running
    }

    async fn reached(&self, phase: Phase) {
        let mut receiver = self.phase.clone();
        // The sender lives as long as the load does.
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }

    /// Sleeps, but not past the end of the running phase.
    async fn idle(&self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            () = self.reached(Phase::Settling) => {}
        }
    }

    fn client(&self, role: &str, at: usize) -> (Client, Stream) {
        let name = format!("{role}-{at}");
        let stream = self.seed.stream(&name);
        (self.client_named(&name, version(at), at), stream)
    }

    /// Neighbours of one role differ in version; every fifth has the same transport.
    fn client_named(&self, name: &str, version: ProtocolVersion, at: usize) -> Client {
        // The first of each role would otherwise all come by the same way.
        let turn = at + name.len();
        Client::new(name, version, self.places[turn % self.places.len()].clone(), &self.history)
    }

    fn fail(&self, why: String) {
        lock(&self.failures).push(why);
    }

    /// Connects, again and again while faults strike; once they are over there is a limit.
    async fn come_back(&self, client: &mut Client, terms: Terms) -> Option<bool> {
        let mut settling_since = None;
        loop {
            let error = match client.connect(terms.clone()).await {
                Ok(session_present) => return Some(session_present),
                Err(error) => error,
            };
            if !self.is_running() {
                let since = *settling_since.get_or_insert_with(Instant::now);
                if since.elapsed() > RETURN_LIMIT {
                    self.fail(format!(
                        "{} could not connect for {RETURN_LIMIT:?} after the faults: {error}",
                        client.name()
                    ));
                    return None;
                }
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    /// [`come_back`](Self::come_back), and all of `wanted` is subscribed to.
    async fn come_back_subscribed(&self, client: &mut Client, wanted: &mut Wanted<'_>) -> Option<()> {
        'connection: loop {
            wanted.subscribed &= self.come_back(client, Terms::lasting()).await?;
            if wanted.subscribed {
                return Some(());
            }
            for (filter, qos) in wanted.filters {
                if client.subscribe(filter, *qos).await.is_err() {
                    continue 'connection;
                }
            }
            wanted.subscribed = true;
            return Some(());
        }
    }

    fn saw(&self, van: &Name, delivered: Vec<(Message, bool)>) {
        if delivered.is_empty() {
            return;
        }
        let mut progress = lock(&self.progress);
        for (message, _) in delivered {
            let key = (van.clone(), message.publisher, message.topic, message.qos);
            let last = progress.entry(key).or_default();
            *last = message.seq.max(*last);
        }
    }

    /// Whether `van` is not far behind message `seq`.
    fn may_send(&self, van: &Name, publisher: &Name, topic: &Name, qos: Qos, seq: u64) -> bool {
        let progress = lock(&self.progress);
        let key = (van.clone(), publisher.clone(), topic.clone(), qos);
        seq <= progress.get(&key).copied().unwrap_or(0) + LAG
    }
}

/// The Subscriptions of a lasting Session. A SUBACK that never came leaves them unmade, whatever Session Present says.
struct Wanted<'a> {
    filters: &'a [(&'a str, Qos)],
    subscribed: bool,
}

impl<'a> Wanted<'a> {
    fn new(filters: &'a [(&'a str, Qos)]) -> Self {
        Self { filters, subscribed: false }
    }
}

fn van_name(at: usize) -> Name {
    format!("van-{at}").into()
}

/// How a stay on a connection ends.
async fn leave(client: &mut Client, chance: &mut Stream) {
    if chance.one_in(2) {
        client.disconnect().await;
    } else {
        client.drop_link();
    }
}

/// Takes itself over, and learns on the side what becomes of the old connection.
async fn take_over(client: &mut Client, terms: Terms, probes: &mut Probes) {
    probes.count += 1;
    let topic = format!("probe/{}", client.name());
    let (ousted, outcome) = client.take_over(terms).await;
    let Some(ousted) = ousted else { return };
    if outcome.is_ok() {
        probes.tasks.push(tokio::spawn(ousted.probe(topic, probes.count)));
    }
}

#[derive(Default)]
struct Probes {
    count: u64,
    tasks: Vec<JoinHandle<()>>,
}

impl Probes {
    async fn done(self, field: &Field) {
        for task in self.tasks {
            join(field, task).await;
        }
    }
}

/// Until every PUBLISH has its end.
async fn settle(field: &Field, client: &mut Client) {
    let until = Instant::now() + RETURN_LIMIT;
    while client.in_flight() > 0 || !client.is_connected() {
        if !client.is_connected() && field.come_back(client, Terms::lasting()).await.is_none() {
            return;
        }
        // Gone in between means another round.
        let _ = client.settle(until).await;
        if Instant::now() > until {
            field.fail(format!(
                "{} has {} PUBLISHes without an answer after {RETURN_LIMIT:?}",
                client.name(),
                client.in_flight()
            ));
            return;
        }
    }
}

/// Reads on until nothing was heard for [`QUIET`], and for `at_least` after the last writer was done.
async fn drain(field: &Field, client: &mut Client, mut wanted: Wanted<'_>, at_least: Duration) {
    let mut since = None;
    loop {
        if !client.is_connected() && field.come_back_subscribed(client, &mut wanted).await.is_none() {
            return;
        }
        let heard = client.step(Instant::now() + Duration::from_millis(200)).await;
        client.take_delivered();
        if field.phase() < Phase::Draining {
            continue;
        }
        let (began, last) = since.get_or_insert_with(|| (Instant::now(), Instant::now()));
        if heard != Ok(false) {
            *last = Instant::now();
        } else if last.elapsed() > QUIET && began.elapsed() > at_least {
            client.disconnect().await;
            return;
        }
    }
}
