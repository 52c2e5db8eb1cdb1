//! The sender's end of a stream.

use std::collections::VecDeque;

use convoy_ids::{NodeId, Term};

#[cfg(test)]
use super::Without;
use super::{Answer, Call, Reply};

/// How much one stream may hold, and how long it waits for an answer. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Calls, and numbers whose calls have ended and which the slot has not answered. No more than
    /// [`super::Limits::results`], or results are forgotten that are still asked for.
    pub calls: usize,
    /// Bytes of calls that have not ended. One call alone may be larger.
    pub bytes: u64,
    /// Without any answer for so long, the first number without one is sent again.
    pub resend: u64,
    /// That wait doubles with each time up to this.
    pub resend_most: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { calls: 256, bytes: 4 << 20, resend: 250, resend_most: 2_000 }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has acted, once.
    Done(Vec<u8>),
    /// It was refused: it has not acted and never will.
    Refused(Vec<u8>),
    /// It was sent, and what became of it was not known in time: it may have acted, or may yet, in its place in the
    /// order and once at most.
    Unknown,
    /// It was not sent in time: it has not acted and never will.
    NotSent,
}

/// The window is full. Nothing was taken: wait for the end of a call, or tell whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{calls} calls of {bytes} bytes wait for the slot")]
pub struct Full {
    pub calls: usize,
    pub bytes: u64,
}

/// One stream of calls, each with a token of the caller's, which is told with its end. Times are milliseconds of a clock that
/// never jumps.
#[derive(Debug)]
pub struct Sender<C> {
    window: Window,
    /// In their order. Those before `numbered` have numbers from `first` on: they were sent at least once.
    entries: VecDeque<Entry<C>>,
    first: u64,
    numbered: usize,
    /// The entry that is to be sent next.
    next: usize,
    bytes: u64,
    round: u32,
    /// Whether the slot has ever answered for a number.
    is_open: bool,
    /// After an answer that no stream goes on behind.
    is_over: bool,
    term: Term,
    leader: Option<NodeId>,
    /// One letter is sent and its answer awaited, before the window follows: it is not known whether the node leads.
    is_probing: bool,
    resend_at: Option<u64>,
    wait: u64,
    /// No call's deadline is before this.
    deadline: u64,
    #[cfg(test)]
    pub(super) without: Without,
}

#[derive(Debug)]
struct Entry<C> {
    call: Option<Waiting<C>>,
    is_answered: bool,
}

#[derive(Debug)]
struct Waiting<C> {
    token: u64,
    deadline: u64,
    bytes: u64,
    content: C,
}

impl<C> Sender<C> {
    pub fn new(window: Window) -> Self {
        Self {
            window,
            entries: VecDeque::new(),
            first: 1,
            numbered: 0,
            next: 0,
            bytes: 0,
            round: 0,
            is_open: false,
            is_over: false,
            term: Term(0),
            leader: None,
            is_probing: true,
            resend_at: None,
            wait: window.resend,
            deadline: u64::MAX,
            #[cfg(test)]
            without: Without::Nothing,
        }
    }

    /// Takes a call that is to be known by `deadline`, and takes `bytes` of the window until it ends.
    pub fn push(&mut self, token: u64, deadline: u64, bytes: u64, content: C) -> Result<(), Full> {
        let is_full = self.entries.len() >= self.window.calls
            || (self.bytes > 0 && self.bytes + bytes > self.window.bytes);
        if is_full {
            return Err(Full { calls: self.entries.len(), bytes: self.bytes });
        }
        self.bytes += bytes;
        self.deadline = self.deadline.min(deadline);
        let call = Some(Waiting { token, deadline, bytes, content });
        self.entries.push_back(Entry { call, is_answered: false });
        Ok(())
    }

