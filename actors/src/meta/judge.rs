//! Whether a command may be carried out, and why not.

use convoy_ids::{NodeId, SlotId};
use convoy_membership::Ring;
use convoy_membership::ring::MAX_MEMBERS;
use convoy_membership::ring::walk::Group;

use super::command::{Command, Entrant, TokenHash};
use super::{Fleet, Member, NUMBERS_LIMIT, State, TEXT_LIMIT, TOKENS_LIMIT, is_of_replicas};

/// Why a command is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the fleet is not founded yet")]
    Unborn,
    #[error("the fleet is founded already")]
    Born,
    #[error("the node is of another fleet; empty its data folder to let it join this one")]
    AnotherFleet,
    #[error("the node was set up for {node} slots and the fleet has {fleet}, which never changes")]
    Slots { node: u16, fleet: u16 },
    #[error("no such token, or it has expired; make a new one on a member of the fleet")]
    Token,
    #[error("{TOKENS_LIMIT} join tokens are valid: revoke one first")]
    Tokens,
    #[error(
        "node {node} reads records of versions {oldest} to {newest} and the fleet writes {fleet}; use another release"
    )]
    Release { node: NodeId, oldest: u16, newest: u16, fleet: u16 },
    #[error("the fleet writes records of version {fleet} and does not go back to {asked}")]
    Older { fleet: u16, asked: u16 },
    #[error("zero is no node")]
    NoNode,
    #[error("node {0} is not a member of the fleet")]
    Unknown(NodeId),
    #[error("node {0} was removed from the fleet; empty its data folder to let it join as a new node")]
    Removed(NodeId),
    #[error(
        "node {0} has a number that is kept for replicas; empty its data folder to let it join as a new node"
    )]
    Reserved(NodeId),
    #[error("all numbers of replicas are given out")]
    Numbers,
    #[error("the name {name:?} is that of node {node} in zone {zone}")]
    NameTaken { name: String, node: NodeId, zone: String },
    #[error("node {node} is in zone {zone} and does not change it; remove it and let it join anew")]
    Zone { node: NodeId, zone: String },
    #[error("{what} has {bytes} bytes: use 1 to {TEXT_LIMIT}")]
    Text { what: &'static str, bytes: usize },
    #[error("the fleet has {MAX_MEMBERS} members and room for no more")]
    Members,
    #[error("no other member could keep a replica")]
    LastNode,
    #[error("node {0} still has a place in the ring; drain it first")]
    InTheRing(NodeId),
    #[error("node {node} still keeps slot {slot}; wait until it has moved")]
    KeepsReplica { node: NodeId, slot: SlotId },
    #[error(
        "node {node} has the last replica of slot {slot}: with it the slot's Sessions and messages would be lost"
    )]
    LastReplica { node: NodeId, slot: SlotId },
    #[error("ring version {asked} is not the next one after {current}: the ring has changed meanwhile")]
    Version { asked: u64, current: u64 },
    #[error("slot {slot} of a fleet of {slots}")]
    NoSlot { slot: u16, slots: u16 },
    #[error(transparent)]
    Ring(convoy_membership::Error),
}

impl Fleet {
    /// Whether the command would be carried out now.
    pub fn judge(&self, command: &Command) -> Result<(), Refusal> {
        if let Command::Found { slots, replication, format, founder, .. } = command {
            return self.judge_birth(*slots, *replication, *format, founder);
        }
        let birth = self.birth.as_ref().ok_or(Refusal::Unborn)?;
        match command {
            Command::Found { .. } => Err(Refusal::Born),
            Command::Join { entrant, fleet, slots, token, at } => {
                if *fleet != birth.fleet {
                    return Err(Refusal::AnotherFleet);
                }
                if *slots != birth.slots {
                    return Err(Refusal::Slots { node: *slots, fleet: birth.slots });
                }
                self.judge_entrant(entrant, token, *at)
            }
            Command::Readdress { node, address } => {
                self.known(*node)?;
                judge_text("the address", address)
            }
            Command::Reweigh { node, weight } => {
                let (node, member) = self.known(*node)?;
                judge_weight(node, *weight)?;
                self.judge_leaving(node, *weight > 0 && member.state == State::Active)
            }
            Command::Drain { node } | Command::Replace { node } => {
                self.known(*node).and_then(|(node, _)| self.judge_leaving(node, false))
            }
            Command::Restore { node } => self.known(*node).map(|_| ()),
            Command::Remove { node } => {
                let (node, _) = self.known(*node)?;
                let is_placed = |ring: &Ring| ring.member(node).is_some_and(|member| member.weight > 0);
                match self.ring.as_ref().is_some_and(is_placed) {
                    true => Err(Refusal::InTheRing(node)),
                    false => self.judge_leaving(node, false),
                }
            }
            Command::Reshape { version } => {
                let current = self.ring.as_ref().map_or(0, |ring| ring.version().0);
                if *version != current + 1 {
                    return Err(Refusal::Version { asked: *version, current });
                }
                self.next_ring().map(|_| ())
            }
            Command::Raise { format } => self.judge_format(*format),
            Command::Number { slot, node } => {
                self.known(*node)?;
                if self.numbered >= NUMBERS_LIMIT {
                    return Err(Refusal::Numbers);
                }
                let is_one = *slot < birth.slots || SlotId(*slot).is_meta();
                is_one.then_some(()).ok_or(Refusal::NoSlot { slot: *slot, slots: birth.slots })
            }
            Command::AddToken { hash, at, .. } => {
                let valid = self.tokens.iter().filter(|(other, until)| **until > *at && *other != hash);
                (valid.count() < TOKENS_LIMIT).then_some(()).ok_or(Refusal::Tokens)
            }
            Command::RevokeToken { .. } => Ok(()),
        }
    }

