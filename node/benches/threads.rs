//! Shards or work stealing? One relay that knows just enough MQTT 3.1.1 to carry messages, run on shared-nothing shards
//! and on tokio's work-stealing runtime, and what a message costs each of them. The connection's code is written once:
//! between the two, only what holds a connection's output, and the way to it, differ. The decision that hangs on this is
//! `docs/decisions/2026-11-21-threads.md`.
//!
//!     cargo bench -p convoy --bench threads
//!
//! `ROUNDS` (5) and `SECONDS` (2, after half a second of warming up) set how long it takes. `MQLOAD` may name the binary
//! of the load generator mqload, which then drives the relays, checks every message, and adds its own floor relay as
//! one more variant; otherwise the small generator below does. Variants of one scenario run right after one another, in
//! an order that turns round every round, so compare ratios and not single figures.
//!
//! On one core the relay has core 0 and the generator core 1. On two cores they share both.

use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::mem;
use std::net::{TcpListener, TcpStream as StdStream};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["relay", "shards", cores] => relay(shards(cores.parse()?)?),
        ["relay", "stealing", cores] => relay(stealing(cores.parse()?)?),
        ["generate", mode, pubs, subs, qos, port, pid, seconds] => {
            let load = Load { mode, pubs: pubs.parse()?, subs: subs.parse()?, qos: qos.parse()? };
            generate(&load, port.parse()?, pid.parse()?, Duration::from_secs(seconds.parse()?))
        }
        _ => compare(),
    }
}

// ---- The comparison ----

/// What clients do, in the words of mqload.
#[derive(Clone, Copy)]
struct Load<'a> {
    mode: &'a str,
    pubs: usize,
    subs: usize,
    qos: u8,
}

struct Scenario {
    name: &'static str,
    mode: &'static str,
    pubs: usize,
    subs: usize,
    /// On one core nothing crosses: a scenario that is about crossing says nothing there.
    one_core: bool,
}

/// Subscribers connect first, then publishers, and shards are dealt connections in turn: of an even number of pairs each
/// has both ends on one shard, of an odd number none has.
const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "pairs", mode: "pairs", pubs: 50, subs: 50, one_core: true },
    Scenario { name: "pairs, all crossing", mode: "pairs", pubs: 51, subs: 51, one_core: false },
    Scenario { name: "fan-in 50 to 1", mode: "fanin", pubs: 50, subs: 1, one_core: true },
    Scenario { name: "fan-out 1 to 50", mode: "fanout", pubs: 1, subs: 50, one_core: true },
];

/// Messages of one publisher that have not arrived everywhere yet.
const WINDOW: usize = 20;

struct Bench {
    rounds: usize,
    seconds: u64,
    mqload: Option<String>,
}

struct Figures {
    cpu_us: f64,
    per_second: f64,
    /// The share of deliveries that went to another shard.
    crossed: f64,
}

fn compare() -> Result<(), Failure> {
    let number = |name: &str, default| std::env::var(name).map_or(Ok(default), |text| text.parse::<u64>());
    let bench = Bench {
        rounds: number("ROUNDS", 5)? as usize,
        seconds: number("SECONDS", 2)?.max(1),
        mqload: std::env::var("MQLOAD").ok(),
    };
    println!(
        "{} rounds of {} s, driven by {}",
        bench.rounds,
        bench.seconds,
        bench.mqload.as_deref().unwrap_or("itself")
    );
    println!(
        "CPU in µs a message delivered: median (least). Ratios are of neighbours: median (least to most)."
    );
    for cores in [1, 2] {
        let mut variants = vec!["shards", "stealing"];
        if cores == 1 && bench.mqload.is_some() {
            variants.push("floor");
        }
        println!(
            "\n| {cores} core{} | QoS | {} | stealing ÷ shards | messages/s, stealing ÷ shards | crossed |",
            if cores == 1 { "" } else { "s, shared with the generator" },
            variants.join(" | ")
        );
        println!("|{}", " --- |".repeat(5 + variants.len()));
        for scenario in SCENARIOS.iter().filter(|scenario| cores == 2 || scenario.one_core) {
            for qos in [0, 1] {
                bench.row(scenario, qos, cores, &variants)?;
            }
        }
    }
    Ok(())
}

