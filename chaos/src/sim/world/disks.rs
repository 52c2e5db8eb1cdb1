//! What befalls the disk of one node, and what is asked of the node meanwhile: that it leads nothing that it cannot serve.

use std::collections::BTreeMap;

use convoy_actors::query::{Answer, Query};
use convoy_ids::SlotId;

use super::{Event, World};
use crate::oracle::{Fault, Fleet, What};
use crate::sim::clock::{MILLISECOND, Micros, SECOND};
use crate::sim::node::Node;
use crate::sim::strike::{Return, Strike};

/// So long a node may believe that it leads what it cannot serve, while a majority without it could: an election, and a
/// hand-over back to it by who does not know.
const UNFIT: Micros = 6 * SECOND;

/// What is wrong with the disk of a node.
#[derive(Debug, Default)]
pub struct Hurt {
    is_full: bool,
    is_slow: bool,
    /// Its next sync fails, or one has failed.
    is_failed: bool,
    /// A row cannot be read.
    pub is_damaged: bool,
    /// It did not start over such a row.
    pub has_refused: bool,
    /// It has met it.
    has_met: bool,
    /// Since when it leads slots that it cannot serve.
    unfit: BTreeMap<SlotId, Micros>,
}

impl Hurt {
    fn is_any(&self) -> bool {
        self.is_full || self.is_slow || self.is_failed || self.is_damaged
    }

    /// Whether the node is not asked to serve.
    pub fn excuses(&self) -> bool {
        self.is_full || self.is_slow || self.is_failed || self.has_refused
    }
}

/// What ends.
#[derive(Debug)]
pub enum Relief {
    Full,
    Slow,
    /// The node starts again after a sync that failed in this life.
    Failed {
        start: u32,
        keep: u64,
        comes: Return,
    },
    Damaged {
        comes: Return,
    },
}

impl World {
    pub fn plan_disk(&mut self) {
        if let Some(every) = self.setup.hurt_every.filter(|_| self.setup.schedule.is_none()) {
            let delay = self.chance.disks.between(every / 4, every * 2);
            self.agenda.enter(delay, Event::Hurt);
        }
    }

    /// Something is to befall the disk of a node, unless one has something already: of three nodes two have to be well.
    pub fn hurt_any(&mut self) {
        let node = self.chance.disks.below(self.nodes.len() as u64) as usize;
        if self.hurts.iter().any(Hurt::is_any) || !self.nodes[node].is_up() {
            return;
        }
        let (lasts, number) =
            (self.chance.disks.between(300 * MILLISECOND, 4 * SECOND), self.chance.disks.word());
        let comes = self.draw_return(node);
        let strike = match self.chance.disks.below(5) {
            0 => Strike::FillDisk { node, lasts },
            1 => Strike::SlowDisk { node, lasts },
            2 => Strike::FailSync { node, keep: number, comes },
            _ => Strike::Damage { node, row: number, lasts: lasts * 3, comes },
        };
        self.strike(strike);
    }

    fn tell(&mut self, fault: fn(u64) -> Fleet, node: usize) {
        self.log.record(What::Fault(Fault::Fleet(fault(Node::id_of(node).get()))));
    }

    pub fn fill_disk(&mut self, node: usize, lasts: Micros) {
        self.nodes[node].disk().model().set_full(true);
        self.hurts[node].is_full = true;
        self.tell(Fleet::DiskFull, node);
        self.agenda.enter(lasts, Event::Relieve { node, of: Relief::Full });
        self.changed();
    }

    pub fn slow_disk(&mut self, node: usize, lasts: Micros) {
        self.nodes[node].set_slow(true);
        self.hurts[node].is_slow = true;
        self.tell(Fleet::DiskSlow, node);
        self.agenda.enter(lasts, Event::Relieve { node, of: Relief::Slow });
        self.changed();
    }

    pub fn fail_sync(&mut self, node: usize, keep: u64, comes: Return) {
        if !self.nodes[node].is_up() {
            return;
        }
        self.nodes[node].disk().model().fail_next_sync();
        self.hurts[node].is_failed = true;
        self.tell(Fleet::SyncFailed, node);
        let start = self.nodes[node].starts();
        let of = Relief::Failed { start, keep, comes };
        // Long enough for it to be asked what it cannot do.
        self.agenda.enter(comes.after + 2 * UNFIT, Event::Relieve { node, of });
        self.changed();
    }

    pub fn damage(&mut self, node: usize, row: u64, lasts: Micros, comes: Return) {
        if !self.nodes[node].is_up() || self.hurts[node].is_failed {
            return;
        }
        self.tell_death(node, Fault::Killed);
        self.nodes[node].kill();
        if let Some((family, key)) = self.nodes[node].disk().damage(row) {
            self.tell(Fleet::Damaged, node);
            self.damaged.push(format!("{} {}", family.name(), key.escape_ascii()));
            self.hurts[node].is_damaged = true;
        }
        self.agenda.enter(comes.after + lasts, Event::Relieve { node, of: Relief::Damaged { comes } });
        self.go_down(node, comes);
    }

