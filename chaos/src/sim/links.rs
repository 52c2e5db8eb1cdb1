//! The links between nodes: what one sends to another arrives after a while, late, twice, behind what was sent later, or
//! never, and while the fleet is torn there are pairs of nodes between which nothing arrives.

use super::clock::{MILLISECOND, Micros, SECOND};
use super::places::Places;
use super::seed::Stream;

/// Who cannot be heard by whom. Nodes are named by their places, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two sides that do not hear each other: true for the nodes of the one.
    Split(Vec<bool>),
    /// This node and all others do not hear each other.
    Isolated(usize),
    /// The others do not hear this node, and it hears them.
    Mute(usize),
    /// This node does not hear the others, and they hear it.
    Deaf(usize),
    /// Two sides that do not hear each other, and a node that both sides hear, and that hears both.
    Bridge { bridge: usize, sides: Vec<bool> },
    /// Each node hears its two neighbours alone. Of three nodes each would hear all: there the first and the last one do
    /// not hear each other.
    Ring,
}

impl Shape {
    /// Any shape that cuts something between so many nodes, which are at least two.
    pub fn draw(chance: &mut Stream, nodes: usize) -> Self {
        assert!(nodes > 1, "one node has nobody to be cut off from");
        let node = chance.below(nodes as u64) as usize;
        match chance.below(6) {
            0 => Self::Split(two_sides(chance, nodes)),
            1 => Self::Mute(node),
            2 => Self::Deaf(node),
            3 if nodes > 2 => {
                let mut sides = two_sides(chance, nodes);
                // The two sides are those of the others.
                sides[(node + 1) % nodes] = !sides[(node + 2) % nodes];
                Self::Bridge { bridge: node, sides }
            }
            4 if nodes > 2 => Self::Ring,
            _ => Self::Isolated(node),
        }
    }

    fn is_open(&self, nodes: usize, from: usize, to: usize) -> bool {
        match self {
            Self::Split(sides) => sides[from] == sides[to],
            Self::Isolated(node) => from != *node && to != *node,
            Self::Mute(node) => from != *node,
            Self::Deaf(node) => to != *node,
            Self::Bridge { bridge, sides } => from == *bridge || to == *bridge || sides[from] == sides[to],
            Self::Ring if nodes == 3 => from.abs_diff(to) == 1,
            Self::Ring => [1, nodes - 1].contains(&from.abs_diff(to)),
        }
    }
}

/// Sides that have at least one node each.
fn two_sides(chance: &mut Stream, nodes: usize) -> Vec<bool> {
    let mut sides: Vec<bool> = (0..nodes).map(|_| chance.one_in(2)).collect();
    if sides.iter().all(|side| *side == sides[0]) {
        let other = chance.below(nodes as u64) as usize;
        sides[other] = !sides[other];
    }
    sides
}

/// The links of a fleet, each way by itself.
pub struct Links {
    nodes: usize,
    shape: Option<Shape>,
    /// Of each node the nodes that hear it, and those that it hears: a bit for each place.
    reached: Vec<Places>,
    heard: Vec<Places>,
    /// Messages are lost, doubled and late, and overtake each other.
    disorder: bool,
    chance: Stream,
    /// When the last message of each way arrives: none overtakes it where there is order.
    last: Vec<Micros>,
    /// The same of what goes by a connection, and until when each way has none.
    by_connection: Vec<(Micros, Micros)>,
}

impl Links {
    pub fn new(nodes: usize, disorder: bool, chance: Stream) -> Self {
        let ways = nodes * nodes;
        let by_connection = vec![(0, 0); ways];
        let all = vec![Places::first(nodes); nodes];
        let (reached, heard) = (all.clone(), all);
        Self { nodes, shape: None, reached, heard, disorder, chance, last: vec![0; ways], by_connection }
    }

    pub fn tear(&mut self, shape: Shape) {
        self.shape = Some(shape);
        self.look_around();
    }

    /// Every node hears every other one again.
    pub fn mend(&mut self) {
        self.shape = None;
        self.look_around();
    }

    fn look_around(&mut self) {
        let open = |from, to| {
            from == to || self.shape.as_ref().is_none_or(|shape| shape.is_open(self.nodes, from, to))
        };
        let nodes = || 0..self.nodes;
        self.reached = nodes().map(|from| nodes().filter(|to| open(from, *to)).collect()).collect();
        self.heard = nodes().map(|to| nodes().filter(|from| open(*from, to)).collect()).collect();
    }