impl Bench {
    fn row(&self, scenario: &Scenario, qos: u8, cores: usize, variants: &[&str]) -> Result<(), Failure> {
        let load = Load { mode: scenario.mode, pubs: scenario.pubs, subs: scenario.subs, qos };
        let mut runs: Vec<Vec<Figures>> = variants.iter().map(|_| Vec::new()).collect();
        for round in 0..self.rounds {
            let mut order: Vec<usize> = (0..variants.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                runs[at].push(self.run(&load, variants[at], cores)?);
            }
        }
        let costs = runs.iter().map(|runs| {
            let cost = Spread::of(runs.iter().map(|run| run.cpu_us));
            format!("{:.2} ({:.2})", cost.median, cost.least)
        });
        let ratio = |figure: fn(&Figures) -> f64| {
            let ratio = Spread::of(
                runs[0].iter().zip(&runs[1]).map(|(shards, stealing)| figure(stealing) / figure(shards)),
            );
            format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most)
        };
        println!(
            "| {} | {qos} | {} | {} | {} | {:.0} % |",
            scenario.name,
            costs.collect::<Vec<_>>().join(" | "),
            ratio(|run| run.cpu_us),
            ratio(|run| run.per_second),
            100.0 * Spread::of(runs[0].iter().map(|run| run.crossed)).median,
        );
        Ok(())
    }

    /// A fresh relay, loaded once.
    fn run(&self, load: &Load<'_>, variant: &str, cores: usize) -> Result<Figures, Failure> {
        let (relay_on, generator_on) = if cores == 1 { ("0", "1") } else { ("0,1", "0,1") };
        let relay = match (&self.mqload, variant) {
            (Some(mqload), "floor") => Relay::floor(mqload, relay_on)?,
            _ => Relay::start(variant, cores, relay_on)?,
        };
        let (port, pid) = (relay.port.to_string(), relay.child.id().to_string());
        let (pubs, subs, qos) = (load.pubs.to_string(), load.subs.to_string(), load.qos.to_string());
        let seconds = self.seconds.to_string();
        let output = match &self.mqload {
            Some(mqload) => pinned(generator_on, mqload)
                .args([load.mode, "--pubs", &pubs, "--subs", &subs, "--qos", &qos, "--port", &port])
                .args(["--broker-pid", &pid, "--duration", &seconds, "--warmup", "0.5", "--conc", "1"])
                .args(["--window", &WINDOW.to_string()])
                .output()?,
            None => pinned(generator_on, &itself()?)
                .args(["generate", load.mode, &pubs, &subs, &qos, &port, &pid, &seconds])
                .output()?,
        };
        if !output.status.success() {
            return Err(
                format!("{} on {variant}: {}", load.mode, String::from_utf8_lossy(&output.stderr)).into()
            );
        }
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let figure = |name: &str| report[name].as_f64().ok_or(format!("no {name} in the generator's report"));
        let crossed = relay.end()?;
        Ok(Figures {
            cpu_us: figure("broker_cpu_us_per_msg")?,
            per_second: figure("msgs_per_s")?,
            crossed: crossed as f64 / figure("delivered")?,
        })
    }
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = figures.collect();
        all.sort_by(f64::total_cmp);
        Self { least: all[0], median: all[all.len() / 2], most: all[all.len() - 1] }
    }
}

/// A relay's process. It ends with this.
struct Relay {
    child: Child,
    port: u16,
}

impl Relay {
    fn start(variant: &str, cores: usize, on: &str) -> Result<Self, Failure> {
        let mut command = pinned(on, &itself()?);
        command.args(["relay", variant, &cores.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut relay = Self { child: command.spawn()?, port: 0 };
        relay.port = relay.line()?.parse()?;
        Ok(relay)
    }

    fn floor(mqload: &str, on: &str) -> Result<Self, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = pinned(on, mqload).args(["floor", "--port", &port.to_string()]).spawn()?;
        let relay = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(5);
        while StdStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("the floor does not listen".into());
            }
            std::thread::yield_now();
        }
        Ok(relay)
    }

    fn line(&mut self) -> Result<String, Failure> {
        let output = self.child.stdout.as_mut().ok_or("the relay has no output")?;
        let mut line = String::new();
        // The relay says one line and then nothing until it is to end, so nothing is lost with this reader.
        BufReader::new(output).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// How many deliveries went to another shard.
    fn end(mut self) -> Result<u64, Failure> {
        let Some(input) = self.child.stdin.take() else { return Ok(0) };
        drop(input);
        Ok(self.line()?.parse()?)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn itself() -> Result<String, Failure> {
    Ok(std::env::current_exe()?.to_str().ok_or("the path of this program is not UTF-8")?.to_owned())
}

/// `taskset` becomes the program, so the process keeps its number.
fn pinned(cores: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores, program]);
    command
}