    /// The next letter, and the node it goes to; to be asked until there is none, after each event.
    pub fn next_letter(&mut self, now: u64) -> Option<(NodeId, Call<&C>)> {
        let leader = self.leader.filter(|_| !self.is_over)?;
        let is_waiting = self.is_probing && self.next > 0;
        // What was answered already need not be sent again: the slot has it, and expects what is behind it.
        while !is_waiting && self.entries.get(self.next).is_some_and(|entry| entry.is_answered) {
            self.next += 1;
        }
        if is_waiting || self.next >= self.entries.len() {
            return None;
        }
        let at = self.next;
        self.next += 1;
        self.numbered = self.numbered.max(self.next);
        self.resend_at.get_or_insert(now + self.wait);
        let content = self.entries[at].call.as_ref().map(|call| &call.content);
        let number = self.first + at as u64;
        Some((leader, Call { number, first: self.first, round: self.round, content }))
    }

    /// Who leads the slot in `term`, as far as somebody knows; what is told of an earlier term is ignored.
    pub fn on_leader(&mut self, term: Term, leader: Option<NodeId>) {
        // Within a term the leader becomes known once, and may step down.
        if term < self.term || (term, leader) == (self.term, self.leader) {
            return;
        }
        (self.term, self.leader) = (term, leader);
        self.wait = self.window.resend;
        self.go_back(0);
        self.is_probing = true;
    }

    /// The slot, or a node that was taken for its leader, has answered.
    pub fn on_answer(&mut self, from: NodeId, answer: Answer, now: u64, out: &mut Vec<(u64, Ended)>) {
        match answer {
            Answer::Filled { number, reply } => self.filled(number, Some(reply), now, out),
            Answer::Forgotten { number } => self.filled(number, None, now, out),
            Answer::Expected { number, round } => {
                #[cfg(test)]
                if self.without == Without::OutcomesByNumber {
                    for before in self.first..number.min(self.first + self.numbered as u64) {
                        self.filled(before, Some(Reply::Done(Vec::new())), now, out);
                    }
                }
                #[cfg(test)]
                if self.without == Without::TheDeposed && number < self.first && round == self.round {
                    self.break_off(out);
                }
                self.expected(number, round);
            }
            Answer::NotLeader { term, leader } if self.leader == Some(from) => {
                // Without a better name the same node is asked again after the wait: it may yet be elected.
                if leader.is_some_and(|leader| leader != from) {
                    self.on_leader(term, leader);
                }
            }
            Answer::Skipped if !self.is_open => {
                // Nothing of this place acts: all of it may be sent once more, from another place.
                self.entries.retain(|entry| entry.call.is_some());
                (self.numbered, self.next, self.resend_at, self.is_over) = (0, 0, None, true);
            }
            Answer::Skipped | Answer::Gone => self.break_off(out),
            Answer::NotLeader { .. } | Answer::Full => {}
        }
    }

    /// Ends calls whose time is over, and goes back if nobody answers.
    pub fn on_time(&mut self, now: u64, out: &mut Vec<(u64, Ended)>) {
        if now >= self.deadline {
            self.end_late(now, out);
        }
        if self.resend_at.is_some_and(|at| now >= at) {
            self.wait = (self.wait * 2).min(self.window.resend_most);
            self.go_back(0);
            self.is_probing = true;
        }
    }

    /// When [`Sender::on_time`] is to be called next.
    pub fn next_deadline(&self) -> Option<u64> {
        let deadline = (self.deadline != u64::MAX).then_some(self.deadline);
        self.resend_at.into_iter().chain(deadline).min()
    }

    /// The sender is no more: all calls end.
    pub fn close(&mut self, out: &mut Vec<(u64, Ended)>) {
        self.break_off(out);
        let unsent = self.entries.drain(..).filter_map(|entry| entry.call);
        out.extend(unsent.map(|call| (call.token, Ended::NotSent)));
        self.bytes = 0;
        self.deadline = u64::MAX;
    }

    /// Whether the stream cannot go on in its place: what waits still goes on after [`Sender::restart`].
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Begins anew in another place.
    pub fn restart(&mut self) {
        assert!(self.is_over && self.numbered == 0, "numbers of the place before stand for its calls");
        (self.first, self.next, self.is_open, self.is_over) = (1, 0, false, false);
        self.is_probing = true;
    }

