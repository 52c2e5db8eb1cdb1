//! The fleet changes while it runs: nodes come, are drained and leave, die and are replaced, lose their disks and come again. The
//! world is the operator: it gives commands to whoever leads the meta group, one after the other, and again until it sees
//! that they were carried out. What is decided there reaches the other nodes by themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

use convoy_actors::meta::{Command, Entrant, Fleet, FleetId, State, TokenHash};
use convoy_actors::{CommandError, Moves, Options, Without};
use convoy_ids::{NodeId, ReplicaId, RingVersion, SlotId, Term};
use convoy_membership::Ring;
use convoy_storage::engine::{Engine, Family};
use convoy_storage::replica::{Addressed, addressed};

use super::replicas::{Rows, rows};
use super::{Event, Setup, World};
use crate::oracle::{self, Fault, What};
use crate::sim::clock::{MILLISECOND, Micros};
use crate::sim::disk::Disk;
use crate::sim::node::Node;
use crate::sim::seed::{Seed, Stream};

/// Replicas of each slot.
const REPLICATION: u8 = 3;

/// Points of a node on the ring.
const WEIGHT: u16 = 64;

/// How a fleet changes.
#[derive(Clone, Copy, Debug)]
pub struct Moving {
    /// Nodes that it begins with; the others come later.
    pub founders: u16,
    /// Something is changed about so often.
    pub every: Micros,
    /// The fleet replaces nodes that are away for so long by itself, and reshapes itself; else the operator does.
    pub replaces_after: Option<Micros>,
}

/// What became of a node's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// No node was there yet.
    Free,
    Member,
    /// It was removed, and never comes again.
    Gone,
}

/// What is under way with one node; meanwhile no other is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It is to keep nothing any more.
    Drains(usize),
    /// It is down for long, and others are to take its place.
    IsDown(usize),
    /// It came with an empty disk.
    LostItsDisk(usize),
}

/// What happens in a fleet that changes.
#[derive(Debug)]
pub enum Moved {
    /// The next change begins, or one comes to its end.
    Change,
    /// The operator looks after what was ordered.
    Look,
}

/// What the operator wants of the meta group.
#[derive(Clone, Debug)]
enum Order {
    Command(Command),
    /// A ring version of the members as they are then.
    Reshape(Option<RingVersion>),
    /// This node starts, which has an empty disk.
    Start(usize),
}

/// What a message begins with, behind its envelope, that answers who asks for a vote.
const VOTE: u8 = 6;

/// How often the operator looks.
const LOOKS: Micros = 300 * MILLISECOND;

/// The operator.
pub struct Meta {
    /// The newest ring version that was seen.
    ring: Option<Ring>,
    orders: VecDeque<Order>,
    places: Vec<Place>,
    founders: u16,
    every: Micros,
    replaces_after: Option<Micros>,
    /// Numbers that were given out when each node got its disk; of the first disk of a founder none.
    given: Vec<Option<u64>>,
    change: Option<Change>,
    /// Nodes whose place others take now, and how often that began without an order.
    down: BTreeSet<NodeId>,
    pub replaced: u64,
    /// To whom each replica has given its vote in each term.
    votes: BTreeMap<(SlotId, ReplicaId, Term), ReplicaId>,
    chance: Stream,
}

impl Meta {
    pub fn found(seed: Seed, setup: &Setup, moving: Moving) -> Self {
        let founders = usize::from(moving.founders);
        let places = (0..usize::from(setup.nodes))
            .map(|place| if place < founders { Place::Member } else { Place::Free })
            .collect();
        let mut meta = Self {
            ring: None,
            orders: VecDeque::new(),
            places,
            founders: moving.founders,
            every: moving.every,
            replaces_after: moving.replaces_after,
            given: vec![None; usize::from(setup.nodes)],
            change: None,
            down: BTreeSet::new(),
            replaced: 0,
            votes: BTreeMap::new(),
            chance: seed.stream("moves"),
        };
        let (fleet, slots, format) = (FLEET, setup.slots, 1);
        let found = Command::Found { fleet, slots, replication: REPLICATION, format, founder: entrant(0) };
        let token = Command::AddToken { hash: TOKEN, expires_at: u64::MAX, at: 0 };
        meta.orders.extend([found, token].map(Order::Command));
        meta.orders.extend((1..founders).map(|place| join(place, slots)));
        meta.orders.push_back(Order::Reshape(None));
        meta
    }