// ---- The relay, whatever it runs on ----

/// Bytes read from a socket at once. One buffer serves all connections of a thread.
const READ_BYTES: usize = 64 << 10;

/// Reads of one client before others have their turn.
const READS: usize = 4;

/// Deliveries that went to another shard.
static CROSSED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// What the two ways to run the relay do differently.
trait Shape {
    /// A connection's output, as its own task holds it.
    type Own: Own;
    /// A connection, as a subscription names it.
    type Address: Clone;

    fn table(&self) -> &Table<Self::Address>;

    /// Puts a message into each receiver's output. Whose task is to be woken goes to `wakes`.
    fn deliver(&self, message: &Message<'_>, to: &[(Self::Address, u8)], wakes: &mut Vec<Waker>);

    /// Everything that one read brought has been delivered.
    fn delivered(&self);
}

trait Own {
    fn with<R>(&self, change: impl FnOnce(&mut Outbox) -> R) -> R;
}

/// Output for one connection. There is a waker while its task sleeps, so it is woken once. The window of the generator is
/// what bounds it.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    waker: Option<Waker>,
    last_packet_id: u16,
}

impl Outbox {
    fn put(&mut self, message: &Message<'_>, qos: u8) -> Option<Waker> {
        let at = self.bytes.len();
        let Message { frame, body_at, packet_id_at, .. } = *message;
        if qos == message.qos {
            self.bytes.extend_from_slice(frame);
            if qos > 0 {
                self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
                let packet_id_at = at + packet_id_at;
                self.bytes[packet_id_at..packet_id_at + 2]
                    .copy_from_slice(&self.last_packet_id.to_be_bytes());
            }
        } else {
            self.bytes.push(PUBLISH << 4);
            put_varint(&mut self.bytes, frame.len() - body_at - 2);
            self.bytes.extend_from_slice(&frame[body_at..packet_id_at]);
            self.bytes.extend_from_slice(&frame[packet_id_at + 2..]);
        }
        self.waker.take()
    }
}

/// A PUBLISH packet as it came.
#[derive(Clone, Copy)]
struct Message<'a> {
    frame: &'a [u8],
    body_at: usize,
    packet_id_at: usize,
    qos: u8,
}

struct Subscription<A> {
    connection: u64,
    /// With the `#` taken off, of a prefix.
    filter: Vec<u8>,
    is_prefix: bool,
    address: A,
    qos: u8,
}

/// All subscriptions. Connections keep the routes they have looked up until the version changes.
struct Table<A> {
    version: AtomicU64,
    subscriptions: Mutex<Vec<Subscription<A>>>,
}

impl<A: Clone> Table<A> {
    fn new() -> Self {
        Self { version: AtomicU64::new(0), subscriptions: Mutex::new(Vec::new()) }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Subscription<A>>)) {
        change(&mut self.subscriptions.lock().expect("nobody panics with the table in hand"));
        self.version.fetch_add(1, Ordering::Release);
    }

    fn receivers(&self, topic: &[u8]) -> Vec<(A, u8)> {
        let all = self.subscriptions.lock().expect("nobody panics with the table in hand");
        let hits = all.iter().filter(|one| match one.is_prefix {
            true => topic.starts_with(&one.filter),
            false => topic == one.filter,
        });
        hits.map(|one| (one.address.clone(), one.qos)).collect()
    }
}

