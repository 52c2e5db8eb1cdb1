//! What a message costs in a shard of a node that is alone, from the packet of its publisher to those of its receivers and
//! their acknowledgements: `cargo bench -p convoy-actors --bench message`. Times hang on who else has the processor; the
//! instructions of one row are the same each time:
//!
//!     valgrind --tool=callgrind --toggle-collect='*measured*' target/release/deps/message-* pairs-q1
//!
//! Their sum by the number of messages, which is printed, is what a message costs.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoy_actors::{Identity, Listener, Now, Options, Output, Peer, Secret, Shard, Transport};
use convoy_ids::NodeId;
use convoy_membership::Partitioning;
use convoy_storage::engine::{Engine, Generations, Model};

/// Messages that a publisher sends at once.
const BURST: u16 = 4;
const PAYLOAD: [u8; 64] = [b'p'; 64];
const RUNS: u32 = 7;

/// Who publishes to whom.
struct Row {
    name: &'static str,
    publishers: usize,
    subscribers: usize,
    qos: u8,
    /// Publisher and subscriber have a topic of their own.
    pairs: bool,
    /// The subscribers' Sessions outlive their connections.
    lasting: bool,
    rounds: u32,
}

const ROWS: &[Row] = &[
    row("pairs-q0", 100, 100, 0, true, false),
    row("pairs-q1", 100, 100, 1, true, false),
    row("pairs-q2", 100, 100, 2, true, false),
    row("fanin-q1", 50, 1, 1, false, false),
    row("fanout-q1", 1, 500, 1, false, false),
    row("lasting-q1", 100, 100, 1, true, true),
];

const fn row(
    name: &'static str,
    publishers: usize,
    subscribers: usize,
    qos: u8,
    pairs: bool,
    lasting: bool,
) -> Row {
    let rounds = if lasting { 10 } else { 50 };
    Row { name, publishers, subscribers, qos, pairs, lasting, rounds }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    println!("{:>12} {:>10} {:>10}", "", "messages", "ns each");
    for row in ROWS.iter().filter(|row| wanted.is_empty() || wanted.iter().any(|name| name == row.name)) {
        let mut bench = Bench::new(row);
        bench.run(2);
        // Whoever counts instructions asks for one row, and counts one run.
        let runs = if wanted.is_empty() { RUNS } else { 1 };
        let (mut least, mut messages) = (Duration::MAX, 0);
        for _ in 0..runs {
            let began = Instant::now();
            messages = measured(&mut bench);
            least = least.min(began.elapsed());
        }
        println!("{:>12} {messages:>10} {:>10.1}", row.name, least.as_nanos() as f64 / messages as f64);
    }
}

#[inline(never)]
fn measured(bench: &mut Bench) -> u64 {
    bench.run(bench.row.rounds)
}

struct Client {
    key: u32,
    /// What it sends in a round.
    burst: Vec<u8>,
}

struct Bench {
    row: &'static Row,
    shard: Shard,
    engine: Arc<Model>,
    now: Now,
    publishers: Vec<Client>,
    /// By the keys of their connections.
    subscribes: Vec<bool>,
    output: Output,
    dirty: Vec<u32>,
    acks: Vec<u8>,
    delivered: u64,
}

impl Bench {
    fn new(row: &'static Row) -> Self {
        let partitioning = Partitioning { partitions: 8, partition_levels: 2 };
        let options = Options::alone(64, partitioning, Secret::from_number(7));
        let engine = Arc::new(Model::new());
        let rows = Generations::open(Arc::clone(&engine) as Arc<dyn Engine>).expect("it is empty");
        let node = NodeId::new(1).expect("one is not zero");
        let identity = Identity { node, start: 1, shard: 0, shards: 1 };
        let shard = Shard::new(identity, Arc::new(rows), options).expect("an empty engine can be read");
        let mut bench = Self {
            row,
            shard,
            engine,
            now: Now { monotonic: 1_000, wall: 1_700_000_000_000 },
            publishers: Vec::new(),
            subscribes: Vec::new(),
            output: Output::default(),
            dirty: Vec::new(),
            acks: Vec::new(),
            delivered: 0,
        };
        while !bench.shard.is_ready() {
            bench.pass();
        }
        for at in 0..row.subscribers {
            let key = bench.connect(&format!("subscriber-{at}"), !row.lasting);
            let filter = if row.pairs { topic(at) } else { "mq/#".to_owned() };
            let mut body = vec![0, 1];
            text(&mut body, &filter);
            body.push(row.qos);
            bench.send(key, &packet(0x82, &body));
            bench.subscribes.resize(key as usize + 1, false);
            bench.subscribes[key as usize] = true;
        }
        for at in 0..row.publishers {
            let key = bench.connect(&format!("publisher-{at}"), true);
            bench.subscribes.resize(key as usize + 1, false);
            let mut burst = Vec::new();
            for id in 1..=BURST {
                let mut body = Vec::new();
                text(&mut body, &topic(if row.pairs { at } else { 0 }));
                if row.qos > 0 {
                    body.extend(id.to_be_bytes());
                }
                body.extend(PAYLOAD);
                burst.extend(packet(0x30 | row.qos << 1, &body));
            }
            bench.publishers.push(Client { key, burst });
        }
        bench.settle();
        bench
    }

