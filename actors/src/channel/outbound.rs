//! Payloads that the other end has not acknowledged.
//!
//! After a wait without an acknowledgement the first payload goes again, alone, as a probe; the others follow when a frame of the
//! other end shows that it has heard the probe or something later. What was sent before the probe and is not
//! acknowledged by then was lost. So a link that is slow gets one payload twice and not all of them.

use std::collections::VecDeque;

use bytes::Bytes;

#[cfg(test)]
use super::Without;
use super::{Payload, Times};

/// How much one end may hold for the other. Each payload counts with its bytes and [`Limits::OVERHEAD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that are under way without an acknowledgement before the rest waits. One payload alone may be larger.
    pub window: u64,
    /// Bytes that wait in all; what is more is refused.
    pub waiting: u64,
}

impl Limits {
    /// What a payload takes beside its bytes: without it the number of empty ones had no bound.
    pub const OVERHEAD: u64 = 64;
}

impl Default for Limits {
    fn default() -> Self {
        Self { window: 4 << 20, waiting: 64 << 20 }
    }
}

/// Why a payload was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nobody to send to. [`super::Event::Opened`] tells when there is.
    #[error("the channel is not open")]
    Closed,
    /// Room comes with acknowledgements, or all of it with [`super::Event::Lapsed`].
    #[error("{payloads} payloads of {bytes} bytes wait for the other end")]
    Full { payloads: usize, bytes: u64 },
}

#[derive(Debug)]
pub(super) struct Outbound {
    /// In their order, from number `first` on.
    payloads: VecDeque<Bytes>,
    first: u64,
    bytes: u64,
    /// Payloads that were sent at least once.
    sent: usize,
    /// The payload that is to be sent next.
    next: usize,
    /// Bytes of those before it.
    under_way: u64,
    probe: Option<Probe>,
    resend_at: Option<u64>,
    wait: u64,
    #[cfg(test)]
    pub(super) without: Without,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Due,
    Sent { at: u64 },
}

impl Outbound {
    pub(super) fn new(times: &Times) -> Self {
        Self {
            payloads: VecDeque::new(),
            first: 1,
            bytes: 0,
            sent: 0,
            next: 0,
            under_way: 0,
            probe: None,
            resend_at: None,
            wait: times.resend,
            #[cfg(test)]
            without: Without::Nothing,
        }
    }

    pub(super) fn push(&mut self, payload: Bytes, limits: &Limits) -> Result<(), Refused> {
        let bytes = self.bytes + cost(&payload);
        if bytes > limits.waiting {
            return Err(Refused::Full { payloads: self.payloads.len(), bytes: self.bytes });
        }
        self.bytes = bytes;
        self.payloads.push_back(payload);
        Ok(())
    }

    /// The number of the last payload.
    pub(super) fn last(&self) -> u64 {
        self.first + self.payloads.len() as u64 - 1
    }

    /// The number of the last payload that the other end has taken.
    pub(super) fn acknowledged(&self) -> u64 {
        self.first - 1
    }

    /// The next payload to be sent, as sent at `now`.
    pub(super) fn next(&mut self, now: u64, limits: &Limits) -> Option<Payload> {
        if matches!(self.probe, Some(Probe::Sent { .. })) {
            return None;
        }
        let bytes = self.payloads.get(self.next)?;
        let under_way = self.under_way + cost(bytes);
        if self.next > 0 && under_way > limits.window {
            return None;
        }
        let payload = Payload { number: self.first + self.next as u64, bytes: bytes.clone() };
        self.under_way = under_way;
        self.next += 1;
        self.sent = self.sent.max(self.next);
        self.resend_at.get_or_insert(now + self.wait);
        self.probe = self.probe.map(|_| Probe::Sent { at: now });
        Some(payload)
    }

    /// Whether the other end can have taken all up to `number`.
    pub(super) fn may_acknowledge(&self, number: u64) -> bool {
        number < self.first + self.sent as u64
    }

    /// The other end has taken all up to `number`, and heard what was sent at `heard`.
    pub(super) fn acknowledge(&mut self, number: u64, heard: Option<u64>, now: u64, times: &Times) {
        let is_news = number >= self.first;
        while self.first <= number {
            let payload = self.payloads.pop_front().expect("it was sent: may_acknowledge was asked");
            self.bytes -= cost(&payload);
            if self.next > 0 {
                self.under_way -= cost(&payload);
                self.next -= 1;
            }
            self.first += 1;
            self.sent -= 1;
        }
        if is_news {
            self.wait = times.resend;
            self.resend_at = (self.sent > 0).then(|| now + self.wait);
        }
        let is_heard = matches!(self.probe, Some(Probe::Sent { at }) if heard >= Some(at));
        if is_heard || self.sent == 0 {
            if is_heard {
                self.go_back();
            }
            self.probe = None;
        }
    }

    pub(super) fn on_time(&mut self, now: u64, times: &Times) {
        if self.resend_at.is_some_and(|at| now >= at) {
            self.wait = (self.wait * 2).min(times.resend_most);
            self.resend_at = None;
            self.go_back();
            self.probe = Some(Probe::Due);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.resend_at
    }

    /// Payloads and their bytes.
    pub(super) fn waiting(&self) -> (usize, u64) {
        (self.payloads.len(), self.bytes)
    }

    fn go_back(&mut self) {
        (self.next, self.under_way) = (0, 0);
        #[cfg(test)]
        if self.without == Without::TheFirstUnacknowledged && self.sent > 0 {
            (self.next, self.under_way) = (1, cost(&self.payloads[0]));
        }
    }
}

fn cost(payload: &Bytes) -> u64 {
    payload.len() as u64 + Limits::OVERHEAD
}
