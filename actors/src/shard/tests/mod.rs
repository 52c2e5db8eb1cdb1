//! Shards by themselves over the engine in memory: packets of Clients go in, packets come out, and a test decides when
//! a sync ends. Nothing waits and nothing is left to chance. Every story is told twice: within one shard, and across
//! several, where what was a call is mail.

mod across;
mod within;

use std::io::IoSlice;

use convoy_ids::NodeId;
use convoy_membership::Partitioning;
use convoy_storage::engine::Model;
use convoy_wire::{
    Connect, ConnectProperties, Cut, Disconnect, Limits as WireLimits, List, PacketId, ProtocolVersion,
    Puback, Pubcomp, Publish, Pubrec, Pubrel, ReasonCode, RetainHandling, Sender, Subscribe,
    SubscribeProperties, Subscription, SubscriptionId, SubscriptionOptions, TopicFilter, Unsubscribe,
    UnsubscribeProperties, cut, decode_from,
};

use super::*;
use crate::access::{Access, Credentials, Principal, Proof, Verdict};
use crate::chance::Secret;
use crate::options::Limits;
use crate::peer::{Listener, Transport};

pub(super) use convoy_wire::ProtocolVersion::{V5, V31, V311};
pub(super) use convoy_wire::{Packet, QoS};

/// A packet that a Client got, or the end of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Connack(ReasonCode, bool),
    Publish(Box<Received>),
    Puback(u16, ReasonCode),
    Pubrec(u16, ReasonCode),
    Pubrel(u16),
    Pubcomp(u16, ReasonCode),
    Suback(u16, Vec<ReasonCode>),
    Unsuback(u16, Vec<ReasonCode>),
    Pingresp,
    Disconnect(ReasonCode),
    Closed,
}

/// A PUBLISH that a Client got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Received {
    topic: String,
    payload: String,
    qos: u8,
    /// Zero for none.
    packet_id: u16,
    dup: bool,
    retain: bool,
    identifiers: Vec<u32>,
    expiry: Option<u32>,
    /// Zero for none.
    alias: u16,
}

/// At QoS 0 without anything else.
fn received(topic: &str, payload: &str) -> Received {
    Received { topic: topic.into(), payload: payload.into(), ..Received::default() }
}

impl Received {
    fn at(self, qos: u8, packet_id: u16) -> Self {
        Self { qos, packet_id, ..self }
    }

    fn again(self) -> Self {
        Self { dup: true, ..self }
    }

    fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    fn by(self, identifiers: &[u32]) -> Self {
        Self { identifiers: identifiers.to_vec(), ..self }
    }

    fn got(self) -> Got {
        Got::Publish(Box::new(self))
    }
}

/// A PUBLISH to be sent; QoS 0 with identifier 0.
fn publish<'a>(topic: &'a str, payload: &'a str, packet_id: u16) -> Publish<'a> {
    let qos = if packet_id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    let packet_id = PacketId::new(packet_id);
    Publish { topic, payload: payload.as_bytes(), qos, packet_id, ..Publish::default() }
}

fn id(packet_id: u16) -> PacketId {
    PacketId::new(packet_id).expect("a test gives no identifier of zero")
}

fn puback(packet_id: u16) -> Packet<'static> {
    Packet::Puback(Puback::new(id(packet_id), ReasonCode::Success))
}

fn pubrec(packet_id: u16) -> Packet<'static> {
    Packet::Pubrec(Pubrec::new(id(packet_id), ReasonCode::Success))
}

fn pubrel(packet_id: u16) -> Packet<'static> {
    Packet::Pubrel(Pubrel::new(id(packet_id), ReasonCode::Success))
}

fn pubcomp(packet_id: u16) -> Packet<'static> {
    Packet::Pubcomp(Pubcomp::new(id(packet_id), ReasonCode::Success))
}

/// Bytes as the specification writes them: two digits each, in groups; what stands between quotes is text.
fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, part) in text.split('\'').enumerate() {
        if at % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        for pair in digits.chunks(2) {
            let pair = std::str::from_utf8(pair).expect("digits are ASCII");
            bytes.push(u8::from_str_radix(pair, 16).expect("a test writes two digits a byte"));
        }
    }
    bytes
}

/// A packet whose Remaining Length is filled in.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let more = if rest > 127 { 0x80 } else { 0 };
        bytes.push((rest % 128) as u8 | more);
        rest /= 128;
        if rest == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// DISCONNECT with Normal Disconnection.
