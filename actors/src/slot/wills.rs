//! What the old connection of a Client leaves is said before anything that the new one says (MQTT 5.0, 3.1.4 and 4.6): a
//! CONNECT is answered when the Will that went before it is applied in its partition. A partition that does not take it
//! holds the CONNECT up for a while and not for ever.

use std::collections::{BTreeMap, VecDeque};

use convoy_ids::SlotId;
use rustc_hash::FxHashMap;

use crate::session::Home;
use crate::shard::{Answer, ReplyTo};

/// Milliseconds that a CONNECT waits for a Will at most.
const WAIT: u64 = 2_000;

/// Wills of a slot that are looked for. Of those beyond it, on their way while nothing takes them, nobody waits for any.
const LIMIT: usize = 1 << 16;

/// The Wills of a slot's Sessions that are on their way to their partitions: of the leader alone.
#[derive(Debug, Default)]
pub struct Wills {
    /// By tenant and Client Identifier: the outbox it went by, and its number there.
    underway: FxHashMap<Box<[u8]>, (SlotId, u64)>,
    /// The same by the outbox, in the order of the numbers.
    order: BTreeMap<SlotId, VecDeque<Sent>>,
    held: Vec<Held>,
}

/// A number in an outbox, and whose Will it is.
type Sent = (u64, Box<[u8]>);

/// A CONNECT that waits for a Will.
#[derive(Debug)]
pub struct Held {
    to: SlotId,
    number: u64,
    /// Monotonic milliseconds.
    until: u64,
    /// The connection that the Session was taken from.
    pub old: Option<Home>,
    pub reply: ReplyTo,
    pub answer: Answer,
}

impl Wills {
    pub fn sent(&mut self, name: &[u8], to: SlotId, number: u64) {
        if self.underway.len() < LIMIT {
            self.underway.insert(name.into(), (to, number));
            self.order.entry(to).or_default().push_back((number, name.into()));
        }
    }

    /// Whether a Will of this Client is on its way.
    pub fn is_underway(&self, name: &[u8]) -> bool {
        self.underway.contains_key(name)
    }

    /// A CONNECT of this Client is answered when its Will is applied; the answer comes back if none is on its way.
    pub fn hold(
        &mut self,
        name: &[u8],
        now: u64,
        old: Option<Home>,
        reply: ReplyTo,
        answer: Answer,
    ) -> Option<Answer> {
        let Some(&(to, number)) = self.underway.get(name) else { return Some(answer) };
        self.held.push(Held { to, number, until: now + WAIT, old, reply, answer });
        None
    }

    /// Slot `to` has applied everything up to `number`: the CONNECTs that waited for it.
    pub fn applied(&mut self, to: SlotId, number: u64) -> Vec<Held> {
        let Some(order) = self.order.get_mut(&to) else { return Vec::new() };
        while order.front().is_some_and(|(first, _)| *first <= number) {
            let (first, name) = order.pop_front().expect("there is a front");
            if self.underway.get(&name) == Some(&(to, first)) {
                self.underway.remove(&name);
            }
        }
        if order.is_empty() {
            self.order.remove(&to);
        }
        self.release(|held| held.to == to && held.number <= number)
    }

    /// CONNECTs that have waited long enough.
    pub fn overdue(&mut self, now: u64) -> Vec<Held> {
        self.release(|held| held.until <= now)
    }

    fn release(&mut self, is_due: impl Fn(&Held) -> bool) -> Vec<Held> {
        let (due, held) = std::mem::take(&mut self.held).into_iter().partition(is_due);
        self.held = held;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home = Home { node: 1, shard: 0, key: 0, serial: 1 };

    fn hold(wills: &mut Wills, name: &[u8], now: u64) -> bool {
        wills.hold(name, now, None, ReplyTo { home: HOME, token: 1 }, Answer::Done).is_none()
    }

    #[test]
    fn a_connect_waits_for_the_last_will_of_its_client_alone() {
        let mut wills = Wills::default();
        wills.sent(b"a", SlotId(1), 1);
        wills.sent(b"b", SlotId(1), 2);
        wills.sent(b"a", SlotId(1), 3);
        wills.sent(b"a", SlotId(2), 1);
        assert!(hold(&mut wills, b"a", 0) && hold(&mut wills, b"b", 0) && !hold(&mut wills, b"c", 0));
        assert_eq!(wills.applied(SlotId(1), 2).len(), 1);
        assert_eq!(wills.applied(SlotId(1), 3).len(), 0);
        assert!(wills.is_underway(b"a") && !wills.is_underway(b"b"));
        assert_eq!(wills.applied(SlotId(2), 1).len(), 1);
        assert!(!wills.is_underway(b"a") && wills.order.is_empty());
    }

    #[test]
    fn a_connect_does_not_wait_for_ever_and_a_flood_of_wills_is_bounded() {
        let mut wills = Wills::default();
        for number in 1..=2 * LIMIT as u64 {
            wills.sent(&number.to_le_bytes(), SlotId(1), number);
        }
        assert_eq!((wills.underway.len(), wills.order[&SlotId(1)].len()), (LIMIT, LIMIT));
        assert!(hold(&mut wills, &1_u64.to_le_bytes(), 500));
        assert_eq!(wills.overdue(500 + WAIT - 1).len(), 0);
        assert_eq!(wills.overdue(500 + WAIT).len(), 1);
    }
}
