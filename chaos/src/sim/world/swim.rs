//! Datagrams of membership: they go by the links as what replicas say does, and are lost, doubled and late as that is.

use bytes::Bytes;
use convoy_membership::swim::Datagram;

use super::{Event, World};
use crate::sim::node::Node;

impl World {
    pub fn tick_swim(&mut self, node: usize) {
        if self.meta.is_some() && self.nodes[node].is_up() && !self.nodes[node].is_suspended() {
            let now = self.now_of(node).monotonic;
            let said = self.nodes[node].tick_swim(now);
            self.send_datagrams(node, said);
        }
    }

    pub fn hear_swim(&mut self, node: usize, from: usize, bytes: &[u8]) {
        if self.nodes[node].is_up() && self.links.is_open(from, node) {
            let now = self.now_of(node).monotonic;
            let said = self.nodes[node].hear_swim(now, bytes);
            self.send_datagrams(node, said);
        }
    }

    fn send_datagrams(&mut self, from: usize, said: Vec<Datagram>) {
        for Datagram { to, bytes, .. } in said {
            let node = Node::place_of(to);
            for delay in self.links.send(self.agenda.micros(), from, node) {
                let bytes: Bytes = bytes.clone();
                self.agenda.enter(delay, Event::HearSwim { node, from, bytes });
            }
        }
    }
}