fn goodbye() -> Packet<'static> {
    Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION))
}

/// A Client of 5.0 whose Session lasts an hour.
fn lasting(client_id: &str) -> Connect<'_> {
    let properties = ConnectProperties { session_expiry_interval: Some(3600), ..Default::default() };
    Connect { clean_start: false, properties, ..Connect::new(V5, client_id) }
}

/// A Client of 5.0 whose Session ends with its connection.
fn passing(client_id: &str) -> Connect<'_> {
    Connect::new(V5, client_id)
}

/// A Client's side of a Network Connection.
struct Line {
    shard: usize,
    key: Option<u32>,
    version: ProtocolVersion,
    bytes: Vec<u8>,
    got: Vec<Got>,
    /// What comes is left in `bytes`.
    raw: bool,
    /// The Client does not read.
    stuck: bool,
    /// The shard was told so.
    is_stalled: bool,
}

/// Names a Client of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Client(usize);

struct World<const SHARDS: usize> {
    node: NodeId,
    engine: Arc<Model>,
    shards: Vec<Shard>,
    options: Options,
    access: Arc<Access>,
    /// Where Clients come in.
    listener: Arc<Listener>,
    now: Now,
    start: u32,
    /// The syncs that are under way, with the shards that wait for them.
    rounds: Vec<(usize, Round)>,
    lines: Vec<Line>,
}

const HOUR: u64 = 3_600_000;

