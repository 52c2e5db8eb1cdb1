//! The scheduler: takes what is next from the agenda, gives it to a node or to a Client, and carries out what follows.

mod clocks;
mod connections;
mod disks;
mod faults;
mod moves;
mod replicas;
mod swim;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convoy_actors::{CatchUp, FAN_OUT_PIECE, Limits, Listener, Options, Parcel, Secret, Transport, Without};
use convoy_ids::{SlotId, Term};
use convoy_membership::Partitioning;
use convoy_storage::replica::Outgoing;

use super::client::{Character, Client, Log};
use super::clock::{Agenda, MILLISECOND, Micros, SECOND};
use super::disk::{CutAt, Disk};
use super::links::Links;
use super::node::{Lane, Node, Step, Taken};
use super::node_clock::{Clocks, NodeClock};
use super::places::Places;
use super::seed::{Seed, Stream};
use super::strike::{Schedule, Strike};

use crate::oracle::{Fault, What};
use connections::{Connection, Way};
use disks::{Hurt, Relief};
pub use moves::Moving;
use moves::{Meta, Moved};
use replicas::Seen;

/// No run takes longer than this to come to rest once everything is well.
const REST_LIMIT: Micros = 120 * SECOND;

/// So long nothing may happen before a run is over: longer than any Will is delayed, and than the oracle's allowance.
const QUIET: Micros = 8 * SECOND;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: Seed,
    /// Each of them holds a replica of every slot, if they do not move.
    pub nodes: u16,
    /// Replicas of slots move: nodes come to the fleet and leave it.
    pub moving: Option<Moving>,
    /// Of each node.
    pub shards: u16,
    pub slots: u16,
    pub characters: Vec<Character>,
    /// For so long Clients go about their day.
    pub work: Micros,
    /// Of the first node.
    pub cut_at: Option<CutAt>,
    /// A node is killed, or its power cut, about so often.
    pub crash_every: Option<Micros>,
    /// The links between nodes are cut, for a while, about so often.
    pub cut_every: Option<Micros>,
    /// What such a cut does.
    pub cuts: Cuts,
    /// A node stands still, for a while, about so often.
    pub pause_every: Option<Micros>,
    /// Something befalls the disk of a node about so often.
    pub hurt_every: Option<Micros>,
    /// How far the clocks of nodes are apart.
    pub clocks: Clocks,
    /// What befalls the fleet instead of what chance would decide.
    pub schedule: Option<Schedule>,
    /// What is kept of logs, and how copies go to whom that is too little.
    pub catch_up: CatchUp,
    /// What nodes send to each other is lost, doubled, late and reordered.
    pub disorder: bool,
    /// Now and then a sync takes seconds.
    pub stalls: bool,
    /// Disks only say that they have synced: a run that the judge must not let pass.
    pub lying_disk: bool,
    /// A rule that the shards leave out: a run that the judge must not let pass.
    pub without: Without,
    /// The disk of the first node is full from the first to the second time.
    pub full: Option<(Micros, Micros)>,
}

/// Which cuts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// Of every shape.
    Any,
    /// The leader is alone, with some of its Clients, and stands still until others lead.
    StaleLeader,
}

/// What a run has shown.
pub struct Outcome {
    pub log: Log,
    /// Of everything that happened, in its order.
    pub trace: u64,
    /// Of the first node.
    pub syncs: u64,
    /// Of all nodes.
    pub starts: u32,
    /// Copies of slots' state that came into force, on all nodes.
    pub copies: u64,
    /// All that befell the fleet.
    pub struck: Schedule,
    /// Rows that could not be read for a while.
    pub damaged: Vec<String>,
    /// Terms in which slots were led.
    pub terms: usize,
    /// Times that a node did not start over such a row, and that a shard met one.
    pub refused: [usize; 2],
    /// Replicas of slots that came to nodes and went, on all nodes.
    pub moves: u64,
    /// Nodes whose place others took without an order.
    pub replaced: u64,
    /// Why the fleet did not come to rest, if so.
    pub restless: Option<String>,
    /// The longest time that a fleet did not serve its Clients, though nothing stood in the way.
    pub leaderless: Duration,
    /// What shards said of themselves at the end, and what nodes did not agree on.
    pub failures: Vec<String>,
}

