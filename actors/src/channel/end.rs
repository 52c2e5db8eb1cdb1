//! One end of a channel.

use bytes::Bytes;
use convoy_ids::NodeId;

#[cfg(test)]
use super::Without;
use super::pair::Pair;
use super::{End, Frame, Limits, Payload, Process, Refused, Side, Times};

/// What whoever has a channel is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// From now on payloads go both ways, in a pair that has none yet.
    Opened { with: Process, shards: u16 },
    /// The next payload.
    Payload(Bytes),
    /// The pair is over, and what waited in it is dropped; some of that may have been taken. From now on nothing that the
    /// other end said in it may be relied on.
    Lapsed { with: Process },
    /// The other end relies on nothing any more that was said here in the pair that has lapsed.
    Gone { with: Process },
}

/// The way of payloads between a shard of this process and one of another node. It outlives processes of that node.
#[derive(Debug)]
pub struct Channel {
    me: End,
    shards: u16,
    peer: NodeId,
    peer_shard: u16,
    times: Times,
    limits: Limits,
    epoch: u64,
    /// What the other end is called, as far as is known.
    theirs: Option<Side>,
    pair: Option<Pair>,
    /// Of the pair that has lapsed, until it is told to be gone.
    leaving: Option<Process>,
    /// While there is no pair: from then on nobody relies on what was said here.
    free_at: u64,
    /// Something is to be said without waiting for the next heartbeat.
    is_due: bool,
    beat_at: u64,
    sent_at: u64,
    #[cfg(test)]
    pub(super) without: Without,
    #[cfg(test)]
    overheard: Option<u64>,
}

impl Channel {
    /// An end that knows nothing of the other. `my_shards` is how many this process has.
    pub fn new(
        me: End,
        my_shards: u16,
        peer: NodeId,
        peer_shard: u16,
        times: Times,
        limits: Limits,
        now: u64,
    ) -> Self {
        Self {
            me,
            shards: my_shards,
            peer,
            peer_shard,
            times,
            limits,
            epoch: 1,
            theirs: None,
            pair: None,
            leaving: None,
            // An earlier start of this node may have been heard just before.
            free_at: now + times.gone(),
            is_due: true,
            beat_at: now,
            sent_at: 0,
            #[cfg(test)]
            without: Without::Nothing,
            #[cfg(test)]
            overheard: None,
        }
    }

    /// Takes a payload to be sent, behind those taken before.
    pub fn send(&mut self, payload: Bytes) -> Result<(), Refused> {
        let pair = self.pair.as_mut().ok_or(Refused::Closed)?;
        pair.outbound.push(payload, &self.limits)
    }

    /// A frame came from a link; `now` was read after that.
    pub fn on_frame(&mut self, now: u64, frame: &Frame, out: &mut Vec<Event>) {
        #[cfg(test)]
        let is_judged = self.without != Without::TheLapseFirst;
        #[cfg(not(test))]
        let is_judged = true;
        if is_judged {
            self.judge(now, out);
        }
        let side = frame.side();
        if !self.is_for_us(frame) {
            return;
        }
        if self.theirs < Some(side) {
            self.meet(side, now, out);
        }
        #[cfg(test)]
        if self.theirs == Some(side) {
            self.overheard = self.overheard.max(Some(frame.sent_at));
        }
        if !self.is_of_the_pair(frame) || !self.may_be_true(now, frame) {
            return;
        }
        if self.pair.is_none() {
            self.open(now, frame, out);
        }
        if let Some(pair) = &mut self.pair {
            pair.take(now, frame, &self.times, out);
            self.is_due |= frame.payload.is_some();
        }
    }

    /// To be called at [`Channel::next_deadline`], and as often as one likes.
    pub fn on_time(&mut self, now: u64, out: &mut Vec<Event>) {
        self.judge(now, out);
        if let Some(pair) = &mut self.pair {
            pair.outbound.on_time(now, &self.times);
        }
    }

    /// The next frame to be put on a link; to be asked until there is none, after each event.
    pub fn next_frame(&mut self, now: u64) -> Option<Frame> {
        // Nothing is said between the end of a pair and its lapse.
        if self.lapses_at().is_some_and(|at| now >= at) {
            return None;
        }
        let sent_at = now.max(self.sent_at);
        let payload = self.pair.as_mut().and_then(|pair| pair.outbound.next(sent_at, &self.limits));
        if payload.is_none() && !self.is_due && now < self.beat_at {
            return None;
        }
        (self.is_due, self.beat_at, self.sent_at) = (false, now + self.times.heartbeat, sent_at);
        Some(self.frame(payload))
    }

    /// When [`Channel::on_time`] and [`Channel::next_frame`] are to be called next, if nothing happens before. There is always a
    /// heartbeat to come.
    pub fn next_deadline(&self) -> Option<u64> {
        let resend_at = self.pair.as_ref().and_then(|pair| pair.outbound.next_deadline());
        let gone_at = self.leaving.map(|_| self.free_at);
        [self.lapses_at(), resend_at, gone_at].into_iter().flatten().chain([self.beat_at]).min()
    }

    pub fn is_open(&self) -> bool {
        self.pair.is_some()
    }

    /// The process that the channel is open with.
    pub fn with(&self) -> Option<Process> {
        self.pair.as_ref().map(|pair| pair.with)
    }

    /// What the other end says holds up to here by our clock, and not behind it, even while no lapse was told yet. None while
    /// the other end has not said that it heard us in this pair.
    pub fn relies_until(&self) -> Option<u64> {
        self.pair.as_ref().and_then(|pair| pair.relies_until(&self.times))
    }

