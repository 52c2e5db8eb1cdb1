//! The scheduler: takes what is next from the agenda, gives it to the node or to a Client, and carries out what follows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use convoy_actors::{
    FAN_OUT_PIECE, Heed, Identity, Limits, Listener, Mail, Options, Output, Peer, Secret, Shard, Transport,
    Without,
};
use convoy_ids::NodeId;
use convoy_membership::Partitioning;
use convoy_storage::replica::Round;

use super::client::{Act, Character, Client, Log};
use super::clock::{Agenda, MILLISECOND, Micros, SECOND};
use super::disk::{CutAt, Disk, Mark, Synced};
use super::net::Pipe;
use super::seed::{Seed, Stream};
use crate::oracle::{Closer, Fault, Link, What};

/// No run takes longer than this to come to rest once everything is well.
const REST_LIMIT: Micros = 120 * SECOND;

/// So long nothing may happen before a run is over: longer than any Will is delayed, and than the oracle's allowance.
const QUIET: Micros = 8 * SECOND;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: Seed,
    pub shards: u16,
    pub slots: u16,
    pub characters: Vec<Character>,
    /// For so long Clients go about their day.
    pub work: Micros,
    pub cut_at: Option<CutAt>,
    /// The node is killed, or its power cut, about so often.
    pub crash_every: Option<Micros>,
    /// The disk only says that it has synced: a run that the judge must not let pass.
    pub lying_disk: bool,
    /// A rule that the shards leave out: a run that the judge must not let pass.
    pub without: Without,
    /// The disk is full from the first to the second time.
    pub full: Option<(Micros, Micros)>,
}

/// What a run has shown.
pub struct Outcome {
    pub log: Log,
    /// Of everything that happened, in its order.
    pub trace: u64,
    pub syncs: u64,
    pub starts: u32,
    /// Why the node did not come to rest, if so.
    pub restless: Option<String>,
    /// What shards said of themselves at the end.
    pub failures: Vec<String>,
}

#[derive(Debug)]
enum Event {
    Tick,
    TickConnections,
    Turn { start: u32, shard: u16 },
    Mail { start: u32, from: u16, to: u16 },
    Synced { start: u32, shard: u16, round: Round, mark: Mark },
    ToNode { connection: usize },
    ToClient { connection: usize },
    Act { client: usize },
    Crash,
    Start,
    DiskFull(bool),
    Rest,
}

struct Connection {
    client: usize,
    link: Link,
    /// The Client has a newer one.
    ousted: bool,
    shard: u16,
    key: u32,
    to_node: Pipe,
    to_client: Pipe,
    output: Output,
    /// The node has not been told yet that it is closed.
    at_node: bool,
    at_client: bool,
    /// It ended because the node died.
    died: bool,
}

struct World {
    setup: Setup,
    agenda: Agenda<Event>,
    chance: Chance,
    disk: Disk,
    /// None while the node is down.
    shards: Vec<Shard>,
    listener: Arc<Listener>,
    starts: u32,
    turns: Vec<bool>,
    mail: BTreeMap<(u16, u16), VecDeque<Mail>>,
    keys: BTreeMap<(u16, u32), usize>,
    connections: Vec<Connection>,
    clients: Vec<Client>,
    log: Log,
    trace: u64,
    resting: bool,
    /// Deliveries, and since when their number is the same.
    quiet: (u64, Micros),
}

/// A stream for each source of disorder: one more draw in one of them changes nothing in the others.
struct Chance {
    net: Stream,
    disk: Stream,
    node: Stream,
    fault: Stream,
    clients: Vec<Stream>,
}