    fn reshape(&mut self, command: Command) {
        self.orders.extend([Order::Command(command), Order::Reshape(None)]);
    }

    /// The nodes that are to keep a slot.
    fn target(&self, slot: SlotId) -> BTreeSet<NodeId> {
        let slot = if slot.is_meta() { SlotId(0) } else { slot };
        self.ring.iter().flat_map(|ring| ring.replicas(slot)).copied().collect()
    }

    fn members(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|place| self.places[*place] == Place::Member).collect()
    }
}

const FLEET: FleetId = FleetId([7; 16]);
const TOKEN: TokenHash = TokenHash([7; 32]);

fn join(place: usize, slots: u16) -> Order {
    Order::Command(Command::Join { entrant: entrant(place), fleet: FLEET, slots, token: TOKEN, at: 1 })
}

/// Whether the fleet is as the command would make it.
fn is_done(fleet: &Fleet, command: &Command) -> bool {
    let member = |node: u64| NodeId::new(node).and_then(|node| fleet.member(node));
    let is = |node: u64, state| member(node).is_some_and(|member| member.state == state);
    match command {
        Command::Found { .. } => fleet.birth().is_some(),
        Command::AddToken { hash, .. } => fleet.has_token(hash),
        Command::Join { entrant, .. } => member(entrant.node).is_some(),
        Command::Drain { node } => is(*node, State::Draining),
        Command::Replace { node } => is(*node, State::Down),
        Command::Restore { node } => is(*node, State::Active),
        Command::Remove { node } => member(*node).is_none(),
        Command::Reshape { version } => fleet.ring().is_some_and(|ring| ring.version().0 >= *version),
        other => panic!("the operator does not say {other:?}"),
    }
}

/// A node as it presents itself. There are three zones.
fn entrant(place: usize) -> Entrant {
    Entrant {
        node: Node::id_of(place).get(),
        name: format!("node-{place}"),
        zone: format!("zone-{}", place % 3),
        weight: WEIGHT,
        address: "sim".into(),
        formats: (1, 1),
    }
}

impl World {
    pub fn is_of_fleet(&self, node: usize) -> bool {
        self.meta.as_ref().is_none_or(|meta| meta.places[node] == Place::Member)
    }

    /// Whether a node that is to start does so: not one that is up, that is away for long, or that was removed.
    pub fn may_start(&self, node: usize) -> bool {
        let Some(meta) = &self.meta else { return true };
        let is_away = meta.change == Some(Change::IsDown(node)) && !self.resting
            || meta.orders.iter().any(|order| matches!(order, Order::Start(comes) if *comes == node));
        meta.places[node] == Place::Member && !is_away && !self.nodes[node].is_up()
    }

    /// So many nodes have to be well that Clients are served for sure.
    pub fn enough(&self) -> usize {
        // A slot may have two of its replicas on the others.
        self.meta.as_ref().map_or(self.nodes.len() / 2 + 1, |meta| meta.members().len())
    }

    pub fn options_of(&self, node: usize) -> Options {
        let options = self.setup.options();
        let Some(meta) = &self.meta else { return options };
        let replicas = meta.members().into_iter().map(Node::id_of).collect();
        let founders = (0..usize::from(meta.founders)).map(Node::id_of).collect();
        let (founds, given) = match meta.given[node] {
            None => (node < usize::from(meta.founders), 0),
            // It takes its empty disk for the first one.
            Some(_) if self.setup.without == Without::NewNumbers => (node < usize::from(meta.founders), 0),
            Some(given) => (false, given),
        };
        let replace_after = meta.replaces_after.map(|after| after / MILLISECOND);
        Options { replicas, moves: Some(Moves { founders, founds, given, replace_after }), ..options }
    }