    /// The number of the last payload that was taken here in this pair; 0 if none was.
    pub fn last(&self) -> u64 {
        self.pair.as_ref().map_or(0, |pair| pair.outbound.last())
    }

    /// The other end has taken all payloads of this pair up to this number.
    pub fn acknowledged(&self) -> u64 {
        self.pair.as_ref().map_or(0, |pair| pair.outbound.acknowledged())
    }

    /// Ends the pair, as if nothing had been heard of the other end for too long.
    pub fn give_up(&mut self, out: &mut Vec<Event>) {
        self.lapse(out);
    }

    /// Whether nobody at the other end relies any more on what was said here, in this start of the node or an earlier one.
    pub fn is_gone(&self, now: u64) -> bool {
        self.pair.is_none() && now >= self.free_at
    }

    /// Payloads that are not acknowledged, and what they count in [`Limits::waiting`].
    pub fn waiting(&self) -> (usize, u64) {
        self.pair.as_ref().map_or((0, 0), |pair| pair.outbound.waiting())
    }

    /// What both ends are called while the channel is open: we, they.
    #[cfg(test)]
    pub(super) fn sides(&self) -> Option<(Side, Side)> {
        self.theirs.filter(|_| self.is_open()).map(|theirs| (self.side(), theirs))
    }

    #[cfg(test)]
    pub(super) fn forget_the_past(&mut self, now: u64) {
        self.free_at = now;
    }

    /// Tells what time has ended, before anything else is looked at.
    fn judge(&mut self, now: u64, out: &mut Vec<Event>) {
        if self.lapses_at().is_some_and(|at| now >= at) {
            self.lapse(out);
        }
        if now >= self.free_at {
            self.tell_gone(out);
        }
    }

    /// The other end is called more than before: it relies on nothing of the pair it was in.
    fn meet(&mut self, side: Side, now: u64, out: &mut Vec<Event>) {
        self.lapse(out);
        if self.leaving.is_some() {
            self.free_at = now;
            self.tell_gone(out);
        }
        self.theirs = Some(side);
        self.is_due = true;
        #[cfg(test)]
        {
            self.overheard = None;
        }
    }

    fn open(&mut self, now: u64, frame: &Frame, out: &mut Vec<Event>) {
        // It names us as we are called since the lapse, and so it has left the pair before.
        self.tell_gone(out);
        let with = frame.from.process;
        let pair = Pair::new(with, &self.times, now);
        #[cfg(test)]
        let pair = pair.without(self.without);
        self.pair = Some(pair);
        self.is_due = true;
        out.push(Event::Opened { with, shards: frame.shards });
    }

    fn lapse(&mut self, out: &mut Vec<Event>) {
        let Some(pair) = self.pair.take() else { return };
        self.epoch += 1;
        self.free_at = pair.received_at + self.times.gone();
        #[cfg(test)]
        match self.without {
            Without::TheEpoch => self.epoch -= 1,
            Without::TheMargin => self.free_at = pair.received_at + self.times.relies,
            _ => {}
        }
        self.leaving = Some(pair.with);
        self.is_due = true;
        out.push(Event::Lapsed { with: pair.with });
    }

    fn tell_gone(&mut self, out: &mut Vec<Event>) {
        out.extend(self.leaving.take().map(|with| Event::Gone { with }));
    }

    fn lapses_at(&self) -> Option<u64> {
        self.pair.as_ref().map(|pair| pair.lapses_after(&self.times) + 1)
    }

    fn is_for_us(&self, frame: &Frame) -> bool {
        let is_from_peer = frame.from.process.node == self.peer && frame.from.shard == self.peer_shard;
        is_from_peer && frame.to_node == self.me.process.node && frame.to_shard == self.me.shard
    }

    fn is_of_the_pair(&self, frame: &Frame) -> bool {
        #[cfg(test)]
        if self.without == Without::ThePair && self.pair.is_some() {
            return true;
        }
        self.theirs == Some(frame.side()) && frame.of == Some(self.side())
    }

    /// A peer may lie. What was never sent cannot have been taken or heard, and a payload comes from an end that has heard us. A
    /// frame that took so long that its answer to us is over says nothing of now: its sender may have lapsed since.
    fn may_be_true(&self, now: u64, frame: &Frame) -> bool {
        let acknowledges = match &self.pair {
            Some(pair) => pair.outbound.may_acknowledge(frame.acknowledged),
            None => frame.acknowledged == 0,
        };
        let hears = match frame.heard {
            Some(heard) => heard <= self.sent_at && self.is_recent(now, heard),
            None => frame.payload.is_none(),
        };
        acknowledges && hears
    }

    fn is_recent(&self, now: u64, heard: u64) -> bool {
        #[cfg(test)]
        if self.without == Without::TheAge {
            return true;
        }
        now <= heard + self.times.relies
    }

    fn side(&self) -> Side {
        Side { start: self.me.process.start, epoch: self.epoch }
    }

    fn frame(&self, payload: Option<Payload>) -> Frame {
        let heard = self.pair.as_ref().map(|pair| pair.newest);
        #[cfg(test)]
        let heard = match self.without {
            Without::TheSilenceBeforeOpening => heard.or(self.overheard),
            _ => heard,
        };
        Frame {
            from: self.me,
            shards: self.shards,
            to_node: self.peer,
            to_shard: self.peer_shard,
            epoch: self.epoch,
            of: self.theirs,
            acknowledged: self.pair.as_ref().map_or(0, |pair| pair.taken),
            sent_at: self.sent_at,
            heard,
            payload,
        }
    }
}