impl<const SHARDS: usize> World<SHARDS> {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let mut world = Self::opened(first(), options(limits, SHARDS));
        world.lead();
        world
    }

    fn opened(node: NodeId, options: Options) -> Self {
        let engine = Arc::new(Model::new());
        let now = Now { monotonic: 1_000, wall: 1_700_000_000_000 };
        let access = Arc::<Access>::default();
        let shards = open(node, &engine, 1, &options, &access, SHARDS);
        let listener = Arc::new(Listener::new("test", Transport::Tcp));
        let (rounds, lines) = (Vec::new(), Vec::new());
        Self { node, engine, shards, options, access, listener, now, start: 1, rounds, lines }
    }

    fn lead(&mut self) {
        for _ in 0..100 {
            self.settle();
            if self.is_ready() {
                return;
            }
            self.now.monotonic += 100;
            self.now.wall += 100;
            self.shards.iter_mut().for_each(|shard| shard.tick(self.now));
        }
        panic!("no leader: {:?}", self.shards[0].observe());
    }

    fn is_ready(&self) -> bool {
        self.shards.iter().all(Shard::is_ready)
    }

    /// The process dies and is started again. What was written is still there.
    fn restart(&mut self) {
        self.begin_again(Model::restart);
    }

    /// The power fails: only what was synced is still there.
    fn power_cut(&mut self) {
        self.begin_again(|engine| engine.crash(0));
    }

    fn begin_again(&mut self, after: impl FnOnce(&Model) -> Model) {
        self.start_again(after);
        self.lead();
    }

    fn start_again(&mut self, after: impl FnOnce(&Model) -> Model) {
        self.engine = Arc::new(after(&self.engine));
        self.start += 1;
        self.rounds.clear();
        self.lines.iter_mut().for_each(|line| line.key = None);
        self.shards = open(self.node, &self.engine, self.start, &self.options, &self.access, SHARDS);
    }

    /// Lets everything happen that needs neither a sync nor time.
    fn flow(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for at in 0..SHARDS {
                self.shards[at].turn(self.now);
                quiet &= !self.shards[at].has_more();
                let mail: Vec<_> = self.shards[at].take_mail().collect();
                for (to, mail) in mail {
                    quiet = false;
                    self.shards[usize::from(to)].mail(self.now, mail);
                }
                let mut dirty = Vec::new();
                self.shards[at].take_dirty(&mut dirty);
                for key in dirty {
                    quiet = false;
                    self.write(at, key);
                }
                let round = self.shards[at].take_sync();
                self.rounds.extend(round.map(|round| (at, round)));
            }
        }
    }

    /// What a driver does for a connection that has something to write.
    fn write(&mut self, at: usize, key: u32) {
        let mut lines = self.lines.iter_mut();
        let Some(line) = lines.find(|line| line.shard == at && line.key == Some(key)) else { return };
        let shard = &mut self.shards[at];
        if line.stuck {
            if shard.is_gone(key) {
                line.got.push(Got::Closed);
                line.key = None;
                shard.closed(self.now, key);
            } else if !std::mem::replace(&mut line.is_stalled, true) {
                shard.write_stalls(self.now, key);
            }
            shard.heed(|| self.now, key);
            return;
        }
        if std::mem::take(&mut line.is_stalled) {
            shard.write_ends(key);
        }
        let mut output = Output::default();
        loop {
            shard.take_output(|| self.now, key, &mut output);
            if output.is_empty() {
                break;
            }
            while !output.is_empty() {
                let mut slices = [IoSlice::new(&[]); 16];
                let used = output.slices(&mut slices, usize::MAX);
                let before = line.bytes.len();
                slices[..used].iter().for_each(|slice| line.bytes.extend_from_slice(slice));
                let written = line.bytes.len() - before;
                output.advance(written);
            }
        }
        if !line.raw {
            line.read();
        }
        if shard.is_closing(key) {
            line.got.push(Got::Closed);
            line.key = None;
            shard.closed(self.now, key);
        } else {
            let heed = shard.heed(|| self.now, key);
            if matches!(heed, Heed::Reads | Heed::ReadsOut) {
                shard.receive(self.now, key, &[]);
            }
            if heed == Heed::ReadsOut {
                shard.read_out(key);
            }
            shard.heed(|| self.now, key);
        }
    }

    /// The syncs end that are under way, if any are.
    fn sync(&mut self) -> bool {
        self.flow();
        if self.rounds.is_empty() {
            return false;
        }
        self.engine.sync().expect("the disk of this test works");
        for (at, round) in std::mem::take(&mut self.rounds) {
            self.shards[at].synced(self.now, round);
        }
        self.flow();
        true
    }

    /// Lets everything happen that needs no time.
    fn settle(&mut self) {
        while self.sync() {}
    }

    /// Time passes.
    fn pass(&mut self, millis: u64) {
        self.now.monotonic += millis;
        self.now.wall += millis;
        self.shards.iter_mut().for_each(|shard| shard.tick_connections(self.now));
        // What is due makes something else due.
        for _ in 0..4 {
            self.shards.iter_mut().for_each(|shard| shard.tick(self.now));
            self.settle();
        }
    }

    /// Who connects next: every Client comes from this machine, from a port of its own.
    fn peer(&self) -> Peer {
        let listener = Arc::clone(&self.listener);
        let port = 10_000 + self.lines.len() as u16;
        Peer { address: ([127, 0, 0, 1], port).into(), listener, certificate: None }
    }

    /// A Network Connection over which nothing was sent.
    fn accept(&mut self, version: ProtocolVersion) -> Client {
        let shard = self.lines.len() % SHARDS;
        let peer = self.peer();
        let key = Some(self.shards[shard].accept(self.now, peer));
        self.lines.push(Line {
            shard,
            key,
            version,
            bytes: Vec::new(),
            got: Vec::new(),
            raw: false,
            stuck: false,
            is_stalled: false,
        });
        Client(self.lines.len() - 1)
    }

    fn send_bytes(&mut self, client: Client, bytes: &[u8]) {
        let Line { shard, key, .. } = self.lines[client.0];
        let key = key.expect("the Client is connected");
        self.shards[shard].receive(self.now, key, bytes);
        self.shards[shard].heed(|| self.now, key);
        self.flow();
    }

    fn send(&mut self, client: Client, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.lines[client.0].version, &mut bytes).expect("a test sends what can be written");
        self.send_bytes(client, &bytes);
    }

    /// Sends a packet, and lets everything happen that follows from it.
    fn send_and_settle(&mut self, client: Client, packet: Packet<'_>) {
        self.send(client, packet);
        self.settle();
    }

    fn publish(&mut self, client: Client, publish: Publish<'_>) {
        self.send_and_settle(client, Packet::Publish(publish));
    }

    /// Sends CONNECT, and nothing else.
    fn ask(&mut self, connect: Connect<'_>) -> Client {
        let client = self.accept(connect.version);
        self.send(client, Packet::Connect(connect));
        client
    }

    /// Connects; what the Client got is still to be asked for.
    fn join(&mut self, connect: Connect<'_>) -> Client {
        let client = self.ask(connect);
        self.settle();
        client
    }

    /// Connects a Client whose CONNACK is of no interest.
    fn connect(&mut self, connect: Connect<'_>) -> Client {
        let client = self.join(connect);
        let first = self.lines[client.0].got.remove(0);
        assert!(matches!(first, Got::Connack(ReasonCode::Success, _)), "{first:?}");
        client
    }

    /// Connects a Client with subscriptions of QoS 2.
    fn subscriber(&mut self, connect: Connect<'_>, filters: &[&str]) -> Client {
        let client = self.connect(connect);
        for filter in filters {
            self.subscribe(client, filter, SubscriptionOptions::new(QoS::ExactlyOnce));
        }
        client
    }

    fn subscribe(&mut self, client: Client, filter: &str, options: SubscriptionOptions) {
        self.subscribe_by(client, filter, options, None);
        let first = self.lines[client.0].got.remove(0);
        assert!(matches!(first, Got::Suback(77, _)), "{first:?}");
    }

    /// Sends a SUBSCRIBE under identifier 77, and lets everything happen that follows from it.
    fn subscribe_by(
        &mut self,
        client: Client,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) {
        let subscriptions = [Subscription { filter: TopicFilter::new(filter).unwrap(), options }];
        let subscription_id = identifier.map(|identifier| SubscriptionId::new(identifier).unwrap());
        let properties = SubscribeProperties { subscription_id, ..SubscribeProperties::default() };
        let subscriptions = List::new(&subscriptions);
        let subscribe = Subscribe { packet_id: id(77), properties, subscriptions };
        self.send_and_settle(client, Packet::Subscribe(subscribe));
    }

    /// Sends one SUBSCRIBE for all of these at QoS 1, and lets everything happen that follows from it.
    fn subscribe_all(&mut self, client: Client, filters: &[&str]) {
        let options = SubscriptionOptions::new(QoS::AtLeastOnce);
        let filters = filters.iter().map(|filter| TopicFilter::new(filter).unwrap());
        let subscriptions: Vec<_> = filters.map(|filter| Subscription { filter, options }).collect();
        let subscriptions = List::new(&subscriptions);
        let subscribe = Subscribe { packet_id: id(77), properties: Default::default(), subscriptions };
        self.send_and_settle(client, Packet::Subscribe(subscribe));
        self.got(client);
    }

    /// Sends an UNSUBSCRIBE under identifier 78, and lets everything happen that follows from it.
    fn unsubscribe(&mut self, client: Client, filters: &[&str]) {
        let filters: Vec<_> = filters.iter().map(|filter| TopicFilter::new(filter).unwrap()).collect();
        let properties = UnsubscribeProperties::default();
        let filters = List::new(&filters);
        self.send_and_settle(
            client,
            Packet::Unsubscribe(Unsubscribe { packet_id: id(78), properties, filters }),
        );
    }

    /// A Client that did not read reads again.
    fn unstick(&mut self, client: Client) {
        self.lines[client.0].stuck = false;
        let Line { shard, key, .. } = self.lines[client.0];
        self.write(shard, key.expect("the Client is connected"));
        self.settle();
    }

    /// What the Client got since this was asked last.
    fn got(&mut self, client: Client) -> Vec<Got> {
        std::mem::take(&mut self.lines[client.0].got)
    }

    /// The bytes that the Client got since this was asked last, and whether its connection was closed. From the first
    /// call on packets are not read any more.
    fn bytes(&mut self, client: Client) -> (Vec<u8>, bool) {
        let line = &mut self.lines[client.0];
        line.raw = true;
        let closed = std::mem::take(&mut line.got).contains(&Got::Closed);
        (std::mem::take(&mut line.bytes), closed)
    }

    /// Connects, sends bytes, and lets everything happen that follows from them: what comes back, and whether the
    /// connection was closed.
    fn exchange(&mut self, connect: Connect<'_>, bytes: &[u8]) -> (Vec<u8>, bool) {
        let client = self.connect(connect);
        self.bytes(client);
        self.send_bytes(client, bytes);
        self.settle();
        self.bytes(client)
    }

    /// The same with the very first bytes of a Network Connection.
    fn begin(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let client = self.accept(V5);
        self.bytes(client);
        self.send_bytes(client, bytes);
        self.settle();
        self.bytes(client)
    }

    /// The payloads of the messages that the Client got since this was asked last; it got nothing else.
    fn payloads(&mut self, client: Client) -> Vec<String> {
        let payload = |got| match got {
            Got::Publish(received) => received.payload,
            got => panic!("{got:?}"),
        };
        self.got(client).into_iter().map(payload).collect()
    }

    /// The messages that the Client gets while it acknowledges all of them.
    fn acknowledged(&mut self, client: Client) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let got = self.got(client);
            if got.is_empty() {
                return all;
            }
            for got in got {
                match got {
                    Got::Publish(received) => {
                        match received.qos {
                            1 => self.send(client, puback(received.packet_id)),
                            2 => self.send(client, pubrec(received.packet_id)),
                            _ => {}
                        }
                        all.push(*received);
                    }
                    Got::Pubrel(packet_id) => self.send(client, pubcomp(packet_id)),
                    _ => {}
                }
            }
            self.settle();
        }
    }

    /// The Network Connection breaks.
    fn cut(&mut self, client: Client) {
        let Line { shard, key, .. } = &mut self.lines[client.0];
        self.shards[*shard].closed(self.now, key.take().expect("the Client is connected"));
        self.flow();
    }

    fn cut_and_settle(&mut self, client: Client) {
        self.cut(client);
        self.settle();
    }

    /// Whether anybody has subscribed something that `x/y` matches, in memory or on disk.
    fn has_routes(&self) -> bool {
        let (partition, slot) = self.options.partitioning.locate("", "x/y", self.options.slots);
        let in_memory = |slot: &crate::slot::Slot| slot.routes(partition.0).is_some();
        let mut has = self.shards.iter().any(|shard| !shard.roots.is_empty());
        has |=
            self.shards.iter().flat_map(|shard| shard.slots.iter()).any(|of| of.id == slot && in_memory(of));
        let mut visit = |key: &[u8], _: &[u8]| {
            has |= key[2] == b'r';
            std::ops::ControlFlow::Continue(())
        };
        self.engine.scan(convoy_storage::engine::Family::Session, &[], &[0xff; 8], &mut visit).unwrap();
        has
    }

    /// Rows of outboxes on disk.
    fn outbox_rows(&self) -> usize {
        let mut rows = 0;
        let mut visit = |key: &[u8], _: &[u8]| {
            rows += usize::from(key[2] == b'b');
            std::ops::ControlFlow::Continue(())
        };
        self.engine.scan(convoy_storage::engine::Family::Session, &[], &[0xff; 8], &mut visit).unwrap();
        rows
    }

    /// Other rules hold from now on.
    fn set_access(&mut self, access: Access) {
        self.access = Arc::new(access);
        for shard in &mut self.shards {
            shard.set_access(self.now, Arc::clone(&self.access));
        }
        self.settle();
    }

    /// Other bans; returned is how many they cut off, as it was told before.
    fn set_bans(&mut self, bans: Vec<crate::access::Ban>) -> u64 {
        let bans = Arc::new(crate::access::Bans::new(bans));
        let mut cut = 0;
        for shard in &self.shards {
            let mut at = Some(0);
            while let Some(from) = at {
                let (clients, next) = shard.would_cut(self.now, None, &bans, from);
                (cut, at) = (cut + clients, next);
            }
        }
        for shard in &mut self.shards {
            shard.set_bans(self.now, Arc::clone(&bans), &bans);
        }
        self.settle();
        cut
    }

    /// The credentials that somebody has to look up.
    fn unproven(&mut self) -> Vec<Credentials> {
        self.shards.iter_mut().flat_map(Shard::take_unproven).collect()
    }

    /// The verdict on credentials comes.
    fn prove(&mut self, credentials: &Credentials, verdict: Verdict) {
        let home = credentials.home;
        self.shards[usize::from(home.shard)].proven(self.now, home, verdict);
        self.settle();
    }

    /// Sends CONNECT as a user, who is believed.
    fn join_as(&mut self, user: &str, connect: Connect<'_>) -> Client {
        let client = self.join(Connect { username: Some(user), password: Some(b"secret"), ..connect });
        let asked = self.unproven();
        assert_eq!(asked.len(), 1);
        let principal = Principal { user: Some(user.into()), proof: Proof::Password };
        self.prove(&asked[0], Verdict::Granted(principal));
        client
    }

    /// Bytes of messages that are kept for the Session of this Client, which ends with its connection.
    fn kept_bytes(&self, client: Client) -> u64 {
        let Line { shard, key, .. } = self.lines[client.0];
        let key = key.expect("the Client is connected");
        let outbound = self.shards[shard].outlet.edge.connections[key as usize].outbound.as_ref();
        outbound.map_or(0, |outbound| outbound.kept_bytes())
    }

    fn is_reading(&self, client: Client) -> bool {
        let Line { shard, key, .. } = self.lines[client.0];
        key.is_some_and(|key| self.shards[shard].is_reading(key))
    }
}

