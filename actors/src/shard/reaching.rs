//! The shards of other nodes: there is a channel to each, which carries mail while both ends hear each other, and says when
//! one of them may rely on the other no more. A channel that breaks is no silence to be waited out. What rested on it ends:
//! slots that were led there are led by nobody, as far as is known here, and connections that wait for an answer wait in
//! vain. And when it is sure that nothing there rests on this shard any more, its connections are taken leave of.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use convoy_ids::{NodeId, SlotId};

use super::Shard;
use super::mail::{Bounds, Letter, Mail};
use super::outlet::Unreached;
use crate::call::Answer;
use crate::channel::{self, Channel, End, Event, Frame, Process};
use crate::clock::Now;
use crate::dest::Dest;
use crate::edge::Change;
use crate::metric;
use crate::options::Without;
use crate::slot::{Effects, Gone};

/// Milliseconds after which a leader that has lost its quorum knows it: an election timeout, and the one at whose end that
/// is looked at, in ticks of 50 ms.
const DEPOSED: u64 = 1_100;

/// Milliseconds after which links are looked at, though no channel has anything due: whoever is always spoken to before it would
/// speak itself has nothing due for ever, and others wait here for the end of what is gone.
const LOOK: u64 = 250;

/// Shards that any node has.
const SHARDS: u16 = 1024;

/// Bytes of a frame: of a batch that was closed at a MiB with one more message in it, encoded.
const FRAME_BYTES: usize = super::MESSAGE_BYTES * 2;

/// Bytes of mail that may have come and not be opened. Of more nothing is taken: it stays with whoever sent it, and is sent again.
const ARRIVED_BYTES: usize = 32 << 20;

/// A frame for a shard of another node. It may be lost, doubled or late.
#[derive(Debug)]
pub struct Parcel {
    pub to: NodeId,
    pub shard: u16,
    pub bytes: Vec<u8>,
}

/// The shards of other nodes that are known.
#[derive(Default)]
pub(super) struct Reaching {
    links: Vec<Link>,
    /// When [`Shard::look_at_links`] has to be called next, monotonic milliseconds.
    due: u64,
    /// When it was called last.
    looked_at: u64,
    /// Some channel may have a frame, though its time has not come.
    has_news: bool,
    /// So many nodes can be heard that with this one they are a majority.
    is_in_touch: bool,
    /// Nobody relies on an earlier leader of any slot here from then on: it is put off by each slot that begins to be led.
    fenced_at: u64,
    /// Mail that has come, to be opened in pieces, and its bytes.
    arrived: VecDeque<Mail>,
    arrived_bytes: usize,
    events: Vec<Event>,
}

struct Link {
    node: NodeId,
    shard: u16,
    dest: Dest,
    channel: Channel,
    /// Messages that are taken over there with the payload of this number.
    receipts: VecDeque<(u64, Vec<usize>)>,
    /// The same of those that are not taken over before the other end is gone.
    owed: Vec<usize>,
}

impl Link {
    fn owe(&mut self) {
        self.owed.extend(self.receipts.drain(..).flat_map(|(_, ids)| ids));
    }
}

impl Reaching {
    /// Where mail comes from is known by the channel it came by.
    fn link(&mut self, dest: Dest) -> &mut Link {
        self.links.iter_mut().find(|link| link.dest == dest).expect("there is a link to each")
    }

    /// Whether nobody there relies on what a leader of a slot here has said, this one or one before.
    fn is_gone(&self, dest: Dest, now: u64) -> bool {
        let link = self.links.iter().find(|link| link.dest == dest);
        now >= self.fenced_at && link.is_none_or(|link| link.channel.is_gone(now))
    }

    pub(super) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }
}

impl Shard {
    /// Makes the first shard of every other node known; it tells how many there are.
    pub(super) fn begin_reaching(&mut self) {
        let me = self.driver.node();
        for node in self.options.replicas.clone() {
            if node != me {
                self.know(node, 0);
            }
        }
    }

    fn know(&mut self, node: NodeId, shard: u16) {
        let dest = self.outlet.post.know(node, shard);
        if self.reaching.links.iter().any(|link| link.dest == dest) {
            return;
        }
        let channel = self.channel_to(node, shard);
        let (receipts, owed) = (VecDeque::new(), Vec::new());
        self.reaching.links.push(Link { node, shard, dest, channel, receipts, owed });
        self.reaching.due = 0;
        self.clearing.wait_for(dest);
    }

    fn channel_to(&self, node: NodeId, shard: u16) -> Channel {
        let process = Process { node: self.driver.node(), start: u64::from(self.start) };
        let me = End { process, shard: self.outlet.post.here() };
        let (times, limits) = (channel::Times::default(), channel::Limits::default());
        Channel::new(me, self.outlet.post.shards(), node, shard, times, limits, self.outlet.edge.now)
    }

