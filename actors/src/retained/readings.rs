//! What a connection has still to read for its new Subscriptions: one entry for each Topic Filter, so there are never
//! more of them than the Session may have Subscriptions, whatever number of partitions they touch and however often they
//! are made again. One chunk at a time is read, of the oldest entry, and the next one when all of it is sent: what a
//! Client has unsubscribed meanwhile is not sent any more [MQTT-3.10.4-2].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_wire::SharedFilter;
use rustc_hash::FxHashMap;

use super::serve::{Chunk, Request, Scope};
use crate::message::Message;
use crate::session::{self, Delivery, Subscription, Wanted};

#[derive(Debug, Default)]
pub struct Readings {
    /// By their serial: the oldest first.
    entries: BTreeMap<u64, Reading>,
    by_filter: FxHashMap<Arc<str>, u64>,
    serials: u64,
}

#[derive(Debug)]
struct Reading {
    filter: Arc<str>,
    subscription: Subscription,
    places: Places,
    /// Places before this one were asked for.
    at: usize,
    /// Where the place before that goes on.
    next: Option<Request>,
    is_asked: bool,
    /// What was read and not sent yet.
    held: VecDeque<(Delivery, Bytes)>,
}

/// Where a Topic Filter may match, each with the number up to which Retained Messages were there before it: what came
/// behind it reaches the Subscription live.
#[derive(Debug)]
enum Places {
    Partitions(Vec<(session::Place, u64)>),
    /// Everywhere: its first level is a wildcard.
    Slots(Arc<Everywhere>),
}

/// Of every slot the number up to which Retained Messages were there before the root routes of a SUBSCRIBE.
#[derive(Debug)]
pub struct Everywhere(Box<[u64]>);

/// A place in which a Subscription was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub place: session::Place,
    /// Number of the last Retained Message that was decided before it there.
    pub until: u64,
}

/// For whom is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    pub home: session::Home,
    pub session: session::SessionNumber,
    pub epoch: session::Epoch,
    pub lasting: bool,
}

impl Readings {
    /// A Subscription was made, and what is kept for its Topic Filter is to be read, from the beginning if it was being
    /// read before.
    pub fn begin(&mut self, wanted: &Wanted, registered: &[Place], everywhere: &Arc<Everywhere>) {
        if !matches!(SharedFilter::parse(&wanted.filter), Ok(None)) {
            return;
        }
        self.end(&wanted.filter);
        // Where nobody has told, all of it is read: twice is better than not at all.
        let until = |place| {
            let found = registered.iter().find(|found| found.place == place);
            found.map_or(u64::MAX, |found| found.until)
        };
        let places = match wanted.places.iter().any(session::Place::is_everywhere) {
            true => Places::Slots(Arc::clone(everywhere)),
            false => Places::Partitions(wanted.places.iter().map(|place| (*place, until(*place))).collect()),
        };
        let filter: Arc<str> = wanted.filter.as_str().into();
        self.serials += 1;
        self.by_filter.insert(Arc::clone(&filter), self.serials);
        let reading = Reading {
            filter,
            subscription: wanted.subscription,
            places,
            at: 0,
            next: None,
            is_asked: false,
            held: VecDeque::new(),
        };
        self.entries.insert(self.serials, reading);
    }

