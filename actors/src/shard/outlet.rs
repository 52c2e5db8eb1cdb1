//! Where a slot's effects go: to a connection of this shard at once, to any other by mail.

use std::collections::VecDeque;

use convoy_ids::SlotId;

use super::casting::Casts;
use super::mail::{Letter, Part, Post};
use crate::edge::Edge;
use crate::message::Message;
use crate::session::{Delivery, SessionNumber};

pub struct Outlet {
    pub edge: Edge,
    pub post: Post,
    /// What slots have applied of the outboxes of slots of this shard, to be taken up when the current event is done.
    pub applied: VecDeque<Applied>,
    /// Messages for very many, which are passed on in pieces.
    pub casts: Casts,
}

/// Slot `to` has applied what `from` had in its outbox up to this number.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    pub from: SlotId,
    pub to: SlotId,
    pub number: u64,
}

impl Outlet {
    /// Lays the message that was begun into the mail for a shard.
    pub(super) fn lay(&mut self, shard: u16, message: &Message<'_>) -> Part {
        self.post.to(shard).lay_message(message, &mut self.edge.encoded)
    }

    /// A QoS 0 message for a Session that outlives its connection, in a slot of another shard. It has been begun.
    pub fn pass_away(&mut self, session: SessionNumber, delivery: Delivery, message: &Message<'_>) {
        let shard = self.post.shard_of(session.slot());
        let message = self.lay(shard, message);
        self.post.send(shard, Letter::Pass { session, delivery, message });
    }
}