    /// Messages arrive once, and in their order, from now on.
    pub fn end_disorder(&mut self) {
        self.disorder = false;
    }

    pub fn shape(&self) -> Option<&Shape> {
        self.shape.as_ref()
    }

    /// Whether what `from` sends arrives at `to`.
    pub fn is_open(&self, from: usize, to: usize) -> bool {
        self.reached[from].has(to)
    }

    /// Of these nodes so many that they are at least `enough`, which hear each other and none of the rest.
    pub fn calm_part(&self, of: Places, enough: usize) -> Option<Places> {
        of.iter().find_map(|one| {
            let part = of & self.reached[one] & self.heard[one];
            let is_calm = part.count() >= enough && part.iter().all(|node| self.heard[node] & of == part);
            is_calm.then_some(part)
        })
    }

    /// How long what is sent now takes to arrive: nothing if it is lost, two times if it is doubled. A way that is cut
    /// when it would arrive lets nothing through either: whoever carries it asks [`Links::is_open`] then.
    pub fn send(&mut self, now: Micros, from: usize, to: usize) -> Vec<Micros> {
        if !self.is_open(from, to) {
            return Vec::new();
        }
        if !self.disorder {
            let last = &mut self.last[from * self.nodes + to];
            *last = (*last + 1).max(now + self.chance.between(50, 2 * MILLISECOND));
            return vec![*last - now];
        }
        let copies = match self.chance.below(20) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        (0..copies).map(|_| self.delay()).collect()
    }

    /// The same of what goes by a connection as TCP has them: in order and once, but what is sent while a connection that broke
    /// is made anew is lost, and now and then everything stands still for a while.
    pub fn send_in_order(&mut self, now: Micros, from: usize, to: usize) -> Option<Micros> {
        if !self.is_open(from, to) {
            return None;
        }
        let delay = match self.chance.below(2000) {
            0 if self.disorder => self.chance.between(100 * MILLISECOND, 1500 * MILLISECOND),
            1..20 if self.disorder => self.chance.between(5 * MILLISECOND, 80 * MILLISECOND),
            _ => self.chance.between(50, 2 * MILLISECOND),
        };
        let breaks = self.disorder && self.chance.below(500) == 0;
        let lasts = self.chance.between(MILLISECOND, 300 * MILLISECOND);
        let (last, broken_until) = &mut self.by_connection[from * self.nodes + to];
        if breaks {
            *broken_until = now + lasts;
        }
        if now < *broken_until {
            return None;
        }
        *last = (*last + 1).max(now + delay);
        Some(*last - now)
    }