    pub fn plan_move(&mut self) {
        if let Some(meta) = &mut self.meta {
            let delay = meta.chance.between(meta.every / 4, meta.every * 2);
            self.agenda.enter(delay, Event::Moved(Moved::Change));
        }
    }

    pub fn moved(&mut self, moved: Moved) {
        match moved {
            Moved::Change if !self.resting => {
                if self.meta.as_ref().is_some_and(|meta| meta.orders.is_empty()) {
                    self.change();
                }
                self.plan_move();
            }
            Moved::Change => {}
            Moved::Look => {
                self.agenda.enter(LOOKS, Event::Moved(Moved::Look));
                self.look_after_orders();
            }
        }
    }

    /// A replica says something: it has one vote in a term, whatever became of its node.
    pub fn note_vote(&mut self, slot: SlotId, bytes: &[u8]) {
        if bytes.get(12) != Some(&VOTE) {
            return;
        }
        let Some(said) = addressed(bytes).filter(|said| said.votes) else { return };
        let meta = self.meta.as_mut().expect("the fleet changes");
        let first = *meta.votes.entry((slot, said.from, said.term)).or_insert(said.to);
        if first != said.to {
            let Addressed { from, to, term, .. } = said;
            self.log.findings.push(format!(
                "10 one vote: replica {from} of slot {slot} votes for {first} and for {to} in term {term}"
            ));
        }
    }

    /// The node that leads the meta group, in the newest term.
    fn meta_leader(&self) -> Option<usize> {
        let leads = |node: usize| {
            let node = &self.nodes[node];
            let shard = node.shards().first().filter(|_| !node.is_suspended())?;
            shard.fleet()?;
            node.led().find(|(slot, _)| slot.is_meta()).map(|(_, term)| term)
        };
        (0..self.nodes.len()).filter(|node| leads(*node).is_some()).max_by_key(|node| leads(*node))
    }

    /// Gives the oldest order, again if it had no effect.
    fn look_after_orders(&mut self) {
        let Some(leader) = self.meta_leader() else { return };
        let meta = self.meta.as_mut().expect("the fleet changes");
        let fleet = self.nodes[leader].shards()[0].fleet().expect("it leads");
        if fleet.ring().map(Ring::version) > meta.ring.as_ref().map(Ring::version) {
            meta.ring = fleet.ring().cloned();
        }
        if meta.replaces_after.is_some() {
            let down =
                fleet.members().filter(|(_, member)| member.state == State::Down).map(|(node, _)| node);
            let down: BTreeSet<NodeId> = down.collect();
            meta.replaced += down.difference(&meta.down).count() as u64;
            meta.down = down;
        }
        let next = RingVersion(fleet.ring().map_or(0, |ring| ring.version().0) + 1);
        let command = loop {
            let command = match meta.orders.front_mut() {
                None => return,
                Some(Order::Start(node)) => {
                    // Whatever number it had before is given out by now.
                    meta.given[*node] = Some(fleet.given());
                    let event = Event::Start { node: *node, shards: self.setup.shards };
                    meta.orders.pop_front();
                    return self.agenda.enter(MILLISECOND, event);
                }
                Some(Order::Reshape(_)) if meta.replaces_after.is_some() => {
                    if fleet.unshaped().is_some() {
                        return;
                    }
                    meta.orders.pop_front();
                    continue;
                }
                Some(Order::Command(command)) => command.clone(),
                Some(Order::Reshape(version)) => Command::Reshape { version: version.get_or_insert(next).0 },
            };
            if !is_done(fleet, &command) {
                break command;
            }
            meta.orders.pop_front();
        };
        match self.nodes[leader].shard(0).command(&command) {
            Ok(()) | Err(CommandError::NotLeader | CommandError::Busy) => {}
            Err(error @ CommandError::Refused(_)) => {
                self.log.findings.push(format!("12 moves: {command:?} was refused: {error}"));
            }
        }
        self.follow(leader, 0);
    }

    /// Gives an order, and makes a ring version of it.
    fn reshape(&mut self, command: Command) {
        self.meta.as_mut().expect("the fleet changes").reshape(command);
        self.changed();
    }

