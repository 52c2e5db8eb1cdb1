//! Who is away for long is replaced: whoever leads the meta group says so, and makes a ring version of the members as they are.
//! Failover does not wait for it, for slots have other leaders within seconds; it brings back the replicas that are missing.
//!
//! SWIM proposes who is away ([`convoy_membership::swim`]), and whom this node hears is not away, whatever SWIM says. A node that
//! was replaced and is back takes part again.

use std::collections::BTreeMap;

use convoy_ids::NodeId;
use convoy_membership::ring;

use super::super::Shard;
use crate::clock::Now;
use crate::meta::{Command, State};

/// Milliseconds for which a node that was replaced is heard before it takes part again: one that comes and goes is no gain.
const BACK: u64 = 5_000;

/// Milliseconds from a change of the members to the ring version that follows from it. What changes together moves together.
const SETTLES: u64 = 1_000;

/// What the shard of the meta group knows of the lives of nodes.
#[derive(Default)]
pub(super) struct Absent {
    /// Members that are away, and since when, in monotonic milliseconds.
    away: BTreeMap<NodeId, u64>,
    /// Members that were replaced and are heard, and since when.
    back: BTreeMap<NodeId, u64>,
    /// Since when the members are others than those of the ring, and the same.
    unshaped_since: Option<u64>,
}

impl Shard {
    /// Which members are away, and since when, in monotonic milliseconds of this node; for the shard that has the meta group, at
    /// every tick.
    pub fn see_away(&mut self, away: impl IntoIterator<Item = (NodeId, u64)>) {
        self.moving.absent.away = away.into_iter().collect();
    }

    /// Where the meta group is led: replaces who is away for long, and makes a ring version when members have changed.
    pub(super) fn shape(&mut self, now: Now) {
        let Some(after) = self.options.moves.as_ref().and_then(|moves| moves.replace_after) else { return };
        let members = self.fleet().map(|fleet| fleet.members().map(|(node, member)| (node, member.state)));
        let Some(members) = members.map(Iterator::collect::<Vec<_>>) else {
            (self.moving.absent.back, self.moving.absent.unshaped_since) = Default::default();
            return;
        };
        for (node, state) in members {
            let is_heard = self.hears(node);
            let absent = &mut self.moving.absent;
            let is_away = absent.away.contains_key(&node);
            let is_long =
                absent.away.get(&node).is_some_and(|since| now.monotonic.saturating_sub(*since) >= after);
            if state != State::Down || is_away || !is_heard {
                absent.back.remove(&node);
            }
            let command = match state {
                State::Active if is_long && !is_heard => Command::Replace { node: node.get() },
                State::Down if is_heard && !is_away => {
                    let since = *absent.back.entry(node).or_insert(now.monotonic);
                    if now.monotonic.saturating_sub(since) < BACK {
                        continue;
                    }
                    Command::Restore { node: node.get() }
                }
                _ => continue,
            };
            match self.command(&command) {
                Ok(()) => tracing::warn!(%node, ?command, "a member was away for long, or is back"),
                Err(error) => tracing::debug!(%node, %error, "a member is not replaced"),
            }
        }
        self.reshape(now);
    }

    /// Whether nothing is to be done but to take in nodes that are not heard: of what they kept there would be a replica less to
    /// rely on, and of a fleet of one node it would be a half.
    fn waits_for_newcomers(&mut self) -> bool {
        let Some((fleet, ring)) = self.fleet().and_then(|fleet| Some((fleet, fleet.ring()?))) else {
            return false;
        };
        let is_as_it_was = |of: &ring::Member| {
            let member = fleet.member(of.node);
            member.is_some_and(|member| (member.state == State::Active) == (of.weight > 0))
        };
        let is_new = |node: &NodeId| ring.member(*node).is_none();
        let all_stay = ring.members().iter().all(is_as_it_was);
        let new: Vec<NodeId> = fleet.members().map(|(node, _)| node).filter(is_new).collect();
        all_stay && !new.into_iter().all(|node| self.hears(node))
    }

    fn reshape(&mut self, now: Now) {
        let next = self.fleet().and_then(crate::meta::Fleet::unshaped);
        let absent = &mut self.moving.absent;
        let Some(version) = next else {
            absent.unshaped_since = None;
            return;
        };
        let since = *absent.unshaped_since.get_or_insert(now.monotonic);
        if self.waits_for_newcomers() {
            return;
        }
        let absent = &mut self.moving.absent;
        if now.monotonic.saturating_sub(since) >= SETTLES {
            absent.unshaped_since = None;
            if let Err(error) = self.command(&Command::Reshape { version: version.0 }) {
                tracing::debug!(%error, "the ring is not changed");
            }
        }
    }
}