    /// Frames for shards of other nodes. To be asked for after each event.
    pub fn take_to_shards(&mut self, now: Now) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        if !self.has_others {
            return parcels;
        }
        self.send_away(now);
        if !std::mem::take(&mut self.reaching.has_news) && now.monotonic < self.reaching.due {
            return parcels;
        }
        for link in &mut self.reaching.links {
            while let Some(frame) = link.channel.next_frame(now.monotonic) {
                let mut bytes = Vec::new();
                frame.encode_into(&mut bytes);
                parcels.push(Parcel { to: link.node, shard: link.shard, bytes });
            }
        }
        let due = self.reaching.links.iter().filter_map(|link| link.channel.next_deadline()).min();
        self.reaching.due = due.unwrap_or(u64::MAX).min(self.reaching.looked_at + LOOK);
        parcels
    }

    /// Gives what is gathered for other nodes to their channels.
    fn send_away(&mut self, now: Now) {
        let mut full = Vec::new();
        for (dest, mail) in self.outlet.post.take_away() {
            self.reaching.has_news = true;
            let link = self.reaching.link(dest);
            let mut bytes = Vec::new();
            mail.encode(&mut bytes).expect("what is of one node is sent to its shards alone");
            if link.channel.send(bytes.into()).is_err() {
                full.push(dest);
            }
        }
        for ((node, shard), ids) in self.outlet.receipts.take_gathered() {
            // Of a shard that was never heard of the first one of its node stands for it.
            let at =
                self.reaching.links.iter().position(|link| link.node.get() == node && link.shard == shard);
            let at = at.or_else(|| self.reaching.links.iter().position(|link| link.node.get() == node));
            match at.map(|at| &mut self.reaching.links[at]) {
                Some(link) if link.shard == shard && link.channel.is_open() => {
                    link.receipts.push_back((link.channel.last(), ids));
                }
                Some(link) => link.owed.extend(ids),
                None => self.take_receipts(ids),
            }
        }
        for dest in full {
            // It takes nothing: to be waited for by everybody would be worse than to begin anew.
            metrics::counter!(metric::CHANNELS_FULL).increment(1);
            let (link, mut events) = (self.reaching.link(dest), Vec::new());
            link.channel.give_up(&mut events);
            self.take_events(now, dest, events);
        }
    }

    /// A frame from a shard of that node.
    pub fn hear_shard(&mut self, now: Now, node: NodeId, bytes: &Bytes) {
        self.outlet.edge.now = now.monotonic;
        let mut frame = match Frame::decode(bytes, FRAME_BYTES) {
            Ok(frame) => frame,
            Err(error) => return refuse(&error),
        };
        let from = frame.from;
        if from.process.node != node || node == self.driver.node() {
            return refuse(&"it is of another node than the one that sent it");
        }
        if !self.options.replicas.contains(&node) {
            // It was removed, or is not known yet: then it says so again.
            return;
        }
        if self.reaching.arrived_bytes > ARRIVED_BYTES {
            frame.payload = None;
        }
        let of = |link: &Link| link.node == from.process.node && link.shard == from.shard;
        if !self.reaching.links.iter().any(of) {
            if from.shard >= SHARDS {
                return;
            }
            self.know(from.process.node, from.shard);
        }
        let link = self.reaching.links.iter_mut().find(|link| of(link)).expect("it was made known");
        let dest = link.dest;
        let mut events = std::mem::take(&mut self.reaching.events);
        link.channel.on_frame(now.monotonic, &frame, &mut events);
        self.take_events(now, dest, events);
        self.take_acknowledged(dest);
        self.reaching.due = 0;
    }

    /// Lets time have its way with channels, before anything is done that rests on one.
    #[inline]
    pub(super) fn look_at_links(&mut self, now: Now) {
        if self.has_others && now.monotonic >= self.reaching.due {
            self.look_at_all_links(now);
        }
    }

    #[cold]
    fn look_at_all_links(&mut self, now: Now) {
        (self.reaching.looked_at, self.reaching.has_news) = (now.monotonic, true);
        for at in 0..self.reaching.links.len() {
            let link = &mut self.reaching.links[at];
            let (dest, mut events) = (link.dest, Vec::new());
            link.channel.on_time(now.monotonic, &mut events);
            self.take_events(now, dest, events);
        }
        self.end_owed(now);
        // No link tells of a node that is alone, or of others that are no members any more.
        self.feel_touch(now);
        let due = self.reaching.links.iter().filter_map(|link| link.channel.next_deadline()).min();
        self.reaching.due = due.unwrap_or(u64::MAX).max(now.monotonic + 1);
    }

    /// Something has changed by which links are judged.
    pub(super) fn look_at_links_soon(&mut self) {
        self.reaching.due = 0;
    }

    /// Whether so many nodes hear this shard, and are heard, that with its own they are a majority of the replicas. A leader that is
    /// alone serves nobody: others may have elected another one, and have waited until it must have known.
    pub(super) fn is_in_touch(&self) -> bool {
        !self.has_others || self.reaching.is_in_touch
    }

    fn feel_touch(&mut self, now: Now) {
        let me = self.driver.node();
        let is_heard = |node: &NodeId| {
            *node == me || self.reaching.links.iter().any(|link| link.node == *node && link.channel.is_open())
        };
        let deciding = self.deciding_nodes();
        let is_in_touch = deciding.iter().filter(|node| is_heard(node)).count() > deciding.len() / 2;
        if std::mem::replace(&mut self.reaching.is_in_touch, is_in_touch) == is_in_touch {
            return;
        }
        if !is_in_touch {
            self.outlet.edge.change(Change::Alone);
        }
        for at in 0..self.slots.table.len() {
            let slot = &self.slots.table[at];
            let (id, leads, is_elected) = (slot.id, slot.leading, slot.elected.is_some());
            match is_in_touch {
                true if is_elected && !leads && slot.caught_up == slot.elected => self.lead(now, id),
                false if leads => self.lose(id),
                _ => {}
            }
        }
        self.end_moved();
    }

    fn take_events(&mut self, now: Now, dest: Dest, mut events: Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Opened { with, shards } => self.opened(now, dest, with, shards),
                Event::Payload(bytes) => self.arrived(now, dest, bytes),
                Event::Lapsed { .. } => self.lapsed(now, dest),
                Event::Gone { with } => self.gone(now, dest, with),
            }
        }
        self.reaching.events = events;
    }

    fn opened(&mut self, now: Now, dest: Dest, with: Process, shards: u16) {
        let node = with.node;
        self.outlet.post.open(dest, with.start as u32);
        tracing::info!(%node, start = with.start, "channel open");
        for shard in 0..shards.min(SHARDS) {
            self.know(node, shard);
        }
        // Whoever was of an earlier start of that node is over.
        let of_before = |link: &&Link| {
            link.node == node && link.channel.with().is_some_and(|process| process.start < with.start)
        };
        let over: Vec<Dest> = self.reaching.links.iter().filter(of_before).map(|link| link.dest).collect();
        for dest in over {
            let (link, mut events) = (self.reaching.link(dest), Vec::new());
            let process = link.channel.with();
            link.channel.give_up(&mut events);
            self.take_events(now, dest, events);
            if let Some(process) = process {
                self.gone(now, dest, process);
            }
        }
        let over = |of: &Unreached| of.home.node == node.get() && u64::from(of.home.start()) < with.start;
        let over = self.outlet.unreached.iter().filter(|(_, of)| over(of)).map(|(id, _)| *id);
        for id in over.collect::<Vec<_>>() {
            self.outlet.closed_there(id);
        }
        self.end_owed(now);
        self.feel_touch(now);
        self.tell_all_led(dest);
        for slot in self.slots.iter().filter(|slot| slot.leading && slot.is_backed_up()).map(|slot| slot.id) {
            self.outlet.post.send(dest, Letter::BackedUp { slot, is: true });
        }
        for announcement in self.presence.told_by(self.outlet.post.this()) {
            self.outlet.post.send(dest, Letter::Presence(announcement));
        }
        if self.outlet.edge.shortage.is_of(None) {
            self.outlet.post.send(dest, Letter::Short { is: true });
        }
        let waiting = self.outlet.unreached.iter().filter(|(_, of)| of.home.node == node.get());
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.outlet.close_there(id);
        }
    }

    fn arrived(&mut self, now: Now, dest: Dest, bytes: Bytes) {
        let bounds = Bounds { bytes: FRAME_BYTES, slots: self.options.slots, shards: SHARDS };
        match Mail::decode(bytes, &bounds) {
            Ok(mut mail) => {
                mail.from = dest;
                self.reaching.arrived_bytes += mail.len_bytes();
                self.reaching.arrived.push_back(mail);
            }
            Err(error) => {
                refuse(&error);
                let (link, mut events) = (self.reaching.link(dest), Vec::new());
                link.channel.give_up(&mut events);
                self.take_events(now, dest, events);
            }
        }
    }

    /// Opens a piece of what has arrived.
    pub(super) fn open_arrived(&mut self, now: Now, until: u64) {
        while self.work < until
            && self.takes_mail()
            && let Some(mut mail) = self.reaching.arrived.pop_front()
        {
            self.reaching.arrived_bytes -= mail.len_bytes();
            let is_all = self.open(now, &mut mail);
            // Meanwhile its sender may have come to be heard no more.
            if !is_all && self.outlet.post.is_open(mail.from) {
                self.reaching.arrived_bytes += mail.len_bytes();
                self.reaching.arrived.push_front(mail);
            }
        }
    }

    /// Nothing that was said there holds any more.
    fn lapsed(&mut self, now: Now, dest: Dest) {
        metrics::counter!(metric::CHANNELS_LOST).increment(1);
        self.outlet.post.shut(dest);
        self.reaching.arrived.retain(|mail| mail.from != dest);
        self.reaching.arrived_bytes = self.reaching.arrived.iter().map(Mail::len_bytes).sum();
        self.reaching.link(dest).owe();
        self.give_up_asked(dest);
        let link = self.reaching.link(dest);
        let from = (link.node.get(), link.shard);
        self.late_connects.forget(from);
        for slot in self.outlet.post.led_by(dest) {
            let term = Default::default();
            self.outlet.post.note_leader(slot, dest, term, false);
            self.led.set(slot, false);
            self.giving.note_led(slot, false, now.monotonic);
            self.moved.insert(slot);
            self.backed_up.remove(&slot);
        }
        self.forget_successors(dest);
        self.presence.forget(dest);
        self.outlet.edge.note_shortage(Some(dest), false);
        self.end_moved();
        if self.options.without != Without::Leave {
            self.outlet.edge.change(Change::Cut);
        }
        self.feel_touch(now);
    }

    /// Nothing rests on this shard there any more.
    fn gone(&mut self, now: Now, dest: Dest, with: Process) {
        let link = self.reaching.link(dest);
        let of = Gone::Shard { node: with.node.get(), shard: link.shard, start: with.start as u32 };
        for slot in self.slots.table.iter_mut().filter(|slot| slot.leading) {
            slot.leave(of);
            self.leading_on.insert(slot.id);
        }
        self.end_owed(now);
    }

    /// Ends what waits for those who rely on nothing here any more.
    fn end_owed(&mut self, now: Now) {
        let known: BTreeSet<_> =
            self.reaching.links.iter().map(|link| (link.node.get(), link.shard)).collect();
        for at in 0..self.reaching.links.len() {
            let link = &self.reaching.links[at];
            let (node, shard, dest) = (link.node.get(), link.shard, link.dest);
            let is_back = link.channel.is_open();
            if !is_back && !self.reaching.is_gone(dest, now.monotonic) {
                continue;
            }
            let owed = std::mem::take(&mut self.reaching.links[at].owed);
            self.give_up_on(now, node, owed);
            if !is_back {
                self.clear(dest);
            }
            let with = self.reaching.links[at].channel.with();
            let is_over = |of: &Unreached| {
                let is_of_now = with.is_some_and(|with| with.start == u64::from(of.home.start()));
                // One of a shard that was never heard of goes with the first of its node.
                let is_there =
                    of.home.shard == shard || shard == 0 && !known.contains(&(node, of.home.shard));
                of.home.node == node && is_there && !(is_back && is_of_now)
            };
            let over = self.outlet.unreached.iter().filter(|(_, of)| is_over(of));
            for id in over.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.outlet.closed_there(id);
            }
        }
    }

    /// A slot is led here no longer: whoever waits for a Session of it waits in vain.
    pub(super) fn give_up_unreached(&mut self, slot: SlotId) {
        self.outlet.uncleared.remove(&slot);
        let given_up =
            self.outlet.unreached.iter().filter(|(_, of)| of.slot() == Some(slot)).map(|(id, _)| *id);
        for id in given_up.collect::<Vec<_>>() {
            if let Some(Unreached { to, .. }) = self.outlet.unreached.remove(&id) {
                self.outlet.answer(to, Answer::Unknown);
            }
        }
    }

    fn take_acknowledged(&mut self, dest: Dest) {
        let link = self.reaching.link(dest);
        let acknowledged = link.channel.acknowledged();
        let taken = link.receipts.partition_point(|(number, _)| *number <= acknowledged);
        let ids: Vec<usize> = link.receipts.drain(..taken).flat_map(|(_, ids)| ids).collect();
        self.take_receipts(ids);
    }

    /// Slots are led here that others may have led until just now, and some who cannot hear it may take them for the leaders
    /// still.
    pub(super) fn fence(&mut self, now: Now) {
        let relies = channel::Times::default().gone();
        self.reaching.fenced_at = self.reaching.fenced_at.max(now.monotonic + DEPOSED + relies);
    }
}

fn refuse(error: &dyn std::fmt::Display) {
    metrics::counter!(metric::FRAMES_REFUSED).increment(1);
    tracing::warn!(%error, "what another node sent was refused");
}