    /// The Subscription is gone: nothing more is read or sent for it.
    pub fn end(&mut self, filter: &str) {
        if let Some(serial) = self.by_filter.remove(filter) {
            self.entries.remove(&serial);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Topic Filters for which is still to be read or sent.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The next chunk to be asked for; `None` while one is on its way or held.
    pub fn ask(&mut self, reader: &Reader) -> Option<Request> {
        while let Some(mut entry) = self.entries.first_entry() {
            let serial = *entry.key();
            let reading = entry.get_mut();
            if reading.is_asked || !reading.held.is_empty() {
                return None;
            }
            let request = reading.next.take().or_else(|| {
                let (scope, until) = reading.places.get(reading.at)?;
                reading.at += 1;
                let filter = Arc::clone(&reading.filter);
                Some(Request::new(*reader, serial, filter, reading.subscription, until, scope))
            });
            if request.is_some() {
                reading.is_asked = true;
                return request;
            }
            let done = entry.remove();
            self.by_filter.remove(&done.filter);
        }
        None
    }

    /// Whether a Session that lasts keeps what comes next until its Client has acknowledged it.
    pub fn is_kept(&self) -> bool {
        self.entries.first_key_value().is_some_and(|(_, reading)| reading.subscription.qos > 0)
    }

    /// Whether nothing is on its way or held, so that there is something to ask for.
    pub fn is_hungry(&self) -> bool {
        let first = self.entries.first_key_value();
        first.is_some_and(|(_, reading)| !reading.is_asked && reading.held.is_empty())
    }

    /// A chunk came; it is forgotten if nobody waits for it any more. False then.
    pub fn take(&mut self, chunk: Chunk) -> bool {
        let Some(reading) = self.entries.get_mut(&chunk.serial).filter(|reading| reading.is_asked) else {
            return false;
        };
        reading.is_asked = false;
        reading.next = chunk.next;
        reading.held = chunk.messages.into_iter().map(|(delivery, bytes)| (delivery, bytes.into())).collect();
        true
    }

    /// The next message to be sent.
    pub fn first(&self) -> Option<&(Delivery, Bytes)> {
        self.entries.first_key_value()?.1.held.front()
    }

    pub fn pop(&mut self) -> Option<(Delivery, Bytes)> {
        self.entries.first_entry()?.get_mut().held.pop_front()
    }

    /// A newer message of this topic was sent, which was retained: what is held of it is out of date.
    pub fn supersede(&mut self, topic: &str) {
        let Some(mut first) = self.entries.first_entry() else { return };
        let is_of = |bytes: &Bytes| Message::decode(bytes).is_ok_and(|message| message.topic == topic);
        first.get_mut().held.retain(|(_, bytes)| !is_of(bytes));
    }
}

impl Everywhere {
    /// In a fleet of so many slots. Where nobody has told, all is read: see [`Readings::begin`].
    pub fn nobody_has_told(slots: u16) -> Self {
        Self(vec![u64::MAX; usize::from(slots)].into())
    }

    pub fn told(&mut self, slot: SlotId, until: u64) {
        if let Some(known) = self.0.get_mut(usize::from(slot.0)) {
            *known = until;
        }
    }
}

impl Places {
    fn get(&self, at: usize) -> Option<(Scope, u64)> {
        match self {
            Self::Partitions(places) => {
                places.get(at).map(|(place, until)| (Scope::Partition(*place), *until))
            }
            Self::Slots(everywhere) => {
                let until = everywhere.0.get(at)?;
                Some((Scope::Slot { slot: at as u16, from: 0 }, *until))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Epoch, Home, SessionNumber};

    const SLOTS: u16 = 64;

    const READER: Reader = Reader {
        home: Home { node: 1, shard: 0, key: 0, serial: 1 },
        session: SessionNumber(5),
        epoch: Epoch(1),
        lasting: false,
    };

    fn wanted(filter: &str, slot: u16) -> Wanted {
        let subscription =
            Subscription { qos: 1, no_local: false, retain_as_published: false, identifier: 0 };
        let places = vec![session::Place { slot, partition: 7 }];
        Wanted { filter: filter.into(), subscription, places }
    }

    fn untold() -> Arc<Everywhere> {
        Everywhere::nobody_has_told(SLOTS).into()
    }

    fn held(readings: &mut Readings, filter: &str) -> bool {
        readings.begin(&wanted(filter, 1), &[], &untold());
        let request = readings.ask(&READER).unwrap();
        let delivery = Delivery::new(convoy_wire::QoS::AtMostOnce, true, 0);
        readings.take(request.answered(vec![(delivery, b"message".to_vec())]))
    }

    #[test]
    fn a_subscription_that_is_made_again_and_again_is_one_entry() {
        let mut readings = Readings::default();
        for _ in 0..1000 {
            readings.begin(&wanted("#", SlotId::META.0), &[], &untold());
            readings.begin(&wanted("a/b", 1), &[], &untold());
        }
        assert_eq!((readings.len(), readings.by_filter.len()), (2, 2));
        let mut asked = 0;
        while let Some(request) = readings.ask(&READER) {
            asked += 1;
            assert!(readings.take(request.answered(Vec::new())));
        }
        assert_eq!((asked, readings.is_empty(), readings.by_filter.len()), (65, true, 0));
    }

    #[test]
    fn what_is_held_or_on_its_way_for_a_subscription_that_ends_goes() {
        let mut readings = Readings::default();
        assert!(held(&mut readings, "a/b"));
        assert!(readings.first().is_some() && !readings.is_hungry());
        readings.end("a/b");
        assert!(readings.first().is_none() && readings.is_empty());
        readings.begin(&wanted("a/b", 1), &[], &untold());
        let late = readings.ask(&READER).unwrap();
        // Unsubscribed, and subscribed again: what was asked for the first time is not taken for the second.
        readings.end("a/b");
        readings.begin(&wanted("a/b", 1), &[], &untold());
        assert!(!readings.take(late.answered(Vec::new())));
        assert!(readings.is_hungry());
    }

    #[test]
    fn each_place_is_read_up_to_what_was_there_before() {
        let mut readings = Readings::default();
        let mut everywhere = Everywhere::nobody_has_told(4);
        [(0, 10), (2, 20)].iter().for_each(|(slot, until)| everywhere.told(SlotId(*slot), *until));
        readings.begin(&wanted("#", SlotId::META.0), &[], &everywhere.into());
        for (slot, expected) in [10, u64::MAX, 20, u64::MAX].into_iter().enumerate() {
            let (_, until) = readings.entries[&1].places.get(slot).unwrap();
            assert_eq!(until, expected);
        }
    }
}