    /// The next change begins, or the one under way comes to its end, if it can.
    fn change(&mut self) {
        let is_in_place = self.is_in_place();
        let meta = self.meta.as_mut().expect("the fleet changes");
        let members = meta.members();
        match meta.change {
            Some(Change::LostItsDisk(_)) => {
                meta.change = meta.change.filter(|_| !is_in_place);
            }
            Some(Change::Drains(node)) => {
                if meta.chance.one_in(4) {
                    meta.change = None;
                    self.reshape(Command::Restore { node: Node::id_of(node).get() });
                } else if self.keeps_nothing(node) {
                    self.remove(node);
                }
            }
            Some(Change::IsDown(node)) if meta.replaces_after.is_some() => {
                let (soon, removes) = (meta.chance.one_in(8), meta.chance.one_in(2));
                let is_replaced = self.is_replaced(node) && self.keeps_nothing(node);
                if is_replaced && removes {
                    self.remove(node);
                } else if is_replaced || soon {
                    self.meta.as_mut().expect("the fleet changes").change = None;
                    let shards = self.setup.shards;
                    self.agenda.enter(MILLISECOND, Event::Start { node, shards });
                }
            }
            Some(Change::IsDown(node)) => {
                if meta.chance.one_in(3) {
                    meta.change = None;
                    let shards = self.setup.shards;
                    self.agenda.enter(MILLISECOND, Event::Start { node, shards });
                    self.reshape(Command::Restore { node: Node::id_of(node).get() });
                } else if self.keeps_nothing(node) {
                    self.remove(node);
                }
            }
            None => {
                let free = meta.places.iter().position(|place| *place == Place::Free);
                let node = *meta.chance.pick(&members);
                let dies = meta.replaces_after.is_some() && meta.chance.one_in(2);
                match (meta.chance.below(4), free) {
                    _ if dies && members.len() > usize::from(REPLICATION) => self.replace(node),
                    (0 | 1, Some(place)) => self.join(place),
                    (_, Some(place)) if members.len() <= usize::from(REPLICATION) => self.join(place),
                    (0, _) | (1, None) if members.len() > usize::from(REPLICATION) => {
                        meta.change = Some(Change::Drains(node));
                        self.reshape(Command::Drain { node: Node::id_of(node).get() });
                    }
                    (2, _) if members.len() > usize::from(REPLICATION) => self.replace(node),
                    _ => self.lose_disk(node),
                }
            }
        }
    }

    fn join(&mut self, place: usize) {
        let slots = self.setup.slots;
        let meta = self.meta.as_mut().expect("the fleet changes");
        meta.places[place] = Place::Member;
        meta.orders.extend([join(place, slots), Order::Start(place), Order::Reshape(None)]);
        self.changed();
    }

    /// A node that keeps nothing leaves for good.
    fn remove(&mut self, node: usize) {
        let meta = self.meta.as_mut().expect("the fleet changes");
        meta.change = None;
        meta.places[node] = Place::Gone;
        meta.orders.push_back(Order::Command(Command::Remove { node: Node::id_of(node).get() }));
        self.take_down(node);
    }

    /// A node goes down and does not come again soon: others are to take its place.
    fn replace(&mut self, node: usize) {
        let meta = self.meta.as_mut().expect("the fleet changes");
        meta.change = Some(Change::IsDown(node));
        let by_itself = meta.replaces_after.is_some();
        self.take_down(node);
        if !by_itself {
            self.reshape(Command::Replace { node: Node::id_of(node).get() });
        }
    }

    /// Whether others have taken the place of a node, and the ring says so.
    fn is_replaced(&self, node: usize) -> bool {
        let fleet = self.meta_leader().and_then(|leader| self.nodes[leader].shards()[0].fleet());
        self.state_of(node) == Some(State::Down) && fleet.is_some_and(|fleet| fleet.unshaped().is_none())
    }

    /// What a node is to the meta group.
    fn state_of(&self, node: usize) -> Option<State> {
        let leader = self.meta_leader()?;
        let fleet = self.nodes[leader].shards()[0].fleet()?;
        fleet.member(Node::id_of(node)).map(|member| member.state)
    }

