//! What befalls the fleet: nodes that die and come again, nodes that stand still, and links that are cut. Chance decides all of a
//! strike before it is carried out, so that it can be told again.

use super::{Cuts, Event, World};
use crate::oracle::{Fault, Fleet, What};
use crate::sim::clock::{MILLISECOND, Micros, SECOND};
use crate::sim::links::Shape;
use crate::sim::node::Node;
use crate::sim::seed::Seed;
use crate::sim::strike::{Return, Strike};

/// One in so many crashes takes all nodes at once.
const ALL_AT_ONCE: u64 = 12;

/// One in so many starts is with another number of shards.
const RESHARDS: u64 = 4;

impl World {
    pub fn plan_crash(&mut self) {
        if let Some(every) = self.setup.crash_every.filter(|_| self.setup.schedule.is_none()) {
            let delay = self.chance.fault.between(every / 4, every * 2);
            self.agenda.enter(delay, Event::Crash);
        }
    }

    pub fn plan_cut(&mut self) {
        if let Some(every) = self.setup.cut_every.filter(|_| self.setup.schedule.is_none()) {
            let delay = self.chance.cuts.between(every / 4, every * 2);
            self.agenda.enter(delay, Event::Tear);
        }
    }

    pub fn plan_pause(&mut self) {
        if let Some(every) = self.setup.pause_every.filter(|_| self.setup.schedule.is_none()) {
            let delay = self.chance.pauses.between(every / 4, every * 2);
            self.agenda.enter(delay, Event::Suspend);
        }
    }

    /// Carries out what befalls the fleet, and keeps it to be told again.
    pub fn strike(&mut self, strike: Strike) {
        self.struck.push((self.agenda.micros(), strike.clone()));
        match strike {
            Strike::Kill { node, comes } if self.nodes[node].is_up() => {
                self.tell_death(node, Fault::Killed);
                self.nodes[node].kill();
                self.go_down(node, comes);
            }
            Strike::CutPower { node, keep, comes } if self.nodes[node].is_up() => {
                self.cut_power(node, keep, comes);
            }
            Strike::Kill { .. } | Strike::CutPower { .. } => {}
            Strike::Tear { shape, lasts, divide } => self.tear(shape, lasts, divide),
            Strike::Suspend { node, away, order } => self.suspend(node, away, order),
            Strike::SetClock { node, ahead } => self.set_clock(node, ahead),
            Strike::FillDisk { node, lasts } => self.fill_disk(node, lasts),
            Strike::SlowDisk { node, lasts } => self.slow_disk(node, lasts),
            Strike::FailSync { node, keep, comes } => self.fail_sync(node, keep, comes),
            Strike::Damage { node, row, lasts, comes } => self.damage(node, row, lasts, comes),
        }
    }

