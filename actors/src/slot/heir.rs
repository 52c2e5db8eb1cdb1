//! To whom a leader hands over. The replicas of a slot are in an order, and the first of them that could lead is to: so that
//! each node leads its share, whatever order nodes come and go in.

use convoy_ids::NodeId;

/// Milliseconds for which a replica must have been able to lead before it is handed the slot: a node that has just come back
/// may go again.
const PROVEN: u64 = 1_000;

/// Milliseconds between two moments at which it is able, beyond which it was not in between. Whether a follower is heard is
/// judged anew at each election timeout, so of one that is well it is not true at every look.
const GAP: u64 = 600;

/// What a leader has seen of those before it in the order.
#[derive(Debug, Default)]
pub struct Heir {
    /// Since when, and when last, monotonic milliseconds.
    seen: Vec<(NodeId, u64, u64)>,
}

impl Heir {
    /// A look at those who are preferred to this node, in their order: the one that is to lead, if it is time.
    pub fn look(
        &mut self,
        now: u64,
        preferred: impl Iterator<Item = NodeId>,
        could_lead: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        self.seen.retain(|(_, _, last)| now.saturating_sub(*last) <= GAP);
        let mut heir = None;
        for node in preferred {
            let found = self.seen.iter_mut().find(|(of, ..)| *of == node);
            match (found, could_lead(node)) {
                (Some((_, since, last)), is_able) => {
                    *last = if is_able { now } else { *last };
                    // The first one that is likely to lead is waited for; those behind it are not asked.
                    if heir.is_none() {
                        heir = Some((node, is_able && now.saturating_sub(*since) >= PROVEN));
                    }
                }
                (None, true) => {
                    self.seen.push((node, now, now));
                    heir = heir.or(Some((node, false)));
                }
                (None, false) => {}
            }
        }
        heir.filter(|(_, is_time)| *is_time).map(|(node, _)| node)
    }

    /// This replica leads no longer.
    pub fn forget(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> [NodeId; 2] {
        [1, 2].map(|number| NodeId::new(number).expect("it is not zero"))
    }

    #[test]
    fn who_has_been_able_for_a_while_is_handed_over_to() {
        let (mut heir, [first, second]) = (Heir::default(), nodes());
        let mut look =
            |now, able: &[NodeId]| heir.look(now, nodes().into_iter(), |node| able.contains(&node));
        assert_eq!(look(0, &[second]), None);
        assert_eq!((look(300, &[]), look(600, &[second])), (None, None), "it was well in between");
        assert_eq!(look(PROVEN, &[second]), Some(second));
        // The first one is waited for as soon as it could.
        assert_eq!(look(1_100, &[first, second]), None);
        assert_eq!((look(1_600, &[first, second]), look(2_000, &[first, second])), (None, None));
        assert_eq!(look(2_100, &[first, second]), Some(first));
    }

    #[test]
    fn who_was_away_begins_anew() {
        let (mut heir, [first, _]) = (Heir::default(), nodes());
        let mut look = |now, is_able| heir.look(now, nodes().into_iter(), |node| is_able && node == first);
        assert_eq!(look(0, true), None);
        assert_eq!([700, 1_200, 1_600].map(|now| look(now, true)), [None; 3]);
        assert_eq!(look(700 + PROVEN, true), Some(first));
    }
}
