//! Which rows of a database are in force, for those who look at it without starting a node.
//!
//! A slot that was replaced has its rows under another number ([`Generations`]). Beside them there may lie what was staged
//! for a slot and never came into force, and what a slot had before and was deleted: a list of files that is made anew
//! brings deleted rows back. Nothing of that is the slot's.
//!
//! Where the row is gone or damaged that names a slot's number, the rows of its log tell it: only the switch puts them under
//! a number, and their checksums name their slot. Of several, the one is in force of which most was applied.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use convoy_ids::SlotId;

use crate::engine::{Engine, Error, Family, Generations, generations};
use crate::replica;

/// Where the rows of slots lie.
pub struct InForce {
    engine: Arc<dyn Engine>,
    moved: BTreeMap<SlotId, u16>,
    damage: Vec<String>,
}

/// What a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// It is a row of this slot.
    Slot(SlotId),
    /// It is a fact of the node.
    Node,
    /// It says under which number a slot's rows lie.
    Generation,
    /// It is in force nowhere: it was staged, or replaced, under this number. The next start deletes it.
    Nothing(u16),
}

impl InForce {
    /// # Errors
    ///
    /// The engine cannot read at all. What is damaged is told by [`InForce::damage`].
    pub fn find(engine: Arc<dyn Engine>) -> Result<Self, Error> {
        let (mut moved, mut damage) = (BTreeMap::new(), Vec::new());
        let read = generations::read_all(&*engine, &mut |found| {
            match found {
                Ok((slot, number)) => drop(moved.insert(slot, number)),
                Err(Error::Damaged { place, reason }) => damage.push(format!("{place}: {reason}")),
                Err(error) => damage.push(error.to_string()),
            }
            ControlFlow::Continue(())
        });
        match read {
            Ok(()) => {}
            Err(Error::Damaged { place, reason }) => damage.push(format!("{place}: {reason}")),
            Err(error) => return Err(error),
        }
        let mut found = Self { engine, moved, damage };
        found.ask_logs()?;
        Ok(found)
    }

    /// What is damaged of the rows that name numbers, and what was taken for it.
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// The rows that are in force, each under its slot. To be read only.
    pub fn rows(&self) -> Generations {
        Generations::as_found(Arc::clone(&self.engine), &self.moved)
    }

    /// What a key of the database belongs to.
    pub fn of(&self, family: Family, key: &[u8]) -> Belongs {
        let Some(number) = key.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)) else {
            return Belongs::Node;
        };
        if family == Family::Meta {
            return if generations::is_row(key) { Belongs::Generation } else { Belongs::Node };
        }
        match self.slot_under(number) {
            Some(slot) => Belongs::Slot(slot),
            None => Belongs::Nothing(number),
        }
    }

    /// The slot whose rows begin with this number.
    pub fn slot_under(&self, number: u16) -> Option<SlotId> {
        if generations::SPARE.contains(&number) {
            return self.moved.iter().find(|(_, moved)| **moved == number).map(|(slot, _)| *slot);
        }
        let slot = SlotId(number);
        (!self.moved.contains_key(&slot)).then_some(slot)
    }

    /// The number that the keys of a slot begin with.
    pub fn number_of(&self, slot: SlotId) -> u16 {
        self.moved.get(&slot).copied().unwrap_or(slot.0)
    }

    /// A key as its slot knows it.
    pub fn shown(key: &[u8], slot: SlotId) -> Vec<u8> {
        generations::placed(key, slot.0)
    }

    /// Looks for slots of which nobody says under which number their rows lie, though they are not under their own.
    fn ask_logs(&mut self) -> Result<(), Error> {
        let named: BTreeSet<u16> = self.moved.values().copied().collect();
        let mut best: BTreeMap<SlotId, (u64, u16)> = BTreeMap::new();
        for number in generations::numbers(&*self.engine, Family::Log)? {
            if named.contains(&number) {
                continue;
            }
            let slots = (0..=u16::MAX).filter(|slot| !generations::SPARE.contains(slot)).map(SlotId);
            let unnamed = slots.filter(|slot| !self.moved.contains_key(slot));
            let Some((slot, applied)) = replica::applied_under(&*self.engine, number, unnamed)? else {
                continue;
            };
            let own = replica::applied_under(&*self.engine, slot.0, [slot].into_iter())?;
            let own = own.map_or(0, |(_, applied)| applied);
            let known = best.get(&slot).map_or(own, |(applied, _)| *applied);
            if applied > known {
                best.insert(slot, (applied, number));
            }
        }
        for (slot, (_, number)) in best {
            self.damage.push(format!(
                "nothing says where the rows of slot {slot} lie; by its log they are those under {number:#06x}"
            ));
            self.moved.insert(slot, number);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