/// A connection's task: it writes what is pending, then reads until the socket is empty.
struct Connection<S: Shape> {
    shape: S,
    number: u64,
    stream: TcpStream,
    own: S::Own,
    address: S::Address,
    sending: Vec<u8>,
    sent: usize,
    /// The beginning of a packet whose end has not been read.
    rest: Vec<u8>,
    routes: HashMap<Vec<u8>, Vec<(S::Address, u8)>>,
    routes_version: u64,
    wakes: Vec<Waker>,
}

/// The client is done, or speaks what this relay does not.
struct Closed;

impl<S: Shape + Unpin> Connection<S>
where
    S::Own: Unpin,
    S::Address: Unpin,
{
    fn new(shape: S, stream: TcpStream, number: u64, own: S::Own, address: S::Address) -> Self {
        Self {
            shape,
            number,
            stream,
            own,
            address,
            sending: Vec::new(),
            sent: 0,
            rest: Vec::new(),
            routes: HashMap::new(),
            routes_version: 0,
            wakes: Vec::new(),
        }
    }

    async fn run(mut self) {
        // Why it ended is the generator's to notice.
        let _ = std::future::poll_fn(|context| self.poll(context)).await;
        let number = self.number;
        self.shape.table().change(|all| all.retain(|one| one.connection != number));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..READS {
            self.gather(context);
            // A client that does not read is still read from: it may be waiting for us.
            if let Poll::Ready(Err(error)) = self.poll_write(context) {
                return Poll::Ready(Err(error));
            }
            match self.poll_read(context) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes what was put into the output, and says whom to wake for more.
    fn gather(&mut self, context: &Context<'_>) {
        if self.sent == self.sending.len() {
            self.sending.clear();
            self.sent = 0;
        }
        let sending = &mut self.sending;
        self.own.with(|outbox| {
            if !outbox.waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                outbox.waker = Some(context.waker().clone());
            }
            if sending.is_empty() {
                mem::swap(sending, &mut outbox.bytes);
            } else {
                sending.append(&mut outbox.bytes);
            }
        });
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.sending.len() {
            match Pin::new(&mut self.stream).poll_write(context, &self.sending[self.sent..]) {
                Poll::Ready(Ok(written)) => self.sent += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// False at the end of the connection.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            let bytes = buffer.filled();
            Poll::Ready(Ok(!bytes.is_empty() && self.receive(bytes).is_ok()))
        })
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        let outcome = if self.rest.is_empty() {
            self.packets(bytes).map(|taken| self.rest.extend_from_slice(&bytes[taken..]))
        } else {
            let mut all = mem::take(&mut self.rest);
            all.extend_from_slice(bytes);
            self.packets(&all).map(|taken| {
                all.drain(..taken);
                self.rest = all;
            })
        };
        for waker in self.wakes.drain(..) {
            waker.wake();
        }
        self.shape.delivered();
        outcome
    }

    /// Takes the whole packets, and says how many bytes they were.
    fn packets(&mut self, bytes: &[u8]) -> Result<usize, Closed> {
        let mut at = 0;
        while let Some((body_at, len)) = packet(&bytes[at..]) {
            self.packet(&bytes[at..at + len], body_at)?;
            at += len;
        }
        Ok(at)
    }

    fn packet(&mut self, frame: &[u8], body_at: usize) -> Result<(), Closed> {
        let body = &frame[body_at..];
        match frame[0] >> 4 {
            CONNECT => self.sending.extend_from_slice(&[CONNACK << 4, 2, 0, 0]),
            PUBLISH => self.publish(frame, body_at)?,
            SUBSCRIBE => self.subscribe(body)?,
            PINGREQ => self.sending.extend_from_slice(&[PINGRESP << 4, 0]),
            PUBACK => {}
            _ => return Err(Closed),
        }
        Ok(())
    }

    fn subscribe(&mut self, body: &[u8]) -> Result<(), Closed> {
        let mut at = 2;
        let mut codes = Vec::new();
        while at < body.len() {
            let filter = text(body, at).ok_or(Closed)?;
            at += 2 + filter.len();
            let qos = (*body.get(at).ok_or(Closed)?).min(1);
            at += 1;
            codes.push(qos);
            let prefix = filter.strip_suffix(b"#");
            let subscription = Subscription {
                connection: self.number,
                filter: prefix.unwrap_or(filter).to_vec(),
                is_prefix: prefix.is_some(),
                address: self.address.clone(),
                qos,
            };
            self.shape.table().change(|all| all.push(subscription));
        }
        self.sending.push(SUBACK << 4);
        put_varint(&mut self.sending, 2 + codes.len());
        self.sending.extend_from_slice(body.get(..2).ok_or(Closed)?);
        self.sending.extend_from_slice(&codes);
        Ok(())
    }

    fn publish(&mut self, frame: &[u8], body_at: usize) -> Result<(), Closed> {
        let topic = text(frame, body_at).ok_or(Closed)?;
        let message =
            Message { frame, body_at, packet_id_at: body_at + 2 + topic.len(), qos: frame[0] >> 1 & 3 };
        if message.qos > 0 {
            let packet_id = frame.get(message.packet_id_at..message.packet_id_at + 2).ok_or(Closed)?;
            self.sending.extend_from_slice(&[PUBACK << 4, 2]);
            self.sending.extend_from_slice(packet_id);
        }
        let version = self.shape.table().version.load(Ordering::Acquire);
        if self.routes_version != version {
            self.routes.clear();
            self.routes_version = version;
        }
        if !self.routes.contains_key(topic) {
            self.routes.insert(topic.to_vec(), self.shape.table().receivers(topic));
        }
        let to = &self.routes[topic];
        self.shape.deliver(&message, to, &mut self.wakes);
        Ok(())
    }
}

/// Accepts on a thread of its own until standard input ends, then says how much crossed.
fn relay(mut admit: impl FnMut(StdStream, u64) + Send + 'static) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { continue };
            let ready = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
            if ready.is_ok() {
                admit(stream, number as u64);
            }
        }
    });
    io::stdin().read_to_end(&mut Vec::new())?;
    println!("{}", CROSSED.load(Ordering::Relaxed));
    Ok(())
}