    /// Calls and numbers that wait, and bytes of calls.
    pub fn waiting(&self) -> (usize, u64) {
        (self.entries.len(), self.bytes)
    }

    #[cfg(test)]
    pub(super) fn resend_at(&self) -> Option<u64> {
        self.resend_at
    }

    fn filled(&mut self, number: u64, reply: Option<Reply>, now: u64, out: &mut Vec<(u64, Ended)>) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let Some(at) = at.filter(|at| *at < self.numbered) else { return };
        let entry = &mut self.entries[at];
        entry.is_answered = true;
        if let Some(call) = entry.call.take() {
            self.bytes -= call.bytes;
            let ended = match reply {
                Some(Reply::Done(body)) => Ended::Done(body),
                Some(Reply::Refused(body)) => Ended::Refused(body),
                // Of a void number the call has ended before.
                Some(Reply::Void) | None => Ended::Unknown,
            };
            out.push((call.token, ended));
        }
        while self.entries.front().is_some_and(|entry| entry.is_answered) {
            self.entries.pop_front();
            self.first += 1;
            self.numbered -= 1;
            self.next = self.next.saturating_sub(1);
        }
        self.is_open = true;
        self.is_probing = false;
        self.wait = self.window.resend;
        self.resend_at = (self.numbered > 0).then(|| now + self.wait);
    }

    /// A gap: the sender goes back to what is expected, once for each round.
    fn expected(&mut self, number: u64, round: u32) {
        if round != self.round {
            return;
        }
        // A deposed leader may expect less than another one has taken, so that this says nothing of how the stream stands:
        // were it given up for that, a late copy of its calls could act behind those that go on elsewhere.
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = at.filter(|at| *at <= self.numbered) {
            self.go_back(at);
            self.is_probing = false;
        }
    }

    fn go_back(&mut self, to: usize) {
        #[cfg(test)]
        if self.without == Without::TheOrderOfRetries && to < self.numbered && self.numbered > 1 {
            let (first, second) = (to, self.numbered - 1);
            self.entries.swap(first, second);
        }
        self.next = to;
        self.round += 1;
        self.resend_at = None;
    }

    fn end_late(&mut self, now: u64, out: &mut Vec<(u64, Ended)>) {
        self.deadline = u64::MAX;
        let (mut at, numbered) = (0, self.numbered);
        let (bytes, deadline) = (&mut self.bytes, &mut self.deadline);
        #[cfg(test)]
        let (without, mut dropped) = (self.without, 0);
        self.entries.retain_mut(|entry| {
            let is_sent = at < numbered;
            at += 1;
            match entry.call.take_if(|call| call.deadline <= now) {
                Some(call) => {
                    *bytes -= call.bytes;
                    #[cfg(test)]
                    if is_sent && without == Without::TheEndAtADeadline {
                        return true;
                    }
                    #[cfg(test)]
                    if is_sent && without == Without::Voids {
                        dropped += 1;
                        out.push((call.token, Ended::Unknown));
                        return false;
                    }
                    out.push((call.token, if is_sent { Ended::Unknown } else { Ended::NotSent }));
                    is_sent
                }
                None => {
                    *deadline = entry.call.as_ref().map_or(*deadline, |call| call.deadline.min(*deadline));
                    true
                }
            }
        });
        #[cfg(test)]
        {
            self.numbered -= dropped;
            self.next = self.next.min(self.numbered);
        }
    }

    /// No stream goes on behind this. What was sent has ended; what was not waits for another place.
    fn break_off(&mut self, out: &mut Vec<(u64, Ended)>) {
        for call in self.entries.drain(..self.numbered).filter_map(|entry| entry.call) {
            self.bytes -= call.bytes;
            out.push((call.token, Ended::Unknown));
        }
        (self.numbered, self.next, self.resend_at, self.is_over) = (0, 0, None, true);
    }
}
