//! A slot that is led anew goes on with the connections of its Sessions, on whichever shard they are: each asks for itself, as
//! soon as it is looked at. There may be very many, so that takes a few turns; then the leader is told that no more will
//! ask, and takes leave of those that have not.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use convoy_ids::{SlotId, Term};

use super::Shard;
use super::mail::Letter;
use crate::dest::Dest;
use crate::edge::Change;

/// Leaders that are to be told.
#[derive(Debug, Default)]
pub(super) struct Adopting {
    /// Slots that are led anew since the last turn.
    led: BTreeSet<SlotId>,
    heard: Vec<Heard>,
    /// When all connections have been judged by this change.
    due: VecDeque<(u32, Vec<Heard>)>,
}

/// A leader, its slot and its term.
type Heard = (Dest, SlotId, Term);

impl Adopting {
    /// A slot has another leader.
    pub fn led_anew(&mut self, slot: SlotId) {
        self.led.insert(slot);
    }

    /// That leader waits for the word that all have asked.
    pub fn heard(&mut self, leader: Dest, slot: SlotId, term: Term) {
        self.heard.push((leader, slot, term));
    }
}

impl Shard {
    /// Tells connections of leaders that have begun, and leaders that all connections have asked.
    pub(super) fn tell_asked(&mut self) {
        let edge = &mut self.outlet.edge;
        if !self.adopting.led.is_empty() {
            edge.change(Change::Led(Arc::new(std::mem::take(&mut self.adopting.led))));
        }
        if !self.adopting.heard.is_empty() {
            self.adopting.due.push_back((edge.changes.last(), std::mem::take(&mut self.adopting.heard)));
        }
        while let Some((change, _)) = self.adopting.due.front()
            && self.outlet.edge.have_all(*change)
            && self.outlet.edge.calls.is_empty()
        {
            let (_, leaders) = self.adopting.due.pop_front().expect("there is a front");
            for (leader, slot, term) in leaders {
                match leader == self.outlet.post.this() {
                    true => self.hear_all_asked(leader, slot, term),
                    false => self.outlet.post.send(leader, Letter::AllAsked { slot, term }),
                }
            }
        }
    }
}