// ---- The relay on shards ----

/// Batches that wait for a shard, beyond which whoever has more keeps gathering.
const MAILBOX: usize = 1024;

enum Event {
    Accepted(StdStream, u64),
    Batch(Batch),
}

/// What one turn of a shard has for another: each message once, and who gets it.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    messages: Vec<Batched>,
    /// Connection and granted QoS, those of each message after those of the one before.
    receivers: Vec<(u32, u8)>,
}

struct Batched {
    ends_at: usize,
    body_at: usize,
    packet_id_at: usize,
    qos: u8,
    receivers_end_at: usize,
}

type ShardAddress = (u16, u32);

#[derive(Clone)]
struct OnShard(Rc<Shard>);

struct Shard {
    number: u16,
    table: Arc<Table<ShardAddress>>,
    outboxes: RefCell<Vec<Rc<RefCell<Outbox>>>>,
    /// By shard.
    batches: RefCell<Vec<Batch>>,
    shards: Vec<mpsc::Sender<Event>>,
    turn: Notify,
    turn_due: Cell<bool>,
}

impl Own for Rc<RefCell<Outbox>> {
    fn with<R>(&self, change: impl FnOnce(&mut Outbox) -> R) -> R {
        change(&mut self.borrow_mut())
    }
}

impl Shape for OnShard {
    type Own = Rc<RefCell<Outbox>>;
    type Address = ShardAddress;

    fn table(&self) -> &Table<ShardAddress> {
        &self.0.table
    }

    fn deliver(&self, message: &Message<'_>, to: &[(ShardAddress, u8)], wakes: &mut Vec<Waker>) {
        let shard = &*self.0;
        let outboxes = shard.outboxes.borrow();
        let mut batches = shard.batches.borrow_mut();
        for (number, batch) in batches.iter_mut().enumerate() {
            let before = batch.receivers.len();
            for &((there, key), qos) in to.iter().filter(|((there, _), _)| usize::from(*there) == number) {
                if there == shard.number {
                    wakes.extend(outboxes[key as usize].borrow_mut().put(message, qos.min(message.qos)));
                } else {
                    batch.receivers.push((key, qos.min(message.qos)));
                }
            }
            if batch.receivers.len() > before {
                batch.bytes.extend_from_slice(message.frame);
                batch.messages.push(Batched {
                    ends_at: batch.bytes.len(),
                    body_at: message.body_at,
                    packet_id_at: message.packet_id_at,
                    qos: message.qos,
                    receivers_end_at: batch.receivers.len(),
                });
                shard.turn_due.set(true);
            }
        }
    }

