//! Letters of one turn, gathered by where they go.

use std::collections::BTreeMap;

use convoy_ids::{NodeId, SlotId, Term};

use super::{Letter, Mail};
use crate::dest::Dest;
use crate::session::Home;

/// A batch is closed at this size, and another one begun: so much is handed over at once.
const MAIL_BYTES: usize = 1 << 20;

/// Where a slot is led, or a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In this shard.
    Here,
    /// There, and letters arrive.
    There(Dest),
    /// Nobody leads the slot, or nothing arrives where the connection is.
    Nowhere,
}

/// Letters of this turn, by where they go.
#[derive(Debug)]
pub struct Post {
    node: NodeId,
    here: u16,
    shards: u16,
    /// By [`Dest`]: the shards of this node, then those of others.
    out: Vec<Mail>,
    /// Of each shard of other nodes: which life of its node it is that letters arrive at, if they do.
    remotes: Vec<Option<u32>>,
    known: BTreeMap<(NodeId, u16), Dest>,
    /// Where each slot is led, the meta group at the end, and in which term it began to be.
    leaders: Vec<(Option<Dest>, Term)>,
    /// Closed batches, in their order.
    closed: Vec<(u16, Mail)>,
    closed_away: Vec<(Dest, Mail)>,
    /// Bytes so far.
    sent: u64,
    /// Where they went since that was asked last, as [`Post::bit_of`] tells.
    sent_to: u64,
    /// By [`Dest`]: bytes for it in this turn, and so many as it opens in a while.
    laid: Vec<(usize, usize)>,
    /// Since that was asked last something went to a shard that gets enough in this turn.
    is_enough: bool,
    /// What a node knows of messages that others may have to be given is kept before the first of them is known too.
    is_alone: bool,
}

impl Post {
    /// The post of a shard. A node that is alone leads every slot of the fleet; of others nobody knows yet who does.
    pub fn new(node: NodeId, here: u16, shards: u16, slots: u16, is_alone: bool) -> Self {
        let mut post = Self {
            node,
            here,
            shards,
            out: (0..shards).map(|_| Mail::from_dest(Dest(here))).collect(),
            remotes: Vec::new(),
            known: BTreeMap::new(),
            leaders: vec![(None, Term(0)); usize::from(slots) + 1],
            closed: Vec::new(),
            closed_away: Vec::new(),
            sent: 0,
            sent_to: 0,
            laid: vec![(0, usize::MAX); usize::from(shards)],
            is_enough: false,
            is_alone,
        };
        if is_alone {
            for slot in (0..slots).map(SlotId).chain([SlotId::META]) {
                let place = post.place(slot);
                post.leaders[place].0 = Some(Dest(post.shard_of(slot)));
            }
        }
        post
    }

    pub fn here(&self) -> u16 {
        self.here
    }

    /// This shard, as it knows itself.
    pub fn this(&self) -> Dest {
        Dest(self.here)
    }

    /// How many shards this node has.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard of this node that has its replica of a slot.
    pub fn shard_of(&self, slot: SlotId) -> u16 {
        if slot.is_meta() { 0 } else { slot.0 % self.shards }
    }

    /// Whether the node's replica of a slot is in this shard.
    pub fn is_here(&self, slot: SlotId) -> bool {
        self.shard_of(slot) == self.here
    }

    fn place(&self, slot: SlotId) -> usize {
        if slot.is_meta() { self.leaders.len() - 1 } else { usize::from(slot.0) }
    }

    fn is_this(&self, dest: Dest) -> bool {
        dest.0 == self.here
    }

    /// Where a slot is led.
    #[inline]
    pub fn where_is(&self, slot: SlotId) -> Where {
        match self.leaders.get(self.place(slot)) {
            Some((Some(dest), _)) if self.is_this(*dest) => Where::Here,
            Some((Some(dest), _)) => Where::There(*dest),
            _ => Where::Nowhere,
        }
    }

    /// Whether a slot is led by whom this came from, as far as is known.
    pub fn is_led_by(&self, slot: SlotId, dest: Dest) -> bool {
        self.leaders.get(self.place(slot)).is_some_and(|(leader, _)| *leader == Some(dest))
    }

