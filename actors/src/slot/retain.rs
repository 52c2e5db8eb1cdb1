//! The Retained Messages of a slot's partitions.

use convoy_storage::engine::Error;

use super::context::Context;
use super::state::Kept;
use super::{RetainedSize, Slot, Turn, rows};
use crate::budget::{Budget, Usage, User};
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
        let after = (!message.payload.is_empty()).then(|| (bytes, Kept::of(bytes, &message)));
        if number > 0 {
            self.numbered = self.numbered.max(number);
        }
        self.put_retained(partition, message.topic, number, before, after, turn);
        Ok(())
    }

    /// Retained Messages go whose time is over.
    pub(super) fn expire(
        &mut self,
        topics: &[(u64, &str)],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        self.asked.expiry = false;
        for &(partition, topic) in topics {
            let before = turn.state.retained(self.id, partition, topic)?;
            if before.is_some_and(|kept| kept.expires_at.is_some_and(|at| at <= context.at)) {
                self.put_retained(partition, topic, 0, before, None, turn);
            }
        }
        Ok(())
    }

    fn put_retained(
        &mut self,
        partition: u64,
        topic: &str,
        number: u64,
        before: Option<Kept>,
        after: Option<(&[u8], Kept)>,
        turn: &mut Turn<'_>,
    ) {
        turn.state.put_retained(self.id, partition, topic, number, after);
        let after = after.map(|(_, kept)| kept);
        self.retained.change(before, after);
        let (old, new) = (before.map(|kept| kept.user), after.map(|kept| kept.user));
        if let Some(user) = old {
            self.count_retained(user, before, after.filter(|kept| kept.user == user), turn);
        }
        if let Some(user) = new.filter(|new| old != Some(*new)) {
            self.count_retained(user, None, after, turn);
        }
    }

    /// A user has other Retained Messages than before. What one has is a row: to count the messages themselves at the start
    /// would be to read all of them.
    fn count_retained(&mut self, user: User, before: Option<Kept>, after: Option<Kept>, turn: &mut Turn<'_>) {
        let usage =
            |kept: Option<Kept>| kept.map_or(Usage::default(), |kept| RetainedSize::of(&kept).usage());
        turn.budget.change(user, &usage(before), &usage(after));
        if user == User::NOBODY {
            // What is nobody's is what is left.
            return;
        }
        self.retained_of.entry(user).or_default().change(before, after);
        if self.recounted.last() != Some(&user) {
            self.recounted.push(user);
        }
    }

    /// Puts the rows of users whose Retained Messages the record changed.
    pub(super) fn put_recounted(&mut self, turn: &mut Turn<'_>) {
        self.recounted.sort_unstable();
        self.recounted.dedup();
        for user in self.recounted.drain(..) {
            let row = rows::retained_of(self.id, user);
            match self.retained_of.get(&user) {
                Some(size) if *size != RetainedSize::default() => turn.state.put(row, size),
                _ => {
                    self.retained_of.remove(&user);
                    turn.state.delete(row);
                }
            }
        }
    }

    /// Takes up what a user has by the row that says so.
    pub(super) fn recover_retained(&mut self, user: User, size: RetainedSize, budget: &mut Budget) {
        budget.change(user, &Usage::default(), &size.usage());
        self.retained_of.insert(user, size);
    }

    /// What is of no user.
    pub(super) fn recover_retained_of_nobody(&self, budget: &mut Budget) {
        budget.change(User::NOBODY, &Usage::default(), &self.retained_of_nobody());
    }

    /// Takes back what was counted of all of them.
    pub(super) fn withdraw_retained(&self, budget: &mut Budget) {
        for (user, size) in &self.retained_of {
            budget.change(*user, &size.usage(), &Usage::default());
        }
        budget.change(User::NOBODY, &self.retained_of_nobody(), &Usage::default());
    }

    fn retained_of_nobody(&self) -> Usage {
        self.retained_of.values().fold(self.retained.usage(), |left, size| left.without(&size.usage()))
    }
}

impl RetainedSize {
    pub(super) fn of(kept: &Kept) -> Self {
        Self { messages: 1, bytes: u64::from(kept.bytes) }
    }

    /// Another Retained Message is there than before, or none.
    pub(super) fn change(&mut self, before: Option<Kept>, after: Option<Kept>) {
        for gone in before.iter().map(Self::of) {
            self.messages = self.messages.saturating_sub(gone.messages);
            self.bytes = self.bytes.saturating_sub(gone.bytes);
        }
        for new in after.iter().map(Self::of) {
            self.messages += new.messages;
            self.bytes += new.bytes;
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage { retained_messages: self.messages, retained_bytes: self.bytes, ..Usage::default() }
    }
}