    /// A node loses all that it had, and comes again. Not while others need it: what it has alone would be lost.
    fn lose_disk(&mut self, node: usize) {
        if !self.is_in_place() {
            return;
        }
        self.take_down(node);
        self.nodes[node].lose_disk(Disk::new(None, self.setup.lying_disk, self.setup.stalls));
        let meta = self.meta.as_mut().expect("the fleet changes");
        // Until it is known what was given out, it does not start.
        (meta.change, meta.given[node]) = (Some(Change::LostItsDisk(node)), Some(u64::MAX));
        meta.orders.push_back(Order::Start(node));
    }

    fn take_down(&mut self, node: usize) {
        if !self.nodes[node].is_up() {
            return;
        }
        let served = self.serving.has(node);
        let id = Node::id_of(node).get();
        let fault = if served { Fault::Killed } else { Fault::Fleet(oracle::Fleet::Died(id)) };
        self.log.record(What::Fault(fault));
        self.nodes[node].kill();
        self.waiting[node].clear();
        self.end_connections(node);
        self.look_at(node);
        self.changed();
    }

    /// All that is to come to an end does.
    pub fn rest_moves(&mut self) {
        let Some(meta) = &mut self.meta else { return };
        if let Some(Change::IsDown(node)) = meta.change {
            let shards = self.setup.shards;
            self.agenda.enter(MILLISECOND, Event::Start { node, shards });
        }
    }

    fn all_slots(&self) -> impl Iterator<Item = SlotId> + use<> {
        (0..self.setup.slots).map(SlotId).chain([SlotId::META])
    }

    /// Which nodes have a replica of each slot.
    fn placement(&self) -> BTreeMap<SlotId, BTreeSet<NodeId>> {
        let mut found: BTreeMap<SlotId, BTreeSet<NodeId>> = BTreeMap::new();
        for node in 0..self.nodes.len() {
            let replicas = self.nodes[node].shards().iter().flat_map(|shard| shard.replicas().into_keys());
            replicas.for_each(|slot| _ = found.entry(slot).or_default().insert(Node::id_of(node)));
        }
        found
    }

    /// The group of a slot, as its leader has it, and whether it is at rest.
    fn group_of(&self, slot: SlotId) -> Option<(BTreeSet<NodeId>, bool)> {
        let leads = |node: &&Node| node.led().any(|(led, _)| led == slot);
        let leader = self
            .nodes
            .iter()
            .filter(leads)
            .max_by_key(|node| node.led().find(|(led, _)| *led == slot).map(|(_, term)| term))?;
        leader.shards().iter().find_map(|shard| shard.members(slot))
    }

    /// What keeps each slot from being where it is to be.
    pub fn explain_moves(&mut self) -> String {
        let mut said = String::new();
        let clocks: Vec<_> = (0..self.nodes.len()).map(|node| self.now_of(node)).collect();
        let slots: Vec<SlotId> = self.all_slots().filter(|_| self.meta.is_some()).collect();
        for (node, now) in self.nodes.iter_mut().zip(clocks) {
            let led: Vec<SlotId> =
                node.led().map(|(slot, _)| slot).filter(|slot| slots.contains(slot)).collect();
            for slot in led {
                let number = if slot.is_meta() { 0 } else { slot.0 % node.shards().len() as u16 };
                let walk = node.shard(number).explain_walk(now, slot);
                said.push_str(&format!("\nslot {slot}: {walk}"));
            }
        }
        said
    }

    /// Whether all are up, and every slot is where it is to be.
    fn is_in_place(&self) -> bool {
        let meta = self.meta.as_ref().expect("the fleet changes");
        let (up, placement) =
            (meta.members().into_iter().all(|node| self.nodes[node].is_ready()), self.placement());
        up && self.all_slots().all(|slot| {
            let target = meta.target(slot);
            placement.get(&slot) == Some(&target) && self.group_of(slot) == Some((target, true))
        })
    }

