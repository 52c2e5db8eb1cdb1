//! The state machine of the meta group: who is of the fleet, and which ring version is in force.
//!
//! It decides where replicas should live and never who may acknowledge, so nothing on the way of a message waits for it.
//! Every replica applies the same commands in the same order and comes to the same state: time and chance stand in the
//! commands. What a command may do is judged by one function, for whoever proposes it, so that an operator is told why not,
//! and again when it is applied, for another command may have come between.

mod command;
mod judge;
mod row;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use convoy_ids::{NodeId, ReplicaId, RingVersion, SlotId, Zone};
use convoy_membership::Ring;
use convoy_membership::ring;

pub use command::{Command, Entrant, FleetId, TokenHash};
pub use judge::{Refusal, judge_removal};
pub use row::Error;

/// Nodes that were removed and are known as such. Beyond it the one that was removed first is forgotten: it needs a token to
/// come again, and its replicas would have new numbers.
const GONE_LIMIT: usize = 16_384;
/// Tokens that are valid at once; one more is refused.
const TOKENS_LIMIT: usize = 1_024;
/// Behind this one are the numbers of replicas that are given out. The first replicas have the numbers of their nodes, and
/// nodes draw theirs anywhere before: no member has one from the range behind, so that nobody has a number twice.
const BEFORE_NUMBERS: u64 = 1 << 63;
/// How many are given out at most. Nodes that drew their numbers when they could be any have one of these once in four
/// thousand million times.
const NUMBERS_LIMIT: u64 = 1 << 32;
/// Bytes of a name, a zone and an address each.
const TEXT_LIMIT: usize = 255;

/// What stands when the fleet is born and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    pub fleet: FleetId,
    pub slots: u16,
    pub replication: u8,
}

/// How a member takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    /// It is to keep nothing any more: an operator wants it so.
    Draining,
    /// It was down for so long that others take its place. It may come back.
    Down,
}

/// A node of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub zone: Zone,
    pub weight: u16,
    pub address: String,
    /// The oldest and newest version of records that it reads.
    pub formats: (u16, u16),
    pub state: State,
}

impl Member {
    /// Its weight in the next ring version.
    fn share(&self) -> u16 {
        if self.state == State::Active { self.weight } else { 0 }
    }
}

/// What a command has brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Born(Birth),
    /// The node is a member, or has changed as one.
    Changed(NodeId),
    Removed(NodeId),
    /// A new ring version is in force.
    Reshaped(RingVersion),
    /// All members write records of this version from now on.
    Raised(u16),
    /// The number of a new replica of the slot on this node. It is never given again.
    Numbered {
        slot: SlotId,
        node: NodeId,
        number: ReplicaId,
    },
    /// Who may join with which token.
    TokensChanged,
    /// Nothing was changed.
    Refused(Refusal),
}

/// All that the meta group knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    birth: Option<Birth>,
    /// The version of records that every member writes and reads.
    format: u16,
    members: BTreeMap<NodeId, Member>,
    /// Nodes that were removed, in that order.
    gone: VecDeque<NodeId>,
    /// Until when each is valid, in milliseconds since the Unix epoch.
    tokens: BTreeMap<TokenHash, u64>,
    ring: Option<Ring>,
    /// Numbers of replicas that were given out.
    numbered: u64,
}

impl Fleet {
    /// Carries a command out.
    pub fn apply(&mut self, command: &Command, out: &mut Vec<Effect>) {
        let effect = match self.judge(command) {
            Ok(()) => self.carry_out(command),
            Err(refusal) => Effect::Refused(refusal),
        };
        out.push(effect);
    }

    pub fn birth(&self) -> Option<&Birth> {
        self.birth.as_ref()
    }

