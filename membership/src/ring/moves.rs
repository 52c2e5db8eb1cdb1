//! What changes from one ring version to another.

use convoy_ids::{NodeId, SlotId};

use super::Ring;

/// A slot whose replicas are others than before. Its leader walks towards them one safe step at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub slot: SlotId,
    /// Nodes that are to catch up and keep the slot.
    pub gains: Vec<NodeId>,
    /// Nodes that may forget the slot once it is safe without them.
    pub losses: Vec<NodeId>,
}

/// The slots whose replicas differ between two versions of one fleet's ring, in their order. A slot whose replicas
/// changed their order alone does not move.
pub fn moves(from: &Ring, to: &Ring) -> Vec<Move> {
    assert_eq!(from.slots(), to.slots(), "a fleet's slots are fixed when it is born");
    (0..from.slots())
        .map(SlotId)
        .filter_map(|slot| {
            let (before, after) = (from.replicas(slot), to.replicas(slot));
            let gains: Vec<_> = after.iter().copied().filter(|node| !before.contains(node)).collect();
            let losses: Vec<_> = before.iter().copied().filter(|node| !after.contains(node)).collect();
            (!gains.is_empty() || !losses.is_empty()).then_some(Move { slot, gains, losses })
        })
        .collect()
}