    /// A disk is well again.
    pub fn relieve(&mut self, node: usize, of: Relief) {
        match of {
            Relief::Full => {
                self.nodes[node].disk().model().set_full(false);
                self.hurts[node].is_full = false;
            }
            Relief::Slow => {
                self.nodes[node].set_slow(false);
                self.hurts[node].is_slow = false;
            }
            Relief::Failed { start, .. } if !self.nodes[node].lives(start) || !self.hurts[node].is_failed => {
                return;
            }
            Relief::Failed { keep, comes, .. } => self.cut_power(node, keep, comes),
            Relief::Damaged { .. } if !self.hurts[node].is_damaged => return,
            Relief::Damaged { comes } => self.repair(node, comes),
        }
        self.tell(Fleet::DiskWell, node);
        self.changed();
    }

    /// What could not be read can be, in its next life.
    fn repair(&mut self, node: usize, comes: Return) {
        if self.nodes[node].is_up() {
            self.tell_death(node, Fault::Killed);
            self.nodes[node].kill();
            self.go_down(node, comes);
        } else if self.hurts[node].has_refused {
            self.agenda.enter(comes.after, Event::Start { node, shards: comes.shards });
        }
        self.nodes[node].disk().model().mend();
        let hurt = &mut self.hurts[node];
        (hurt.is_damaged, hurt.has_refused, hurt.has_met) = (false, false, false);
    }

    /// Every disk is well again.
    pub fn relieve_all(&mut self) {
        for node in 0..self.nodes.len() {
            let comes = Return { after: 10 * MILLISECOND, shards: self.setup.shards };
            let (start, hurt) = (self.nodes[node].starts(), &self.hurts[node]);
            let all = [
                hurt.is_full.then_some(Relief::Full),
                hurt.is_slow.then_some(Relief::Slow),
                hurt.is_failed.then_some(Relief::Failed { start, keep: 0, comes }),
                hurt.is_damaged.then_some(Relief::Damaged { comes }),
            ];
            all.into_iter().flatten().for_each(|of| self.relieve(node, of));
        }
    }

    /// What ends with the life of a node.
    pub fn forget_hurt(&mut self, node: usize) {
        self.hurts[node].is_failed = false;
        self.hurts[node].unfit.clear();
    }

    /// Invariant 13: whoever cannot serve a slot does not keep it from the others.
    pub fn judge_hurt(&mut self, node: usize) {
        let hurt = &self.hurts[node];
        if !(hurt.is_failed || hurt.is_damaged)
            || !self.nodes[node].is_up()
            || self.nodes[node].is_suspended()
        {
            return;
        }
        if self.has_met_damage(node) && !self.hurts[node].has_met {
            self.hurts[node].has_met = true;
            self.refused[1] += 1;
        }
        let could = self.calm_majority().is_some_and(|majority| !majority.has(node));
        let now = self.agenda.micros();
        let failed: Vec<SlotId> = if could { self.unfit_slots(node) } else { Vec::new() };
        let unfit = &mut self.hurts[node].unfit;
        unfit.retain(|slot, _| failed.contains(slot));
        for slot in failed {
            let since = *unfit.entry(slot).or_insert(now);
            if now - since > UNFIT {
                // Said once, and not again before it has gone on for as long.
                unfit.insert(slot, now);
                let index = self.log.events.len();
                self.log.findings.push(format!(
                    "13 damage (event {index}): slot {slot} is led for {UNFIT} us by the node at {node}, which cannot serve it"
                ));
            }
        }
    }

    /// Slots that a node leads as Raft has it, and cannot serve.
    fn unfit_slots(&mut self, node: usize) -> Vec<SlotId> {
        let led: Vec<SlotId> = self.nodes[node].led().map(|(slot, _)| slot).collect();
        let now = self.now_of(node);
        self.unseen.set(node, true);
        let mut failed = Vec::new();
        for shard in 0..self.nodes[node].shards().len() as u16 {
            let asked = self.nodes[node].shard(shard);
            asked.query(now, u64::MAX, Query::Slots { shard });
            for (number, answer) in asked.take_answers() {
                if let (u64::MAX, Answer::Slots(entries)) = (number, answer) {
                    failed.extend(
                        entries.into_iter().filter(|entry| entry.failure.is_some()).map(|entry| entry.slot),
                    );
                }
            }
        }
        failed.retain(|slot| led.contains(slot));
        failed
    }

    /// Whether a node has met what it cannot read.
    pub fn has_met_damage(&self, node: usize) -> bool {
        let hurt = &self.hurts[node];
        hurt.is_damaged && self.nodes[node].shards().iter().any(|shard| shard.failures().next().is_some())
    }
}
