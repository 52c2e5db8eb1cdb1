//! Where slots are led. Shards tell each other, on whichever node they are, and every one of them keeps what it was told by
//! those who can be heard: a slot whose leader is not heard any more is led by nobody, until another one tells that it leads.
//!
//! What a connection relies on waits for that one. A Session is served by the leader of its slot: until the next one goes on
//! with the connection, nothing is heard of its Client (see `adopting`). A message for a Session that ends with its connection
//! may have been lost with the leader of its partition: the next one, or its publisher, sends it again (see `giving`).

use std::collections::BTreeSet;
use std::sync::Arc;

use convoy_ids::{NodeId, SlotId, Term};
use convoy_storage::replica::{Outgoing, Role, StepError};

use super::mail::Letter;
use super::moving::is_word;
use super::slots::fail;
use super::successors::Claim;
use super::{Shard, turn};
use crate::call::Answer;
use crate::clock::Now;
use crate::dest::Dest;
use crate::edge::Change;
use crate::metric;
use crate::options::Without;
use crate::slot::{Effects, Turn};

impl Shard {
    /// What an earlier leader promised is applied before this one serves: see [`crate::slot::Slot::elected`].
    pub(super) fn change_role(&mut self, id: SlotId, role: Role) {
        self.forget_snapshots(id);
        let Some(slot) = self.slots.get(id) else { return };
        let elected = match role {
            Role::Leader { term } => Some(term),
            Role::Follower { .. } | Role::Candidate { .. } => None,
        };
        if slot.leading && elected != slot.elected {
            self.lose(id);
        }
        if let Some(slot) = self.slots.get(id) {
            slot.elected = elected;
        }
    }

    /// A slot is led here no longer, or not as long as so few can be heard.
    pub(super) fn lose(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(id) else { return };
        let elected = slot.elected;
        for reply in slot.follow() {
            self.outlet.answer(reply, Answer::Unknown);
        }
        for waits in self.proving.forget(id) {
            self.leave_unproven(waits);
        }
        self.give_up_unreached(id);
        self.give_up_late_connects(id);
        if let Some(slot) = self.slots.get(id) {
            slot.elected = elected;
        }
        metrics::counter!(metric::SLOTS_LOST).increment(1);
        self.clearing.forget(id);
        self.give_back_lost();
        self.forget_owed(id);
        self.tell_led(id, elected.unwrap_or_default(), None);
    }

    /// A slot is led here from now on, or (`None`) no longer: with what it asks for of the outboxes of others.
    fn tell_led(&mut self, slot: SlotId, term: Term, given: Option<Box<[(SlotId, u64)]>>) {
        for dest in self.outlet.post.others() {
            let given_up = self.times_given_up(slot, dest);
            self.outlet.post.send(dest, Letter::Led { slot, term, given: given.clone(), given_up });
        }
        let from = self.outlet.post.this();
        self.hear_led(Claim { from, slot, term, given, given_up: 0 });
    }

    /// How many times connections of that shard's node were given up by a slot that is here.
    fn times_given_up(&mut self, slot: SlotId, dest: Dest) -> u64 {
        let node = self.outlet.post.node_of(dest);
        let slot = self.slots.get(slot);
        slot.zip(node).map_or(0, |(slot, node)| slot.times_given_up(node))
    }

    /// Tells a shard that has come what is led here.
    pub(super) fn tell_all_led(&mut self, dest: Dest) {
        for slot in self.slots.table.iter().filter(|slot| slot.leading) {
            let (term, given) = (slot.elected.unwrap_or_default(), Some(slot.inboxes().collect()));
            let node = self.outlet.post.node_of(dest);
            let given_up = node.map_or(0, |node| slot.times_given_up(node));
            self.outlet.post.send(dest, Letter::Led { slot: slot.id, term, given, given_up });
        }
    }