#[derive(Debug)]
enum Event {
    Tick {
        node: usize,
    },
    TickConnections {
        node: usize,
    },
    Step {
        node: usize,
        start: u32,
        step: Step,
    },
    /// What the replica of a slot says reaches another node.
    Hear {
        node: usize,
        from: usize,
        lane: Lane,
        slot: SlotId,
        bytes: Bytes,
    },
    /// What a shard says reaches one of another node.
    HearShard {
        node: usize,
        from: usize,
        shard: u16,
        bytes: Bytes,
    },
    /// A datagram of membership.
    HearSwim {
        node: usize,
        from: usize,
        bytes: Bytes,
    },
    Accept {
        connection: usize,
    },
    ToNode {
        connection: usize,
    },
    ToClient {
        connection: usize,
    },
    Act {
        client: usize,
    },
    Haunt {
        connection: usize,
    },
    Crash,
    Start {
        node: usize,
        shards: u16,
    },
    Tear,
    Mend,
    Suspend,
    Wake {
        node: usize,
        start: u32,
        away: Micros,
        order: u64,
    },
    Hurt,
    Relieve {
        node: usize,
        of: Relief,
    },
    SetClock,
    Strike(Strike),
    DiskFull(bool),
    Moved(Moved),
    Rest,
}

impl Event {
    /// A node meets what its Clients did.
    fn is_of_client(&self) -> bool {
        matches!(self, Self::Accept { .. } | Self::ToNode { .. })
    }
}

struct World {
    setup: Setup,
    agenda: Agenda<Event>,
    chance: Chance,
    nodes: Vec<Node>,
    clocks: Vec<NodeClock>,
    /// What is wrong with the disk of each node.
    hurts: Vec<Hurt>,
    struck: Schedule,
    damaged: Vec<String>,
    refused: [usize; 2],
    /// What came to each node while it stood still.
    waiting: Vec<Vec<Event>>,
    /// Which nodes believed that they could serve Clients, when they were looked at last.
    serving: Places,
    /// What each of them led then.
    led: Vec<BTreeSet<(SlotId, Term)>>,
    /// What was seen of each shard of each node.
    seen: Vec<Vec<Seen>>,
    /// Of these nodes all shards may have changed since.
    unseen: Places,
    /// A majority of nodes serves, and nobody else. One of them that leads something, by turns.
    settled: Option<usize>,
    /// Who has led each slot in each term.
    leaders: BTreeMap<(SlotId, Term), usize>,
    /// Of these more than one.
    rivals: BTreeSet<(SlotId, Term)>,
    /// When a node last died, came, stood still, went on or waited for its disk, or links were cut or mended.
    changed_at: Micros,
    /// When a majority last served Clients.
    served_at: Micros,
    /// The longest time that none did, though nothing stood in the way.
    leaderless: Micros,
    /// Who is of the fleet, where that changes.
    meta: Option<Meta>,
    links: Links,
    listener: Arc<Listener>,
    connections: Vec<Connection>,
    clients: Vec<Client>,
    ways: Vec<Way>,
    log: Log,
    trace: u64,
    resting: bool,
    /// Deliveries, and since when their number is the same.
    quiet: (u64, Micros),
}

/// A stream for each source of disorder: one more draw in one of them changes nothing in the others.
struct Chance {
    net: Stream,
    /// Which node a Client asks.
    ways: Stream,
    fault: Stream,
    cuts: Stream,
    pauses: Stream,
    disks: Stream,
    clocks: Stream,
    /// How long pieces of copies take.
    snapshots: Stream,
    clients: Vec<Stream>,
}

