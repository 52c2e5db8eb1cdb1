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
//!
//! No queue may overflow, since overflow is declared loss: desks hold back while a van is far behind, and what is sent
//! freely is little.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use convoy_wire::ProtocolVersion;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::client::Client;
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
}

impl Default for Crowd {
    fn default() -> Self {
        Self { desks: 4, couriers: 2, vans: 6, readers: 2, guests: 3, doors: 4, wagons: 4, watchers: 2 }
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
    server: SocketAddr,
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
    pub async fn start(server: SocketAddr, history: &History, seed: Seed, crowd: Crowd) -> Self {
        let (phase, receiver) = watch::channel(Phase::Running);
        let field = Arc::new(Field {
            server,
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
            load.readers.push(tokio::spawn(watcher(field.clone(), at, said)));
        }
        for at in 0..crowd.vans {
            let (said, heard) = tokio::sync::oneshot::channel();
            ready.push(heard);
            load.readers.push(tokio::spawn(van(field.clone(), at, said)));
        }
        for heard in ready {
            // A Client that could not subscribe has put its reason among the failures.
            let _ = heard.await;
        }
        load.readers.extend((0..crowd.readers).map(|at| tokio::spawn(reader(field.clone(), at))));
        load.writers.extend((0..crowd.desks).map(|at| tokio::spawn(desk(field.clone(), at))));
        load.writers.extend((0..crowd.couriers).map(|at| tokio::spawn(courier(field.clone(), at))));
        load.writers.extend((0..crowd.guests).map(|at| tokio::spawn(guest(field.clone(), at))));
        load.writers.extend((0..crowd.doors).map(|at| tokio::spawn(door(field.clone(), at))));
        load.writers.extend((0..crowd.wagons).map(|at| tokio::spawn(wagon(field.clone(), at))));
        load.writers.extend((0..crowd.doors.min(2)).map(|at| tokio::spawn(visitor(field.clone(), at))));
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
        read_all(&self.field).await;
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
    if at % 2 == 0 { ProtocolVersion::V5 } else { ProtocolVersion::V311 }
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
        (Client::new(&name, version(at), self.server, &self.history), stream)
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

/// The last look at every Retained Message, by both versions.
async fn read_all(field: &Arc<Field>) {
    let readers = (0..field.crowd.doors).flat_map(|door| [(door, 0), (door, 1)]);
    let tasks: Vec<_> =
        readers.map(|(door, turn)| tokio::spawn(read_last(field.clone(), door, turn))).collect();
    for task in tasks {
        join(field, task).await;
    }
}

async fn read_last(field: Arc<Field>, door: usize, turn: usize) {
    let mut client = Client::new(&format!("last-{door}-{turn}"), version(turn), field.server, &field.history);
    if field.come_back(&mut client, Terms::clean()).await.is_none() {
        return;
    }
    if let Err(gone) = client.read_retained(&door_topic(door), Duration::from_millis(1500)).await {
        field.fail(format!("the last look at {} failed: {gone}", door_topic(door)));
    }
    client.disconnect().await;
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

fn door_topic(at: usize) -> String {
    format!("door/{at}/state")
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

async fn desk(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("desk", at);
    let mut probes = Probes::default();
    let vans: Vec<Name> = (0..field.crowd.vans).map(van_name).collect();
    let all: Name = format!("all/desk-{at}").into();
    let news: Name = format!("news/desk-{at}").into();
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::lasting()).await.is_none() {
            return;
        }
        for _ in 0..chance.between(1, 16) {
            let qos = *chance.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce]);
            let van = chance.pick(&vans).clone();
            let (topic, audience, qos) = match chance.below(10) {
                0 => (news.clone(), &[][..], *chance.pick(&Qos::ALL)),
                1..3 => (all.clone(), &vans[..], qos),
                _ => (format!("cmd/{van}/desk-{at}").into(), std::slice::from_ref(&van), qos),
            };
            let next = client.next_sequence(&topic, qos);
            if !audience.iter().all(|van| field.may_send(van, client.name(), &topic, qos, next)) {
                continue;
            }
            if client.publish(&topic, qos, Retain::No).await.is_err() {
                break;
            }
        }
        // Gone in between is seen at the head of the loop.
        let _ = client.pump(Instant::now() + chance.millis(2, 20)).await;
        match chance.below(150) {
            0 => client.drop_link(),
            1 => {
                client.disconnect().await;
                field.idle(chance.millis(0, 300)).await;
            }
            2 => take_over(&mut client, Terms::lasting(), &mut probes).await,
            _ => {}
        }
    }
    settle(&field, &mut client).await;
    client.disconnect().await;
    probes.done(&field).await;
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

async fn courier(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("courier", at);
    let topic = format!("news/courier-{at}");
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::clean()).await.is_none() {
            return;
        }
        let qos = *chance.pick(&Qos::ALL);
        if client.publish(&topic, qos, Retain::No).await.is_ok() {
            let _ = client.pump(Instant::now() + chance.millis(10, 60)).await;
        }
        if chance.one_in(100) {
            leave(&mut client, &mut chance).await;
        }
    }
    client.disconnect().await;
}

async fn van(field: Arc<Field>, at: usize, ready: tokio::sync::oneshot::Sender<()>) {
    let (mut client, mut chance) = field.client("van", at);
    let mut probes = Probes::default();
    let mine = format!("cmd/{}/#", client.name());
    let filters = [(mine.as_str(), Qos::ExactlyOnce), ("all/#", Qos::AtLeastOnce)];
    let mut wanted = Wanted::new(&filters);
    let mut ready = Some(ready);
    while field.is_running() {
        if !client.is_connected() && field.come_back_subscribed(&mut client, &mut wanted).await.is_none() {
            return;
        }
        if let Some(ready) = ready.take() {
            let _ = ready.send(());
        }
        let until = Instant::now() + chance.millis(100, 2500);
        while let Ok(true) = client.step(until).await {
            field.saw(&van_name(at), client.take_delivered());
            if !field.is_running() {
                break;
            }
        }
        match chance.below(3) {
            0 => take_over(&mut client, Terms::lasting(), &mut probes).await,
            1 => {
                leave(&mut client, &mut chance).await;
                field.idle(chance.millis(0, 1500)).await;
            }
            _ => {}
        }
    }
    drain(&field, &mut client, wanted, Duration::ZERO).await;
    probes.done(&field).await;
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

async fn reader(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("reader", at);
    let filters = [("news/#", Qos::AtLeastOnce), ("news/+", Qos::ExactlyOnce)];
    let (filter, qos) = filters[at % filters.len()];
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::lasting()).await.is_none() {
            return;
        }
        // Each step may find the connection gone; the next turn begins with a new one.
        if client.subscribe(filter, qos).await.is_err()
            || client.pump(Instant::now() + chance.millis(50, 1200)).await.is_err()
            || client.unsubscribe(filter).await.is_err()
        {
            continue;
        }
        let _ = client.pump(Instant::now() + chance.millis(50, 600)).await;
        client.take_delivered();
    }
    drain(&field, &mut client, Wanted::new(&[(filter, qos)]), Duration::ZERO).await;
}

