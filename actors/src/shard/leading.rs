//! Which of the slots this node leads. Where slots have replicas on several nodes, Clients are with the node that leads all
//! of them: what they ask of slots never leaves it. Its shards tell each other what they lead, and when one of them leads
//! something no longer, all connections of the node end.

use convoy_ids::{NodeId, SlotId};
use convoy_storage::replica::{Outgoing, Role, StepError};

use super::mail::Letter;
use super::slots::fail;
use super::{Shard, turn};
use crate::clock::Now;
use crate::edge::Change;
use crate::metric;
use crate::options::Without;
use crate::slot::Turn;

impl Shard {
    /// What an earlier leader promised is applied before this one serves: see [`crate::slot::Slot::elected`].
    pub(super) fn change_role(&mut self, id: SlotId, role: Role) {
        self.forget_snapshots(id);
        let Some(slot) = self.slots.get(id) else { return };
        let elected = match role {
            Role::Leader { term } => Some(term),
            Role::Follower { .. } | Role::Candidate { .. } => None,
        };
        let is_lost = slot.leading && elected != slot.elected;
        if is_lost {
            slot.follow();
        }
        slot.elected = elected;
        if is_lost {
            metrics::counter!(metric::SLOTS_LOST).increment(1);
            self.proving.forget(id);
            self.tell_led(id, None);
        }
    }

    /// A slot is led here from now on, or (`None`) no longer: with what it has applied of the outboxes of others.
    pub(super) fn tell_led(&mut self, id: SlotId, applied: Option<Box<[(SlotId, u64)]>>) {
        let (here, shards) = (self.outlet.post.here(), self.outlet.post.shards());
        for shard in (0..shards).filter(|shard| *shard != here) {
            self.outlet.post.send(shard, Letter::Led { slot: id, applied: applied.clone() });
        }
        self.hear_led(id, applied.as_deref());
    }

    /// A slot of this node, of whichever shard, is led from now on, or no longer.
    pub(super) fn hear_led(&mut self, id: SlotId, applied: Option<&[(SlotId, u64)]>) {
        let had_all = self.leads_all();
        self.led.set(id, applied.is_some());
        let Some(applied) = applied else {
            if had_all && self.options.without != Without::Leave {
                // What this node still says could be older than what another one has promised.
                self.outlet.edge.change(Change::Deposed);
            }
            return;
        };
        for slot in &mut self.slots.table {
            let applied = applied.iter().find(|(from, _)| *from == slot.id).map_or(0, |(_, number)| *number);
            if slot.send_after(id, applied) {
                self.leading_on.insert(slot.id);
            }
        }
    }

    /// Whether every slot of the fleet is led on this node.
    pub(super) fn leads_all(&self) -> bool {
        self.led.count() > usize::from(self.options.slots)
    }

    /// Goes on with what replicas do that have begun to lead, until a piece of work ends.
    pub(super) fn lead_on(&mut self, now: Now, until: u64) {
        while self.work < until
            && self.is_settled()
            && let Some(&id) = self.leading_on.first()
        {
            let mut turn = turn!(self, now);
            let Some(slot) = self.slots.get(id) else { break };
            if self.options.without == Without::Resend {
                slot.pass_over_unsent();
            }
            match slot.lead_on(&mut turn) {
                Ok(true) => {}
                Ok(false) => {
                    self.leading_on.remove(&id);
                }
                Err(error) => {
                    fail(slot, &error);
                    self.leading_on.remove(&id);
                }
            }
            self.settle_until(now, until);
        }
    }

    /// A slot has applied what earlier leaders promised: it is led from here.
    pub(super) fn lead(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(id).filter(|slot| slot.elected.is_some()) else { return };
        slot.lead();
        let (numbered, applied) = (slot.numbered, slot.inboxes().collect());
        self.numbers = self.numbers.max(numbered);
        self.leading_on.insert(id);
        self.tell_led(id, Some(applied));
    }

    /// Hands over what another node is to lead: see [`crate::slot::Heir`].
    pub(super) fn give_way(&mut self, now: Now) {
        let node = self.outlet.edge.node();
        for slot in self.slots.table.iter_mut().filter(|slot| slot.elected.is_some()) {
            let preferred = self.options.replicas.iter().copied().take_while(|replica| replica.get() != node);
            let driver = &self.driver;
            let could_lead = |replica| driver.could_transfer(slot.id, replica);
            if let Some(heir) = slot.heir.look(now.monotonic, preferred, could_lead) {
                tracing::info!(slot = %slot.id, to = %heir, "slot handed over");
                self.driver.transfer(slot.id, heir);
            }
        }
    }

    /// What each replica here is, and in which term.
    pub fn roles(&self) -> impl Iterator<Item = (SlotId, Role)> + '_ {
        self.slots.iter().filter_map(|slot| Some((slot.id, self.driver.role(slot.id)?)))
    }

    /// Messages for replicas on other nodes, each for the shard there that has its slot; they may be lost, doubled or late.
    pub fn take_to_replicas(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.to_replicas)
    }

    /// A message from the replica of a slot on another node.
    pub fn step(&mut self, now: Now, from: NodeId, slot: SlotId, bytes: &[u8]) {
        self.outlet.edge.now = now.monotonic;
        match self.driver.step(slot, from, bytes) {
            // It is sent again.
            Ok(()) | Err(StepError::Stalled) => {}
            Err(error) => {
                metrics::counter!(metric::REPLICA_MESSAGES_REFUSED).increment(1);
                tracing::debug!(%slot, %from, %error, "message of a replica refused");
            }
        }
    }
}