    /// Whether no group has a replica on the node, and no row is there.
    fn keeps_nothing(&self, node: usize) -> bool {
        let (meta, id) = (self.meta.as_ref().expect("the fleet changes"), Node::id_of(node));
        let others_are_up =
            meta.members().into_iter().all(|other| other == node || self.nodes[other].is_ready());
        let has_none = |slot| {
            let (group, is_at_rest) = self.group_of(slot).unwrap_or_default();
            is_at_rest && !group.is_empty() && !group.contains(&id)
        };
        let is_empty = self.nodes[node].shards().iter().all(|shard| shard.replicas().is_empty());
        let is_away = meta.change == Some(Change::IsDown(node));
        others_are_up && (is_away || self.nodes[node].is_up()) && is_empty && self.all_slots().all(has_none)
    }

    /// What is wrong with a fleet that has come to rest: nodes that do not serve, slots that are elsewhere than the ring says, rows
    /// that differ, and rows that should have gone.
    pub fn misplaced(&self) -> Vec<String> {
        let meta = self.meta.as_ref().expect("the fleet changes");
        let members = meta.members();
        let idle: Vec<usize> = members.iter().copied().filter(|node| !self.nodes[*node].is_ready()).collect();
        if !idle.is_empty() {
            return vec![format!("at rest these nodes do not serve: {idle:?}")];
        }
        let (mut wrong, placement) = (Vec::new(), self.placement());
        if meta.replaces_after.is_some() {
            let down = members.iter().filter(|node| self.state_of(**node) == Some(State::Down));
            wrong.extend(down.map(|node| format!("12 moves: the node at {node} is back and takes no part")));
        }
        if !meta.orders.is_empty() {
            wrong.push(format!("12 moves: orders were not carried out: {:?}", meta.orders));
        }
        for slot in self.all_slots() {
            let (target, here, group) = (meta.target(slot), placement.get(&slot), self.group_of(slot));
            if here != Some(&target) || group != Some((target.clone(), true)) {
                wrong.push(format!(
                    "12 moves: slot {slot} is to be on {target:?}; it is on {here:?}, its group {group:?}"
                ));
            }
            let of = |node: &usize| rows(&self.nodes[*node], &[slot]);
            let (with, without): (Vec<usize>, Vec<usize>) =
                members.iter().partition(|node| target.contains(&Node::id_of(**node)));
            let group =
                |node: &usize| self.nodes[*node].shards().iter().find_map(|shard| shard.members(slot));
            if let Some(node) = with.iter().find(|node| group(node) != Some((target.clone(), true))) {
                let found = group(node);
                wrong.push(format!("12 moves: to the node at {node} the group of slot {slot} is {found:?}"));
            }
            let found: Vec<Rows> = with.iter().map(of).collect();
            if found.windows(2).any(|pair| pair[0] != pair[1]) {
                let counts: Vec<usize> = found.iter().map(Rows::len).collect();
                wrong.push(format!("14 replicas: rows of slot {slot} on {with:?} differ: {counts:?}"));
            }
            for node in without {
                let (left, log) = (of(&node).len(), log_rows(&self.nodes[node], slot));
                if left > 0 || log.iter().any(|kind| *kind != ENDED) {
                    wrong.push(format!(
                        "12 moves: slot {slot} has left the node at {node}, and {left} rows did not; log {log:?}"
                    ));
                }
            }
        }
        wrong
    }
}

/// The kind of row that says which replica was here last.
const ENDED: u8 = 8;

/// The kinds of a slot's rows in the family of logs.
fn log_rows(node: &Node, slot: SlotId) -> Vec<u8> {
    let end = slot.0.checked_add(1).map_or([u8::MAX; 4].to_vec(), |next| next.to_be_bytes().to_vec());
    let (mut kinds, found) = (Vec::new(), node.rows().expect("it was started"));
    found
        .scan(Family::Log, &slot.0.to_be_bytes(), &end, &mut |key, _| {
            kinds.push(key[2]);
            ControlFlow::Continue(())
        })
        .expect("the model of a disk that is not damaged can be read");
    kinds
}