async fn guest(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("guest", at);
    while field.is_running() {
        let expiry = match (client.version(), chance.below(3)) {
            (_, 0) => Duration::ZERO,
            (ProtocolVersion::V5, 1) => Duration::from_secs(2),
            _ => Terms::LASTING,
        };
        // 3.1.1 has one bit for both.
        let clean_start = match client.version() {
            ProtocolVersion::V5 => chance.one_in(2),
            _ => expiry.is_zero(),
        };
        if field.come_back(&mut client, Terms { clean_start, expiry, will: None }).await.is_none() {
            return;
        }
        if client.subscribe("news/#", Qos::AtLeastOnce).await.is_ok() {
            let _ = client.pump(Instant::now() + chance.millis(50, 700)).await;
            client.take_delivered();
        }
        leave(&mut client, &mut chance).await;
        let away = if chance.one_in(3) { chance.millis(4500, 6000) } else { chance.millis(0, 800) };
        field.idle(away).await;
    }
    // Ends its Session, so that nothing is owed to it.
    if field.come_back(&mut client, Terms::clean()).await.is_some() {
        client.disconnect().await;
    }
}

async fn door(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("door", at);
    let topic = door_topic(at);
    let qos = if at % 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::lasting()).await.is_none() {
            return;
        }
        // One value at a time: the order of the topic is then beyond doubt.
        if client.in_flight() == 0 {
            let retain = if chance.one_in(4) { Retain::Delete } else { Retain::Set };
            if client.publish(&topic, qos, retain).await.is_err() {
                continue;
            }
        }
        if client.settle(Instant::now() + Duration::from_secs(10)).await == Ok(false) {
            client.drop_link();
        }
        let _ = client.pump(Instant::now() + chance.millis(1, 40)).await;
    }
    settle(&field, &mut client).await;
    client.disconnect().await;
}