    /// The ring version in force.
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// In the order of their nodes.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(node, member)| (*node, member))
    }

    /// Whether the node was removed.
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.gone.contains(&node)
    }

    /// Whether there is such a token, valid or not.
    pub fn has_token(&self, hash: &TokenHash) -> bool {
        self.tokens.contains_key(hash)
    }

    /// The last number of a replica that was given out: whatever had one up to here is of before now.
    pub fn given(&self) -> u64 {
        BEFORE_NUMBERS + self.numbered
    }

    /// The number of the next ring version, if the members have changed since the one in force.
    pub fn unshaped(&self) -> Option<RingVersion> {
        let ring = self.ring.as_ref()?;
        let is_in_ring = |(node, member): (&NodeId, &Member)| {
            ring.member(*node).is_some_and(|of| of.weight == member.share() && of.zone == member.zone)
        };
        let is_shaped = ring.members().len() == self.members.len() && self.members.iter().all(is_in_ring);
        (!is_shaped).then_some(RingVersion(ring.version().0 + 1))
    }

    /// The next ring version, of the members as they are now.
    pub fn next_ring(&self) -> Result<Ring, Refusal> {
        let birth = self.birth.as_ref().ok_or(Refusal::Unborn)?;
        let members = self.members.iter().map(|(node, member)| ring::Member {
            node: *node,
            zone: member.zone.clone(),
            weight: member.share(),
        });
        let version = RingVersion(self.ring.as_ref().map_or(0, |ring| ring.version().0) + 1);
        Ring::new(version, birth.slots, birth.replication, members.collect()).map_err(Refusal::Ring)
    }

    /// Of a command that was judged to be right.
    fn carry_out(&mut self, command: &Command) -> Effect {
        match command {
            Command::Found { fleet, slots, replication, format, founder } => {
                let birth = Birth { fleet: *fleet, slots: *slots, replication: *replication };
                (self.birth, self.format) = (Some(birth), *format);
                self.enter(founder);
                self.ring = self.next_ring().ok();
                Effect::Born(birth)
            }
            Command::Join { entrant, .. } => self.enter(entrant),
            Command::Readdress { node, address } => {
                self.change(*node, |member| member.address.clone_from(address))
            }
            Command::Reweigh { node, weight } => self.change(*node, |member| member.weight = *weight),
            Command::Drain { node } => self.change(*node, |member| member.state = State::Draining),
            Command::Replace { node } => self.change(*node, |member| member.state = State::Down),
            Command::Restore { node } => self.change(*node, |member| member.state = State::Active),
            Command::Remove { node } => {
                let node = named(*node);
                self.members.remove(&node);
                if self.gone.len() >= GONE_LIMIT {
                    self.gone.pop_front();
                }
                self.gone.push_back(node);
                Effect::Removed(node)
            }
            Command::Reshape { version } => {
                self.ring = self.next_ring().ok();
                Effect::Reshaped(RingVersion(*version))
            }
            Command::Raise { format } => {
                self.format = *format;
                Effect::Raised(*format)
            }
            Command::Number { slot, node } => {
                self.numbered += 1;
                let number =
                    ReplicaId::new(BEFORE_NUMBERS + self.numbered).expect("it is behind another one");
                Effect::Numbered { slot: SlotId(*slot), node: named(*node), number }
            }
            Command::AddToken { hash, expires_at, at } => {
                self.tokens.retain(|_, until| *until > *at);
                self.tokens.insert(*hash, *expires_at);
                Effect::TokensChanged
            }
            Command::RevokeToken { hash } => {
                self.tokens.remove(hash);
                Effect::TokensChanged
            }
        }
    }

    fn enter(&mut self, entrant: &Entrant) -> Effect {
        let node = named(entrant.node);
        let state = self.members.get(&node).map_or(State::Active, |member| member.state);
        let member = Member {
            name: entrant.name.clone(),
            zone: Zone(entrant.zone.clone()),
            weight: entrant.weight,
            address: entrant.address.clone(),
            formats: entrant.formats,
            state,
        };
        self.members.insert(node, member);
        Effect::Changed(node)
    }

    fn change(&mut self, node: u64, change: impl FnOnce(&mut Member)) -> Effect {
        let node = named(node);
        change(self.members.get_mut(&node).expect("it was judged to be a member"));
        Effect::Changed(node)
    }
}

/// Whether a replica may be given this number.
const fn is_of_replicas(node: NodeId) -> bool {
    node.get().wrapping_sub(BEFORE_NUMBERS + 1) < NUMBERS_LIMIT
}

fn named(node: u64) -> NodeId {
    NodeId::new(node).expect("it was judged to be a node")
}