/// Runs a day of these Clients, lets everything heal, and waits for the fleet to come to rest.
pub fn run(setup: Setup) -> Outcome {
    let seed = setup.seed;
    let mut clocks = seed.stream("clocks at first");
    let clients: Vec<Client> = setup.characters.iter().cloned().map(Client::new).collect();
    let chance = Chance {
        net: seed.stream("net"),
        ways: seed.stream("ways"),
        fault: seed.stream("fault"),
        cuts: seed.stream("cuts"),
        pauses: seed.stream("pauses"),
        disks: seed.stream("disks"),
        clocks: seed.stream("clocks"),
        snapshots: seed.stream("snapshots"),
        clients: setup.characters.iter().map(|character| seed.stream(&character.name)).collect(),
    };
    let count = usize::from(setup.nodes);
    let cut_at = |place: usize| setup.cut_at.filter(|_| place == 0);
    let disk = |place| Disk::new(cut_at(place), setup.lying_disk, setup.stalls);
    let nodes = (0..count).map(|place| Node::new(seed, place, disk(place)));
    let mut world = World {
        nodes: nodes.collect(),
        clocks: (0..count).map(|_| NodeClock::draw(setup.clocks, &mut clocks)).collect(),
        hurts: (0..count).map(|_| Hurt::default()).collect(),
        struck: Vec::new(),
        damaged: Vec::new(),
        refused: [0, 0],
        agenda: Agenda::default(),
        chance,
        waiting: (0..count).map(|_| Vec::new()).collect(),
        serving: Places::default(),
        led: vec![BTreeSet::new(); count],
        seen: (0..count).map(|_| Vec::new()).collect(),
        unseen: Places::default(),
        settled: None,
        leaders: BTreeMap::new(),
        rivals: BTreeSet::new(),
        changed_at: 0,
        served_at: 0,
        leaderless: 0,
        meta: setup.moving.map(|moving| Meta::found(seed, &setup, moving)),
        links: Links::new(count, setup.disorder, seed.stream("links")),
        listener: Arc::new(Listener::new("sim", Transport::Tcp)),
        connections: Vec::new(),
        ways: vec![Way::default(); clients.len()],
        clients,
        log: Log::default(),
        trace: 0xcbf2_9ce4_8422_2325,
        resting: false,
        quiet: (0, 0),
        setup,
    };
    world.begin();
    // What a node that panics has done until then is looked at like anything else that goes wrong.
    let lived = catch_unwind(AssertUnwindSafe(|| (world.live(), world.failures())));
    let (restless, failures) = lived.unwrap_or_else(|panic| (None, vec![said_by(&*panic)]));
    world.log.at = world.agenda.since_begin();
    world.log.record(What::Fault(Fault::Healed));
    Outcome {
        log: world.log,
        trace: world.trace,
        syncs: world.nodes[0].disk().syncs(),
        starts: world.nodes.iter().map(Node::starts).sum(),
        copies: world.nodes.iter().map(Node::copies).sum(),
        struck: world.struck,
        damaged: world.damaged,
        terms: world.leaders.len(),
        refused: world.refused,
        moves: world.nodes.iter().map(Node::moves).sum(),
        replaced: world.meta.as_ref().map_or(0, |meta| meta.replaced),
        restless,
        leaderless: Duration::from_micros(world.leaderless),
        failures,
    }
}

/// What a node said when it panicked.
fn said_by(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", said.unwrap_or("without a word"))
}

