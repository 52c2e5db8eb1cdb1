//! What waits for a slot that nobody leads, as far as is known here. It is little: whatever has a reply is refused at once,
//! and what is taken from Clients only goes where somebody answers for it.

use convoy_ids::SlotId;

use super::Shard;
use crate::call::SessionCall;
use crate::clock::Now;
use crate::retained;

/// Connections that have ended, and may be taken leave of later. Of more than these the next leader of their slots finds
/// out by itself, and takes every one of them for lost.
const CALLS: usize = 65_536;

/// Readings of Retained Messages that may wait. Peers are trusted no further than that; what is beyond is not read, and its
/// connection ends when the slot is led again.
const REQUESTS: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Leaderless {
    calls: Vec<(SlotId, SessionCall)>,
    /// At most one of each connection, of whichever node.
    requests: Vec<retained::Request>,
}

impl Leaderless {
    /// A connection has ended.
    pub fn keep(&mut self, slot: SlotId, call: SessionCall) {
        if self.calls.len() < CALLS {
            self.calls.push((slot, call));
        }
    }

    /// Retained Messages are to be read for a connection.
    pub fn keep_request(&mut self, request: retained::Request) {
        if self.requests.len() < REQUESTS {
            self.requests.push(request);
        }
    }
}

impl Shard {
    /// A slot is led again: what has waited for it goes there.
    pub(super) fn go_on(&mut self, now: Now, slot: SlotId) {
        let calls = std::mem::take(&mut self.leaderless.calls);
        let (due, calls): (Vec<_>, Vec<_>) = calls.into_iter().partition(|(of, _)| *of == slot);
        self.leaderless.calls = calls;
        let requests = std::mem::take(&mut self.leaderless.requests);
        let (asked, requests): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| request.slot() == slot);
        self.leaderless.requests = requests;
        for (_, call) in due {
            self.call(now, call);
        }
        for request in asked {
            self.ask_for_retained(now, request);
        }
    }
}
