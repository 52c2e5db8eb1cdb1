//! What the old connection of a Client leaves is said before anything that the new one says (MQTT 5.0, 3.1.4 and 4.6): a
//! CONNECT is answered when the Will that went before it is applied in its partition. A partition that does not take it
//! holds the CONNECT up for a while and not for ever.

use std::collections::{BTreeMap, VecDeque};

use convoy_ids::SlotId;
use rustc_hash::FxHashMap;

use super::farewells::WillsUnderway;
use crate::call::{Answer, ReplyTo};
use crate::session::Home;

/// Milliseconds that a CONNECT waits for a Will at most.
const WAIT: u64 = 2_000;

/// Wills of a slot that are looked for. Of those beyond it, on their way while nothing takes them, nobody waits for any.
const LIMIT: usize = 1 << 16;

/// The Wills of a slot's Sessions that are on their way to their partitions: of the leader alone.
#[derive(Debug, Default)]
pub struct Wills {
    /// By tenant and Client Identifier: the outbox it went by, and its number there.
    underway: FxHashMap<Box<[u8]>, (SlotId, u64)>,
    /// The same by the outbox.
    lanes: BTreeMap<SlotId, Lane>,
    held: Vec<Held>,
}

/// Wills on their way to one slot.
#[derive(Debug, Default)]
struct Lane {
    /// In the order of their numbers.
    sent: VecDeque<Sent>,
    bytes: usize,
    /// Monotonic milliseconds: when the first of them became the first.
    since: u64,
}

/// A number in an outbox, whose Will it is, and its bytes.
type Sent = (u64, Box<[u8]>, u32);

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
    pub fn sent(&mut self, name: &[u8], to: SlotId, number: u64, bytes: usize, now: u64) {
        if self.underway.len() < LIMIT {
            self.underway.insert(name.into(), (to, number));
            let lane = self.lanes.entry(to).or_insert_with(|| Lane { since: now, ..Lane::default() });
            lane.sent.push_back((number, name.into(), bytes as u32));
            lane.bytes += bytes;
        }
    }

    /// Those on their way, but for those to slots that take nothing: who has Wills for others does not wait for these.
    pub fn underway(&self, now: u64) -> WillsUnderway {
        let mut sum = WillsUnderway::default();
        for lane in self.lanes.values().filter(|lane| now < lane.since + WAIT) {
            sum += WillsUnderway { wills: lane.sent.len(), bytes: lane.bytes };
        }
        sum
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

    /// Slot `to` has applied everything up to `number`: how many Wills were among that, and the CONNECTs that waited for
    /// these.
    pub fn applied(&mut self, to: SlotId, number: u64, now: u64) -> (usize, Vec<Held>) {
        let Some(lane) = self.lanes.get_mut(&to) else { return (0, Vec::new()) };
        let before = lane.sent.len();
        while lane.sent.front().is_some_and(|(first, ..)| *first <= number) {
            let (first, name, bytes) = lane.sent.pop_front().expect("there is a front");
            (lane.bytes, lane.since) = (lane.bytes - bytes as usize, now);
            if self.underway.get(&name) == Some(&(to, first)) {
                self.underway.remove(&name);
            }
        }
        let arrived = before - lane.sent.len();
        if lane.sent.is_empty() {
            self.lanes.remove(&to);
        }
        (arrived, self.release(|held| held.to == to && held.number <= number))
    }

    /// This replica leads no longer: the CONNECTs that wait.
    pub fn give_up(&mut self) -> impl Iterator<Item = ReplyTo> + use<> {
        std::mem::take(self).held.into_iter().map(|held| held.reply)
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
        wills.sent(b"a", SlotId(1), 1, 10, 0);
        wills.sent(b"b", SlotId(1), 2, 10, 0);
        wills.sent(b"a", SlotId(1), 3, 10, 0);
        wills.sent(b"a", SlotId(2), 1, 10, 0);
        assert!(hold(&mut wills, b"a", 0) && hold(&mut wills, b"b", 0) && !hold(&mut wills, b"c", 0));
        assert_eq!(wills.applied(SlotId(1), 2, 5).1.len(), 1);
        assert_eq!(wills.applied(SlotId(1), 3, 5).1.len(), 0);
        // What is left is for a slot that takes nothing for a while.
        assert_eq!((wills.underway(WAIT - 1).bytes, wills.underway(WAIT)), (10, WillsUnderway::default()));
        assert!(wills.is_underway(b"a") && !wills.is_underway(b"b"));
        assert_eq!(wills.applied(SlotId(2), 1, 5).1.len(), 1);
        assert!(!wills.is_underway(b"a") && wills.lanes.is_empty());
    }

    #[test]
    fn a_connect_does_not_wait_for_ever_and_a_flood_of_wills_is_bounded() {
        let mut wills = Wills::default();
        for number in 1..=2 * LIMIT as u64 {
            wills.sent(&number.to_le_bytes(), SlotId(1), number, 10, 0);
        }
        assert_eq!((wills.underway.len(), wills.lanes[&SlotId(1)].sent.len()), (LIMIT, LIMIT));
        assert!(hold(&mut wills, &1_u64.to_le_bytes(), 500));
        assert_eq!(wills.overdue(500 + WAIT - 1).len(), 0);
        assert_eq!(wills.overdue(500 + WAIT).len(), 1);
    }
}
