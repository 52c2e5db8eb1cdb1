//! The nodes that keep a slot.

use convoy_ids::{NodeId, SlotId};

use super::place::{point_of_slot, points_of_members};
use super::{Member, Ring};

/// The replicas of every slot: the first distinct nodes clockwise from it in distinct zones; once every zone has one,
/// the first nodes clockwise that are left.
pub(super) fn replicas_of_all(slots: u16, replication: u8, members: &[Member]) -> Vec<Box<[NodeId]>> {
    let points = points_of_members(members);
    let with_weight = || members.iter().filter(|member| member.weight > 0);
    let mut zones: Vec<_> = with_weight().map(|member| &member.zone).collect();
    zones.sort_unstable();
    zones.dedup();
    let nodes = with_weight().count().min(usize::from(replication));
    let zones = zones.len().min(usize::from(replication));

    let replicas_of = |slot| {
        let point = point_of_slot(slot, slots);
        let first = points.partition_point(|&(at, _)| at < point);
        let clockwise =
            || points[first..].iter().chain(&points[..first]).map(|&(_, at)| &members[usize::from(at)]);

        let mut chosen: Vec<&Member> = Vec::with_capacity(nodes);
        choose(&mut chosen, zones, clockwise(), |a, b| a.zone == b.zone);
        choose(&mut chosen, nodes, clockwise(), |a, b| a.node == b.node);
        chosen.iter().map(|member| member.node).collect()
    };
    (0..slots).map(SlotId).map(replicas_of).collect()
}

/// Adds candidates that are not `same` as one chosen before, until `wanted` are chosen.
fn choose<'a>(
    chosen: &mut Vec<&'a Member>,
    wanted: usize,
    candidates: impl Iterator<Item = &'a Member>,
    same: impl Fn(&Member, &Member) -> bool,
) {
    for candidate in candidates {
        if chosen.len() == wanted {
            return;
        }
        if !chosen.iter().any(|taken| same(taken, candidate)) {
            chosen.push(candidate);
        }
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
