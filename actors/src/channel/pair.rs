//! What is known in one pair, from when it was opened to its lapse.

#[cfg(test)]
use super::Without;
use super::outbound::Outbound;
use super::{Event, Frame, Process, Times};

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) with: Process,
    opened_at: u64,
    /// When a frame of the pair came last. The other end may rely on us as if it had been sent just then.
    pub(super) received_at: u64,
    /// The newest of our times of sending that has come back.
    heard: Option<u64>,
    /// The newest of their times of sending.
    pub(super) newest: u64,
    /// All payloads up to this number were told.
    pub(super) taken: u64,
    pub(super) outbound: Outbound,
    #[cfg(test)]
    without: Without,
}

impl Pair {
    pub(super) fn new(with: Process, times: &Times, now: u64) -> Self {
        Self {
            with,
            opened_at: now,
            received_at: now,
            heard: None,
            newest: 0,
            taken: 0,
            outbound: Outbound::new(times),
            #[cfg(test)]
            without: Without::Nothing,
        }
    }

    #[cfg(test)]
    pub(super) fn without(mut self, without: Without) -> Self {
        (self.without, self.outbound.without) = (without, without);
        self
    }

    pub(super) fn relies_until(&self, times: &Times) -> Option<u64> {
        Some(self.heard? + times.relies)
    }

    /// The pair is over behind this. Before the first answer nothing is relied on, and the answer has as much time.
    pub(super) fn lapses_after(&self, times: &Times) -> u64 {
        self.heard.unwrap_or(self.opened_at) + times.relies
    }

    /// A frame of this pair that may be true.
    pub(super) fn take(&mut self, now: u64, frame: &Frame, times: &Times, out: &mut Vec<Event>) {
        self.received_at = self.received_at.max(now);
        self.newest = self.newest.max(frame.sent_at);
        #[cfg(test)]
        let is_late = self.without == Without::TheTimeOfSending;
        #[cfg(not(test))]
        let is_late = false;
        self.heard = self.heard.max(if is_late { frame.heard.map(|_| now) } else { frame.heard });
        self.outbound.acknowledge(frame.acknowledged, self.heard, now, times);
        let Some(payload) = &frame.payload else { return };
        let is_next = payload.number == self.taken + 1;
        #[cfg(test)]
        let is_next = is_next || (self.without == Without::TheNextNumberOnly && payload.number > self.taken);
        if is_next {
            self.taken = payload.number;
            out.push(Event::Payload(payload.bytes.clone()));
        }
    }
}
