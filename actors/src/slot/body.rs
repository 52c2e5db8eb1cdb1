//! One row for a large message that many queues of a slot hold. Their own rows refer to it, and it goes with the last of
//! them; so applying a record takes memory and disk by what the record says, and not by that times its Sessions.

use convoy_storage::engine::{Error, Family};
use convoy_wire::QoS;

use super::state::State;
use super::stored::{Body, Stored};
use super::{Slot, Turn, rows};
use crate::session::{Delivery, Seq, SessionNumber, Target};

/// Messages below this size are copied: to keep count of who holds them would cost more.
pub(super) const BODY_FROM: usize = 2048;

/// Bytes of copies that a row of its own has to spare.
pub(super) const WORTH: usize = 64 << 10;

impl Slot {
    /// Puts a message for these Sessions into a row of its own, if that is worth it. It is held until
    /// [`State::release_body`].
    pub(super) fn begin_body(&mut self, message: &[u8], targets: &[u8], turn: &mut Turn<'_>) -> Option<Body> {
        if message.len() < BODY_FROM || Target::all(targets).count() * message.len() < WORTH {
            return None;
        }
        self.bodies += 1;
        let number = self.bodies;
        turn.state.put(rows::bodies(self.id), &number);
        let delivery = Delivery::new(QoS::AtMostOnce, false, 0);
        let row = Stored { came: 0, delivery, message, body: None };
        turn.state.put_queued(rows::nobody(self.id), number, &row);
        turn.state.put(rows::holders(self.id, number), &1_u32);
        Some(Body { number, bytes: message.len() as u32 })
    }
}

impl State {
    /// The message of a queue is in this body.
    pub(super) fn hold_body(&mut self, session: SessionNumber, seq: Seq, body: Body) -> Result<(), Error> {
        let holders = rows::holders(session.slot(), body.number);
        let before: u32 = self.get(&holders)?.unwrap_or(0);
        self.put(holders, &(before + 1));
        self.put(rows::held(session, seq), &body.number);
        Ok(())
    }

    /// One holder fewer.
    pub(super) fn release_body(&mut self, of: SessionNumber, number: u64) -> Result<(), Error> {
        let slot = of.slot();
        let holders = rows::holders(slot, number);
        let before: u32 = self.get(&holders)?.unwrap_or(0);
        if before > 1 {
            self.put(holders, &(before - 1));
        } else {
            self.delete(holders);
            self.batch().delete(Family::Queue, &rows::queued(rows::nobody(slot), number));
        }
        Ok(())
    }

    /// Takes a message of so many bytes out of a queue.
    pub(super) fn remove_queued(
        &mut self,
        session: SessionNumber,
        seq: Seq,
        bytes: u32,
    ) -> Result<(), Error> {
        self.batch().delete(Family::Queue, &rows::queued(session, seq));
        if bytes as usize >= BODY_FROM {
            let held = rows::held(session, seq);
            if let Some(number) = self.get(&held)? {
                self.delete(held);
                self.release_body(session, number)?;
            }
        }
        Ok(())
    }
}
