//! One shard, four strangers and two honest Clients. A run of bytes says what the strangers do: whole packets, broken
//! ones, bytes of any kind, breaking connections, time. Nothing of it may panic, what a stranger is sent has to be MQTT,
//! and the honest Clients must not notice.
//!
//! The same bench is fed by a seeded generator in `main.rs` and by the fuzzer in `actors/fuzz`.

use std::io::IoSlice;
use std::sync::Arc;

use convoy_actors::{
    Identity, Limits, Listener, Now, Options, Output, Peer, QueueLimits, Secret, Shard, Transport,
};
use convoy_ids::NodeId;
use convoy_membership::Partitioning;
use convoy_storage::engine::{Engine, Generations, Model};
use convoy_wire::{Cut, Limits as WireLimits, Packet, ProtocolVersion, Sender, cut, decode_from};

const STRANGERS: usize = 4;

/// Packets as they should be, for a stranger to send as they are or broken. The first three open a connection.
#[rustfmt::skip]
const PACKETS: &[&[u8]] = &[
    b"\x10\x13\0\x04MQTT\x05\x02\0\x0a\x05\x11\0\0\0\x3c\0\x01a",
    b"\x10\x0d\0\x04MQTT\x04\0\0\x0a\0\x01b",
    b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01c",
    b"\x10\x24\0\x04MQTT\x05\xe6\0\x0a\x03\x21\0\x02\0\x01a\x05\x18\0\0\0\x01\0\x01t\0\x02\xff\0\0\x01u\0\x01p",
    b"\x30\x04\0\x01t\0",
    b"\x31\x09\0\x01t\0hello",
    b"\x32\x0d\0\x03t/u\0\x07\x03\x23\0\x01xy",
    b"\x34\x15\0\x01t\0\x08\x0c\x02\0\0\0\x05\x26\0\x01k\0\x01vxyz",
    b"\x3c\x06\0\x01t\0\x08\0",
    b"\x32\x05\0\x01t\0\x09",
    b"\x40\x02\0\x01", b"\x50\x02\0\x01", b"\x62\x02\0\x08", b"\x70\x02\0\x01",
    b"\x40\x02\0\x02", b"\x50\x02\0\x02", b"\x62\x02\0\x07", b"\x70\x02\0\x02",
    b"\x82\x0b\0\x01\0\0\x01#\x02\0\x01t\x01",
    b"\x82\x08\0\x01\0\x03t/+\x02",
    b"\x82\x13\0\x02\x02\x0b\x01\0\x0b$share/g/t/\x02",
    b"\xa2\x09\0\x03\0\0\x01#\0\x01t",
    b"\xa2\x05\0\x03\0\x01t",
    b"\xc0\0",
    b"\xe0\0", b"\xe0\x01\x04", b"\xe0\x07\0\x05\x11\0\0\0\0",
    b"\xf0\0", b"\xf0\x06\x18\x04\x15\0\x01m",
];

/// The honest Clients: both of 5.0, the first subscribes.
const SUBSCRIBER: &[u8] =
    b"\x10\x19\0\x04MQTT\x05\x02\0\0\0\0\x0csubscriber-w\x82\x0e\0\x01\0\0\x08honest/#\x01";
const PUBLISHER: &[u8] = b"\x10\x18\0\x04MQTT\x05\x02\0\0\0\0\x0bpublisher-w";

struct Line {
    key: Option<u32>,
    /// Everything that the Client was sent on this connection.
    got: Vec<u8>,
}

pub struct Bench {
    shard: Shard,
    engine: Arc<Model>,
    now: Now,
    lines: Vec<Line>,
    honest: u16,
}