    fn delay(&mut self) -> Micros {
        match self.chance.below(200) {
            // Out of a buffer that nobody had emptied.
            0 => self.chance.between(100 * MILLISECOND, 3 * SECOND),
            1..20 => self.chance.between(5 * MILLISECOND, 80 * MILLISECOND),
            _ => self.chance.between(50, 5 * MILLISECOND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::seed::Seed;

    fn links(nodes: usize, disorder: bool) -> Links {
        Links::new(nodes, disorder, Seed(11).stream("links"))
    }

    /// The pairs that are cut, of which the first does not reach the second.
    fn cut(nodes: usize, shape: Shape) -> Vec<(usize, usize)> {
        let mut links = links(nodes, false);
        links.tear(shape);
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        pairs.filter(|&(from, to)| !links.is_open(from, to)).collect()
    }

    #[test]
    fn each_shape_cuts_what_it_says() {
        assert_eq!(cut(3, Shape::Split(vec![true, false, false])), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!(cut(3, Shape::Isolated(1)), [(0, 1), (1, 0), (1, 2), (2, 1)]);
        assert_eq!(cut(3, Shape::Mute(1)), [(1, 0), (1, 2)]);
        assert_eq!(cut(3, Shape::Deaf(1)), [(0, 1), (2, 1)]);
        let bridge = Shape::Bridge { bridge: 0, sides: vec![true, true, false] };
        assert_eq!(cut(3, bridge), [(1, 2), (2, 1)]);
        assert_eq!(cut(3, Shape::Ring), [(0, 2), (2, 0)]);
        let far = [(0, 2), (0, 3), (1, 3), (1, 4), (2, 0), (2, 4), (3, 0), (3, 1), (4, 1), (4, 2)];
        assert_eq!(cut(5, Shape::Ring), far);
    }

    #[test]
    fn every_shape_that_is_drawn_cuts_something_and_all_are_drawn() {
        let mut chance = Seed(2).stream("cuts");
        for (nodes, kinds) in [(2, 4), (3, 6), (5, 6), (7, 6)] {
            let mut seen = Vec::new();
            for _ in 0..100 {
                let shape = Shape::draw(&mut chance, nodes);
                assert_ne!(cut(nodes, shape.clone()), [], "{shape:?}");
                let kind = std::mem::discriminant(&shape);
                if !seen.contains(&kind) {
                    seen.push(kind);
                }
            }
            assert_eq!(seen.len(), kinds, "{nodes} nodes");
        }
    }

    #[test]
    fn a_fleet_that_is_mended_hears_everybody() {
        let mut links = links(5, false);
        for node in 0..5 {
            links.tear(Shape::Isolated(node));
            assert_eq!(links.send(0, node, (node + 1) % 5), [0_u64; 0]);
            links.mend();
            assert_eq!(links.send(0, node, (node + 1) % 5).len(), 1);
        }
    }

    #[test]
    fn a_calm_part_hears_itself_and_nobody_else() {
        let part = |shape: Option<Shape>, of: &[usize], enough| {
            let mut links = links(5, false);
            shape.into_iter().for_each(|shape| links.tear(shape));
            let found = links.calm_part(of.iter().copied().collect(), enough);
            found.map(|part| part.iter().collect::<Vec<_>>())
        };
        let all = [0, 1, 2, 3, 4];
        assert_eq!(part(None, &all, 3), Some(all.to_vec()));
        assert_eq!(part(None, &[0, 2, 4], 3), Some(vec![0, 2, 4]));
        assert_eq!(part(None, &[0, 2], 3), None);
        assert_eq!(part(Some(Shape::Isolated(1)), &all, 3), Some(vec![0, 2, 3, 4]));
        assert_eq!(
            part(Some(Shape::Split(vec![true, true, false, false, false])), &all, 3),
            Some(vec![2, 3, 4])
        );
        // Whoever is mute hears the others, who do not hear it; of whoever is deaf they hear.
        assert_eq!(part(Some(Shape::Mute(1)), &all, 3), Some(vec![0, 2, 3, 4]));
        assert_eq!(part(Some(Shape::Deaf(1)), &all, 3), None);
        assert_eq!(part(Some(Shape::Deaf(1)), &[0, 2, 3], 3), Some(vec![0, 2, 3]));
        let bridge = Shape::Bridge { bridge: 0, sides: vec![true, true, true, false, false] };
        assert_eq!(part(Some(bridge.clone()), &all, 3), None);
        assert_eq!(part(Some(bridge), &[0, 1, 2], 3), Some(vec![0, 1, 2]));
        assert_eq!(part(Some(Shape::Ring), &all, 3), None);
    }

    #[test]
    fn links_in_order_lose_nothing_and_nothing_overtakes() {
        let mut links = links(2, false);
        let mut last = 0;
        for now in (0..100_000).step_by(10) {
            let [delay] = links.send(now, 0, 1)[..] else { panic!("it arrives once") };
            assert!(now + delay > last && delay > 0);
            last = now + delay;
        }
    }

    #[test]
    fn links_in_disorder_lose_double_and_reorder_until_that_ends() {
        let mut links = links(2, true);
        let (mut lost, mut doubled, mut overtaken, mut last) = (0, 0, 0, 0);
        for now in (0..1_000_000).step_by(100) {
            let arrivals = links.send(now, 0, 1);
            lost += usize::from(arrivals.is_empty());
            doubled += usize::from(arrivals.len() == 2);
            overtaken += arrivals.iter().filter(|delay| now + **delay < last).count();
            last = arrivals.iter().map(|delay| now + delay).max().unwrap_or(last);
        }
        assert!(lost > 100 && doubled > 100 && overtaken > 100, "{lost} {doubled} {overtaken}");
        links.end_disorder();
        assert!((0..1_000).all(|now| links.send(2_000_000 + now, 0, 1).len() == 1));
    }
}
