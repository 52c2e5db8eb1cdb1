//! The Retained Messages of a slot's partitions.

use convoy_storage::engine::Error;

use super::apply::Context;
use super::state::Kept;
use super::{Slot, Turn, rows};
use crate::clock::Millis;
use crate::message::Message;

impl Slot {
    /// `number`: see [`super::Op::InLine`]; zero for what has none.
    pub(super) fn retain(
        &mut self,
        partition: u64,
        bytes: &[u8],
        number: u64,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let message = Message::decode(bytes).map_err(|error| Error::Damaged {
            place: format!("slot {}", self.id),
            reason: error.to_string(),
        })?;
        let before = turn.state.retained(self.id, partition, message.topic)?;
        // [MQTT-3.3.1-6]: no payload, no Retained Message.
        let after = (!message.payload.is_empty()).then_some((bytes, message.expires_at));
        if number > 0 {
            self.numbered = self.numbered.max(number);
            turn.state.put(rows::numbered(self.id), &self.numbered);
        }
        self.put_retained(partition, message.topic, number, before, after, turn);
        Ok(())
    }

    /// A Retained Message goes if its time is over.
    pub(super) fn expire(
        &mut self,
        partition: u64,
        topic: &str,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let before = turn.state.retained(self.id, partition, topic)?;
        if before.is_some_and(|kept| kept.expires_at.is_some_and(|at| at <= context.at)) {
            self.put_retained(partition, topic, 0, before, None, turn);
        }
        Ok(())
    }

    fn put_retained(
        &mut self,
        partition: u64,
        topic: &str,
        number: u64,
        before: Option<Kept>,
        after: Option<(&[u8], Option<Millis>)>,
        turn: &mut Turn<'_>,
    ) {
        turn.state.put_retained(self.id, partition, topic, number, after);
        let before = before.map(|kept| kept.bytes);
        let after = after.map(|(bytes, _)| bytes.len() as u32);
        let size = &mut self.retained;
        size.messages = size.messages + u64::from(after.is_some()) - u64::from(before.is_some());
        size.bytes = size.bytes + u64::from(after.unwrap_or(0)) - u64::from(before.unwrap_or(0));
        turn.state.put(rows::retained(self.id), &self.retained);
    }
}
