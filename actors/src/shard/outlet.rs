//! Where a slot's effects go: to a connection of this shard at once, to any other by mail.

use std::collections::VecDeque;

use convoy_ids::SlotId;
use convoy_wire::{PacketId, ReasonCode};

use super::casting::Casts;
use super::mail::{Letter, Part, Post};
use crate::call::{Answer, ReplyTo, token};
use crate::clock::Now;
use crate::edge::Edge;
use crate::message::Message;
use crate::session::{Delivery, Home, SessionNumber};

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

    pub fn answer(&mut self, to: ReplyTo, answer: Answer) {
        if to.home.shard == self.post.here() {
            self.edge.answer(to, answer);
        } else {
            self.post.send(to.home.shard, Letter::Answer { to, answer });
        }
    }

    /// Another connection gets the Session. The old one, where there is one, is closed before the new one hears of it:
    /// the answer travels by way of the old one's shard.
    pub fn take_over(&mut self, old: Option<Home>, to: ReplyTo, answer: Answer) {
        let here = self.post.here();
        match old {
            Some(old) if self.edge.is_of_this_start(&old) => {
                if old.shard == here {
                    self.edge.taken_over(&old);
                    self.answer(to, answer);
                } else {
                    let then = Some((to, Box::new(answer)));
                    self.post.send(old.shard, Letter::TakenOver { home: old, then });
                }
            }
            _ => self.answer(to, answer),
        }
    }

    /// A connection whose Session another one gets is closed, before that one is told.
    pub fn close_old(&mut self, old: Home) {
        if !self.edge.is_of_this_start(&old) {
            return;
        }
        if old.shard == self.post.here() {
            self.edge.taken_over(&old);
        } else {
            self.post.send(old.shard, Letter::TakenOver { home: old, then: None });
        }
    }

    /// An operator closes a connection, perhaps with the Session that it had.
    pub fn evict(&mut self, home: Home, session_ended: bool) {
        if home.shard == self.post.here() {
            self.edge.evict(&home, session_ended);
        } else if self.edge.is_of_this_start(&home) {
            self.post.send(home.shard, Letter::Evict { home, session_ended });
        }
    }

    /// A message for a Session that lives with its connection.
    pub fn deliver(
        &mut self,
        home: Home,
        session: SessionNumber,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    ) {
        if !self.edge.is_of_this_start(&home) {
            self.edge.return_shared(session, delivery, message);
        } else if home.shard == self.post.here() {
            self.edge.deliver(&home, session, delivery, message, now);
        } else {
            let message = self.lay(home.shard, message);
            self.post.send(home.shard, Letter::Deliver { home, session, delivery: *delivery, message });
        }
    }

    /// A message out of a Session's queue, or one of QoS 0 for it. It has been begun.
    pub fn send(
        &mut self,
        home: Home,
        packet_id: Option<PacketId>,
        dup: bool,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    ) {
        if home.shard == self.post.here() {
            self.edge.send(&home, packet_id, dup, delivery, message, now);
        } else {
            let message = self.lay(home.shard, message);
            let letter = Letter::Send { home, packet_id, dup, delivery: *delivery, message };
            self.post.send(home.shard, letter);
        }
    }

    /// PUBREL for a message out of a Session's queue.
    pub fn release(&mut self, home: Home, packet_id: PacketId) {
        if home.shard == self.post.here() {
            self.edge.release(&home, packet_id);
        } else {
            self.post.send(home.shard, Letter::Release { home, packet_id });
        }
    }

    /// PUBREL that answers a PUBREC of nothing.
    pub fn release_unknown(&mut self, home: Home, packet_id: PacketId) {
        let token = token::UNKNOWN | u64::from(packet_id.get());
        self.answer(ReplyTo { home, token }, Answer::Refused(ReasonCode::PacketIdentifierNotFound));
    }

    /// The Client of a Session has broken a rule.
    pub fn break_off(&mut self, home: Home, reason: ReasonCode) {
        self.answer(ReplyTo { home, token: token::BREAK }, Answer::Refused(reason));
    }

    /// A QoS 0 message for a Session that outlives its connection, in a slot of another shard. It has been begun.
    pub fn pass_away(&mut self, session: SessionNumber, delivery: Delivery, message: &Message<'_>) {
        let shard = self.post.shard_of(session.slot());
        let message = self.lay(shard, message);
        self.post.send(shard, Letter::Pass { session, delivery, message });
    }

    pub fn outbox_applied(&mut self, from: SlotId, to: SlotId, number: u64) {
        let shard = self.post.shard_of(from);
        if shard == self.post.here() {
            self.applied.push_back(Applied { from, to, number });
        } else {
            self.post.send(shard, Letter::OutboxApplied { from, to, number });
        }
    }
}
