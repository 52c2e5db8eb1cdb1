//! Retained Messages for new Subscriptions: asked for as their connection has room for them, and read where their partition
//! is. `edge/reading.rs` sends them.

use convoy_ids::SlotId;

use super::Shard;
use super::calls::FEED_WORK;
use super::mail::{Letter, Where};
use super::proving::Waits;
use super::slots::fail;
use crate::activity::Activity;
use crate::call::SessionCall;
use crate::clock::Now;
use crate::connection::Connection;
use crate::options::Without;
use crate::reserved::is_sys;
use crate::retained::{self, Reader};
use crate::session::Home;

impl Shard {
    /// Reads Retained Messages on for a connection.
    pub(super) fn feed(&mut self, now: Now, home: Home) {
        let Some(connection) = self.outlet.edge.find(&home) else { return };
        let Connection { session, epoch, lasting, .. } = *connection;
        let Some(readings) = &mut connection.readings else { return };
        if self.low_space && lasting && readings.is_kept() {
            // What is kept until it is acknowledged waits until there is room for it.
            return;
        }
        let request = readings.ask(&Reader { home, session, epoch, lasting });
        if readings.is_empty() {
            connection.readings = None;
        }
        let Some(request) = request else { return };
        // Acknowledgements may be here before the chunk is.
        connection.retained_unacknowledged += request.reserved();
        self.ask_for_retained(now, request);
    }

    /// Asks the partition of a request, wherever it is.
    pub(super) fn ask_for_retained(&mut self, now: Now, request: retained::Request) {
        match self.outlet.post.where_is(request.slot()) {
            Where::Here => self.read_retained(now, request),
            Where::There(dest) => self.outlet.post.send(dest, Letter::Retained(Box::new(request))),
            Where::Nowhere => self.leaderless.keep_request(request),
        }
    }

    /// Reads Retained Messages of a partition whose slot is here. Where others could lead it by now, and have newer ones, not
    /// before it is proven that they do not.
    pub(super) fn read_retained(&mut self, now: Now, request: retained::Request) {
        if !self.has_others || self.options.without == Without::Proof {
            return self.read_proven(now, request);
        }
        let slot = request.slot();
        match self.slots.get(slot).is_some_and(|slot| slot.is_serving()) {
            true => self.proving.gather(slot, Waits::Read(Box::new(request))),
            false => self.leaderless.keep_request(request),
        }
    }

    /// The same, once it is proven.
    pub(super) fn read_proven(&mut self, now: Now, request: retained::Request) {
        if self.retains_nothing(request.slot()) && !is_sys(request.filter()) {
            // A filter whose first level is a wildcard asks every slot, and most of them have nothing to be looked through.
            return self.send_chunk(now, request.answered(Vec::new()));
        }
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

    /// As far as is applied, which is all that a Subscription asks for: what is decided later reaches it live.
    fn retains_nothing(&mut self, slot: SlotId) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.failure.is_none() && slot.retained().messages == 0)
    }

    fn send_chunk(&mut self, now: Now, chunk: retained::Chunk) {
        match self.outlet.post.where_home(&chunk.home) {
            Where::Here => self.outlet.edge.on_retained(chunk, now),
            Where::There(dest) => self.outlet.post.send(dest, Letter::RetainedChunk(Box::new(chunk))),
            // Its connection ends.
            Where::Nowhere => {}
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
            self.read_proven(now, request);
        }
    }
}
