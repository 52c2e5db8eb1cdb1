//! One row for what is on its way to many slots: a large message for their Sessions, or root routes, which all slots get. The
//! operations in the outboxes refer to it, and it goes with the last of them; so a record takes memory and disk by what it
//! says, and not by that times the slots of the fleet.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_storage::engine::Error;
use convoy_storage::record;

use super::body::{BODY_FROM, WORTH};
use super::context::{Context, work_of};
use super::op::Op;
use super::state::State;
use super::{Emitted, Slot, Turn, rows};
use crate::topic::Found;

/// Which operations refer to which bodies. It follows from the rows of the outboxes.
#[derive(Debug, Default)]
pub struct OutboxBodies {
    of: BTreeMap<(SlotId, u64), u64>,
    holders: BTreeMap<u64, u32>,
}

impl OutboxBodies {
    /// Operation `number` for slot `to` refers to this body.
    pub fn hold(&mut self, to: SlotId, number: u64, body: u64) {
        self.of.insert((to, number), body);
        *self.holders.entry(body).or_insert(0) += 1;
    }

    /// That operation goes. The body that nobody refers to any more.
    fn release(&mut self, to: SlotId, number: u64) -> Option<u64> {
        let body = self.of.remove(&(to, number))?;
        let left = self.holders.get_mut(&body)?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        self.holders.remove(&body);
        Some(body)
    }
}

/// A message for Sessions of several slots, on its way to their outboxes.
pub(super) struct Parcel<'a> {
    message: &'a [u8],
    /// Its row, with the bytes that all who carry it share.
    body: Option<(u64, Bytes)>,
}

impl Slot {
    /// Puts a message for the queues of these into a row of its own, if they are of so many slots that this is worth it.
    pub(super) fn pack<'a, 'f>(
        &mut self,
        message: &'a [u8],
        queued: impl Iterator<Item = &'f Found>,
        turn: &mut Turn<'_>,
    ) -> Parcel<'a> {
        // Small ones are not asked where they go.
        let slots = match message.len() < BODY_FROM {
            true => 0,
            false => queued.map(|found| found.session.slot()).collect::<BTreeSet<_>>().len(),
        };
        if slots < 2 || slots * message.len() < WORTH {
            return Parcel { message, body: None };
        }
        self.bodies += 1;
        turn.state.put(rows::bodies(self.id), &self.bodies);
        turn.state.put_bytes(rows::outbox_body(self.id, self.bodies), message);
        Parcel { message, body: Some((self.bodies, Bytes::copy_from_slice(message))) }
    }

    /// Enters a message for these Sessions of a slot in the outbox.
    pub(super) fn emit_parcel(
        &mut self,
        to: SlotId,
        parcel: &Parcel<'_>,
        targets: &[u8],
        context: Context,
        turn: &mut Turn<'_>,
    ) {
        let Some((body, message)) = &parcel.body else {
            let op = Op::Enqueue { message: parcel.message, targets };
            self.emit(to, &op, context.unanswered(), turn);
            return;
        };
        let mut row = Vec::new();
        record::encode_into(&Op::EnqueueBody { body: *body, bytes: message.len() as u32, targets }, &mut row);
        let (number, goes) = self.enter_outbox(to, &row, message.len() + targets.len(), None, turn);
        self.outbox_bodies.hold(to, number, *body);
        if goes {
            let (message, targets) = (message.clone(), targets.into());
            turn.emitted.push_back(Emitted::Message { from: self.id, to, number, message, targets });
        }
    }

    /// Enters an operation in the outboxes for all slots, this one among them. In how many.
    pub(super) fn emit_everywhere(&mut self, op: &Op<'_>, context: Context, turn: &mut Turn<'_>) -> u32 {
        let mut row = Vec::new();
        record::encode_into(op, &mut row);
        let op = Bytes::copy_from_slice(&row);
        let body = (op.len() * usize::from(self.slots) >= WORTH).then(|| {
            self.bodies += 1;
            turn.state.put(rows::bodies(self.id), &self.bodies);
            turn.state.put_bytes(rows::outbox_body(self.id, self.bodies), &op);
            row.clear();
            record::encode_into(&Op::RootsBody { body: self.bodies, bytes: op.len() as u32 }, &mut row);
            self.bodies
        });
        for to in (0..self.slots).map(SlotId) {
            let reply = context.reply;
            let (number, goes) = self.enter_outbox(to, &row, op.len(), reply, turn);
            if let Some(body) = body {
                self.outbox_bodies.hold(to, number, body);
            }
            if goes {
                let (from, op) = (self.id, op.clone());
                turn.emitted.push_back(Emitted::Op { from, to, number, op, reply });
            }
        }
        u32::from(self.slots)
    }

    /// An operation leaves the outbox.
    pub(super) fn leave_outbox(&mut self, to: SlotId, number: u64, turn: &mut Turn<'_>) {
        turn.state.delete(rows::outbox(self.id, to, number));
        if let Some(body) = self.outbox_bodies.release(to, number) {
            turn.state.delete(rows::outbox_body(self.id, body));
        }
    }
}

