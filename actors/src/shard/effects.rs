//! What slots decide is carried out by this shard's connections, and by mail where it is for others.

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_wire::{PacketId, ReasonCode};

use super::outlet::Outlet;
use crate::call::{Answer, ReplyTo};
use crate::clock::Now;
use crate::message::Message;
use crate::metric;
use crate::session::{Delivery, Home, SessionNumber};
use crate::slot::{Effects, Note};
use crate::topic::Found;

impl Effects for Outlet {
    fn answer(&mut self, to: ReplyTo, answer: Answer) {
        self.answer(to, answer);
    }

    fn take_over(&mut self, old: Option<Home>, to: ReplyTo, answer: Answer) {
        self.take_over(old, to, answer);
    }

    fn close_old(&mut self, old: Home) {
        self.close_old(old);
    }

    fn evict(&mut self, home: Home) {
        self.evict(home, true);
    }

    fn break_off(&mut self, home: Home, reason: ReasonCode) {
        self.break_off(home, reason);
    }

    fn release(&mut self, home: Home, packet_id: PacketId) {
        self.release(home, packet_id);
    }

    fn release_unknown(&mut self, home: Home, packet_id: PacketId) {
        self.release_unknown(home, packet_id);
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
        self.deliver(home, session, delivery, message, now);
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
        self.send(home, packet_id, dup, delivery, message, now);
    }

    fn is_cast(&self, topic: &str, connections: usize) -> bool {
        self.casts.is_many(connections) || self.casts.holds(topic)
    }

    fn cast(&mut self, topic: &str, whole: Bytes, found: Vec<Found>) {
        self.casts.begin_behind(topic, whole, found);
    }

    fn outbox_applied(&mut self, from: SlotId, to: SlotId, number: u64) {
        self.outbox_applied(from, to, number);
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
