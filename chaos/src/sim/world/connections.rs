//! The Clients' connections: to which node they lead, and how bytes come and go.

use std::sync::Arc;

use convoy_actors::{Heed, Output, Peer};

use super::{Event, World};
use crate::oracle::{Closer, Link, What};
use crate::sim::client::{Act, Ghost};
use crate::sim::clock::MILLISECOND;
use crate::sim::net::Pipe;

/// A Client that is content with its node asks for another one at one of so many connections.
const ROVES: u64 = 8;

pub struct Connection {
    pub client: usize,
    link: Link,
    /// The Client has a newer one, and this is left of it here.
    ghost: Option<Ghost>,
    pub node: usize,
    /// Shard and key, once the node has taken it.
    key: Option<(u16, u32)>,
    to_node: Pipe,
    to_client: Pipe,
    output: Output,
    /// The node has not been told yet that it is closed.
    at_node: bool,
    pub at_client: bool,
    /// It ended because the node died.
    died: bool,
    /// Nothing of it reaches the node any more, until the fleet is mended.
    pub severed: bool,
}

/// Where a Client finds the fleet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// The node that it last asked.
    pub last: usize,
    /// The connection that it has made last.
    newest: Option<usize>,
    /// It is cut off from the others with this node.
    pub bound: Option<usize>,
}

impl World {
    /// What a node does for a connection that has news.
    pub fn serve(&mut self, at: usize) {
        let now = self.now_of(self.connections[at].node);
        let connection = &mut self.connections[at];
        let Some((number, key)) = connection.key else { return };
        let node = &mut self.nodes[connection.node];
        while connection.at_node {
            let shard = node.shard(number);
            if connection.output.is_empty() {
                shard.take_output(|| now, key, &mut connection.output);
            }
            let waits = !connection.output.is_empty();
            connection.to_client.write_output(&mut connection.output);
            if !connection.output.is_empty() {
                // It goes on when the Client has read.
                break;
            }
            if waits {
                continue;
            }
            if shard.is_closing(key) {
                connection.at_node = false;
                connection.to_client.ended = true;
                shard.closed(now, key);
                node.strike_key(number, key);
                break;
            }
            let heed = shard.heed(|| now, key);
            if heed == Heed::ReadsOut && connection.to_node.is_empty() && !shard.has_whole_input(key) {
                shard.read_out(key);
            }
            if !matches!(heed, Heed::Reads | Heed::ReadsOut) || !shard.has_whole_input(key) {
                break;
            }
            shard.receive(now, key, &[]);
        }
        self.flow_to_client(at);
        self.flow_to_node(at);
    }

    /// A node that was suspended looks at all its connections.
    pub fn serve_all(&mut self, node: usize) {
        for at in 0..self.connections.len() {
            let Connection { node: of, at_node, key, .. } = &self.connections[at];
            if let (true, true, Some((shard, _))) = (*of == node, *at_node, *key) {
                self.serve(at);
                self.follow(node, shard);
            }
        }
    }

    pub fn flow_to_node(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let pipe = &mut connection.to_node;
        if !connection.severed && !pipe.flowing && (!pipe.is_empty() || pipe.ended) {
            pipe.flowing = true;
            let delay = self.chance.net.between(5, 800);
            self.agenda.enter(delay, Event::ToNode { connection: at });
        }
    }

    fn flow_to_client(&mut self, at: usize) {
        let pipe = &mut self.connections[at].to_client;
        if !pipe.flowing && (!pipe.is_empty() || pipe.ended) {
            pipe.flowing = true;
            let delay = self.chance.net.between(5, 800);
            self.agenda.enter(delay, Event::ToClient { connection: at });
        }
    }