    fn delivered(&self) {
        if self.0.turn_due.replace(false) {
            self.0.turn.notify_one();
        }
    }
}

impl Shard {
    /// Runs behind every task that was ready when it was woken, and so hands over what all of them had.
    async fn end_turns(self: Rc<Self>) {
        loop {
            self.turn.notified().await;
            for (to, shard) in self.shards.iter().enumerate() {
                if self.batches.borrow()[to].messages.is_empty() {
                    continue;
                }
                let Ok(room) = shard.reserve().await else { return };
                let batch = mem::take(&mut self.batches.borrow_mut()[to]);
                CROSSED.fetch_add(batch.receivers.len() as u64, Ordering::Relaxed);
                room.send(Event::Batch(batch));
            }
        }
    }

    fn take(&self, batch: &Batch) {
        let outboxes = self.outboxes.borrow();
        let (mut begins_at, mut receivers_begin_at) = (0, 0);
        for one in &batch.messages {
            let message = Message {
                frame: &batch.bytes[begins_at..one.ends_at],
                body_at: one.body_at,
                packet_id_at: one.packet_id_at,
                qos: one.qos,
            };
            for &(key, qos) in &batch.receivers[receivers_begin_at..one.receivers_end_at] {
                if let Some(waker) = outboxes[key as usize].borrow_mut().put(&message, qos) {
                    waker.wake();
                }
            }
            (begins_at, receivers_begin_at) = (one.ends_at, one.receivers_end_at);
        }
    }

    async fn run(self: Rc<Self>, mut mailbox: mpsc::Receiver<Event>) -> io::Result<()> {
        tokio::task::spawn_local(Rc::clone(&self).end_turns());
        let mut events = Vec::new();
        while mailbox.recv_many(&mut events, 64).await > 0 {
            for event in events.drain(..) {
                match event {
                    Event::Accepted(stream, number) => self.accepted(stream, number)?,
                    Event::Batch(batch) => self.take(&batch),
                }
            }
        }
        Ok(())
    }

    fn accepted(self: &Rc<Self>, stream: StdStream, number: u64) -> io::Result<()> {
        let mut outboxes = self.outboxes.borrow_mut();
        let own = Rc::new(RefCell::new(Outbox::default()));
        let address = (self.number, outboxes.len() as u32);
        outboxes.push(Rc::clone(&own));
        let stream = TcpStream::from_std(stream)?;
        let shape = OnShard(Rc::clone(self));
        tokio::task::spawn_local(Connection::new(shape, stream, number, own, address).run());
        Ok(())
    }
}

/// One thread and one single-threaded runtime a core. Connections are dealt in turn.
fn shards(cores: u16) -> io::Result<impl FnMut(StdStream, u64)> {
    let table = Arc::new(Table::new());
    let (senders, mailboxes): (Vec<_>, Vec<_>) = (0..cores).map(|_| mpsc::channel(MAILBOX)).unzip();
    for (number, mailbox) in (0..).zip(mailboxes) {
        let (table, shards) = (Arc::clone(&table), senders.clone());
        std::thread::Builder::new().spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .expect("a runtime needs an epoll and nothing else");
            let shard = Rc::new(Shard {
                number,
                table,
                outboxes: RefCell::new(Vec::new()),
                batches: RefCell::new(shards.iter().map(|_| Batch::default()).collect()),
                shards,
                turn: Notify::new(),
                turn_due: Cell::new(false),
            });
            LocalSet::new()
                .block_on(&runtime, shard.run(mailbox))
                .expect("a socket that was accepted can be watched");
        })?;
    }
    Ok(move |stream, number: u64| {
        let shard = &senders[number as usize % senders.len()];
        shard
            .blocking_send(Event::Accepted(stream, number))
            .unwrap_or_else(|_| panic!("shards outlive the listener"));
    })
}

// ---- The relay on tokio's work-stealing runtime ----

type Shared = Arc<Mutex<Outbox>>;

