//! One node: its shards and the mail between them, its disk, and its lives, each of which ends with a kill or with the power.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use convoy_actors::{Identity, Mail, Now, Options, Parcel, Shard};
use convoy_ids::{NodeId, SlotId, Term};
use convoy_membership::swim::{Datagram, Process, Swim};
use convoy_storage::engine::Generations;
use convoy_storage::replica::{Outgoing, Round};

use super::clock::{MILLISECOND, Micros};
use super::disk::{Disk, Mark, SLOW, Synced};
use super::seed::{Seed, Stream};

/// What a node does by itself.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The end of a burst of events.
    Turn {
        shard: u16,
    },
    /// Mail of one shard reaches another.
    Mail {
        from: u16,
        to: u16,
    },
    Synced {
        shard: u16,
        round: Round,
        mark: Mark,
    },
}

/// The lane by which replicas on different nodes say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Raft,
    Snapshots,
}

/// What follows from a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// This shard has news to be carried out, and its burst ends soon.
    News(u16),
    /// The burst of this shard has ended.
    Turned(u16),
    /// The power went, and so many batches survive that were not synced.
    PowerCut { keep: usize },
}

pub struct Node {
    place: usize,
    disk: Disk,
    /// What its shards have found there, of this life or of the last one.
    rows: Option<Arc<Generations>>,
    /// Copies that were put in force in lives that are over.
    copies: u64,
    /// Replicas that came and went in lives that are over.
    moves: u64,
    /// None while the node is down.
    shards: Vec<Shard>,
    /// Where the fleet changes.
    swim: Option<Swim>,
    starts: u32,
    /// Shards whose turn is entered.
    turns: Vec<bool>,
    mail: BTreeMap<(u16, u16), VecDeque<Mail>>,
    /// Connections by their shard and key.
    keys: BTreeMap<(u16, u32), usize>,
    /// Until when the sync that takes longest takes.
    slow_until: Micros,
    /// It does nothing, and what comes waits.
    is_suspended: bool,
    chance: Chance,
}

/// A stream for each source of disorder.
struct Chance {
    disk: Stream,
    node: Stream,
}

impl Node {
    pub fn new(seed: Seed, place: usize, disk: Disk) -> Self {
        let chance = Chance {
            disk: seed.stream(&format!("disk {place}")),
            node: seed.stream(&format!("node {place}")),
        };
        Self {
            place,
            disk,
            rows: None,
            copies: 0,
            moves: 0,
            shards: Vec::new(),
            swim: None,
            starts: 0,
            turns: Vec::new(),
            mail: BTreeMap::new(),
            keys: BTreeMap::new(),
            slow_until: 0,
            is_suspended: false,
            chance,
        }
    }

    /// The identifier of the node at a place, which counts from 0.
    pub fn id_of(place: usize) -> NodeId {
        NodeId::new(place as u64 + 1).expect("it is not zero")
    }

    /// The place of a node.
    pub fn place_of(id: NodeId) -> usize {
        id.get() as usize - 1
    }

    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The rows of its slots, under their own numbers.
    pub fn rows(&self) -> Option<&Generations> {
        self.rows.as_deref()
    }

    /// Copies of slots' state that were put in force here, in all lives.
    pub fn copies(&self) -> u64 {
        self.copies + self.shards.iter().map(|shard| shard.observe().snapshots_received).sum::<u64>()
    }

    /// Replicas of slots that came here and went while it ran, in all lives.
    pub fn moves(&self) -> u64 {
        let seen = self.shards.iter().map(Shard::observe);
        self.moves + seen.map(|seen| seen.replicas_opened + seen.replicas_closed).sum::<u64>()
    }

    /// It has another disk from now on, with nothing on it. Not while it is up.
    pub fn lose_disk(&mut self, disk: Disk) {
        assert!(!self.is_up(), "a process does not outlive its disk");
        (self.disk, self.rows) = (disk, None);
    }

    /// Lives so far.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    pub fn is_up(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Whether it is in its life of this number.
    pub fn lives(&self, start: u32) -> bool {
        self.is_up() && start == self.starts
    }

    pub fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// Whether it believes that it leads everything, and can serve Clients.
    pub fn is_ready(&self) -> bool {
        self.is_up() && self.shards.iter().all(Shard::is_ready)
    }