/// Whether there was a subscriber is for the stories that look at bytes.
fn accepted(reason: ReasonCode) -> ReasonCode {
    if reason == ReasonCode::NoMatchingSubscribers { ReasonCode::Success } else { reason }
}

/// A Will of QoS 1.
fn will_on<'a>(topic: &'a str, payload: &'a [u8]) -> convoy_wire::Will<'a> {
    let topic = convoy_wire::TopicName::new(topic).expect("it is a Topic Name");
    convoy_wire::Will { topic, payload, qos: QoS::AtLeastOnce, retain: false, properties: Default::default() }
}

/// The node that is alone.
fn first() -> NodeId {
    NodeId::new(1).expect("one is not zero")
}

pub(super) fn options(limits: Limits, shards: usize) -> Options {
    let partitioning = Partitioning { partitions: 4, partition_levels: 2 };
    // Across shards two receivers are very many.
    let fan_out_piece = if shards == 1 { crate::options::FAN_OUT_PIECE } else { 1 };
    Options { limits, fan_out_piece, ..Options::alone(8, partitioning, Secret::from_number(7)) }
}

fn open(
    node: NodeId,
    engine: &Arc<Model>,
    start: u32,
    options: &Options,
    access: &Arc<Access>,
    shards: usize,
) -> Vec<Shard> {
    let shards = shards as u16;
    let rows = Generations::open(Arc::clone(engine) as Arc<dyn Engine>).expect("its rows can be read");
    let rows = Arc::new(rows);
    (0..shards)
        .map(|shard| {
            let identity = Identity { node, start, shard, shards };
            let mut shard =
                Shard::new(identity, Arc::clone(&rows), options.clone()).expect("the slots can be read");
            shard.set_access(Now::default(), Arc::clone(access));
            shard
        })
        .collect()
}