    /// A slot is led in that shard from now on, or no longer.
    pub(super) fn hear_led(&mut self, claim: Claim) {
        let Some(Claim { from, slot, term, given, given_up }) = self.wait_for_predecessor(claim) else {
            return;
        };
        let was_led = self.led.contains(slot);
        let is_news = self.outlet.post.note_leader(slot, from, term, given.is_some());
        if is_news {
            self.led.set(slot, given.is_some());
            self.giving.note_led(slot, given.is_some(), self.outlet.edge.now);
            if was_led {
                self.moved.insert(slot);
            }
            if given.is_some() && self.has_others {
                self.adopting.led_anew(slot);
            }
            self.backed_up.remove(&slot);
            self.give_up_asked_of(slot);
        }
        let Some(given) = given.filter(|_| self.outlet.post.is_led_by(slot, from)) else {
            return self.follow_predecessor(from, slot);
        };
        if self.outlet.post.is_away(from) {
            self.hear_given_up(slot, given_up);
        }
        for own in &mut self.slots.table {
            let given = given.iter().find(|(of, _)| *of == own.id).map_or(0, |(_, number)| *number);
            if own.send_after(slot, given) {
                self.leading_on.insert(own.id);
            }
        }
        self.end_moved();
        self.returning.push(slot);
        if self.has_others {
            self.adopting.heard(from, slot, term);
        }
        if from == self.outlet.post.this() {
            return;
        }
        self.outlet.post.send(from, Letter::HeardLed { slot, term });
    }

    /// Connections wait, or end, that rest on slots which are not led any more where they were.
    pub(super) fn end_moved(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        if !moved.is_empty() && self.options.without != Without::Leave {
            self.outlet.edge.change(Change::Moved(Arc::new(moved)));
            if !self.is_in_touch() {
                self.outlet.edge.change(Change::Alone);
            }
        }
    }

    /// What has waited for slots that are led again goes there.
    pub(super) fn return_to_led(&mut self, now: Now) {
        for slot in std::mem::take(&mut self.returning) {
            self.go_on(now, slot);
        }
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

    /// A slot has applied what earlier leaders promised: it is led from here, if it is heard that far.
    pub(super) fn lead(&mut self, now: Now, id: SlotId) {
        // Where nothing can be written any more, others lead.
        let could =
            self.is_in_touch() && self.hears_quorum(id) && !(self.has_others && self.failure.is_some());
        let Some(slot) = self.slots.get(id).filter(|slot| slot.elected.is_some()) else { return };
        slot.caught_up = slot.elected;
        // What it proposed when it led before in this term has lost its replies. A connection that such a record takes the Session
        // from is not to be adopted meanwhile.
        let (term, index) = slot.proposed;
        let is_behind = slot.elected == Some(term) && slot.applied < index;
        if !could || is_behind {
            return;
        }
        slot.lead();
        match self.options.without {
            Without::Again => slot.pass_over_open(),
            Without::Routes => slot.forget_routes(),
            _ => {}
        }
        let (numbered, given) = (slot.numbered, slot.inboxes().collect());
        let term = slot.elected.unwrap_or_default();
        self.numbers = self.numbers.max(numbered);
        self.leading_on.insert(id);
        self.tell_led(id, term, Some(given));
        self.begin_clearing(now, id, term);
    }

    /// Hands over what another node is to lead: see [`crate::slot::Heir`]. Of each slot another replica is the first.
    pub(super) fn give_way(&mut self, now: Now) {
        let node = self.driver.node();
        for at in 0..self.slots.table.len() {
            if self.slots.table[at].elected.is_none() {
                continue;
            }
            let order = self.order_of(self.slots.table[at].id);
            let preferred = order.into_iter().take_while(|replica| *replica != node);
            let (slot, driver) = (&mut self.slots.table[at], &self.driver);
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
        if is_word(bytes) {
            return self.hear_word(now, from, slot, bytes);
        }
        match self.driver.step(slot, from, bytes) {
            // It is sent again.
            Ok(()) | Err(StepError::Stalled) => {}
            Err(StepError::NotOpen(_) | StepError::OtherReplica { .. }) if self.options.moves.is_some() => {
                self.meet_replica(from, slot, bytes);
            }
            Err(error) => {
                metrics::counter!(metric::REPLICA_MESSAGES_REFUSED).increment(1);
                tracing::debug!(%slot, %from, %error, "message of a replica refused");
            }
        }
    }
}

/// The slots whose leaders have changed.
pub(super) type Moved = BTreeSet<SlotId>;
