//! The nodes that keep a slot.

use std::collections::BTreeMap;

use convoy_ids::{NodeId, SlotId, Zone};

use super::bounded::{capacities, make_room, match_all};
use super::place::{point_of_slot, points_of_members};
use super::{Member, Ring};

/// Points of members, in the order of the circle.
type Points = Vec<(u64, u16)>;

/// The replicas of every slot, the preferred leader first.
///
/// Clockwise from the slot, each zone that is met gives a node until there are enough or zones run out; then the first nodes
/// that are left say which zones give another. Within a zone the nodes share its slots by weight, and as leaders all nodes
/// share all slots; no node gets more than a tenth beyond its share, as far as that is possible.
pub(super) fn replicas_of_all(slots: u16, replication: u8, members: &[Member]) -> Vec<Box<[NodeId]>> {
    let points = points_of_members(members);
    let chosen: Vec<_> = (0..slots)
        .map(|slot| clockwise_of(point_of_slot(SlotId(slot), slots), replication, members, &points))
        .collect();
    let mut zones: BTreeMap<&Zone, Vec<usize>> = BTreeMap::new();
    for (slot, first) in chosen.iter().enumerate() {
        for &node in first {
            let wants =
                zones.entry(&members[usize::from(node)].zone).or_insert_with(|| vec![0; chosen.len()]);
            wants[slot] += 1;
        }
    }
    let mut replicas: Vec<Vec<(u64, u16)>> = vec![Vec::new(); chosen.len()];
    for (zone, wants) in zones {
        let points: Points =
            points.iter().filter(|(_, at)| members[usize::from(*at)].zone == *zone).copied().collect();
        let weight = |member: &Member| if member.zone == *zone { u64::from(member.weight) } else { 0 };
        let weights: Vec<_> = members.iter().map(weight).collect();
        let demand = wants.iter().sum::<usize>() as u64;
        let most = wants.iter().filter(|wants| **wants > 0).count() as u64;
        let mut walks: Vec<_> = (0..slots).map(|slot| Walk::new(&points, SlotId(slot), slots)).collect();
        let mut nearest = |slot: usize, n: usize| walks[slot].nearest(n);
        for (slot, nodes) in
            match_all(&wants, capacities(&weights, demand, most), &mut nearest).iter().enumerate()
        {
            let found = (0..).map_while(|n| nearest(slot, n));
            replicas[slot].extend(found.filter(|(_, node)| nodes.contains(node)));
        }
    }
    let weights: Vec<_> = members.iter().map(|member| u64::from(member.weight)).collect();
    replicas.iter_mut().for_each(|nodes| nodes.sort_unstable());
    let room = capacities(&weights, u64::from(slots), u64::from(slots));
    let nearest = |slot: usize, n: usize| replicas[slot].get(n).copied();
    let leaders = match_all(&vec![1; replicas.len()], room.clone(), nearest);
    let mut leaders: Vec<_> = leaders.into_iter().flatten().collect();
    make_room(&mut leaders, &room, |slot| replicas[slot].iter().map(|(_, node)| *node).collect());
    let ordered = |(nodes, leader): (Vec<(u64, u16)>, u16)| {
        let others = nodes.iter().map(|(_, node)| *node).filter(|node| *node != leader);
        [leader].into_iter().chain(others).map(|node| members[usize::from(node)].node).collect()
    };
    replicas.into_iter().zip(leaders).map(ordered).collect()
}

/// The first distinct nodes clockwise from a point in distinct zones; once every zone has one, the first nodes that are left.
fn clockwise_of(point: u64, replication: u8, members: &[Member], points: &[(u64, u16)]) -> Vec<u16> {
    let with_weight = || members.iter().filter(|member| member.weight > 0);
    let mut zones: Vec<_> = with_weight().map(|member| &member.zone).collect();
    zones.sort_unstable();
    zones.dedup();
    let nodes = with_weight().count().min(usize::from(replication));
    let zones = zones.len().min(usize::from(replication));
    let first = points.partition_point(|&(at, _)| at < point);
    let clockwise = || points[first..].iter().chain(&points[..first]).map(|&(_, at)| at);
    let zone = |node: u16| &members[usize::from(node)].zone;
    let mut chosen: Vec<u16> = Vec::with_capacity(nodes);
    choose(&mut chosen, zones, clockwise(), |a, b| zone(a) == zone(b));
    choose(&mut chosen, nodes, clockwise(), |a, b| a == b);
    chosen
}

/// Adds candidates that are not `same` as one chosen before, until `wanted` are chosen.
fn choose(
    chosen: &mut Vec<u16>,
    wanted: usize,
    candidates: impl Iterator<Item = u16>,
    same: impl Fn(u16, u16) -> bool,
) {
    for candidate in candidates {
        if chosen.len() == wanted {
            return;
        }
        if !chosen.iter().any(|taken| same(*taken, candidate)) {
            chosen.push(candidate);
        }
    }
}

/// The distinct nodes of a zone clockwise from a slot, found as they are asked for.
struct Walk<'a> {
    points: &'a [(u64, u16)],
    from: u64,
    /// Points that were looked at.
    seen: usize,
    first: usize,
    found: Vec<(u64, u16)>,
}

impl<'a> Walk<'a> {
    fn new(points: &'a [(u64, u16)], slot: SlotId, slots: u16) -> Self {
        let from = point_of_slot(slot, slots);
        let first = points.partition_point(|&(at, _)| at < from);
        Self { points, from, seen: 0, first, found: Vec::new() }
    }

    fn nearest(&mut self, n: usize) -> Option<(u64, u16)> {
        while self.found.len() <= n && self.seen < self.points.len() {
            let (at, node) = self.points[(self.first + self.seen) % self.points.len()];
            self.seen += 1;
            if !self.found.iter().any(|(_, found)| *found == node) {
                self.found.push((at.wrapping_sub(self.from), node));
            }
        }
        self.found.get(n).copied()
    }
}

impl Ring {
    /// The nodes that keep `slot`, the preferred leader first: one at least and `replication` at most. Of the meta
    /// group and of slots that do not exist nobody is told: every node follows the meta group.
    #[inline]
    pub fn replicas(&self, slot: SlotId) -> &[NodeId] {
        self.placement.get(usize::from(slot.0)).map_or(&[], |replicas| replicas)
    }
}
