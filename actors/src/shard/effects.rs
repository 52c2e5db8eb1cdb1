//! What slots decide is carried out by this shard's connections, and by mail where it is for others.

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_wire::{PacketId, ReasonCode};

use super::mail::Letter;
use super::outlet::{Applied, Outlet};
use crate::call::{Answer, ReplyTo, token};
use crate::clock::Now;
use crate::message::Message;
use crate::metric;
use crate::session::{Delivery, Home, SessionNumber};
use crate::slot::{Effects, Note};
use crate::topic::Found;

impl Effects for Outlet {
    fn answer(&mut self, to: ReplyTo, answer: Answer) {
        if to.home.shard == self.post.here() {
            self.edge.answer(to, answer);
        } else {
            self.post.send(to.home.shard, Letter::Answer { to, answer });
        }
    }

    fn take_over(&mut self, old: Option<Home>, to: ReplyTo, answer: Answer) {
        let here = self.post.here();
        match old {
            Some(old) if self.edge.is_of_this_start(&old) => {
                if old.shard == here {
                    self.edge.taken_over(&old);
                    self.answer(to, answer);
                } else {
                    // The answer travels by way of the old one's shard.
                    let then = Some((to, Box::new(answer)));
                    self.post.send(old.shard, Letter::TakenOver { home: old, then });
                }
            }
            _ => self.answer(to, answer),
        }
    }

    fn close_old(&mut self, old: Home) {
        if !self.edge.is_of_this_start(&old) {
            return;
        }
        if old.shard == self.post.here() {
            self.edge.taken_over(&old);
        } else {
            self.post.send(old.shard, Letter::TakenOver { home: old, then: None });
        }
    }

    fn evict(&mut self, home: Home, session_ended: bool) {
        if home.shard == self.post.here() {
            self.edge.evict(&home, session_ended);
        } else if self.edge.is_of_this_start(&home) {
            self.post.send(home.shard, Letter::Evict { home, session_ended });
        }
    }

    fn break_off(&mut self, home: Home, reason: ReasonCode) {
        self.answer(ReplyTo { home, token: token::BREAK }, Answer::Refused(reason));
    }

    fn release(&mut self, home: Home, packet_id: PacketId) {
        if home.shard == self.post.here() {
            self.edge.release(&home, packet_id);
        } else {
            self.post.send(home.shard, Letter::Release { home, packet_id });
        }
    }

    fn release_unknown(&mut self, home: Home, packet_id: PacketId) {
        let token = token::UNKNOWN | u64::from(packet_id.get());
        self.answer(ReplyTo { home, token }, Answer::Refused(ReasonCode::PacketIdentifierNotFound));
    }

    fn begin_message(&mut self) {
        self.edge.begin_message();
    }

    fn begin_with(&mut self, whole: &Bytes) {
        self.edge.begin_with(whole);
    }

    fn whole(&mut self, message: &Message<'_>) -> Bytes {
        self.edge.whole(message)
    }

    fn deliver(
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

    fn send(
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

    fn is_cast(&self, topic: &str, connections: usize) -> bool {
        self.casts.is_many(connections) || self.casts.holds(topic)
    }

    fn cast(&mut self, topic: &str, whole: Bytes, found: Vec<Found>) {
        self.casts.begin_behind(topic, whole, found);
    }

    fn outbox_applied(&mut self, from: SlotId, to: SlotId, number: u64) {
        let shard = self.post.shard_of(from);
        if shard == self.post.here() {
            self.applied.push_back(Applied { from, to, number });
        } else {
            self.post.send(shard, Letter::OutboxApplied { from, to, number });
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::NotItsOwner => metric::denied("session"),
            Note::Met(limit) => metric::met(limit),
            Note::OutboxFull => metrics::counter!(metric::OUTBOX_FULL).increment(1),
            Note::QueueDropped(messages) => {
                metrics::counter!(metric::QUEUE_DROPPED).increment(messages);
            }
            Note::SharedDropped => metrics::counter!(metric::SHARED_DROPPED).increment(1),
            Note::Redispatched(messages) => metrics::counter!(metric::REDISPATCHED).increment(messages),
            Note::DroppedBehind => self.edge.drop_behind(1),
            Note::DroppedLate => self.edge.note_dropped(),
        }
    }
}
