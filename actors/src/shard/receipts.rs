//! A message of QoS 1 or 2 for a Session that ends with its connection is safe when the node of that connection has taken
//! it over. Within a node that is so once it is handed over, for what becomes of it then becomes of the Session too. Of
//! another node it is known by its channel, which says up to where letters have come; or the connection is known to be
//! served no more: then nobody is owed the message.

use std::collections::BTreeMap;

use slab::Slab;

use super::Shard;
use crate::call::ReplyTo;
use crate::options::Without;
use crate::session::Home;

/// A shard of another node.
pub type Address = (u64, u16);

/// Messages that are not taken over yet.
#[derive(Debug, Default)]
pub struct Receipts {
    /// Where the message that is being delivered went.
    touched: Vec<Address>,
    /// Whom to tell, and how many shards have yet to take the message over.
    waiting: Slab<(ReplyTo, usize)>,
    /// Those whose letters are gathered, by where they go.
    gathered: BTreeMap<Address, Vec<usize>>,
}

impl Receipts {
    /// The message that is being delivered goes to this connection too.
    pub fn touch(&mut self, home: Home) {
        let address = (home.node, home.shard);
        if !self.touched.contains(&address) {
            self.touched.push(address);
        }
    }

    /// Another message is going to be delivered.
    #[inline]
    pub fn begin(&mut self) {
        self.touched.clear();
    }

    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Where the message went so far, if it goes in pieces.
    pub fn take_touched(&mut self) -> Vec<Address> {
        std::mem::take(&mut self.touched)
    }

    /// The message went there too, in pieces before.
    pub fn touch_again(&mut self, addresses: Vec<Address>) {
        for address in addresses {
            if !self.touched.contains(&address) {
                self.touched.push(address);
            }
        }
    }

    /// `reply` is told when the message that was just delivered is taken over wherever it went.
    pub fn gather(&mut self, reply: ReplyTo) {
        let id = self.waiting.insert((reply, self.touched.len()));
        for address in self.touched.drain(..) {
            self.gathered.entry(address).or_default().push(id);
        }
    }

    /// What was gathered for each shard, whose letters are sent now.
    pub fn take_gathered(&mut self) -> BTreeMap<Address, Vec<usize>> {
        std::mem::take(&mut self.gathered)
    }

    /// One of the shards has taken the message over: whom to tell, if that was the last one.
    pub fn taken(&mut self, id: usize) -> Option<ReplyTo> {
        let (_, left) = self.waiting.get_mut(id)?;
        *left -= 1;
        (*left == 0).then(|| self.waiting.remove(id).0)
    }

    /// How many messages wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Shard {
    /// A message that was handed out is acknowledged to `reply` when other nodes have taken it over: in how many parts.
    #[inline]
    pub(super) fn gather_receipt(&mut self, reply: Option<ReplyTo>) -> u32 {
        let receipts = &mut self.outlet.receipts;
        let reply = reply.filter(|reply| !reply.is_credit());
        match reply.filter(|_| receipts.is_touched() && self.options.without != Without::Receipt) {
            Some(reply) => receipts.gather(reply),
            None => {
                receipts.begin();
                return 0;
            }
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(node: u64, shard: u16) -> Home {
        Home { node, shard, key: 0, serial: 1 }
    }

    #[test]
    fn who_waits_is_told_by_the_last_shard_that_takes_the_message_over() {
        let mut receipts = Receipts::default();
        let reply = ReplyTo { home: home(1, 0), token: 7 };
        for home in [home(2, 0), home(3, 1), home(2, 0)] {
            receipts.touch(home);
        }
        receipts.gather(reply);
        assert!(!receipts.is_touched());
        let gathered = receipts.take_gathered();
        let ids: Vec<usize> = gathered.values().flatten().copied().collect();
        assert_eq!((gathered.len(), ids.len()), (2, 2));
        assert_eq!(receipts.taken(ids[0]), None);
        assert_eq!(receipts.taken(ids[1]), Some(reply));
        assert_eq!((receipts.waiting(), receipts.taken(ids[1])), (0, None));
    }

    #[test]
    fn a_message_that_goes_in_pieces_is_waited_for_wherever_it_went() {
        let mut receipts = Receipts::default();
        receipts.touch(home(2, 0));
        let before = receipts.take_touched();
        receipts.begin();
        receipts.touch(home(3, 0));
        receipts.touch_again(before);
        receipts.gather(ReplyTo { home: home(1, 0), token: 7 });
        assert_eq!(receipts.take_gathered().len(), 2);
    }
}