    /// The slots that its replicas lead, each in a term: whether they serve or not.
    pub fn led(&self) -> impl Iterator<Item = (SlotId, Term)> + '_ {
        self.shards.iter().flat_map(Self::led_by)
    }

    /// The same of one shard.
    pub fn led_by(shard: &Shard) -> impl Iterator<Item = (SlotId, Term)> + '_ {
        shard.terms_led()
    }

    /// How many of its slots each shard leads, in words.
    pub fn leads(&self) -> Vec<String> {
        let of = |shard: &Shard| {
            let seen = shard.observe();
            let ready = if shard.is_ready() { "" } else { ", not ready" };
            format!("{} of {}{ready}", seen.slots_led, seen.slots)
        };
        self.shards.iter().map(of).collect()
    }

    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    pub fn shard(&mut self, shard: u16) -> &mut Shard {
        &mut self.shards[usize::from(shard)]
    }

    pub fn chance(&mut self) -> &mut Stream {
        &mut self.chance.node
    }

    /// Its disk is never slow from now on.
    pub fn end_stalls(&mut self) {
        self.disk.end_stalls();
    }

    /// Whether each sync takes long from now on.
    pub fn set_slow(&mut self, is_slow: bool) {
        self.disk.set_slow(is_slow);
    }

    /// Whether it waits for its disk.
    pub fn is_slow(&self, now: Micros) -> bool {
        now < self.slow_until
    }

    /// Begins its next life, with so many shards. An error leaves it down.
    pub fn start(&mut self, shards: u16, options: &Options) -> Result<(), String> {
        self.starts += 1;
        let rows = Generations::open(self.disk.engine()).map_err(|error| error.to_string())?;
        let rows = Arc::new(rows);
        self.rows = Some(Arc::clone(&rows));
        let opened: Result<Vec<Shard>, _> = (0..shards)
            .map(|shard| {
                let identity = Identity { node: Self::id_of(self.place), start: self.starts, shard, shards };
                Shard::new(identity, Arc::clone(&rows), options.clone())
            })
            .collect();
        self.shards = opened.map_err(|error| error.to_string())?;
        self.turns = vec![false; usize::from(shards)];
        Ok(())
    }

    /// What time brings about of its membership, which its meta shard hears of: what it says to other nodes. Only where the
    /// fleet changes.
    pub fn tick_swim(&mut self, now: u64) -> Vec<Datagram> {
        let (place, starts, chance) = (self.place, self.starts, &mut self.chance.node);
        let Some(shard) = self.shards.first_mut() else { return Vec::new() };
        let swim = self.swim.get_or_insert_with(|| {
            Swim::new(now, Process::new(Self::id_of(place), starts, "sim"), chance.word())
        });
        let members: Vec<NodeId> = shard.known_fleet().members().map(|(node, _)| node).collect();
        swim.set_fleet(now, members.into_iter().map(|node| (node, "sim")));
        swim.tick(now);
        shard.see_away(swim.away());
        swim.take_datagrams()
    }

    /// Another node says something of who is there: what this one says to that.
    pub fn hear_swim(&mut self, now: u64, bytes: &[u8]) -> Vec<Datagram> {
        let Some(swim) = &mut self.swim else { return Vec::new() };
        // One that was removed is heard no more.
        let _ = swim.hear(now, bytes);
        swim.take_datagrams()
    }

    /// The process is killed: the disk keeps all it was given.
    pub fn kill(&mut self) {
        self.disk.kill();
        self.end();
    }

    /// The power goes, and so many batches survive that were not synced.
    pub fn cut_power(&mut self, keep: usize) {
        self.disk.cut_power(keep);
        self.end();
    }

    fn end(&mut self) {
        (self.copies, self.moves) = (self.copies(), self.moves());
        self.shards.clear();
        self.swim = None;
        self.mail.clear();
        self.keys.clear();
        self.slow_until = 0;
        self.is_suspended = false;
    }

    pub fn suspend(&mut self) {
        self.is_suspended = true;
    }

    /// It goes on after so long.
    pub fn wake(&mut self, away: Micros) {
        self.is_suspended = false;
        for shard in &mut self.shards {
            shard.was_away(away / MILLISECOND);
        }
    }

    /// Takes a step of this life.
    pub fn take(&mut self, now: Now, step: Step) -> Taken {
        match step {
            Step::Turn { shard } => {
                self.turns[usize::from(shard)] = false;
                self.shard(shard).turn(now);
                Taken::Turned(shard)
            }
            Step::Mail { from, to } => {
                let mail = self.mail.get_mut(&(from, to)).and_then(VecDeque::pop_front);
                let mail = mail.expect("as many arrivals are entered as batches are posted");
                self.shard(to).mail(now, mail);
                Taken::News(to)
            }
            Step::Synced { shard, round, mark } => match self.disk.end_sync(mark) {
                Ok(Synced::Done) => {
                    self.shard(shard).synced(now, round);
                    Taken::News(shard)
                }
                Ok(Synced::Cut { keep }) => Taken::PowerCut { keep },
                Err(error) => {
                    self.shard(shard).sync_failed(&error.to_string());
                    Taken::News(shard)
                }
            },
        }
    }

    /// Whether a shard goes on in a further turn.
    pub fn has_more(&self, shard: u16) -> bool {
        self.shards[usize::from(shard)].has_more()
    }

    /// Connections of a shard that have news; none if nothing has.
    pub fn take_dirty(&mut self, shard: u16) -> Option<Vec<usize>> {
        let mut dirty = Vec::new();
        self.shard(shard).take_dirty(&mut dirty);
        (!dirty.is_empty())
            .then(|| dirty.iter().filter_map(|key| self.keys.get(&(shard, *key)).copied()).collect())
    }

    /// What a shard wants done by its own node, each after a while.
    pub fn take_steps(&mut self, now: Micros, shard: u16) -> Vec<(Micros, Step)> {
        let mut steps = Vec::new();
        let posted: Vec<(u16, Mail)> = self.shard(shard).take_mail().collect();
        for (to, mail) in posted {
            self.mail.entry((shard, to)).or_default().push_back(mail);
            // A thread that is not scheduled for a while keeps its mail waiting.
            let most = if self.chance.node.one_in(10) { 20 * MILLISECOND } else { 500 };
            steps.push((self.chance.node.between(1, most), Step::Mail { from: shard, to }));
        }
        if let Some(round) = self.shard(shard).take_sync() {
            let (mark, delay) = self.disk.begin_sync(&mut self.chance.disk);
            if delay >= SLOW {
                self.slow_until = self.slow_until.max(now + delay);
            }
            steps.push((delay, Step::Synced { shard, round, mark }));
        }
        steps
    }

    /// What a shard says to replicas on other nodes, and by which lane.
    pub fn take_to_replicas(&mut self, shard: u16) -> Vec<(Lane, Outgoing)> {
        let shard = self.shard(shard);
        let said = shard.take_to_replicas().into_iter().map(|said| (Lane::Raft, said)).collect::<Vec<_>>();
        let of_snapshots = shard.take_snapshot_messages().into_iter().map(|said| (Lane::Snapshots, said));
        said.into_iter().chain(of_snapshots).collect()
    }

    /// What a shard says to shards of other nodes.
    pub fn take_to_shards(&mut self, now: Now, shard: u16) -> Vec<Parcel> {
        self.shard(shard).take_to_shards(now)
    }

    /// What a shard of another node says to one of this node. False if there is none of that number.
    pub fn hear_shard(&mut self, now: Now, from: usize, shard: u16, bytes: &Bytes) -> bool {
        let is_there = usize::from(shard) < self.shards.len();
        if is_there {
            self.shard(shard).hear_shard(now, Self::id_of(from), bytes);
        }
        is_there
    }

    /// A message of the replica of a slot on the node at `from`, and the shard that took it.
    pub fn hear(&mut self, now: Now, from: usize, lane: Lane, slot: SlotId, bytes: &[u8]) -> u16 {
        let shard = match slot.is_meta() {
            true => 0,
            false => slot.0 % self.shards.len() as u16,
        };
        match lane {
            Lane::Raft => self.shard(shard).step(now, Self::id_of(from), slot, bytes),
            Lane::Snapshots => self.shard(shard).hear_snapshot_message(now, Self::id_of(from), slot, bytes),
        }
        shard
    }

    /// Soon the burst of a shard ends, if that is not entered yet.
    pub fn plan_turn(&mut self, shard: u16) -> Option<(Micros, Step)> {
        let is_planned = std::mem::replace(&mut self.turns[usize::from(shard)], true);
        (!is_planned).then(|| (self.chance.node.below(300), Step::Turn { shard }))
    }

    /// A connection has this key now.
    pub fn enter_key(&mut self, shard: u16, key: u32, connection: usize) {
        self.keys.insert((shard, key), connection);
    }

    pub fn strike_key(&mut self, shard: u16, key: u32) {
        self.keys.remove(&(shard, key));
    }
}