/// Runs a day of these Clients, lets everything heal, and waits for the node to come to rest.
pub fn run(setup: Setup) -> Outcome {
    let seed = setup.seed;
    let clients: Vec<Client> = setup.characters.iter().cloned().map(Client::new).collect();
    let chance = Chance {
        net: seed.stream("net"),
        disk: seed.stream("disk"),
        node: seed.stream("node"),
        fault: seed.stream("fault"),
        clients: setup.characters.iter().map(|character| seed.stream(&character.name)).collect(),
    };
    let mut world = World {
        disk: Disk::new(setup.cut_at, setup.lying_disk),
        agenda: Agenda::default(),
        chance,
        shards: Vec::new(),
        listener: Arc::new(Listener::new("sim", Transport::Tcp)),
        starts: 0,
        turns: Vec::new(),
        mail: BTreeMap::new(),
        keys: BTreeMap::new(),
        connections: Vec::new(),
        clients,
        log: Log::default(),
        trace: 0xcbf2_9ce4_8422_2325,
        resting: false,
        quiet: (0, 0),
        setup,
    };
    world.begin();
    let restless = world.live();
    let failures = world.shards.iter().flat_map(|shard| shard.observe().failures).collect();
    world.log.at = world.agenda.since_begin();
    world.log.record(What::Fault(Fault::Healed));
    Outcome {
        log: world.log,
        trace: world.trace,
        syncs: world.disk.syncs(),
        starts: world.starts,
        restless,
        failures,
    }
}

impl World {
    fn begin(&mut self) {
        self.start();
        self.agenda.enter(100 * MILLISECOND, Event::Tick);
        self.agenda.enter(SECOND, Event::TickConnections);
        for client in 0..self.clients.len() {
            let delay = self.chance.clients[client].between(0, 50 * MILLISECOND);
            self.agenda.enter(delay, Event::Act { client });
        }
        self.plan_crash();
        if let Some((from, to)) = self.setup.full {
            self.agenda.enter(from, Event::DiskFull(true));
            self.agenda.enter(to, Event::DiskFull(false));
        }
        self.agenda.enter(self.setup.work, Event::Rest);
    }

    /// Lives until nothing happens any more; else why not.
    fn live(&mut self) -> Option<String> {
        loop {
            let event = self.agenda.take().expect("ticks never end");
            self.log.at = self.agenda.since_begin();
            let ticked = matches!(event, Event::Tick);
            self.happen(event);
            if ticked && self.resting {
                if self.is_over() {
                    return None;
                }
                if self.agenda.micros() > self.setup.work + REST_LIMIT {
                    return Some(self.complaint());
                }
            }
        }
    }

    fn is_over(&mut self) -> bool {
        let delivered: u64 = self.clients.iter().map(Client::delivered).sum();
        let now = self.agenda.micros();
        if delivered != self.quiet.0 || !self.clients.iter().all(Client::is_settled) {
            self.quiet = (delivered, now);
        }
        now > self.quiet.1 + QUIET
    }

    fn complaint(&self) -> String {
        let unsettled: Vec<_> = self.clients.iter().filter(|client| !client.is_settled()).collect();
        let ready: Vec<bool> = self.shards.iter().map(Shard::is_ready).collect();
        format!("shards ready: {ready:?}; Clients that still wait: {unsettled:#?}")
    }