#[derive(Clone)]
struct OnStealing(Arc<Table<Shared>>);

impl Own for Shared {
    fn with<R>(&self, change: impl FnOnce(&mut Outbox) -> R) -> R {
        change(&mut self.lock().expect("nobody panics with an output in hand"))
    }
}

impl Shape for OnStealing {
    type Own = Shared;
    type Address = Shared;

    fn table(&self) -> &Table<Shared> {
        &self.0
    }

    fn deliver(&self, message: &Message<'_>, to: &[(Shared, u8)], wakes: &mut Vec<Waker>) {
        for (outbox, qos) in to {
            wakes.extend(outbox.with(|outbox| outbox.put(message, (*qos).min(message.qos))));
        }
    }

    fn delivered(&self) {}
}

fn stealing(cores: usize) -> io::Result<impl FnMut(StdStream, u64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_io().build()?;
    let shape = OnStealing(Arc::new(Table::new()));
    Ok(move |stream, number| {
        let _here = runtime.enter();
        let stream = TcpStream::from_std(stream).expect("a socket that was accepted can be watched");
        let own = Shared::default();
        runtime.spawn(Connection::new(shape.clone(), stream, number, Arc::clone(&own), own).run());
    })
}

// ---- The generator ----

const PAYLOAD: usize = 64;
const WARMUP: Duration = Duration::from_millis(500);

/// A closed loop: each publisher writes a window of messages, and the next one once all of it has arrived everywhere and
/// is acknowledged. Nothing else can be under way, so that what comes too often is noticed, and what is lost stalls it.
struct Generator {
    qos: u8,
    /// Deliveries and acknowledgements that one window causes.
    due_a_window: usize,
    /// By publisher.
    due: Vec<Cell<usize>>,
    arrived: Vec<Notify>,
    delivered: Cell<u64>,
}

fn generate(load: &Load<'_>, port: u16, pid: u32, span: Duration) -> Result<(), Failure> {
    let receivers = if load.mode == "fanout" { load.subs } else { 1 };
    let due_a_window = WINDOW * (receivers + usize::from(load.qos));
    let generator = Rc::new(Generator {
        qos: load.qos,
        due_a_window,
        due: (0..load.pubs).map(|_| Cell::new(0)).collect(),
        arrived: (0..load.pubs).map(|_| Notify::new()).collect(),
        delivered: Cell::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let topic = |number: usize| match load.mode {
            "fanout" => "bench/all".to_owned(),
            _ => format!("bench/{number}"),
        };
        for number in 0..load.subs {
            let filter = if load.mode == "fanin" { "bench/#".to_owned() } else { topic(number) };
            let mut stream = connect(port).await?;
            let mut body = vec![0, 1];
            put_text(&mut body, &filter);
            body.push(load.qos);
            exchange(&mut stream, SUBSCRIBE << 4 | 2, &body, 5).await?;
            let (input, output) = stream.into_split();
            tokio::task::spawn_local(Rc::clone(&generator).read(input, Some(output), 0));
        }
        for number in 0..load.pubs {
            let (input, output) = connect(port).await?.into_split();
            tokio::task::spawn_local(Rc::clone(&generator).read(input, None, number));
            tokio::task::spawn_local(Rc::clone(&generator).publish(output, number, topic(number)));
        }
        tokio::time::sleep(WARMUP).await;
        let (begun, cpu_before, before) = (Instant::now(), cpu_ticks(pid)?, generator.delivered.get());
        tokio::time::sleep(span).await;
        let (took, cpu, after) = (begun.elapsed(), cpu_ticks(pid)? - cpu_before, generator.delivered.get());
        let messages = after - before;
        if messages == 0 {
            return Err("nothing was delivered".into());
        }
        let report = serde_json::json!({
            "broker_cpu_us_per_msg": cpu as f64 * TICK_MICROSECONDS / messages as f64,
            "msgs_per_s": messages as f64 / took.as_secs_f64(),
            "delivered": after,
        });
        println!("{report}");
        Ok(())
    })
}