    fn judge_birth(
        &self,
        slots: u16,
        replication: u8,
        format: u16,
        founder: &Entrant,
    ) -> Result<(), Refusal> {
        if self.birth.is_some() {
            return Err(Refusal::Born);
        }
        judge_texts(founder)?;
        let node = named(founder.node)?;
        judge_formats(node, founder.formats, format)?;
        let zone = convoy_ids::Zone(founder.zone.clone());
        let member = convoy_membership::Member { node, zone, weight: founder.weight };
        let ring = Ring::new(convoy_ids::RingVersion(1), slots, replication, vec![member]);
        ring.map(|_| ()).map_err(Refusal::Ring)
    }

    fn judge_entrant(&self, entrant: &Entrant, token: &TokenHash, at: u64) -> Result<(), Refusal> {
        let node = named(entrant.node)?;
        if self.gone.contains(&node) {
            return Err(Refusal::Removed(node));
        }
        judge_texts(entrant)?;
        judge_weight(node, entrant.weight)?;
        judge_formats(node, entrant.formats, self.format)?;
        let namesake =
            self.members.iter().find(|(other, member)| **other != node && member.name == entrant.name);
        if let Some((other, member)) = namesake {
            let (name, zone) = (entrant.name.clone(), member.zone.0.clone());
            return Err(Refusal::NameTaken { name, node: *other, zone });
        }
        match self.members.get(&node) {
            // A member has proven who it is; it needs no token.
            Some(member) if member.zone.0 != entrant.zone => {
                Err(Refusal::Zone { node, zone: member.zone.0.clone() })
            }
            Some(member) => self.judge_leaving(node, entrant.weight > 0 && member.state == State::Active),
            None if self.tokens.get(token).is_none_or(|until| *until <= at) => Err(Refusal::Token),
            None if self.members.len() >= MAX_MEMBERS => Err(Refusal::Members),
            None => Ok(()),
        }
    }

    /// Somebody must be left who keeps replicas, whatever becomes of this node.
    fn judge_leaving(&self, node: NodeId, keeps: bool) -> Result<(), Refusal> {
        let keeps_some = |(other, member): (&NodeId, &Member)| {
            *other != node && member.state == State::Active && member.weight > 0
        };
        (keeps || self.members.iter().any(keeps_some)).then_some(()).ok_or(Refusal::LastNode)
    }

    fn judge_format(&self, format: u16) -> Result<(), Refusal> {
        if format < self.format {
            return Err(Refusal::Older { fleet: self.format, asked: format });
        }
        let formats = self.members.iter().map(|(node, member)| (*node, member.formats));
        formats.into_iter().try_for_each(|(node, formats)| judge_formats(node, formats, format))
    }

    fn known(&self, node: u64) -> Result<(NodeId, &Member), Refusal> {
        let node = NodeId::new(node).ok_or(Refusal::NoNode)?;
        match self.members.get(&node) {
            Some(member) => Ok((node, member)),
            None if self.gone.contains(&node) => Err(Refusal::Removed(node)),
            None => Err(Refusal::Unknown(node)),
        }
    }
}

/// Whether a node may be removed as far as the groups know, for whoever proposes it: the meta group does not know where replicas
/// are, only where they should be.
pub fn judge_removal<'a>(
    node: NodeId,
    groups: impl IntoIterator<Item = (SlotId, &'a Group)>,
) -> Result<(), Refusal> {
    let mut keeps = None;
    for (slot, group) in groups {
        let is_here = |replica: &convoy_membership::ring::walk::Replica| replica.node == node;
        if group.voters.iter().all(is_here) && !group.voters.is_empty() {
            return Err(Refusal::LastReplica { node, slot });
        }
        if group.voters.iter().chain(&group.learners).any(is_here) {
            keeps = keeps.or(Some(slot));
        }
    }
    keeps.map_or(Ok(()), |slot| Err(Refusal::KeepsReplica { node, slot }))
}

/// A node that may become a member.
fn named(node: u64) -> Result<NodeId, Refusal> {
    let node = NodeId::new(node).ok_or(Refusal::NoNode)?;
    if is_of_replicas(node) { Err(Refusal::Reserved(node)) } else { Ok(node) }
}

fn judge_texts(entrant: &Entrant) -> Result<(), Refusal> {
    judge_text("the name", &entrant.name)?;
    judge_text("the zone", &entrant.zone)?;
    judge_text("the address", &entrant.address)
}

fn judge_text(what: &'static str, text: &str) -> Result<(), Refusal> {
    let is_right = (1..=TEXT_LIMIT).contains(&text.len());
    is_right.then_some(()).ok_or(Refusal::Text { what, bytes: text.len() })
}

fn judge_weight(node: NodeId, weight: u16) -> Result<(), Refusal> {
    let most = convoy_membership::ring::MAX_WEIGHT;
    let error = convoy_membership::Error::Weight { node: Some(node), weight, most };
    (weight <= most).then_some(()).ok_or(Refusal::Ring(error))
}

fn judge_formats(node: NodeId, (oldest, newest): (u16, u16), fleet: u16) -> Result<(), Refusal> {
    (oldest..=newest).contains(&fleet).then_some(()).ok_or(Refusal::Release { node, oldest, newest, fleet })
}
