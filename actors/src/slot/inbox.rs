//! What was applied here of another slot's outbox. A message that came that way was acknowledged to its publisher before,
//! for it stands in that outbox. So where connections on other nodes are to be given it, its number is open until they have
//! it, and that is on record: the next leader gives what is open to them again, in its order, and by its number they know
//! what they have.

use std::collections::{BTreeMap, BTreeSet};

use convoy_ids::SlotId;
use convoy_storage::record::{Decode, Encode};

/// Of one slot's outbox.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Number of the last operation that was applied.
    applied: u64,
    /// Of none if nothing is open.
    open: Option<Open>,
    shown: Shown,
}

/// Messages that are not known to be with the connections that they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Open {
    /// What came before and up to this is.
    given: u64,
    /// Number of the last message.
    last: u64,
}

/// What the leader knows.
#[derive(Debug, Default)]
struct Shown {
    /// Connections were given what came up to here, in this leadership or before.
    until: u64,
    /// Those of them that are not taken over everywhere.
    underway: BTreeSet<u64>,
    /// It was proposed to put on record that what came up to here is.
    asked: u64,
}

/// What becomes of an operation that comes out of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comes {
    /// It goes to the log.
    New,
    /// It was applied, and connections are to be given it again.
    Again,
    /// It was applied.
    Known,
    /// It comes once more, behind what connections are to be given before it.
    Early,
}

/// What becomes of the row of [`Open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    Put(Open),
    Delete,
}

impl Inbox {
    /// The one of which operations up to this number were applied.
    pub fn recover(applied: u64) -> Self {
        Self { applied, ..Self::default() }
    }

    pub fn recover_open(&mut self, open: Open) {
        self.open = Some(open);
    }

    /// Number of the last operation that was applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Nothing up to this number is to be given to connections any more.
    pub fn given(&self) -> u64 {
        self.open.map_or(self.applied, |open| open.given)
    }

    /// Whether something is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The next operation is applied. `is_live`: it is a message whose number is open from now on.
    pub fn apply(&mut self, is_live: bool) -> Change {
        let before = self.applied;
        self.applied += 1;
        match &mut self.open {
            None if !is_live => Change::Nothing,
            None => self.put(Open { given: before, last: before + 1 }),
            Some(open) if is_live => {
                open.last = before + 1;
                Change::Put(*open)
            }
            Some(_) => Change::Nothing,
        }
    }

    fn put(&mut self, open: Open) -> Change {
        self.open = Some(open);
        Change::Put(open)
    }

    /// It is on record that what came up to here is with the connections that it is for.
    pub fn on_record(&mut self, number: u64) -> Change {
        match self.open {
            Some(open) if number >= open.last => {
                self.open = None;
                Change::Delete
            }
            Some(open) if number > open.given => self.put(Open { given: number, ..open }),
            _ => Change::Nothing,
        }
    }

    /// This replica leads from now on.
    pub fn lead(&mut self) {
        self.shown = Shown { until: self.given(), ..Shown::default() };
    }

    /// What is open is given to nobody again: a rule that is left out, see [`crate::options::Without::Again`].
    pub fn pass_over_open(&mut self) {
        self.show_new();
    }

    /// An operation comes out of the outbox, perhaps again.
    pub fn comes(&mut self, number: u64) -> Comes {
        if number > self.applied {
            return if self.shown.until < self.applied { Comes::Early } else { Comes::New };
        }
        match number.checked_sub(self.shown.until) {
            None | Some(0) => Comes::Known,
            Some(1) => {
                self.shown.until = number;
                Comes::Again
            }
            Some(_) => Comes::Early,
        }
    }

    /// Connections are being given the operation that was just applied, or nobody is to be given it.
    pub fn show_new(&mut self) {
        self.shown.until = self.applied;
    }

    /// Connections are being given this one, and may be on other nodes.
    pub fn show(&mut self, number: u64) {
        self.shown.underway.insert(number);
    }

    /// All of them have it.
    pub fn taken(&mut self, number: u64) {
        self.shown.underway.remove(&number);
    }

    /// Up to which number that is to be put on record, if it is more than is or was asked for.
    fn to_ask(&self) -> Option<u64> {
        let open = self.open?;
        let all = self.shown.underway.first().map_or(self.shown.until, |first| first - 1);
        (all > open.given && all > self.shown.asked).then_some(all)
    }

    pub fn is_to_ask(&self) -> bool {
        self.to_ask().is_some()
    }

    /// The same: it is asked for now.
    pub fn ask(&mut self) -> Option<u64> {
        let all = self.to_ask()?;
        self.shown.asked = all;
        Some(all)
    }
}

/// Of the outboxes of all slots.
pub type Inboxes = BTreeMap<SlotId, Inbox>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_is_never_open() {
        let mut inbox = Inbox::recover(4);
        inbox.lead();
        assert_eq!((inbox.comes(5), inbox.apply(false)), (Comes::New, Change::Nothing));
        inbox.show_new();
        assert_eq!((inbox.applied(), inbox.given(), inbox.ask()), (5, 5, None));
        assert_eq!((inbox.comes(5), inbox.comes(6)), (Comes::Known, Comes::New));
    }

    #[test]
    fn messages_are_open_until_all_before_them_are_taken_and_that_is_on_record() {
        let mut inbox = Inbox::default();
        inbox.lead();
        for number in [1, 2] {
            assert_eq!(inbox.apply(true), Change::Put(Open { given: 0, last: number }));
            inbox.show_new();
            inbox.show(number);
        }
        assert_eq!(inbox.apply(false), Change::Nothing);
        inbox.show_new();
        inbox.taken(2);
        assert_eq!((inbox.ask(), inbox.given()), (None, 0));
        inbox.taken(1);
        assert_eq!((inbox.ask(), inbox.ask(), inbox.given()), (Some(3), None, 0));
        assert_eq!(inbox.on_record(1), Change::Put(Open { given: 1, last: 2 }));
        assert_eq!((inbox.on_record(3), inbox.given(), inbox.is_open()), (Change::Delete, 3, false));
    }

    #[test]
    fn the_next_leader_gives_what_is_open_again_in_its_order_before_it_takes_more() {
        let mut inbox = Inbox::recover(9);
        inbox.recover_open(Open { given: 6, last: 8 });
        inbox.lead();
        assert_eq!([10, 8, 6].map(|number| inbox.comes(number)), [Comes::Early, Comes::Early, Comes::Known]);
        for number in 7..=9 {
            assert_eq!(inbox.comes(number), Comes::Again);
            inbox.show(number);
        }
        assert_eq!((inbox.comes(7), inbox.comes(10)), (Comes::Known, Comes::New));
        inbox.taken(7);
        assert_eq!(inbox.ask(), Some(7));
        inbox.taken(9);
        inbox.taken(8);
        assert_eq!((inbox.ask(), inbox.on_record(9)), (Some(9), Change::Delete));
    }
}
