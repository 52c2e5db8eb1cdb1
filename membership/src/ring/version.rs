//! A version of the ring: what the meta group commits, and all that placement depends on.

use convoy_ids::{NodeId, RingVersion, Zone};

use super::replicas::replicas_of_all;
use super::{MAX_MEMBERS, MAX_REPLICATION, MAX_SLOTS, MAX_WEIGHT};
use crate::Error;

/// A node of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    pub zone: Zone,
    /// Its share of the replicas, relative to the others'; with zero it holds none.
    pub weight: u16,
}

/// Whether a ring can have so many slots and replicas of each.
pub fn check_sizes(slots: u16, replication: u8) -> Result<(), Error> {
    if !(1..=MAX_SLOTS).contains(&slots) {
        return Err(Error::Slots { slots, most: MAX_SLOTS });
    }
    if !(1..=MAX_REPLICATION).contains(&replication) {
        return Err(Error::Replication { replication, most: MAX_REPLICATION });
    }
    Ok(())
}

/// One version of the ring with the placement that follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    version: RingVersion,
    slots: u16,
    replication: u8,
    /// In the order of their nodes.
    members: Vec<Member>,
    /// Of every slot, the preferred leader first.
    pub(super) placement: Vec<Box<[NodeId]>>,
}

impl Ring {
    /// The placement of a version. The order of `members` does not matter.
    pub fn new(
        version: RingVersion,
        slots: u16,
        replication: u8,
        mut members: Vec<Member>,
    ) -> Result<Self, Error> {
        check_sizes(slots, replication)?;
        if members.len() > MAX_MEMBERS {
            return Err(Error::Members { members: members.len(), most: MAX_MEMBERS });
        }
        members.sort_unstable_by_key(|member| member.node);
        if let Some(pair) = members.windows(2).find(|pair| pair[0].node == pair[1].node) {
            return Err(Error::Duplicate { node: pair[0].node });
        }
        if let Some(member) = members.iter().find(|member| member.weight > MAX_WEIGHT) {
            return Err(Error::Weight { node: Some(member.node), weight: member.weight, most: MAX_WEIGHT });
        }
        if members.iter().all(|member| member.weight == 0) {
            return Err(Error::Empty);
        }
        let placement = replicas_of_all(slots, replication, &members);
        Ok(Self { version, slots, replication, members, placement })
    }

    /// The next version, with `member` added.
    pub fn with(&self, member: Member) -> Result<Self, Error> {
        let members = self.members.iter().cloned().chain([member]).collect();
        self.next(members)
    }

    /// The next version, without `node`.
    pub fn without(&self, node: NodeId) -> Result<Self, Error> {
        self.member(node).ok_or(Error::Unknown { node })?;
        self.next(self.members.iter().filter(|member| member.node != node).cloned().collect())
    }

    /// The next version, in which `node` has another weight: zero to drain it.
    pub fn with_weight(&self, node: NodeId, weight: u16) -> Result<Self, Error> {
        self.member(node).ok_or(Error::Unknown { node })?;
        let mut members = self.members.clone();
        for member in members.iter_mut().filter(|member| member.node == node) {
            member.weight = weight;
        }
        self.next(members)
    }

    fn next(&self, members: Vec<Member>) -> Result<Self, Error> {
        Self::new(RingVersion(self.version.0 + 1), self.slots, self.replication, members)
    }

    pub fn version(&self) -> RingVersion {
        self.version
    }

    pub fn slots(&self) -> u16 {
        self.slots
    }

    pub fn replication(&self) -> u8 {
        self.replication
    }

    /// In the order of their nodes.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn member(&self, node: NodeId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&node, |member| member.node).ok()?;
        Some(&self.members[at])
    }
}
