//! What shards tell each other of replicas beside what Raft says. Each word is true whenever it arrives, or it is known to be of
//! the past: they may be lost, doubled and late.

use convoy_ids::{NodeId, ReplicaId, SlotId, Term};
use convoy_storage::record::{Decode, Encode};
use convoy_storage::replica::{Outgoing, Role};
use convoy_storage::sealed;

use super::super::Shard;
use crate::clock::Now;
use crate::metric;

const KIND: u8 = 0x25;
const VERSION: u8 = 1;

/// About a replica of the slot that it is sent for, or for the meta group. It goes to the shard that has that slot, of another
/// node or of this one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub(super) enum Word {
    /// It is not on the node that says so, and never will be again.
    Gone {
        replica: u64,
    },
    /// It is on the node that says so, and hears no leader: is it still a member?
    Asks {
        replica: u64,
    },
    /// It is no member any more: so says who leads the slot in this term.
    Removed {
        replica: u64,
        term: u64,
    },
    /// For the meta group: whoever leads this slot needs a number for a replica on this node.
    WantsNumber {
        slot: u16,
        node: u64,
    },
    /// A replica on this node may have this number.
    Number {
        node: u64,
        number: u64,
    },
    /// For the meta group: is anything newer known of the fleet than what this entry of its log has made? The answer goes to the
    /// shard that has this slot.
    AsksNews {
        at: u64,
        back: u16,
    },
    News {
        at: u64,
        fleet: Vec<u8>,
    },
}

impl Word {
    fn encode(&self) -> Vec<u8> {
        sealed::seal(KIND, VERSION, self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, sealed::Error> {
        sealed::open(KIND, VERSION, bytes)
    }
}

/// Whether it is for [`Shard::hear_word`], if it is anything.
pub(in crate::shard) fn is_word(bytes: &[u8]) -> bool {
    bytes.get(2) == Some(&KIND)
}

#[cfg(test)]
pub(in crate::shard) fn removed(replica: u64, term: u64) -> Vec<u8> {
    Word::Removed { replica, term }.encode()
}

impl Shard {
    pub(super) fn say(&mut self, to: NodeId, slot: SlotId, word: Word) {
        self.to_replicas.push(Outgoing { slot, to, bytes: word.encode() });
    }

    /// A word from a node about one of its replicas, or one of this node.
    pub(in crate::shard) fn hear_word(&mut self, now: Now, from: NodeId, slot: SlotId, bytes: &[u8]) {
        let is_of_fleet = self.options.moves.is_some() && self.options.replicas.contains(&from);
        let word = Word::decode(bytes).ok().filter(|_| is_of_fleet && self.exists(slot));
        let Some(word) = word else {
            metrics::counter!(metric::REPLICA_MESSAGES_REFUSED).increment(1);
            return;
        };
        match word {
            Word::Gone { replica } => of(replica, |replica| self.note_gone(from, slot, replica)),
            Word::Asks { replica } => of(replica, |replica| self.answer_for(from, slot, replica)),
            Word::Removed { replica, term } => {
                of(replica, |replica| self.hear_removed(slot, replica, Term(term)));
            }
            Word::WantsNumber { slot, node } => {
                if let Some(node) = NodeId::new(node).filter(|_| self.exists(SlotId(slot))) {
                    self.number_wanted(now, from, SlotId(slot), node);
                }
            }
            Word::Number { node, number } => {
                if let (Some(node), Some(number)) = (NodeId::new(node), ReplicaId::new(number)) {
                    self.hear_number(slot, node, number);
                }
            }
            Word::AsksNews { at, back } => self.answer_news(from, at, back),
            Word::News { at, fleet } => self.hear_news(from, at, &fleet),
        }
    }

    /// Replicas that hear no leader ask every node: where their group has gone they do not know.
    pub(super) fn ask_around(&mut self) {
        let me = self.driver.node();
        let lonely: Vec<_> = self.slots.iter().map(|slot| slot.id).collect();
        for slot in lonely.into_iter().filter(|slot| !self.driver.hears_leader(*slot)).collect::<Vec<_>>() {
            let Some(replica) = self.driver.replica(slot) else { continue };
            let others = self.options.replicas.clone().into_iter().filter(|node| *node != me);
            others.for_each(|to| self.say(to, slot, Word::Asks { replica: replica.get() }));
        }
    }

    /// Whoever leads and has applied an entry of its own term has every member that was added before that term; one that comes
    /// later has heard of a later term, or of this one from this leader. So a member is never told that it is none.
    fn answer_for(&mut self, from: NodeId, slot: SlotId, replica: ReplicaId) {
        let leads = self.slots.get(slot).is_some_and(|slot| slot.leading);
        let Some(Role::Leader { term }) = self.driver.role(slot).filter(|_| leads) else { return };
        if !self.driver.is_of_group(slot, replica) {
            self.say(from, slot, Word::Removed { replica: replica.get(), term: term.0 });
        }
    }

    fn hear_removed(&mut self, slot: SlotId, replica: ReplicaId, of: Term) {
        let is_past = |role: Role| role.term() <= of && !role.is_leader();
        if self.driver.replica(slot) == Some(replica) && self.driver.role(slot).is_some_and(is_past) {
            self.moving.ending.insert(slot, replica);
        }
    }
}

/// A number of a replica as it came.
fn of(number: u64, hear: impl FnOnce(ReplicaId)) {
    if let Some(replica) = ReplicaId::new(number) {
        hear(replica);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_is_frozen() {
        let words = [
            (Word::Gone { replica: 7 }, vec![0, 7]),
            (Word::Asks { replica: 7 }, vec![1, 7]),
            (Word::Removed { replica: 7, term: 9 }, vec![2, 7, 9]),
            (Word::WantsNumber { slot: 3, node: 7 }, vec![3, 3, 7]),
            (Word::Number { node: 7, number: 9 }, vec![4, 7, 9]),
            (Word::AsksNews { at: 5, back: 1 }, vec![5, 5, 1]),
            (Word::News { at: 5, fleet: vec![8, 8] }, vec![6, 5, 2, 8, 8]),
        ];
        for (word, body) in words {
            let bytes = word.encode();
            assert!(is_word(&bytes));
            assert_eq!((&bytes[2..4], &bytes[12..]), (&[KIND, VERSION][..], &body[..]));
            assert_eq!(Word::decode(&bytes), Ok(word));
            assert!((0..bytes.len()).all(|cut| Word::decode(&bytes[..cut]).is_err()));
        }
        assert!(!is_word(&[]) && !is_word(&[0xC0, 0x47, 0x21]));
    }
}