impl Bench {
    pub fn new() -> Self {
        let limits = Limits {
            packet_bytes: 64 << 10,
            connect_packet_bytes: 4 << 10,
            queue: QueueLimits { messages: 100, bytes: 256 << 10, age: 3_600_000 },
            output_bytes: 64 << 10,
            subscriptions_per_session: 100,
            ..Limits::default()
        };
        let partitioning = Partitioning { partitions: 2, partition_levels: 2 };
        let options = Options { limits, ..Options::alone(4, partitioning, Secret::from_number(7)) };
        let engine = Arc::new(Model::new());
        let rows = Generations::open(Arc::clone(&engine) as Arc<dyn Engine>).expect("it is empty");
        let node = NodeId::new(1).expect("one is not zero");
        let identity = Identity { node, start: 1, shard: 0, shards: 1 };
        let shard = Shard::new(identity, Arc::new(rows), options);
        let now = Now { monotonic: 1_000, wall: 1_700_000_000_000 };
        let lines = (0..STRANGERS + 2).map(|_| Line { key: None, got: Vec::new() }).collect();
        let shard = shard.expect("an empty engine can be read");
        let mut bench = Self { shard, engine, now, lines, honest: 0 };
        while !bench.shard.is_ready() {
            bench.pass(100);
        }
        bench.send(STRANGERS, SUBSCRIBER);
        bench.send(STRANGERS + 1, PUBLISHER);
        bench.settle();
        bench
    }

    /// Does what the bytes say.
    pub fn run(&mut self, mut script: &[u8]) {
        while let Some((&what, rest)) = script.split_first() {
            let stranger = usize::from(what) % STRANGERS;
            let mut take = |length: usize| {
                let (taken, left) = rest.split_at(length.min(rest.len()));
                script = left;
                taken.to_vec()
            };
            match what / 16 {
                0..=4 => {
                    let chosen = take(1);
                    let packet = PACKETS[usize::from(*chosen.first().unwrap_or(&0)) % PACKETS.len()];
                    self.send(stranger, packet);
                }
                5..=8 => {
                    let plan = take(6);
                    let broken = broken(&plan);
                    self.send(stranger, &broken);
                }
                // A packet of any kind whose length is right.
                9 | 10 => {
                    let length = rest.first().map_or(0, |length| usize::from(*length) % 64);
                    let plan = take(2 + length);
                    if let [_, first, body @ ..] = &plan[..] {
                        self.send(stranger, &[&[*first, body.len() as u8], body].concat());
                    }
                }
                11 | 12 => {
                    let length = rest.first().map_or(0, |length| usize::from(*length) % 64);
                    let bytes = take(1 + length);
                    self.send(stranger, bytes.get(1..).unwrap_or(&[]));
                }
                13 => {
                    take(0);
                    self.hang_up(stranger);
                }
                14 => {
                    take(0);
                    self.settle();
                }
                _ => {
                    let millis = take(1);
                    self.pass(u64::from(*millis.first().unwrap_or(&0)) * 100);
                }
            }
        }
        self.settle();
        self.judge();
    }

    /// Bytes of a Client, over a new connection if it has none.
    fn send(&mut self, line: usize, bytes: &[u8]) {
        let key = match self.lines[line].key {
            Some(key) => key,
            None => {
                let listener = Arc::new(Listener::new("bench", Transport::Tcp));
                let address = ([127, 0, 0, 1], 1000).into();
                let key = self.shard.accept(self.now, Peer { address, listener, certificate: None });
                self.lines[line] = Line { key: Some(key), got: Vec::new() };
                key
            }
        };
        // What is not taken stays in the socket of a real connection; here it is lost with its Client.
        if self.shard.is_reading(key) {
            self.shard.receive(self.now, key, bytes);
        }
        self.flow();
    }

    fn hang_up(&mut self, line: usize) {
        if let Some(key) = self.lines[line].key.take() {
            self.check(line);
            self.shard.closed(self.now, key);
            self.flow();
        }
    }

    fn flow(&mut self) {
        loop {
            self.shard.turn(self.now);
            let mut dirty = Vec::new();
            self.shard.take_dirty(&mut dirty);
            if dirty.is_empty() && !self.shard.has_more() {
                return;
            }
            dirty.into_iter().for_each(|key| self.write(key));
        }
    }