/// Operations out of the rows of outboxes, as they are sent on: bodies are read once.
pub(super) struct Unpacking<'a> {
    slot: SlotId,
    state: &'a mut State,
    read: BTreeMap<u64, Bytes>,
}

impl<'a> Unpacking<'a> {
    pub(super) fn new(slot: SlotId, state: &'a mut State) -> Self {
        Self { slot, state, read: BTreeMap::new() }
    }

    pub(super) fn unpack(&mut self, to: SlotId, number: u64, op: Vec<u8>) -> Result<Emitted, Error> {
        let from = self.slot;
        Ok(match record::decode(&op) {
            Ok(Op::EnqueueBody { body, targets, .. }) => {
                Emitted::Message { from, to, number, message: self.body(body)?, targets: targets.into() }
            }
            Ok(Op::RootsBody { body, .. }) => {
                Emitted::Op { from, to, number, op: self.body(body)?, reply: None }
            }
            _ => Emitted::Op { from, to, number, op: op.into(), reply: None },
        })
    }

    fn body(&mut self, number: u64) -> Result<Bytes, Error> {
        if let Some(body) = self.read.get(&number) {
            return Ok(body.clone());
        }
        let key = rows::outbox_body(self.slot, number);
        let missing = || Error::Damaged {
            place: format!("row {}", key.escape_ascii()),
            reason: "what is on its way to other slots is missing".into(),
        };
        let body = Bytes::from(self.state.get_bytes(&key)?.ok_or_else(missing)?);
        self.read.insert(number, body.clone());
        Ok(body)
    }
}

impl Emitted {
    /// Bytes of what it carries.
    pub(super) fn len_bytes(&self) -> usize {
        match self {
            Self::Op { op, .. } => op.len(),
            Self::Message { message, targets, .. } => message.len() + targets.len(),
            Self::Copy { message, .. } => message.len(),
        }
    }

    /// Units of work to carry it on.
    pub fn work(&self) -> u64 {
        match self {
            Self::Op { op, .. } => work_of(op.len()),
            Self::Message { message, .. } => work_of(message.len()),
            Self::Copy { .. } => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_goes_with_the_last_operation_that_refers_to_it() {
        let mut bodies = OutboxBodies::default();
        bodies.hold(SlotId(1), 7, 3);
        bodies.hold(SlotId(1), 8, 3);
        bodies.hold(SlotId(2), 7, 3);
        bodies.hold(SlotId(2), 8, 4);
        assert_eq!(bodies.release(SlotId(1), 6), None);
        assert_eq!(bodies.release(SlotId(1), 7), None);
        assert_eq!(bodies.release(SlotId(2), 8), Some(4));
        assert_eq!(bodies.release(SlotId(2), 7), None);
        assert_eq!(bodies.release(SlotId(1), 8), Some(3));
        assert!(bodies.of.is_empty() && bodies.holders.is_empty());
    }
}