    /// Whether nobody is known to have led a slot in this term or a later one.
    pub fn is_newer(&self, slot: SlotId, term: Term) -> bool {
        self.leaders.get(self.place(slot)).is_some_and(|(_, known)| term > *known)
    }

    /// A slot is led there from this term on, or (`leads` is false) no longer. Whether that was news; what is told of an
    /// earlier term is not.
    pub fn note_leader(&mut self, slot: SlotId, dest: Dest, term: Term, leads: bool) -> bool {
        let place = self.place(slot);
        let Some((leader, known)) = self.leaders.get_mut(place) else { return false };
        let is_news = match leads {
            true => term >= *known && (*leader, *known) != (Some(dest), term),
            false => *leader == Some(dest),
        };
        if is_news {
            *leader = leads.then_some(dest);
            *known = term.max(*known);
        }
        is_news
    }

    /// The slots that are led there.
    pub fn led_by(&self, dest: Dest) -> Vec<SlotId> {
        let led = |place: usize| self.leaders[place].0 == Some(dest);
        let slots = (0..self.leaders.len()).filter(|place| led(*place));
        slots
            .map(|place| if place + 1 == self.leaders.len() { SlotId::META } else { SlotId(place as u16) })
            .collect()
    }

    /// Whether it is known where every slot is led.
    pub fn knows_all(&self) -> bool {
        self.leaders.iter().all(|(leader, _)| leader.is_some())
    }

    /// Where a connection is.
    #[inline]
    pub fn where_home(&self, home: &Home) -> Where {
        match home.node == self.node.get() && home.shard == self.here {
            true => Where::Here,
            false => self.where_else(home),
        }
    }

    fn where_else(&self, home: &Home) -> Where {
        if home.node == self.node.get() {
            return match home.shard {
                shard if shard < self.shards => Where::There(Dest(shard)),
                _ => Where::Nowhere,
            };
        }
        let remote = NodeId::new(home.node).and_then(|node| self.known.get(&(node, home.shard)));
        match remote {
            Some(dest) if self.remotes[self.remote(*dest)] == Some(home.start()) => Where::There(*dest),
            _ => Where::Nowhere,
        }
    }

    /// Makes a shard of another node known. Nothing arrives there until [`Post::open`].
    pub fn know(&mut self, node: NodeId, shard: u16) -> Dest {
        if let Some(dest) = self.known.get(&(node, shard)) {
            return *dest;
        }
        let dest = Dest(self.out.len() as u16);
        self.out.push(Mail::from_dest(Dest(self.here)));
        self.laid.push((0, usize::MAX));
        self.remotes.push(None);
        self.known.insert((node, shard), dest);
        dest
    }

    fn remote(&self, dest: Dest) -> usize {
        usize::from(dest.0 - self.shards)
    }

    /// What is sent there arrives from now on, in this life of its node.
    pub fn open(&mut self, dest: Dest, start: u32) {
        let remote = self.remote(dest);
        self.remotes[remote] = Some(start);
    }

    /// Whether what is sent there arrives.
    pub fn is_open(&self, dest: Dest) -> bool {
        !self.is_away(dest) || self.remotes[self.remote(dest)].is_some()
    }

    /// Nothing arrives there any more, and what is gathered for it is dropped.
    pub fn shut(&mut self, dest: Dest) {
        let remote = self.remote(dest);
        self.remotes[remote] = None;
        self.out[usize::from(dest.0)] = Mail::from_dest(Dest(self.here));
        self.closed_away.retain(|(to, _)| *to != dest);
    }

    /// The other shards of this node.
    pub fn others_here(&self) -> impl Iterator<Item = Dest> + use<> {
        let here = self.here;
        (0..self.shards).filter(move |shard| *shard != here).map(Dest)
    }