impl Setup {
    /// What the shards of every node are told.
    fn options(&self) -> Options {
        Options {
            slots: self.slots,
            partitioning: Partitioning { partitions: 2, partition_levels: 2 },
            limits: Limits::default(),
            server_reference: None,
            replicas: match self.nodes {
                1 => Vec::new(),
                nodes => (0..usize::from(nodes)).map(Node::id_of).collect(),
            },
            moves: None,
            catch_up: self.catch_up,
            shared: Default::default(),
            min_free_bytes: 1 << 20,
            secret: Secret::from_number(self.seed.0),
            // Two receivers are very many, but for half of the seeds and where another rule is looked for.
            fan_out_piece: match self.without {
                Without::Nothing if self.seed.0.is_multiple_of(2) => 1,
                _ => FAN_OUT_PIECE,
            },
            without: self.without,
        }
    }
}

impl World {
    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            // Nodes do not come at the same moment, nor do they tick so.
            let later = |chance: &mut Stream, most| if node == 0 { 0 } else { chance.below(most) };
            let (shards, chance) = (self.setup.shards, self.nodes[node].chance());
            let (starts, ticks) = (later(chance, SECOND), later(chance, 100 * MILLISECOND));
            if self.is_of_fleet(node) {
                self.agenda.enter(starts, Event::Start { node, shards });
            }
            self.agenda.enter(100 * MILLISECOND + ticks, Event::Tick { node });
            self.agenda.enter(SECOND + ticks, Event::TickConnections { node });
        }
        for client in 0..self.clients.len() {
            self.ways[client].last = self.chance.ways.below(self.nodes.len() as u64) as usize;
            let delay = self.chance.clients[client].between(0, 50 * MILLISECOND);
            self.agenda.enter(delay, Event::Act { client });
        }
        self.plan_crash();
        self.plan_cut();
        self.plan_pause();
        self.plan_disk();
        self.begin_clocks();
        for (at, strike) in self.setup.schedule.clone().unwrap_or_default() {
            self.agenda.enter(at, Event::Strike(strike));
        }
        if self.meta.is_some() {
            self.plan_move();
            self.agenda.enter(SECOND, Event::Moved(Moved::Look));
        }
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
            let ticked = matches!(event, Event::Tick { .. });
            self.happen(event);
            if ticked {
                self.watch();
            }
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

    /// What shards say of themselves at the end, and what nodes do not agree on.
    fn failures(&self) -> Vec<String> {
        let shards = self.nodes.iter().flat_map(Node::shards);
        let failures = shards.flat_map(|shard| shard.observe().failures);
        failures.chain(self.disagreements()).collect()
    }

    fn is_over(&mut self) -> bool {
        let delivered: u64 = self.clients.iter().map(Client::delivered).sum();
        let now = self.agenda.micros();
        if delivered != self.quiet.0 || !self.clients.iter().all(Client::is_settled) {
            self.quiet = (delivered, now);
        }
        // Replicas that were away may still be catching up.
        now > self.quiet.1 + QUIET && self.disagreements().is_empty()
    }

    fn complaint(&mut self) -> String {
        let moves = self.explain_moves();
        let unsettled = || self.clients.iter().filter(|client| !client.is_settled());
        let names: Vec<&str> = unsettled().map(|client| client.character.name.as_str()).collect();
        let led: Vec<Vec<String>> = self.nodes.iter().map(Node::leads).collect();
        format!(
            "slots that nodes lead, by their shards: {led:?}; Clients that still wait: {names:?}, of whom {:?}{moves}",
            unsettled().next()
        )
    }

    /// Takes an event into the hash of the run.
    fn note(&mut self, kind: u8, bytes: &[u8]) {
        let time = self.agenda.micros().to_le_bytes();
        for &byte in [kind].iter().chain(&time).chain(bytes) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The node that an event waits for while that stands still.
    fn waits_for(&self, event: &Event) -> Option<usize> {
        let node = match event {
            Event::Step { node, .. }
            | Event::Hear { node, .. }
            | Event::HearShard { node, .. }
            | Event::HearSwim { node, .. } => *node,
            Event::Accept { connection } | Event::ToNode { connection } => self.connections[*connection].node,
            _ => return None,
        };
        Some(node).filter(|node| self.nodes[*node].is_suspended())
    }

    fn happen(&mut self, event: Event) {
        if let Some(node) = self.waits_for(&event) {
            return self.waiting[node].push(event);
        }
        match event {
            Event::Tick { node } => {
                self.agenda.enter(self.clocks[node].until(100 * MILLISECOND), Event::Tick { node });
                self.tick(node, convoy_actors::Shard::tick);
                self.tick_swim(node);
            }
            Event::TickConnections { node } => {
                self.agenda.enter(self.clocks[node].until(SECOND), Event::TickConnections { node });
                self.tick(node, convoy_actors::Shard::tick_connections);
                self.judge_hurt(node);
            }
            Event::Step { node, start, step } if self.nodes[node].lives(start) => self.take(node, step),
            Event::Step { .. } => {}
            Event::Hear { node, from, lane, slot, bytes } => self.hear(node, from, lane, slot, &bytes),
            Event::HearShard { node, from, shard, bytes } => self.hear_shard(node, from, shard, &bytes),
            Event::HearSwim { node, from, bytes } => self.hear_swim(node, from, &bytes),
            Event::Accept { connection } => self.accept(connection),
            Event::ToNode { connection } => self.arrive_at_node(connection),
            Event::ToClient { connection } => self.arrive_at_client(connection),
            Event::Act { client } => self.act(client),
            Event::Haunt { connection } => self.haunt(connection),
            Event::Crash if !self.resting => {
                self.crash();
                self.plan_crash();
            }
            Event::Start { node, shards } => self.start(node, shards),
            Event::Tear if !self.resting => self.draw_tear(),
            Event::Mend => {
                self.mend();
                self.plan_cut();
            }
            Event::Suspend if !self.resting => {
                self.suspend_any();
                self.plan_pause();
            }
            Event::Hurt if !self.resting => {
                self.hurt_any();
                self.plan_disk();
            }
            Event::SetClock if !self.resting => {
                self.set_any_clock();
                self.plan_clock();
            }
            Event::Strike(strike) if !self.resting => self.strike(strike),
            Event::Relieve { node, of } => self.relieve(node, of),
            Event::Crash
            | Event::Tear
            | Event::Suspend
            | Event::Hurt
            | Event::SetClock
            | Event::Strike(_) => {}
            Event::Wake { node, start, away, order } if self.nodes[node].lives(start) => {
                self.wake(node, away, order);
            }
            Event::Wake { .. } => {}
            Event::DiskFull(full) => {
                self.log.record(What::Fault(if full { Fault::DiskFull } else { Fault::DiskFreed }));
                self.nodes[0].disk().model().set_full(full);
            }
            Event::Moved(moved) => self.moved(moved),
            Event::Rest => self.rest(),
        }
    }

    /// Time passes for a node; while it stands still it does not see that.
    fn tick(&mut self, node: usize, tick: fn(&mut convoy_actors::Shard, convoy_actors::Now)) {
        if self.nodes[node].is_suspended() {
            return;
        }
        for shard in 0..self.nodes[node].shards().len() as u16 {
            let now = self.now_of(node);
            tick(self.nodes[node].shard(shard), now);
            self.follow(node, shard);
        }
    }

    /// A node takes a step of its own.
    fn take(&mut self, node: usize, step: Step) {
        let (kind, shard) = match step {
            Step::Turn { shard } => (1, shard),
            Step::Mail { to, .. } => (2, to),
            Step::Synced { shard, .. } => (4, shard),
        };
        self.note(kind, &[node as u8, shard as u8]);
        let now = self.now_of(node);
        match self.nodes[node].take(now, step) {
            Taken::News(shard) => self.follow(node, shard),
            Taken::Turned(shard) => {
                self.carry_out(node, shard);
                if self.nodes[node].has_more(shard) {
                    self.follow(node, shard);
                }
            }
            Taken::PowerCut { keep } => {
                let comes = self.draw_return(node);
                self.lose_power(node, keep, comes);
            }
        }
    }

    /// After an event of a shard: what it wants carried out, and soon the end of its burst.
    fn follow(&mut self, node: usize, shard: u16) {
        self.carry_out(node, shard);
        if let Some((delay, step)) = self.nodes[node].plan_turn(shard) {
            self.enter_step(delay, node, step);
        }
    }

    fn carry_out(&mut self, node: usize, shard: u16) {
        while let Some(dirty) = self.nodes[node].take_dirty(shard) {
            for connection in dirty {
                self.serve(connection);
            }
        }
        for (delay, step) in self.nodes[node].take_steps(self.agenda.micros(), shard) {
            self.enter_step(delay, node, step);
        }
        self.say(node, shard);
        self.say_to_shards(node, shard);
        self.look_at_shard(node, shard);
        if self.nodes[node].is_slow(self.agenda.micros()) {
            self.settle();
        }
    }

    /// What a shard says to replicas on other nodes goes on its way.
    fn say(&mut self, from: usize, shard: u16) {
        for (lane, Outgoing { slot, to, bytes }) in self.nodes[from].take_to_replicas(shard) {
            if lane == Lane::Raft && self.meta.is_some() {
                self.note_vote(slot, &bytes);
            }
            let (node, bytes) = (Node::place_of(to), Bytes::from(bytes));
            for delay in self.links.send(self.agenda.micros(), from, node) {
                // What is so long takes longer, and holds up nothing that goes by the other.
                let longer = match lane {
                    Lane::Raft => 0,
                    Lane::Snapshots => self.chance.snapshots.below(40 * MILLISECOND),
                };
                let bytes = bytes.clone();
                self.agenda.enter(delay + longer, Event::Hear { node, from, lane, slot, bytes });
            }
        }
    }

    /// What a shard says to shards of other nodes goes on its way.
    fn say_to_shards(&mut self, from: usize, shard: u16) {
        let now = self.now_of(from);
        for Parcel { to, shard, bytes } in self.nodes[from].take_to_shards(now, shard) {
            let (node, bytes) = (Node::place_of(to), Bytes::from(bytes));
            if let Some(delay) = self.links.send_in_order(self.agenda.micros(), from, node) {
                self.agenda.enter(delay, Event::HearShard { node, from, shard, bytes });
            }
        }
    }

    /// It arrives likewise.
    fn hear_shard(&mut self, node: usize, from: usize, shard: u16, bytes: &Bytes) {
        if !self.nodes[node].is_up() || !self.links.is_open(from, node) {
            return;
        }
        let now = self.now_of(node);
        if self.nodes[node].hear_shard(now, from, shard, bytes) {
            self.note(9, &[node as u8, from as u8, shard as u8]);
            self.follow(node, shard);
        }
    }

    /// It arrives, unless nobody is there to hear it, or the way was cut meanwhile.
    fn hear(&mut self, node: usize, from: usize, lane: Lane, slot: SlotId, bytes: &[u8]) {
        if !self.nodes[node].is_up() || !self.links.is_open(from, node) {
            return;
        }
        self.note(8, &[node as u8, from as u8, lane as u8]);
        let now = self.now_of(node);
        let shard = self.nodes[node].hear(now, from, lane, slot, bytes);
        self.follow(node, shard);
    }

    fn enter_step(&mut self, delay: Micros, node: usize, step: Step) {
        let start = self.nodes[node].starts();
        self.agenda.enter(delay, Event::Step { node, start, step });
    }

    /// Everything heals, and Clients begin nothing new.
    fn rest(&mut self) {
        self.resting = true;
        self.mend();
        self.links.end_disorder();
        for node in 0..self.nodes.len() {
            self.wake(node, 0, 0);
            self.nodes[node].end_stalls();
        }
        self.relieve_all();
        self.rest_moves();
        self.log.record(What::Fault(Fault::Healed));
        self.clients.iter_mut().for_each(|client| client.resting = true);
    }
}