    /// Takes an event into the hash of the run.
    fn note(&mut self, kind: u8, bytes: &[u8]) {
        let time = self.agenda.micros().to_le_bytes();
        for &byte in [kind].iter().chain(&time).chain(bytes) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick => {
                self.agenda.enter(100 * MILLISECOND, Event::Tick);
                for shard in 0..self.shards.len() as u16 {
                    let now = self.agenda.now();
                    self.shards[usize::from(shard)].tick(now);
                    self.follow(shard);
                }
            }
            Event::TickConnections => {
                self.agenda.enter(SECOND, Event::TickConnections);
                for shard in 0..self.shards.len() as u16 {
                    let now = self.agenda.now();
                    self.shards[usize::from(shard)].tick_connections(now);
                    self.follow(shard);
                }
            }
            Event::Turn { start, shard } if self.is_up(start) => {
                self.note(1, &shard.to_le_bytes());
                self.turns[usize::from(shard)] = false;
                let now = self.agenda.now();
                self.shards[usize::from(shard)].turn(now);
                self.carry_out(shard);
                if self.shards[usize::from(shard)].has_more() {
                    self.follow(shard);
                }
            }
            Event::Mail { start, from, to } if self.is_up(start) => {
                self.note(2, &[from as u8, to as u8]);
                let mail = self.mail.get_mut(&(from, to)).and_then(VecDeque::pop_front);
                let now = self.agenda.now();
                let mail = mail.expect("as many arrivals are entered as batches are posted");
                self.shards[usize::from(to)].mail(now, mail);
                self.follow(to);
            }
            Event::Synced { start, shard, round, mark } if self.is_up(start) => {
                self.synced(shard, round, mark)
            }
            Event::Turn { .. } | Event::Mail { .. } | Event::Synced { .. } => {}
            Event::ToNode { connection } => self.arrive_at_node(connection),
            Event::ToClient { connection } => self.arrive_at_client(connection),
            Event::Act { client } => self.act(client),
            Event::Crash => {
                if !self.resting && !self.shards.is_empty() {
                    self.crash();
                }
                self.plan_crash();
            }
            Event::Start => self.start(),
            Event::DiskFull(full) => {
                self.log.record(What::Fault(if full { Fault::DiskFull } else { Fault::DiskFreed }));
                self.disk.model().set_full(full);
            }
            Event::Rest => {
                self.resting = true;
                self.log.record(What::Fault(Fault::Healed));
                self.clients.iter_mut().for_each(|client| client.resting = true);
            }
        }
    }

    fn is_up(&self, start: u32) -> bool {
        !self.shards.is_empty() && start == self.starts
    }

    fn is_listening(&self) -> bool {
        !self.shards.is_empty() && self.shards.iter().all(Shard::is_ready)
    }

    // The node.

    fn start(&mut self) {
        self.starts += 1;
        self.log.record(What::Fault(Fault::Started));
        let shards = self.setup.shards;
        let engine = self.disk.engine();
        let options = Options {
            slots: self.setup.slots,
            partitioning: Partitioning { partitions: 2, partition_levels: 2 },
            limits: Limits::default(),
            server_reference: None,
            shared: Default::default(),
            min_free_bytes: 1 << 20,
            secret: Secret::from_number(self.setup.seed.0),
            // Two receivers are very many, but for half of the seeds and where another rule is looked for.
            fan_out_piece: match self.setup.without {
                Without::Nothing if self.setup.seed.0 % 2 == 0 => 1,
                _ => FAN_OUT_PIECE,
            },
            without: self.setup.without,
        };
        for shard in 0..shards {
            let node = NodeId::new(1).expect("one is not zero");
            let identity = Identity { node, start: self.starts, shard, shards };
            let opened = Shard::new(identity, Arc::clone(&engine), options.clone());
            self.shards.push(opened.expect("a disk that keeps its promises can be read"));
        }
        self.turns = vec![false; usize::from(shards)];
        for shard in 0..shards {
            self.follow(shard);
        }
    }

    fn plan_crash(&mut self) {
        if let Some(every) = self.setup.crash_every {
            let delay = self.chance.fault.between(every / 4, every * 2);
            self.agenda.enter(delay, Event::Crash);
        }
    }

    fn crash(&mut self) {
        if self.chance.fault.one_in(3) {
            self.log.record(What::Fault(Fault::Killed));
            self.disk.kill();
        } else {
            let unsynced = self.disk.model().unsynced() as u64;
            let keep = self.chance.fault.below(unsynced + 1) as usize;
            self.log.record(What::Fault(Fault::PowerCut));
            self.disk.cut_power(keep);
        }
        self.go_down();
    }

    /// The process is gone: its state, its mail and its ends of the connections. What was on its way to Clients arrives.
    fn go_down(&mut self) {
        self.note(3, &[]);
        self.shards.clear();
        self.mail.clear();
        self.keys.clear();
        for connection in 0..self.connections.len() {
            let found = &mut self.connections[connection];
            if !found.at_client {
                found.at_node = false;
                continue;
            }
            found.died |= found.at_node;
            found.at_node = false;
            found.to_client.ended = true;
            self.flow_to_client(connection);
        }
        let delay = self.chance.fault.between(10 * MILLISECOND, 400 * MILLISECOND);
        self.agenda.enter(delay, Event::Start);
    }

    fn synced(&mut self, shard: u16, round: Round, mark: Mark) {
        self.note(4, &shard.to_le_bytes());
        match self.disk.end_sync(mark) {
            Ok(Synced::Done) => {
                let now = self.agenda.now();
                self.shards[usize::from(shard)].synced(now, round);
                self.follow(shard);
            }
            Ok(Synced::Cut { keep }) => {
                self.log.record(What::Fault(Fault::PowerCut));
                self.disk.cut_power(keep);
                self.go_down();
            }
            Err(error) => self.shards[usize::from(shard)].sync_failed(&error.to_string()),
        }
    }

    /// After an event of a shard: what it wants carried out, and soon the end of its burst.
    fn follow(&mut self, shard: u16) {
        self.carry_out(shard);
        if !std::mem::replace(&mut self.turns[usize::from(shard)], true) {
            let delay = self.chance.node.below(300);
            self.agenda.enter(delay, Event::Turn { start: self.starts, shard });
        }
    }

    fn carry_out(&mut self, shard: u16) {
        let mut dirty = Vec::new();
        loop {
            self.shards[usize::from(shard)].take_dirty(&mut dirty);
            if dirty.is_empty() {
                break;
            }
            for key in std::mem::take(&mut dirty) {
                if let Some(&connection) = self.keys.get(&(shard, key)) {
                    self.serve(connection);
                }
            }
        }
        let start = self.starts;
        let posted: Vec<(u16, Mail)> = self.shards[usize::from(shard)].take_mail().collect();
        for (to, mail) in posted {
            self.mail.entry((shard, to)).or_default().push_back(mail);
            // A thread that is not scheduled for a while keeps its mail waiting.
            let most = if self.chance.node.one_in(10) { 20 * MILLISECOND } else { 500 };
            let delay = self.chance.node.between(1, most);
            self.agenda.enter(delay, Event::Mail { start, from: shard, to });
        }
        if let Some(round) = self.shards[usize::from(shard)].take_sync() {
            let (mark, delay) = self.disk.begin_sync(&mut self.chance.disk);
            self.agenda.enter(delay, Event::Synced { start, shard, round, mark });
        }
    }

    /// What the node does for a connection that has news.
    fn serve(&mut self, at: usize) {
        let now = self.agenda.now();
        let connection = &mut self.connections[at];
        let (key, shard) = (connection.key, &mut self.shards[usize::from(connection.shard)]);
        while connection.at_node {
            if connection.output.is_empty() {
                shard.take_output(|| now, key, &mut connection.output);
            }
            let waits = !connection.output.is_empty();
            connection.to_client.write_output(&mut connection.output);
            if !connection.output.is_empty() {
                // It goes on when the Client has read.
                break;
            }
            if waits {
                continue;
            }
            if shard.is_closing(key) {
                connection.at_node = false;
                connection.to_client.ended = true;
                self.keys.remove(&(connection.shard, key));
                shard.closed(now, key);
                break;
            }
            if shard.heed(|| now, key) != Heed::Reads || !shard.has_whole_input(key) {
                break;
            }
            shard.receive(now, key, &[]);
        }
        self.flow_to_client(at);
        self.flow_to_node(at);
    }

    // The network.

    fn flow_to_node(&mut self, at: usize) {
        let pipe = &mut self.connections[at].to_node;
        if !pipe.flowing && (!pipe.is_empty() || pipe.ended) {
            pipe.flowing = true;
            let delay = self.chance.net.between(5, 800);
            self.agenda.enter(delay, Event::ToNode { connection: at });
        }
    }

    fn flow_to_client(&mut self, at: usize) {
        let pipe = &mut self.connections[at].to_client;
        if !pipe.flowing && (!pipe.is_empty() || pipe.ended) {
            pipe.flowing = true;
            let delay = self.chance.net.between(5, 800);
            self.agenda.enter(delay, Event::ToClient { connection: at });
        }
    }

    fn arrive_at_node(&mut self, at: usize) {
        let now = self.agenda.now();
        let connection = &mut self.connections[at];
        connection.to_node.flowing = false;
        if !connection.at_node {
            return;
        }
        let (key, number) = (connection.key, connection.shard);
        let shard = &mut self.shards[usize::from(number)];
        if !connection.to_node.is_empty() {
            if shard.heed(|| now, key) != Heed::Reads {
                // It stays in the socket; the shard gives notice.
                return;
            }
            let bytes = connection.to_node.read(&mut self.chance.net);
            shard.receive(now, key, &bytes);
            self.note(5, &bytes);
        } else if connection.to_node.ended {
            connection.at_node = false;
            connection.to_client.ended = true;
            self.keys.remove(&(number, key));
            shard.closed(now, key);
        }
        self.follow(number);
        if self.connections[at].at_node {
            self.flow_to_node(at);
        }
    }

    fn arrive_at_client(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.to_client.flowing = false;
        if !connection.at_client {
            return;
        }
        let (client, ousted, died) = (connection.client, connection.ousted, connection.died);
        if !connection.to_client.is_empty() {
            let bytes = connection.to_client.read(&mut self.chance.net);
            self.note(6, &bytes);
            if !ousted {
                self.clients[client].receive(&bytes, &mut self.chance.clients[client], &mut self.log);
                self.send(client);
            }
            if self.connections[at].at_node {
                // There is room again.
                let shard = self.connections[at].shard;
                self.serve(at);
                self.follow(shard);
            }
        } else if connection.to_client.ended {
            connection.at_client = false;
            connection.to_node.ended = true;
            if ousted {
                let link = connection.link.clone();
                self.log.record(What::Closed { link, by: Closer::Server });
            } else {
                self.clients[client].on_closed(Closer::Server, died, &mut self.log);
            }
        }
        self.flow_to_client(at);
    }

    // Clients.

    /// The connection that a Client is on.
    fn current(&self, client: usize) -> Option<usize> {
        let current = |connection: &Connection| {
            connection.client == client && connection.at_client && !connection.ousted
        };
        self.connections.iter().rposition(current)
    }

    fn send(&mut self, client: usize) {
        let bytes = std::mem::take(&mut self.clients[client].outbox);
        if let Some(at) = self.current(client).filter(|_| !bytes.is_empty()) {
            self.connections[at].to_node.write(&bytes);
            self.flow_to_node(at);
        }
    }

    fn act(&mut self, client: usize) {
        let can_connect = self.is_listening();
        let chance = &mut self.chance.clients[client];
        let act = self.clients[client].act(can_connect, chance, &mut self.log);
        self.note(7, &[client as u8, act as u8]);
        match act {
            Act::Nothing => {}
            Act::Open => self.open(client),
            Act::TakeOver => {
                if let Some(old) = self.current(client) {
                    self.connections[old].ousted = true;
                }
                self.open(client);
            }
            Act::Cut => {
                if let Some(at) = self.current(client) {
                    self.cut(at);
                }
                self.clients[client].on_closed(Closer::Client, false, &mut self.log);
            }
        }
        self.send(client);
        let chance = &mut self.chance.clients[client];
        let found = &self.clients[client];
        let (low, high) = if found.is_away() { found.character.away } else { found.character.pause };
        let delay = chance.between(low, high);
        self.agenda.enter(delay, Event::Act { client });
    }

    fn open(&mut self, client: usize) {
        let shard = self.chance.node.below(self.shards.len() as u64) as u16;
        let listener = Arc::clone(&self.listener);
        let peer =
            Peer { address: ([127, 0, 0, 1], 1024 + client as u16).into(), listener, certificate: None };
        let key = self.shards[usize::from(shard)].accept(self.agenda.now(), peer);
        let link = self.clients[client].link().expect("it connects").clone();
        self.keys.insert((shard, key), self.connections.len());
        self.connections.push(Connection {
            client,
            link,
            ousted: false,
            shard,
            key,
            to_node: Pipe::default(),
            to_client: Pipe::default(),
            output: Output::default(),
            at_node: true,
            at_client: true,
            died: false,
        });
    }

    /// The Client's end goes. What it sent before may still arrive.
    fn cut(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.at_client = false;
        if self.chance.net.one_in(2) {
            connection.to_node.clear();
        }
        connection.to_node.ended = true;
        connection.to_client.clear();
        self.flow_to_node(at);
    }
}
