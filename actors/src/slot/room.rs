//! What is refused while little room is left on the disk, so that what is left is for those who come to read.
//!
//! A CONNECT resumes a Session, and begins one that ends with its connection. What it may not do is begin a Session that
//! lasts, or bring a Will that takes more room than the one that its Session has: both stay when their Client has gone.
//! A SUBSCRIBE may change the Subscriptions that there are, and a PUBLISH may delete a Retained Message.

use std::collections::BTreeSet;

use convoy_storage::engine::Error;

use super::counted::wanted_by;
use super::op::Op;
use super::{Slot, State, rows};
use crate::budget::User;
use crate::call::{ReplyTo, SessionCall};
use crate::clock::Millis;
use crate::message::Message;
use crate::session::{SessionNumber, SessionRow, Will};

impl Slot {
    /// Whether a call adds to what is stored, beyond what ends with its connection.
    pub fn adds(&self, call: &SessionCall, at: Millis, state: &mut State) -> Result<bool, Error> {
        match call {
            SessionCall::Connect { name, expiry_seconds, will, .. } => {
                self.connect_adds(name, *expiry_seconds, will.as_deref(), at, state)
            }
            SessionCall::Subscribe { session, wanted, .. } => {
                subscribe_adds(*session, wanted.iter().map(|wanted| &wanted.filter[..]), state)
            }
            SessionCall::Accept { .. } => Ok(true),
            // A Retained Message that was read is kept: the connection reads no more of them.
            SessionCall::Keep { .. }
            | SessionCall::Abandon { .. }
            | SessionCall::Ready { .. }
            | SessionCall::Adopt { .. }
            | SessionCall::Disconnect { .. }
            | SessionCall::Unsubscribe { .. }
            | SessionCall::Ack { .. }
            | SessionCall::Release { .. } => Ok(false),
        }
    }

    /// Takes out what adds to the disk and has no record yet; returns whom to tell.
    pub fn refuse_additions(&mut self, at: Millis, state: &mut State) -> Vec<ReplyTo> {
        // A row that cannot be read stops the slot when the record is applied.
        self.refuse(|slot, op| slot.op_adds(op, at, state).unwrap_or(false))
    }

    /// Takes out the operations that are unwanted, have no record yet and whose Client can be told so; returns whom to
    /// tell.
    pub fn refuse(&mut self, mut is_unwanted: impl FnMut(&Self, &Op<'_>) -> bool) -> Vec<ReplyTo> {
        let (mut pending, mut numbers) = (std::mem::take(&mut self.pending), BTreeSet::new());
        let mut connects: Vec<(Box<[u8]>, User, _)> = Vec::new();
        let refused = pending.refuse(|op| {
            let is_unwanted = is_unwanted(self, op);
            if let Op::InLine { number, .. } = op
                && is_unwanted
            {
                numbers.insert(*number);
            }
            if let Op::Connect { name, owner, expiry_seconds, will, .. } = op
                && is_unwanted
            {
                connects.push((Box::from(*name), User::of(owner), wanted_by(*expiry_seconds, will.as_ref())));
            }
            is_unwanted
        });
        self.pending = pending;
        for (name, user, wanted) in connects {
            self.resume(&name);
            self.connecting.remove(user, &wanted);
        }
        if !numbers.is_empty() {
            self.line.refuse(&numbers);
        }
        refused
    }

    fn op_adds(&self, op: &Op<'_>, at: Millis, state: &mut State) -> Result<bool, Error> {
        match op {
            Op::Connect { name, expiry_seconds, will, .. } => {
                self.connect_adds(name, *expiry_seconds, will.as_ref(), at, state)
            }
            Op::Subscribe { session, entries, .. } => {
                subscribe_adds(*session, entries.iter().map(|entry| entry.filter), state)
            }
            Op::Retain { message, .. } | Op::InLine { message, .. } => {
                let deletes = |message: Message<'_>| message.retain && message.payload.is_empty();
                Ok(!Message::decode(message).is_ok_and(deletes))
            }
            op => Ok(op.adds()),
        }
    }

    fn connect_adds(
        &self,
        name: &[u8],
        expiry_seconds: u32,
        will: Option<&Will>,
        at: Millis,
        state: &mut State,
    ) -> Result<bool, Error> {
        let row = state.get::<SessionRow>(&rows::client(self.id, name))?;
        let lasts = row
            .as_ref()
            .is_some_and(|row| row.outlives_connection() && row.ends_at().is_none_or(|end| end > at));
        if expiry_seconds > 0 && !lasts {
            return Ok(true);
        }
        let stored = row.and_then(|row| row.will).map_or(0, |will| will.message.len());
        Ok(will.is_some_and(|will| will.message.len() > stored))
    }
}

/// Whether a Topic Filter is among them that the Session has not subscribed.
fn subscribe_adds<'a>(
    session: SessionNumber,
    filters: impl Iterator<Item = &'a str>,
    state: &mut State,
) -> Result<bool, Error> {
    for filter in filters {
        if !state.contains(&rows::subscription(session, filter))? {
            return Ok(true);
        }
    }
    Ok(false)
}