    fn write(&mut self, key: u32) {
        let Some(at) = self.lines.iter().position(|line| line.key == Some(key)) else { return };
        let mut output = Output::default();
        loop {
            self.shard.take_output(|| self.now, key, &mut output);
            if output.is_empty() {
                break;
            }
            while !output.is_empty() {
                let mut slices = [IoSlice::new(&[]); 16];
                let used = output.slices(&mut slices, usize::MAX);
                let written = slices[..used].iter().map(|slice| slice.len()).sum();
                slices[..used].iter().for_each(|slice| self.lines[at].got.extend_from_slice(slice));
                output.advance(written);
            }
        }
        if self.shard.is_closing(key) {
            self.check(at);
            self.lines[at].key = None;
            self.shard.closed(self.now, key);
        } else {
            self.shard.receive(self.now, key, &[]);
        }
    }

    fn settle(&mut self) {
        self.flow();
        while let Some(round) = self.shard.take_sync() {
            self.engine.sync().expect("the disk of this bench works");
            self.shard.synced(self.now, round);
            self.flow();
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now.monotonic += millis;
        self.now.wall += millis;
        self.shard.tick_connections(self.now);
        self.shard.tick(self.now);
        self.settle();
    }

    /// What a Client was sent is MQTT of some version, and nothing follows a DISCONNECT.
    fn check(&self, line: usize) {
        let got = &self.lines[line].got;
        let readable = ProtocolVersion::ALL.iter().any(|version| is_readable(*version, got));
        assert!(readable, "Client {line} was sent {got:02x?}");
    }

    /// The honest Clients are served as if nobody else were there.
    fn judge(&mut self) {
        (0..self.lines.len()).for_each(|line| self.check(line));
        self.honest += 1;
        let number = self.honest.to_be_bytes();
        let body = [&b"\0\x08honest/1"[..], &number, &[0], &number].concat();
        let before = self.lines.iter().map(|line| line.got.len()).collect::<Vec<_>>();
        self.send(STRANGERS + 1, &[&[0x32, body.len() as u8], &body[..]].concat());
        self.settle();
        let heard = &self.lines[STRANGERS].got[before[STRANGERS]..];
        assert!(heard.windows(10).any(|found| found[..8] == *b"honest/1"), "it heard {heard:02x?}");
        let told = &self.lines[STRANGERS + 1].got[before[STRANGERS + 1]..];
        assert!(told.starts_with(&[0x40]) && told[2..4] == number, "it was told {told:02x?}");
        // Its window is open again.
        let at = heard.windows(8).position(|found| found == b"honest/1").expect("it was found above");
        let packet_id = [heard[at + 8], heard[at + 9]];
        self.send(STRANGERS, &[&[0x40, 2], &packet_id[..]].concat());
        self.settle();
        let open = self.lines.iter().filter(|line| line.key.is_some()).count() as u64;
        let seen = self.shard.observe();
        assert_eq!((seen.connections, seen.failures), (open, Vec::new()));
    }
}

/// A packet with its bytes changed as six bytes say: which, and two changes of a place by a value.
fn broken(plan: &[u8]) -> Vec<u8> {
    let at = |at: usize| plan.get(at).copied().unwrap_or(0);
    let mut packet = PACKETS[usize::from(at(0)) % PACKETS.len()].to_vec();
    for (place, value) in [(at(1), at(2)), (at(3), at(4))] {
        let place = usize::from(place) % packet.len();
        match at(5) % 4 {
            0 => packet[place] = value,
            1 => packet[place] ^= 1 << (value % 8),
            2 => packet.insert(place, value),
            _ if packet.len() > 2 => drop(packet.remove(place)),
            _ => {}
        }
    }
    // Else most of them would be nothing but a wrong length.
    if at(5) & 0x80 == 0 && packet.len() > 1 {
        packet[1] = (packet.len() - 2) as u8;
    }
    packet
}

fn is_readable(version: ProtocolVersion, mut bytes: &[u8]) -> bool {
    let mut ended = false;
    while !bytes.is_empty() {
        let Ok(Cut::Whole { first, body, length }) = cut(bytes, WireLimits::NONE) else { return false };
        let Ok(packet) = decode_from(Sender::Server, version, first, body) else { return false };
        if std::mem::replace(&mut ended, matches!(packet, Packet::Disconnect(_))) {
            return false;
        }
        bytes = &bytes[length..];
    }
    true
}
