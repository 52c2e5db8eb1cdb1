//! Retained Messages for new Subscriptions: asked for as their connection has room for them, read where their partition is,
//! and sent.

use convoy_wire::QoS;

use super::Shard;
use super::calls::FEED_WORK;
use super::edge::Edge;
use super::mail::Letter;
use super::slots::fail;
use crate::activity::Activity;
use crate::call::SessionCall;
use crate::clock::Now;
use crate::connection::{Connection, Stage};
use crate::message::Message;
use crate::retained::{self, Reader};
use crate::session::Home;

/// Retained Messages that were put into the queue of a Session, above which the next ones wait for acknowledgements:
/// they must not push each other out.
const RETAINED_UNACKNOWLEDGED: u32 = 16;

impl Shard {
    /// Reads Retained Messages on for a connection.
    pub(super) fn feed(&mut self, now: Now, home: Home) {
        let slots = self.outlet.edge.slots;
        let Some(connection) = self.outlet.edge.find(&home) else { return };
        let Connection { session, epoch, lasting, .. } = *connection;
        let Some(readings) = &mut connection.readings else { return };
        if self.low_space && lasting && readings.is_kept() {
            // What is kept until it is acknowledged waits until there is room for it.
            return;
        }
        let request = readings.ask(&Reader { home, session, epoch, lasting }, slots);
        if readings.is_empty() {
            connection.readings = None;
        }
        let Some(request) = request else { return };
        // Acknowledgements may be here before the chunk is.
        connection.retained_unacknowledged += request.reserved();
        let shard = self.outlet.post.shard_of(request.slot());
        if shard == self.outlet.post.here() {
            self.read_retained(now, request);
        } else {
            self.outlet.post.send(shard, Letter::Retained(Box::new(request)));
        }
    }

    pub(super) fn read_retained(&mut self, now: Now, request: retained::Request) {
        if !self.state.is_empty() {
            // What is applied and not written, because the disk is full, could not be read yet.
            return self.unread.push_back(request);
        }
        let (slot, reader) = (request.slot(), *request.reader());
        self.outlet.edge.pulse.tell(Activity::Retained, u32::from(slot.0));
        if let Some(chunk) = self.sys_chunk(now, &request) {
            return self.send_chunk(now, chunk);
        }
        let nothing = request.answered(Vec::new());
        match retained::serve(request, &**self.state.engine(), &self.access, now.wall) {
            Ok(retained::Served { chunk, kept }) => {
                // From here, as what is published later: it must not be overtaken by that.
                for (delivery, message) in kept {
                    let (session, epoch) = (reader.session, reader.epoch);
                    self.call(now, SessionCall::Keep { session, epoch, delivery, message });
                }
                self.send_chunk(now, chunk);
            }
            Err(error) => {
                if let Some(slot) = self.slots.get(slot) {
                    fail(slot, &error);
                }
                self.send_chunk(now, nothing);
            }
        }
    }

    fn send_chunk(&mut self, now: Now, chunk: retained::Chunk) {
        match chunk.home.shard == self.outlet.post.here() {
            true => self.outlet.edge.on_retained(chunk, now),
            false => self.outlet.post.send(chunk.home.shard, Letter::RetainedChunk(Box::new(chunk))),
        }
    }

    /// Reads what could not be read before the state was written, as far as a piece of work goes.
    pub(super) fn read_unread(&mut self, now: Now, until: u64) {
        for _ in 0..self.unread.len() {
            if self.work >= until {
                return;
            }
            let Some(request) = self.unread.pop_front() else { return };
            self.work += FEED_WORK;
            self.read_retained(now, request);
        }
    }
}

impl Edge {
    /// Retained Messages for a new Subscription, and where the rest of them is to be read.
    pub fn on_retained(&mut self, chunk: retained::Chunk, now: Now) {
        let (home, unused) = (chunk.home, chunk.unused);
        let Some(connection) = self.find(&home).filter(|found| found.stage == Stage::Open) else { return };
        connection.retained_unacknowledged = connection.retained_unacknowledged.saturating_sub(unused);
        if let Some(readings) = &mut connection.readings {
            readings.take(chunk);
        }
        self.refill(home.key, now);
    }

    /// Sends what is held of Retained Messages, as far as there is room for it; when all of it is sent more is asked
    /// for.
    pub(super) fn read_on(&mut self, key: u32, now: Now) {
        loop {
            let Some(connection) = self.connections.get_mut(key as usize) else { return };
            let has_window = connection.outbound.as_ref().is_none_or(|outbound| outbound.has_room());
            let has_room = connection.output.len() <= self.limits.output_bytes / 2
                && connection.retained_unacknowledged <= RETAINED_UNACKNOWLEDGED;
            let Some(readings) = connection.readings.as_mut().filter(|_| has_room) else { return };
            if readings.is_hungry() {
                return self.hungry.push(connection.home);
            }
            let goes = |delivery: &crate::session::Delivery| has_window || delivery.qos == QoS::AtMostOnce;
            if !readings.first().is_some_and(|(delivery, _)| goes(delivery)) {
                return;
            }
            let (delivery, whole) = readings.pop().expect("there is a first");
            let (home, session) = (connection.home, connection.session);
            let Ok(message) = Message::decode(&whole) else { continue };
            self.encoded.begin_with(&whole);
            self.hand_over(&home, session, &delivery, &message, now);
        }
    }
}