    pub fn arrive_at_node(&mut self, at: usize) {
        let now = self.now_of(self.connections[at].node);
        let connection = &mut self.connections[at];
        connection.to_node.flowing = false;
        let (true, false, Some((number, key))) = (connection.at_node, connection.severed, connection.key)
        else {
            return;
        };
        let place = connection.node;
        let node = &mut self.nodes[place];
        let shard = node.shard(number);
        if !connection.to_node.is_empty() {
            if !matches!(shard.heed(|| now, key), Heed::Reads | Heed::ReadsOut) {
                // It stays in the socket; the shard gives notice.
                return;
            }
            let bytes = connection.to_node.read(&mut self.chance.net);
            shard.receive(now, key, &bytes);
            self.note(5, &bytes);
        } else if connection.to_node.ended {
            connection.at_node = false;
            connection.to_client.ended = true;
            shard.closed(now, key);
            node.strike_key(number, key);
        }
        self.follow(place, number);
        if self.connections[at].at_node {
            self.flow_to_node(at);
        }
    }

    pub fn arrive_at_client(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.to_client.flowing = false;
        if !connection.at_client {
            return;
        }
        let (client, died, node) = (connection.client, connection.died, connection.node);
        if !connection.to_client.is_empty() {
            let bytes = connection.to_client.read(&mut self.chance.net);
            self.note(6, &bytes);
            match &mut self.connections[at].ghost {
                Some(ghost) => ghost.receive(&bytes, &mut self.log),
                None => {
                    self.clients[client].receive(&bytes, &mut self.chance.clients[client], &mut self.log);
                    self.send(client);
                }
            }
            let Connection { at_node, key, .. } = &self.connections[at];
            if let (true, Some((shard, _)), false) = (*at_node, *key, self.nodes[node].is_suspended()) {
                // There is room again.
                self.serve(at);
                self.follow(node, shard);
            }
        } else if connection.to_client.ended {
            connection.at_client = false;
            connection.to_node.ended = true;
            if connection.ghost.is_some() {
                let link = connection.link.clone();
                self.log.record(What::Closed { link, by: Closer::Server });
            } else {
                self.clients[client].on_closed(Closer::Server, died, &mut self.log);
            }
        }
        self.flow_to_client(at);
    }

    /// The process is gone, and with it its ends of the connections. What was on its way to Clients arrives.
    pub fn end_connections(&mut self, node: usize) {
        for at in 0..self.connections.len() {
            let found = &mut self.connections[at];
            if found.node != node {
                continue;
            }
            if !found.at_client {
                found.at_node = false;
                continue;
            }
            found.died |= found.at_node;
            found.at_node = false;
            found.to_client.ended = true;
            self.flow_to_client(at);
        }
    }

    /// The connection that a Client is on.
    fn current(&self, client: usize) -> Option<usize> {
        let is_current =
            |at: &usize| self.connections[*at].at_client && self.connections[*at].ghost.is_none();
        self.ways[client].newest.filter(is_current)
    }

    fn send(&mut self, client: usize) {
        let bytes = std::mem::take(&mut self.clients[client].outbox);
        if let Some(at) = self.current(client).filter(|_| !bytes.is_empty()) {
            self.connections[at].to_node.write(&bytes);
            self.flow_to_node(at);
        }
    }

    pub fn act(&mut self, client: usize) {
        let can_connect = !self.nodes_for(client).is_empty();
        let chance = &mut self.chance.clients[client];
        let act = self.clients[client].act(can_connect, chance, &mut self.log);
        self.note(7, &[client as u8, act as u8]);
        match act {
            Act::Nothing => {}
            Act::Open => self.open(client),
            Act::TakeOver => self.take_over(client),
            Act::Cut => {
                if let Some(at) = self.current(client) {
                    self.cut(at);
                }
                self.clients[client].on_closed(Closer::Client, false, &mut self.log);
            }
        }
        self.send(client);
        let (seeks, chance) = (self.nodes.len() > 1, &mut self.chance.clients[client]);
        let found = &self.clients[client];
        let (low, high) = match found.is_away() {
            // Not the node that it asked, but perhaps the next.
            true if seeks && found.moves_on => (20 * MILLISECOND, 200 * MILLISECOND),
            true => found.character.away,
            false => found.character.pause,
        };
        let delay = chance.between(low, high);
        self.agenda.enter(delay, Event::Act { client });
    }

