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

#[derive(Debug, Default)]
pub(super) struct Leaderless {
    calls: Vec<(SlotId, SessionCall)>,
    /// At most one of each connection.
    pub requests: Vec<retained::Request>,
}

impl Leaderless {
    /// A connection has ended.
    pub fn keep(&mut self, slot: SlotId, call: SessionCall) {
        if self.calls.len() < CALLS {
            self.calls.push((slot, call));
        }
    }
}

impl Shard {
    /// A slot is led again: what has waited for it goes there.
    pub(super) fn go_on(&mut self, now: Now, slot: SlotId) {
        let calls = std::mem::take(&mut self.leaderless.calls);
        let (due, calls) = calls.into_iter().partition(|(of, _)| *of == slot);
        self.leaderless.calls = calls;
        let requests = std::mem::take(&mut self.leaderless.requests);
        let (asked, requests) = requests.into_iter().partition(|request| request.slot() == slot);
        self.leaderless.requests = requests;
        let (due, asked): (Vec<_>, Vec<_>) = (due, asked);
        for (_, call) in due {
            self.call(now, call);
        }
        for request in asked {
            self.ask_for_retained(now, request);
        }
    }
}
