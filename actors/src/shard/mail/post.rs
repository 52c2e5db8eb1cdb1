//! Letters of one turn, gathered by where they go.

use convoy_ids::SlotId;

use super::{Letter, Mail};

/// A batch is closed at this size, and another one begun: so much is handed over at once.
const MAIL_BYTES: usize = 1 << 20;

/// Letters of this turn, by the shard they go to.
#[derive(Debug)]
pub struct Post {
    here: u16,
    out: Vec<Mail>,
    /// Closed batches, in their order.
    closed: Vec<(u16, Mail)>,
    /// Bytes so far.
    sent: u64,
    /// Where they went since that was asked last, as [`Post::bit_of`] tells.
    sent_to: u64,
    /// Of each shard: bytes for it in this turn, and so many as it opens in a while.
    laid: Vec<(usize, usize)>,
    /// Since that was asked last something went to a shard that gets enough in this turn.
    is_enough: bool,
}

impl Post {
    pub fn new(here: u16, shards: u16) -> Self {
        Self {
            here,
            out: (0..shards).map(|_| Mail::default()).collect(),
            closed: Vec::new(),
            sent: 0,
            sent_to: 0,
            laid: vec![(0, usize::MAX); usize::from(shards)],
            is_enough: false,
        }
    }

    pub fn here(&self) -> u16 {
        self.here
    }

    pub fn shards(&self) -> u16 {
        self.out.len() as u16
    }

    /// The shard that leads a slot.
    pub fn shard_of(&self, slot: SlotId) -> u16 {
        if slot.is_meta() { 0 } else { slot.0 % self.shards() }
    }

    pub fn is_here(&self, slot: SlotId) -> bool {
        self.shard_of(slot) == self.here
    }

    /// The batch that the next letter goes to.
    pub fn to(&mut self, shard: u16) -> &mut Mail {
        debug_assert_ne!(shard, self.here);
        &mut self.out[usize::from(shard)]
    }

    pub fn send(&mut self, shard: u16, letter: Letter) {
        let mail = self.to(shard);
        mail.letters.push(letter);
        let len = mail.len_bytes();
        let more = len - std::mem::replace(&mut mail.counted, len);
        let closed = (len >= MAIL_BYTES).then(|| std::mem::take(mail));
        self.sent += more as u64;
        self.sent_to |= Self::bit_of(shard);
        let (laid, room) = &mut self.laid[usize::from(shard)];
        *laid += more;
        self.is_enough |= *laid >= *room;
        if let Some(mail) = closed {
            self.closed.push((shard, mail));
        }
    }

    /// Bytes that were sent so far, to whichever shard.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The shards that something was sent to since this was asked last.
    pub fn take_sent_to(&mut self) -> u64 {
        std::mem::take(&mut self.sent_to)
    }

    /// Another shard opens so many bytes in a while.
    pub fn set_room(&mut self, shard: u16, bytes: usize) {
        self.laid[usize::from(shard)].1 = bytes;
    }

    /// Whether since this was asked last something went to a shard that gets as much in this turn as it opens in a while.
    pub fn take_is_enough(&mut self) -> bool {
        std::mem::take(&mut self.is_enough)
    }

    /// Stands for a shard in a set of them; on very large machines for a few.
    pub fn bit_of(shard: u16) -> u64 {
        1 << (shard % 64)
    }

    /// The batches that are not empty, with the shards they go to; those to one shard in their order.
    pub fn take(&mut self) -> impl Iterator<Item = (u16, Mail)> + '_ {
        self.laid.iter_mut().for_each(|(laid, _)| *laid = 0);
        let open = self
            .out
            .iter_mut()
            .enumerate()
            .filter(|(_, mail)| !mail.is_empty())
            .map(|(shard, mail)| (shard as u16, std::mem::take(mail)));
        self.closed.drain(..).chain(open)
    }
}