    /// A Client connects anew, and what it leaves on its connection goes on for as long as that lasts.
    pub fn take_over(&mut self, client: usize) {
        let Some(old) = self.current(client) else { return };
        let chance = &mut self.chance.clients[client];
        let Some(ghost) = self.clients[client].take_over(chance, &mut self.log) else { return };
        self.connections[old].ghost = Some(ghost);
        self.open(client);
        self.send(client);
        self.haunt(old);
    }

    /// A ghost does what it does, now and a while later.
    pub fn haunt(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let Some(ghost) = connection.ghost.as_mut().filter(|_| connection.at_client && !self.resting) else {
            return;
        };
        let bytes = ghost.publish(&mut self.log);
        connection.to_node.write(&bytes);
        self.flow_to_node(at);
        let delay = self.chance.ways.between(20 * MILLISECOND, 300 * MILLISECOND);
        self.agenda.enter(delay, Event::Haunt { connection: at });
    }

    /// The nodes that this Client can connect to: where there are several, also those that will refuse it.
    fn nodes_for(&self, client: usize) -> Vec<usize> {
        let listens = |node: &usize| match self.nodes.len() {
            1 => self.nodes[*node].is_ready(),
            _ => self.nodes[*node].is_up(),
        };
        match self.ways[client].bound {
            Some(node) => Some(node).into_iter().filter(listens).collect(),
            None => (0..self.nodes.len()).filter(listens).collect(),
        }
    }

    /// The node that a Client asks: the one that it knows, until that does not serve it.
    fn choose(&mut self, client: usize) -> usize {
        let mut nodes = self.nodes_for(client);
        let last = self.ways[client].last;
        if nodes.len() > 1 {
            let moves_on = std::mem::take(&mut self.clients[client].moves_on);
            if !moves_on && nodes.contains(&last) && !self.chance.ways.one_in(ROVES) {
                return last;
            }
            nodes.retain(|node| !moves_on || *node != last);
            return *self.chance.ways.pick(&nodes);
        }
        nodes[0]
    }

    fn open(&mut self, client: usize) {
        let node = self.choose(client);
        self.ways[client].last = node;
        let link = self.clients[client].link().expect("it connects").clone();
        self.connections.push(Connection {
            client,
            link,
            ghost: None,
            node,
            key: None,
            to_node: Pipe::default(),
            to_client: Pipe::default(),
            output: Output::default(),
            at_node: true,
            at_client: true,
            died: false,
            severed: false,
        });
        let connection = self.connections.len() - 1;
        self.ways[client].newest = Some(connection);
        self.happen(Event::Accept { connection });
    }

    /// The node takes a connection out of its backlog.
    pub fn accept(&mut self, at: usize) {
        let now = self.now_of(self.connections[at].node);
        let connection = &mut self.connections[at];
        if !connection.at_node {
            return;
        }
        let node = &mut self.nodes[connection.node];
        let shards = node.shards().len() as u64;
        let shard = node.chance().below(shards) as u16;
        let listener = Arc::clone(&self.listener);
        let address = ([127, 0, 0, 1], 1024 + connection.client as u16).into();
        let key = node.shard(shard).accept(now, Peer { address, listener, certificate: None });
        node.enter_key(shard, key, at);
        connection.key = Some((shard, key));
        self.flow_to_node(at);
    }

    /// The Client's end goes. What it sent before may still arrive.
    pub fn cut(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.at_client = false;
        if self.chance.net.one_in(2) {
            connection.to_node.clear();
        }
        connection.to_node.ended = true;
        connection.to_client.clear();
        self.flow_to_node(at);
    }

    /// The way between a Client and its node is cut: the Client notices, and the node hears nothing more.
    pub fn sever(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.severed = true;
        connection.at_client = false;
        connection.to_node.clear();
        connection.to_client.clear();
        if connection.ghost.is_some() {
            let link = connection.link.clone();
            self.log.record(What::Closed { link, by: Closer::Server });
        } else {
            self.clients[connection.client].on_closed(Closer::Client, false, &mut self.log);
        }
    }
}
