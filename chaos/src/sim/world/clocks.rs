//! What nodes see of the time, and that their wall clocks are set now and then.

use convoy_actors::Now;

use super::{Event, World};
use crate::oracle::{Fault, Fleet, What};
use crate::sim::clock::SECOND;
use crate::sim::node::Node;
use crate::sim::node_clock::{Clocks, NodeClock};
use crate::sim::strike::Strike;

impl World {
    /// The two clocks of a node.
    pub fn now_of(&self, node: usize) -> Now {
        self.clocks[node].show(self.agenda.micros())
    }

    /// Says what each wall clock shows at first.
    pub fn begin_clocks(&mut self) {
        if self.setup.clocks != Clocks::Alike {
            (0..self.nodes.len()).for_each(|node| self.tell_clock(node));
            self.plan_clock();
        }
    }

    pub fn plan_clock(&mut self) {
        if self.setup.schedule.is_none() {
            let delay = self.chance.clocks.between(SECOND, 12 * SECOND);
            self.agenda.enter(delay, Event::SetClock);
        }
    }

    pub fn set_any_clock(&mut self) {
        let node = self.chance.clocks.below(self.nodes.len() as u64) as usize;
        let ahead = NodeClock::draw_ahead(self.setup.clocks, &mut self.chance.clocks);
        self.strike(Strike::SetClock { node, ahead });
    }

    pub fn set_clock(&mut self, node: usize, ahead: i64) {
        self.clocks[node].set(ahead);
        self.tell_clock(node);
    }

    fn tell_clock(&mut self, node: usize) {
        let ahead = self.clocks[node].ahead();
        let of = Node::id_of(node).get();
        self.log.record(What::Fault(Fault::Fleet(Fleet::Clock { node: of, ahead })));
    }
}