    /// Messages that were delivered.
    fn run(&mut self, rounds: u32) -> u64 {
        let before = self.delivered;
        for _ in 0..rounds {
            for at in 0..self.publishers.len() {
                let Client { key, burst } = &self.publishers[at];
                self.shard.receive(self.now, *key, burst);
            }
            self.settle();
            self.now.monotonic += 1;
            self.now.wall += 1;
        }
        let receivers = if self.row.pairs { 1 } else { self.row.subscribers };
        let sent = rounds as usize * self.publishers.len() * usize::from(BURST);
        assert_eq!(self.delivered - before, (sent * receivers) as u64);
        self.delivered - before
    }

    fn connect(&mut self, client_id: &str, clean: bool) -> u32 {
        let listener = Arc::new(Listener::new("bench", Transport::Tcp));
        let address = ([127, 0, 0, 1], 1000).into();
        let key = self.shard.accept(self.now, Peer { address, listener, certificate: None });
        let mut body = b"\0\x04MQTT\x04".to_vec();
        body.extend([u8::from(clean) << 1, 0, 0]);
        text(&mut body, client_id);
        self.send(key, &packet(0x10, &body));
        key
    }

    fn send(&mut self, key: u32, bytes: &[u8]) {
        self.shard.receive(self.now, key, bytes);
        self.settle();
    }

    fn flow(&mut self) {
        loop {
            self.shard.turn(self.now);
            let mut dirty = std::mem::take(&mut self.dirty);
            self.shard.take_dirty(&mut dirty);
            let is_done = dirty.is_empty() && !self.shard.has_more();
            dirty.drain(..).for_each(|key| self.write(key));
            self.dirty = dirty;
            if is_done {
                return;
            }
        }
    }

    /// Takes what a Client is sent, and answers it.
    fn write(&mut self, key: u32) {
        self.acks.clear();
        loop {
            let now = self.now;
            self.shard.take_output(|| now, key, &mut self.output);
            if self.output.is_empty() {
                break;
            }
            let mut slices = [IoSlice::new(&[]); 16];
            let used = self.output.slices(&mut slices, usize::MAX);
            assert_eq!(used, 1, "packets of this size are written one behind the other");
            let bytes = &slices[0];
            self.delivered += answer(bytes, &mut self.acks);
            let written = bytes.len();
            self.output.advance(written);
        }
        assert!(!self.shard.is_closing(key));
        self.shard.receive(self.now, key, &self.acks);
    }

    fn settle(&mut self) {
        self.flow();
        while let Some(round) = self.shard.take_sync() {
            self.engine.sync().expect("it is memory");
            self.shard.synced(self.now, round);
            self.flow();
        }
    }

    fn pass(&mut self) {
        self.now.monotonic += 100;
        self.now.wall += 100;
        self.shard.tick_connections(self.now);
        self.shard.tick(self.now);
        self.settle();
    }
}

/// Reads what a Client is sent, and says what it answers; how many messages there were.
fn answer(mut bytes: &[u8], acks: &mut Vec<u8>) -> u64 {
    let mut messages = 0;
    while let [first, length, rest @ ..] = bytes {
        let (body, behind) = rest.split_at(usize::from(*length));
        match first >> 4 {
            3 => {
                let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                match first >> 1 & 3 {
                    0 => {}
                    qos => acks.extend([0x30 + qos * 0x10, 2, body[topic], body[topic + 1]]),
                }
                messages += 1;
            }
            5 => acks.extend([0x62, 2, body[0], body[1]]),
            6 => acks.extend([0x70, 2, body[0], body[1]]),
            _ => {}
        }
        bytes = behind;
    }
    messages
}

fn topic(at: usize) -> String {
    format!("mq/{at}/doors")
}

fn text(into: &mut Vec<u8>, text: &str) {
    into.extend((text.len() as u16).to_be_bytes());
    into.extend(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).expect("it is short");
    assert!(length < 128);
    [&[first, length], body].concat()
}