async fn visitor(field: Arc<Field>, at: usize) {
    let mut chance = field.seed.stream(&format!("visitor-{at}"));
    let mut count = 0;
    while field.is_running() {
        count += 1;
        let name = format!("visitor-{at}-{count}");
        let mut client = Client::new(&name, version(count), field.server, &field.history);
        let door = chance.below(field.crowd.doors as u64) as usize;
        if field.come_back(&mut client, Terms::clean()).await.is_none() {
            return;
        }
        // A crash in between leaves no answer, and nothing to judge.
        if client.read_retained(&door_topic(door), Duration::from_secs(1)).await.is_ok() {
            client.disconnect().await;
        }
        field.idle(chance.millis(0, 200)).await;
    }
}

async fn wagon(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("wagon", at);
    let topic: Name = format!("will/{}", client.name()).into();
    let mut probes = Probes::default();
    let mut seq = 0;
    let mut terms = |client: &Client, chance: &mut Stream| {
        seq += 1;
        let delay = match client.version() {
            ProtocolVersion::V5 => chance.below(WILL_DELAY_MAX + 1),
            _ => 0,
        };
        let will = Message::new(client.name(), &topic, Qos::ExactlyOnce, seq);
        Terms::lasting().with_will(will, Duration::from_secs(delay))
    };
    while field.is_running() {
        // Each attempt has a Will of its own: one that was not answered may have been heard.
        let asked = terms(&client, &mut chance);
        if client.connect(asked).await.is_err() {
            field.idle(Duration::from_millis(50)).await;
            continue;
        }
        let stays = Instant::now() + chance.millis(100, 1500);
        if client.pump(stays).await.is_ok() && chance.one_in(3) {
            let asked = terms(&client, &mut chance);
            take_over(&mut client, asked, &mut probes).await;
            let _ = client.pump(Instant::now() + chance.millis(50, 500)).await;
        }
        leave(&mut client, &mut chance).await;
        let away = if chance.one_in(4) {
            chance.millis(WILL_DELAY_MAX * 1000 + 3500, WILL_DELAY_MAX * 1000 + 4500)
        } else {
            chance.millis(0, 400)
        };
        field.idle(away).await;
    }
    probes.done(&field).await;
}

async fn watcher(field: Arc<Field>, at: usize, ready: tokio::sync::oneshot::Sender<()>) {
    let (mut client, _) = field.client("watcher", at);
    let filters = [("will/#", Qos::ExactlyOnce)];
    let mut wanted = Wanted::new(&filters);
    let mut ready = Some(ready);
    while field.is_running() {
        if field.come_back_subscribed(&mut client, &mut wanted).await.is_none() {
            return;
        }
        if let Some(ready) = ready.take() {
            let _ = ready.send(());
        }
        while let Ok(true) | Ok(false) = client.step(Instant::now() + Duration::from_millis(200)).await {
            client.take_delivered();
            if !field.is_running() {
                break;
            }
        }
    }
    // The last Wills are due after their delay, and may take a while more.
    let at_least = Duration::from_secs(WILL_DELAY_MAX) + Duration::from_millis(3500);
    drain(&field, &mut client, wanted, at_least).await;
}