    /// A node, or now and then each of them, is killed or loses its power.
    pub fn crash(&mut self) {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_up()).collect();
        if up.is_empty() {
            return;
        }
        let several = self.nodes.len() > 1;
        if several && self.chance.fault.one_in(ALL_AT_ONCE) {
            for node in up {
                let (keep, comes) = (self.chance.fault.word(), self.draw_return(node));
                self.strike(Strike::CutPower { node, keep, comes });
            }
            return;
        }
        let leader = self.settled.filter(|_| several && self.chance.fault.one_in(2));
        let node = match (leader, &up[..]) {
            (Some(leader), _) => leader,
            (None, [only]) => *only,
            (None, _) => *self.chance.fault.pick(&up),
        };
        let dies = self.chance.fault.one_in(3);
        let (keep, comes) = (self.chance.fault.word(), self.draw_return(node));
        self.strike(match dies {
            true => Strike::Kill { node, comes },
            false => Strike::CutPower { node, keep, comes },
        });
    }

    pub fn draw_return(&mut self, node: usize) -> Return {
        let several = self.nodes.len() > 1;
        let most = if several && self.chance.fault.one_in(4) { 4 * SECOND } else { 400 * MILLISECOND };
        let after = self.chance.fault.between(10 * MILLISECOND, most);
        let reshards = several && self.nodes[node].starts() > 0 && self.chance.fault.one_in(RESHARDS);
        let shards = match reshards {
            true => self.chance.fault.between(1, u64::from(self.setup.shards)) as u16,
            false => self.setup.shards,
        };
        Return { after, shards }
    }

    pub fn cut_power(&mut self, node: usize, keep: u64, comes: Return) {
        let unsynced = self.nodes[node].disk().model().unsynced() as u64;
        self.lose_power(node, (keep % (unsynced + 1)) as usize, comes);
    }

    /// The power of a node goes, and so many batches survive that were not synced.
    pub fn lose_power(&mut self, node: usize, keep: usize, comes: Return) {
        self.tell_death(node, Fault::PowerCut);
        self.nodes[node].cut_power(keep);
        self.go_down(node, comes);
    }

    /// Of a node that serves nobody it is another fault: nothing is lost that a Client could have been told.
    pub fn tell_death(&mut self, node: usize, fault: Fault) {
        let served = self.nodes.len() == 1 || self.serving.has(node);
        let fault = if served { fault } else { Fault::Fleet(Fleet::Died(Node::id_of(node).get())) };
        self.log.record(What::Fault(fault));
    }

    /// What a node that is gone leaves behind.
    pub fn go_down(&mut self, node: usize, comes: Return) {
        self.note(3, &[node as u8]);
        self.forget_hurt(node);
        self.waiting[node].clear();
        self.end_connections(node);
        self.agenda.enter(comes.after, Event::Start { node, shards: comes.shards });
        self.look_at(node);
        self.changed();
    }

    /// A node begins its next life.
    pub fn start(&mut self, node: usize, shards: u16) {
        if !self.may_start(node) {
            return;
        }
        let several = self.nodes.len() > 1;
        let id = Node::id_of(node).get();
        let fault = if several { Fault::Fleet(Fleet::Started(id)) } else { Fault::Started };
        self.log.record(What::Fault(fault));
        let options = self.options_of(node);
        if let Err(error) = self.nodes[node].start(shards, &options) {
            if self.hurts[node].is_damaged {
                // It refuses to serve what it cannot read, until its disk is as it was.
                self.hurts[node].has_refused = true;
                self.refused[0] += 1;
                return;
            }
            let said = format!("event {}: node {node} could not start: {error}", self.log.events.len());
            self.log.findings.push(said);
            return;
        }
        for shard in 0..shards {
            self.follow(node, shard);
        }
        self.changed();
    }

    /// The fleet is to be torn, for a while.
    pub fn draw_tear(&mut self) {
        let lasts = self.chance.cuts.between(300 * MILLISECOND, 4 * SECOND);
        let (shape, lasts) = match (self.setup.cuts, self.settled) {
            (Cuts::Any, _) => (Shape::draw(&mut self.chance.cuts, self.nodes.len()), lasts),
            (Cuts::StaleLeader, Some(leader)) => (Shape::Isolated(leader), self.go_stale(leader)),
            (Cuts::StaleLeader, None) => return self.plan_cut(),
        };
        let divide = self.chance.cuts.word();
        self.strike(Strike::Tear { shape, lasts, divide });
    }

    fn tear(&mut self, shape: Shape, lasts: Micros, divide: u64) {
        if let Shape::Isolated(node) = shape {
            self.divide_clients(node, divide);
        }
        self.log.record(What::Fault(Fault::Fleet(Fleet::Torn(format!("{shape:?}").as_str().into()))));
        self.links.tear(shape);
        self.agenda.enter(lasts, Event::Mend);
        self.changed();
    }

    /// A leader that is about to be alone stands still until others lead, and wakes up before it hears of that: for how long
    /// the fleet is torn.
    fn go_stale(&mut self, leader: usize) -> Micros {
        let away = self.chance.cuts.between(2 * SECOND, 5 * SECOND);
        let order = self.chance.pauses.word();
        self.strike(Strike::Suspend { node: leader, away, order });
        away + self.chance.cuts.between(200 * MILLISECOND, 3 * SECOND)
    }

    /// Clients of a node that is alone are cut off with it, or from it, or in two.
    fn divide_clients(&mut self, node: usize, divide: u64) {
        let mut chance = Seed(divide).stream("divide");
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            if connection.node != node || !connection.at_client {
                continue;
            }
            let client = connection.client;
            match chance.below(4) {
                // It finds the others when its connection ends, or its patience.
                0 => {}
                1 => self.ways[client].bound = Some(node),
                2 => {
                    self.clients[client].moves_on = true;
                    self.take_over(client);
                }
                _ => self.sever(at),
            }
        }
    }

    pub fn mend(&mut self) {
        if self.links.shape().is_none() {
            return;
        }
        self.links.mend();
        self.log.record(What::Fault(Fault::Fleet(Fleet::Mended)));
        self.ways.iter_mut().for_each(|way| way.bound = None);
        for at in 0..self.connections.len() {
            if std::mem::take(&mut self.connections[at].severed) {
                self.flow_to_node(at);
            }
        }
        self.changed();
    }

    /// A node is to stand still for a while, the leader more often than others.
    pub fn suspend_any(&mut self) {
        let leader = self.settled.filter(|_| self.chance.pauses.one_in(2));
        let node = leader.unwrap_or_else(|| self.chance.pauses.below(self.nodes.len() as u64) as usize);
        let away = self.chance.pauses.between(50 * MILLISECOND, 4 * SECOND);
        let order = self.chance.pauses.word();
        self.strike(Strike::Suspend { node, away, order });
    }

    fn suspend(&mut self, node: usize, away: Micros, order: u64) {
        if !self.nodes[node].is_up() || self.nodes[node].is_suspended() {
            return;
        }
        self.nodes[node].suspend();
        self.log.record(What::Fault(Fault::Fleet(Fleet::Suspended(Node::id_of(node).get()))));
        let start = self.nodes[node].starts();
        self.agenda.enter(away, Event::Wake { node, start, away, order });
        self.changed();
    }

    /// A node goes on: all that came meanwhile it meets now, perhaps its Clients first.
    pub fn wake(&mut self, node: usize, away: Micros, order: u64) {
        if !self.nodes[node].is_suspended() {
            return;
        }
        let counted = self.clocks[node].pass(away);
        self.nodes[node].wake(counted);
        self.unseen.set(node, true);
        self.log.record(What::Fault(Fault::Fleet(Fleet::Woken(Node::id_of(node).get()))));
        let waiting = std::mem::take(&mut self.waiting[node]);
        let mut chance = Seed(order).stream("wake");
        let clients_first = chance.one_in(2);
        let (first, then): (Vec<Event>, Vec<Event>) =
            waiting.into_iter().partition(|event| clients_first && event.is_of_client());
        let mut delay = 0;
        for event in first.into_iter().chain(then) {
            delay += chance.below(20);
            self.agenda.enter(delay, event);
        }
        self.serve_all(node);
        self.changed();
    }
}