impl Line {
    /// Takes the whole packets off what has come.
    fn read(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = &bytes[..];
        while let Cut::Whole { first, body, length } = cut(rest, WireLimits::all(1 << 28)).unwrap() {
            let packet = decode_from(Sender::Server, self.version, first, body).unwrap();
            self.got.push(Got::of(packet));
            rest = &rest[length..];
            if rest.is_empty() {
                return;
            }
        }
        self.bytes = rest.to_vec();
    }
}

impl Got {
    fn of(packet: Packet<'_>) -> Self {
        match packet {
            Packet::Connack(connack) => Self::Connack(connack.reason, connack.session_present),
            Packet::Publish(publish) => Self::Publish(Box::new(Received {
                topic: publish.topic.into(),
                payload: String::from_utf8_lossy(publish.payload).into_owned(),
                qos: publish.qos as u8,
                packet_id: publish.packet_id.map_or(0, PacketId::get),
                dup: publish.dup,
                retain: publish.retain,
                identifiers: publish.properties.subscription_ids.iter().map(SubscriptionId::get).collect(),
                expiry: publish.properties.message_expiry_interval,
                alias: publish.properties.topic_alias.map_or(0, convoy_wire::TopicAlias::get),
            })),
            Packet::Puback(ack) => Self::Puback(ack.packet_id.get(), accepted(ack.reason)),
            Packet::Pubrec(ack) => Self::Pubrec(ack.packet_id.get(), accepted(ack.reason)),
            Packet::Pubrel(ack) => Self::Pubrel(ack.packet_id.get()),
            Packet::Pubcomp(ack) => Self::Pubcomp(ack.packet_id.get(), ack.reason),
            Packet::Suback(ack) => Self::Suback(ack.packet_id.get(), ack.reasons.iter().collect()),
            Packet::Unsuback(ack) => Self::Unsuback(ack.packet_id.get(), ack.reasons.iter().collect()),
            Packet::Pingresp => Self::Pingresp,
            Packet::Disconnect(disconnect) => Self::Disconnect(disconnect.reason),
            packet => panic!("a Server does not send {packet:?}"),
        }
    }
}