    /// All other shards that letters arrive at, of whichever node.
    pub fn others(&self) -> impl Iterator<Item = Dest> + use<> {
        let shards = self.shards;
        let away = self.remotes.iter().enumerate().filter(|(_, start)| start.is_some());
        let away: Vec<Dest> = away.map(|(at, _)| Dest(shards + at as u16)).collect();
        self.others_here().chain(away)
    }

    /// The same with those that nothing arrives at now.
    pub fn others_known(&self) -> impl Iterator<Item = Dest> + use<> {
        let away = self.shards..self.shards + self.remotes.len() as u16;
        self.others_here().chain(away.map(Dest))
    }

    /// Whether no other node ever takes part.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Such a shard, and its node.
    pub fn address_of(&self, dest: Dest) -> Option<(u64, u16)> {
        let found = self.known.iter().find(|(_, known)| **known == dest);
        found.map(|((node, shard), _)| (node.get(), *shard))
    }

    /// The node of such a shard.
    pub fn node_of(&self, dest: Dest) -> Option<u64> {
        self.address_of(dest).map(|(node, _)| node)
    }

    /// Whether it is a shard of another node.
    pub fn is_away(&self, dest: Dest) -> bool {
        dest.0 >= self.shards
    }

    /// The batch that the next letter goes to.
    pub fn to(&mut self, dest: Dest) -> &mut Mail {
        debug_assert!(!self.is_this(dest));
        &mut self.out[usize::from(dest.0)]
    }

    pub fn send(&mut self, dest: Dest, letter: Letter) {
        let away = self.is_away(dest);
        let mail = self.to(dest);
        mail.letters.push(letter);
        let len = mail.len_bytes();
        let more = len - std::mem::replace(&mut mail.counted, len);
        let closed = (len >= MAIL_BYTES).then(|| mail.close());
        self.sent += more as u64;
        self.sent_to |= Self::bit_of(dest);
        let (laid, room) = &mut self.laid[usize::from(dest.0)];
        *laid += more;
        self.is_enough |= *laid >= *room;
        match closed {
            Some(mail) if away => self.closed_away.push((dest, mail)),
            Some(mail) => self.closed.push((dest.0, mail)),
            None => {}
        }
    }

    /// Bytes that were sent so far, wherever.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Where something was sent since this was asked last.
    pub fn take_sent_to(&mut self) -> u64 {
        std::mem::take(&mut self.sent_to)
    }

    /// Another shard of this node opens so many bytes in a while.
    pub fn set_room(&mut self, shard: u16, bytes: usize) {
        self.laid[usize::from(shard)].1 = bytes;
    }

    /// Whether since this was asked last something went to a shard that gets as much in this turn as it opens in a while.
    pub fn take_is_enough(&mut self) -> bool {
        std::mem::take(&mut self.is_enough)
    }

    /// Stands for a shard in a set of them; on very large machines, and in large fleets, for a few.
    pub fn bit_of(dest: Dest) -> u64 {
        1 << (dest.0 % 64)
    }

    /// The batches for shards of this node that are not empty, with the shards they go to; those to one shard in their
    /// order.
    pub fn take(&mut self) -> impl Iterator<Item = (u16, Mail)> + '_ {
        let shards = usize::from(self.shards);
        self.laid[..shards].iter_mut().for_each(|(laid, _)| *laid = 0);
        let open = self
            .out
            .iter_mut()
            .take(shards)
            .enumerate()
            .filter(|(_, mail)| !mail.is_empty())
            .map(|(shard, mail)| (shard as u16, mail.close()));
        self.closed.drain(..).chain(open)
    }

    /// The batches for shards of other nodes that are not empty; those to one shard in their order.
    pub fn take_away(&mut self) -> impl Iterator<Item = (Dest, Mail)> + '_ {
        let shards = usize::from(self.shards);
        self.laid[shards..].iter_mut().for_each(|(laid, _)| *laid = 0);
        let open = self
            .out
            .iter_mut()
            .enumerate()
            .skip(shards)
            .filter(|(_, mail)| !mail.is_empty())
            .map(|(dest, mail)| (Dest(dest as u16), mail.close()));
        self.closed_away.drain(..).chain(open)
    }
}