impl Generator {
    async fn publish(
        self: Rc<Self>,
        mut output: tokio::net::tcp::OwnedWriteHalf,
        number: usize,
        topic: String,
    ) {
        let mut window = Vec::new();
        for packet_id in 1..=WINDOW as u16 {
            let mut body = Vec::new();
            put_text(&mut body, &topic);
            if self.qos > 0 {
                body.extend_from_slice(&packet_id.to_be_bytes());
            }
            body.extend_from_slice(&(number as u32).to_be_bytes());
            body.resize(body.len() + PAYLOAD - 4, b'.');
            put_packet(&mut window, PUBLISH << 4 | self.qos << 1, &body);
        }
        loop {
            self.due[number].set(self.due_a_window);
            output.write_all(&window).await.expect("the relay keeps its connections");
            self.arrived[number].notified().await;
        }
    }

    /// Takes what comes on one connection. `output` is for the acknowledgements of a subscriber, `number` is that of a
    /// publisher.
    async fn read(
        self: Rc<Self>,
        mut input: tokio::net::tcp::OwnedReadHalf,
        mut output: Option<tokio::net::tcp::OwnedWriteHalf>,
        number: usize,
    ) {
        let mut bytes = Vec::with_capacity(READ_BYTES);
        let mut acknowledgements = Vec::new();
        while input.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            let mut at = 0;
            while let Some((body_at, len)) = packet(&bytes[at..]) {
                let frame = &bytes[at..at + len];
                at += len;
                if frame[0] >> 4 != PUBLISH {
                    self.came(number);
                    continue;
                }
                let topic = text(frame, body_at).expect("the relay writes whole packets");
                let mut payload_at = body_at + 2 + topic.len();
                if frame[0] >> 1 & 3 > 0 {
                    acknowledgements.extend_from_slice(&[PUBACK << 4, 2]);
                    acknowledgements.extend_from_slice(&frame[payload_at..payload_at + 2]);
                    payload_at += 2;
                }
                let publisher =
                    frame[payload_at..].first_chunk().expect("the payload is longer than a number");
                self.delivered.set(self.delivered.get() + 1);
                self.came(u32::from_be_bytes(*publisher) as usize);
            }
            bytes.drain(..at);
            if let Some(output) = &mut output {
                output.write_all(&acknowledgements).await.expect("the relay keeps its connections");
            }
            acknowledgements.clear();
        }
    }

    fn came(&self, publisher: usize) {
        let due = &self.due[publisher];
        due.set(due.get().checked_sub(1).expect("nothing comes twice"));
        if due.get() == 0 {
            self.arrived[publisher].notify_one();
        }
    }
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    exchange(&mut stream, CONNECT << 4, b"\0\x04MQTT\x04\x02\0\0\0\0", 4).await?;
    Ok(stream)
}

/// Sends a packet and takes the answer, of a length known beforehand.
async fn exchange(stream: &mut TcpStream, first: u8, body: &[u8], answer_bytes: usize) -> io::Result<()> {
    let mut packet = Vec::new();
    put_packet(&mut packet, first, body);
    stream.write_all(&packet).await?;
    stream.read_exact(&mut vec![0; answer_bytes]).await?;
    Ok(())
}

/// Linux counts CPU in hundredths of a second, whatever its own tick is.
const TICK_MICROSECONDS: f64 = 10_000.0;

/// User and system time of all threads of a process.
fn cpu_ticks(pid: u32) -> Result<u64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program may hold anything, its closing bracket is the last one.
    let (_, fields) = stat.rsplit_once(')').ok_or("a process's stat has no name")?;
    let mut times = fields.split_whitespace().skip(11);
    let mut time = || Ok::<u64, Failure>(times.next().ok_or("a process's stat is short")?.parse()?);
    Ok(time()? + time()?)
}

// ---- As much of MQTT 3.1.1 as this takes ----

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;

/// Where the body of the first packet begins and where the packet ends. None until all of it is there.
fn packet(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut len = 0;
    for at in 1..5 {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte < 0x80 {
            let end = at + 1 + len;
            return (end <= bytes.len()).then_some((at + 1, end));
        }
    }
    None
}

fn text(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let len = u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
    bytes.get(at + 2..at + 2 + usize::from(len))
}

fn put_packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    put_varint(out, body.len());
    out.extend_from_slice(body);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
