//! Who leads each slot, as far as this node knows. A view may be stale: what it names may answer with a redirect, and
//! only a quorum of the slot decides.

use convoy_ids::{NodeId, SlotId, Term};

/// Who leads each slot, as far as this node knows.
#[derive(Clone, Debug)]
pub struct View {
    leaders: Vec<(Term, Option<NodeId>)>,
    meta: (Term, Option<NodeId>),
}

impl View {
    /// Nothing is known of `slots` slots and the meta group.
    pub fn new(slots: u16) -> Self {
        Self { leaders: vec![(Term(0), None); usize::from(slots)], meta: (Term(0), None) }
    }

    /// A fleet of one node, which leads everything.
    pub fn of_one(node: NodeId, slots: u16) -> Self {
        let led = (Term(1), Some(node));
        Self { leaders: vec![led; usize::from(slots)], meta: led }
    }

    pub fn slots(&self) -> u16 {
        self.leaders.len() as u16
    }

    /// The leader of a slot or of the meta group. No leader is a normal answer: an election runs, or this node has
    /// heard of none.
    #[inline]
    pub fn leader_of(&self, slot: SlotId) -> Option<NodeId> {
        let (_, leader) =
            if slot.is_meta() { Some(&self.meta) } else { self.leaders.get(usize::from(slot.0)) }?;
        *leader
    }

    /// Learns who leads a slot in `term`. Returns whether anything changed: what is told of an earlier term, or of a
    /// slot that does not exist, is ignored.
    pub fn learn(&mut self, slot: SlotId, term: Term, leader: Option<NodeId>) -> bool {
        let known =
            if slot.is_meta() { Some(&mut self.meta) } else { self.leaders.get_mut(usize::from(slot.0)) };
        match known {
            // Within a term the leader becomes known once and is never another, but may step down.
            Some(known) if known.0 <= term && *known != (term, leader) => {
                *known = (term, leader);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<NodeId> = NodeId::new(1);
    const B: Option<NodeId> = NodeId::new(2);

    #[test]
    fn one_node_leads_everything() {
        let view = View::of_one(A.unwrap(), 64);
        assert_eq!(view.leader_of(SlotId(0)), A);
        assert_eq!(view.leader_of(SlotId(63)), A);
        assert_eq!(view.leader_of(SlotId::META), A);
        assert_eq!(view.leader_of(SlotId(64)), None);
    }

    #[test]
    fn news_of_an_earlier_term_is_ignored() {
        let mut view = View::new(2);
        assert_eq!(view.leader_of(SlotId(1)), None);
        assert!(view.learn(SlotId(1), Term(5), A));
        assert!(!view.learn(SlotId(1), Term(5), A));
        assert!(!view.learn(SlotId(1), Term(4), B));
        assert_eq!(view.leader_of(SlotId(1)), A);
        assert!(view.learn(SlotId(1), Term(6), None));
        assert_eq!(view.leader_of(SlotId(1)), None);
        assert_eq!(view.leader_of(SlotId(0)), None);
    }

    #[test]
    fn slots_that_do_not_exist_are_not_learned() {
        let mut view = View::new(2);
        assert!(!view.learn(SlotId(2), Term(1), A));
        assert!(view.learn(SlotId::META, Term(1), A));
        assert_eq!(view.leader_of(SlotId::META), A);
    }
}
