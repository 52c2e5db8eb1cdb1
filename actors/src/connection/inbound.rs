//! What a Client publishes, from its PUBLISH to our acknowledgement. Acknowledgements leave in the order in which the
//! messages came [MQTT-4.6.0-2], [MQTT-4.6.0-3], whenever they become safe.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_wire::{PacketId, ProtocolVersion, Puback, Pubrec, QoS, ReasonCode, TopicAlias};
use rustc_hash::FxHashMap;

use super::said;
use crate::call::{Begun, token};
use crate::session::Place;

/// Stands for a number of parts that is not known yet. Parts may answer before their number is heard, and what they
/// answer for is not done before that: the others are counted in it.
pub const UNTOLD: i32 = 1 << 24;

/// A message that is not acknowledged yet.
#[derive(Debug)]
struct Waiting {
    packet_id: PacketId,
    qos: QoS,
    /// Parts that have yet to be safe, with [`UNTOLD`] in it until their number is known.
    parts: i32,
    /// Set once the outcome is known before all parts are.
    refused: Option<ReasonCode>,
    /// Nobody had subscribed.
    unmatched: bool,
    /// Of a QoS 2 message that was sent again before its PUBREC left: it has a PUBREC of its own and nothing else.
    again: bool,
    bytes: u32,
    since: u64,
    /// Under which it was sent last.
    attempt: u8,
    is_retried: bool,
}

// Each message of QoS 1 or 2 moves it in and out: what only fleets need stands elsewhere.
const _: () = assert!(size_of::<Waiting>() == 24);

/// A message that can be sent again to its partition, or by the log of its publisher's Session.
#[derive(Clone, Debug)]
pub struct Kept {
    pub place: Place,
    pub message: Bytes,
}

/// All of a connection, each with its number, in their order.
#[derive(Debug, Default)]
struct AllKept {
    messages: VecDeque<(u64, Kept)>,
    /// When it was said last that messages were refused, after which nothing was open.
    refused_at: u64,
}

/// Milliseconds after a refusal was said: who has sent without a pause until then goes on as if it had heard of it.
const READS_OUT: u64 = 1_000;

/// A message that is sent again, under this token.
#[derive(Debug)]
pub struct Again {
    pub token: u64,
    pub packet_id: PacketId,
    pub qos: QoS,
    pub kept: Kept,
}

impl Waiting {
    fn is_done(&self) -> bool {
        self.parts == 0 || self.refused.is_some()
    }

    /// Whether one of these slots is to answer for it, `by` that of its publisher's Session.
    fn waits_for(&self, kept: Option<&Kept>, is_one: impl Fn(SlotId) -> bool, by: SlotId) -> bool {
        // Of one that is not kept it is not known where it went.
        !self.is_done() && kept.is_none_or(|kept| is_one(self.goes_by(kept, by)))
    }

    fn goes_by(&self, kept: &Kept, by: SlotId) -> SlotId {
        if self.qos == QoS::ExactlyOnce { by } else { SlotId(kept.place.slot) }
    }
}

/// A QoS 2 message between its PUBLISH and its PUBREL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// PUBREC is not sent yet.
    Accepting,
    /// PUBREC is sent: the message is safe and must not be routed again [MQTT-4.3.3-10].
    Accepted,
    /// So it was in an earlier connection, and does not count for the Receive Maximum of this one (MQTT 5.0, 4.9).
    Resumed,
}

/// PUBRELs whose PUBCOMP waits for a record. They are answered in order. Few Clients have some: those that publish with QoS 2.
#[derive(Debug, Default)]
pub struct Releases(Option<Box<Releasing>>);

#[derive(Debug, Default)]
struct Releasing {
    waiting: VecDeque<PacketId>,
    /// When the oldest of them came, or the one before it was answered.
    since: u64,
}

impl Releases {
    pub fn begin(&mut self, packet_id: PacketId, now: u64) {
        let Releasing { waiting, since } = &mut **self.0.get_or_insert_default();
        if waiting.is_empty() {
            *since = now;
        }
        waiting.push_back(packet_id);
    }

    /// This one is answered. False if it was before.
    pub fn end(&mut self, packet_id: PacketId, now: u64) -> bool {
        let Some(Releasing { waiting, since }) = self.0.as_deref_mut() else { return false };
        let Some(at) = waiting.iter().position(|waiting| *waiting == packet_id) else { return false };
        waiting.remove(at);
        *since = now;
        true
    }

    pub fn waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |releasing| releasing.waiting.len())
    }

    pub fn iter(&self) -> impl Iterator<Item = PacketId> + '_ {
        self.0.iter().flat_map(|releasing| releasing.waiting.iter().copied())
    }

    pub fn waiting_since(&self) -> Option<u64> {
        self.0.as_ref().filter(|releasing| !releasing.waiting.is_empty()).map(|releasing| releasing.since)
    }
}

#[derive(Debug, Default)]
pub struct Inbound {
    waiting: VecDeque<Waiting>,
    /// Bytes of their messages.
    waiting_bytes: usize,
    /// Number of the first in `waiting`.
    first: u64,
    /// Of what comes next.
    attempt: u8,
    /// That in which what was open was sent again last.
    retried_in: u8,
    /// A message was refused, and with it what is behind it, until all is answered and what came before that is read.
    is_refusing: bool,
    /// All of that is answered. What lies in the socket was sent by somebody who could not have heard of it.
    reads_out: bool,
    /// That was said.
    is_draining: bool,
    /// What is sent again if a change of leader leaves open what became of it. None where a node is alone.
    kept: Option<Box<AllKept>>,
    received: FxHashMap<PacketId, Received>,
    /// How many of `received` are accepted.
    accepted: u16,
    aliases: Vec<Option<Box<str>>>,
    /// Messages of QoS 0 went to other shards, which were not asked since whether they took them.
    pub went_away: bool,
    /// Messages of QoS 2 went by the log of the Session's slot, whose shard was not asked since where they are.
    pub went_by_log: bool,
}

impl Inbound {
    /// Takes up the identifiers that the Session knows from earlier connections.
    pub fn resume(&mut self, unreleased: &[u16]) {
        let ids = unreleased.iter().filter_map(|&id| PacketId::new(id));
        self.received.extend(ids.map(|id| (id, Received::Resumed)));
    }

    /// Messages that wait for their acknowledgement, those between PUBREC and PUBREL included.
    pub fn unfinished(&self) -> usize {
        self.waiting.len() + usize::from(self.accepted)
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// When the oldest of them came.
    pub fn waiting_since(&self) -> Option<u64> {
        self.waiting.front().map(|oldest| oldest.since)
    }

    pub fn received(&self, packet_id: PacketId) -> Option<Received> {
        self.received.get(&packet_id).copied()
    }

    /// A QoS 1 or 2 message of so many bytes came. Returns the token under which its parts are told.
    pub fn begin(&mut self, packet_id: PacketId, qos: QoS, parts: i32, bytes: usize, now: u64) -> u64 {
        if qos == QoS::ExactlyOnce {
            self.received.insert(packet_id, Received::Accepting);
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Waiting {
            packet_id,
            qos,
            parts,
            refused: None,
            unmatched: false,
            again: false,
            bytes: bytes as u32,
            since: now,
            attempt: self.attempt,
            is_retried: false,
        });
        token::of_attempt(self.first + self.waiting.len() as u64 - 1, self.attempt)
    }

    /// Keeps the message that was begun last, so that it can be sent again.
    pub fn keep(&mut self, place: Place, message: Bytes) {
        if let Some(newest) = (self.waiting.len() as u64).checked_sub(1) {
            let kept = Kept { place, message };
            self.kept.get_or_insert_default().messages.push_back((self.first + newest, kept));
        }
    }

    /// The slots that are to answer for what is not acknowledged yet, `by` that of the publisher's Session; of what is not kept
    /// it is not known.
    pub fn asked(&self, by: SlotId) -> BTreeSet<SlotId> {
        let open = self.waiting_and_kept().filter(|(waiting, _)| !waiting.is_done());
        open.filter_map(|(waiting, kept)| Some(waiting.goes_by(kept?, by))).collect()
    }

    /// What waits, with what is kept of it.
    fn waiting_and_kept(&self) -> impl Iterator<Item = (&Waiting, Option<&Kept>)> {
        let mut kept = self.kept.iter().flat_map(|all| &all.messages).peekable();
        (self.first..).zip(&self.waiting).map(move |(number, waiting)| {
            let its = kept.next_if(|(of, _)| *of == number);
            (waiting, its.map(|(_, kept)| kept))
        })
    }

    /// Whether a message waits for one of these slots, `by` that of the Session.
    pub fn waits_for(&self, is_one: impl Fn(SlotId) -> bool, by: SlotId) -> bool {
        self.waiting_and_kept().any(|(waiting, kept)| waiting.waits_for(kept, &is_one, by))
    }

    /// Whether all whose outcome is open can be sent again.
    pub fn can_retry(&self) -> bool {
        self.waiting_and_kept().all(|(waiting, kept)| waiting.is_done() || kept.is_some())
    }

    /// What is said of the attempt before is not heard any more.
    pub fn next_attempt(&mut self) {
        self.attempt = self.attempt.wrapping_add(1);
        self.retried_in = self.attempt;
    }

    pub fn attempt(&self) -> u8 {
        self.attempt
    }

    pub fn retried_in(&self) -> u8 {
        self.retried_in
    }

    /// Whether nothing more is taken until all is answered: a Client was told that a message was refused. Until then what it sends
    /// is refused where that one was. It could not go on otherwise, if it never waits for all of its answers.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Whether what comes next would overtake a message that was refused, if another attempt began now.
    pub fn is_refusing(&self) -> bool {
        self.is_refusing
    }

    /// Whether something open would overtake a message that was refused, which its Client was not told, if it was sent again.
    pub fn would_overtake(&self) -> bool {
        let mut behind = self.waiting.iter().skip_while(|waiting| waiting.refused.is_none());
        self.is_refusing && behind.any(|waiting| !waiting.is_done())
    }

    /// Whether it is to be told when nothing more lies in the socket.
    pub fn reads_out(&self) -> bool {
        self.reads_out
    }

    /// Nothing lies there any more: what comes next is of somebody who may have heard of all refusals.
    pub fn read_out(&mut self) {
        if self.reads_out && self.waiting.is_empty() {
            self.end_refusing();
        }
    }

    /// Those who turned it away take what comes now.
    fn end_refusing(&mut self) {
        (self.is_refusing, self.reads_out) = (false, false);
        self.attempt = self.attempt.wrapping_add(1);
    }

    /// Whether it is still to be told what became of this message.
    pub fn is_open(&mut self, token: u64) -> bool {
        self.find(token).is_some_and(|waiting| !waiting.is_done())
    }

    /// All whose outcome is open, to be sent again in their order.
    pub fn retry(&mut self) -> Vec<Again> {
        let Self { first, attempt, waiting, kept, .. } = self;
        let mut again = Vec::new();
        for (number, kept) in kept.iter().flat_map(|all| &all.messages) {
            let waiting = &mut waiting[(number - *first) as usize];
            if waiting.is_done() {
                continue;
            }
            (waiting.attempt, waiting.is_retried, waiting.unmatched) = (*attempt, true, false);
            waiting.parts = if waiting.qos == QoS::ExactlyOnce { 1 } else { UNTOLD };
            let (token, kept) = (token::of_attempt(*number, *attempt), kept.clone());
            again.push(Again { token, packet_id: waiting.packet_id, qos: waiting.qos, kept });
        }
        again
    }

    /// A QoS 2 message came again before its PUBREC left.
    pub fn came_again(&mut self, packet_id: PacketId, now: u64) {
        self.waiting.push_back(Waiting {
            packet_id,
            qos: QoS::ExactlyOnce,
            parts: 0,
            refused: None,
            unmatched: false,
            again: true,
            bytes: 0,
            since: now,
            attempt: self.attempt,
            is_retried: false,
        });
    }

    /// What became at once of a message that was begun with [`UNTOLD`] parts.
    pub fn parts_begun(&mut self, token: u64, begun: Begun) {
        if let Some(waiting) = self.find(token) {
            waiting.parts += begun.parts as i32 - UNTOLD;
            waiting.unmatched = !begun.matched;
        }
    }

    /// One part of a message is safe.
    pub fn part_done(&mut self, token: u64) {
        if let Some(waiting) = self.find(token) {
            waiting.parts -= 1;
        }
    }

    /// A message that will not be safe. `others`: nor will those behind it in this attempt, where it was refused.
    pub fn refuse(&mut self, token: u64, reason: ReasonCode, others: bool) {
        if let Some(waiting) = self.find(token) {
            waiting.refused.get_or_insert(reason);
            self.is_refusing |= others;
        }
    }

    /// Whether a message of QoS 2 may have been taken in an attempt before. If its Client heard that it was refused, it
    /// would publish it anew.
    pub fn is_perhaps_taken(&mut self, token: u64) -> bool {
        self.find(token).is_some_and(|waiting| waiting.qos == QoS::ExactlyOnce && waiting.is_retried)
    }

    fn find(&mut self, token: u64) -> Option<&mut Waiting> {
        let (number, attempt) = token::split_attempt(token);
        let at = number.checked_sub(self.first)?;
        self.waiting.get_mut(at as usize).filter(|waiting| waiting.attempt == attempt)
    }

    /// Writes the acknowledgements that are due. True if one of them cannot be said in this version: a refusal in 3.x,
    /// behind which no acknowledgement may pass.
    pub fn acknowledge(&mut self, version: ProtocolVersion, now: u64, out: &mut Vec<u8>) -> bool {
        while let Some(oldest) = self.waiting.front() {
            let reason = match oldest.refused {
                Some(_) if !version.has_properties() => return true,
                Some(reason) => reason,
                // MQTT 5.0, 3.4.2.1
                None if oldest.parts == 0 && oldest.unmatched && version.has_properties() => {
                    ReasonCode::NoMatchingSubscribers
                }
                None if oldest.parts == 0 => ReasonCode::Success,
                None => return false,
            };
            let (packet_id, bytes) = (oldest.packet_id, oldest.bytes);
            self.is_draining |= self.is_refusing && oldest.refused.is_some();
            let written = match oldest.qos {
                QoS::ExactlyOnce => {
                    if oldest.again {
                        // It changes nothing.
                    } else if reason.is_error() {
                        self.received.remove(&packet_id);
                        let copies =
                            self.waiting.iter_mut().filter(|it| it.again && it.packet_id == packet_id);
                        copies.for_each(|copy| copy.refused = Some(reason));
                    } else {
                        self.received.insert(packet_id, Received::Accepted);
                        self.accepted += 1;
                    }
                    Pubrec::new(packet_id, said(reason, Pubrec::may_say)).encode(version, out)
                }
                _ => Puback::new(packet_id, said(reason, Puback::may_say)).encode(version, out),
            };
            written.expect("an acknowledgement without properties can be written");
            self.waiting_bytes -= bytes as usize;
            self.waiting.pop_front();
            if let Some(AllKept { messages: kept, .. }) = self.kept.as_deref_mut()
                && kept.front().is_some_and(|(number, _)| *number == self.first)
            {
                kept.pop_front();
            }
            self.first += 1;
        }
        self.is_draining = false;
        if self.is_refusing {
            self.read_on(now);
        }
        false
    }

    /// All is answered, with a refusal among it.
    #[cold]
    fn read_on(&mut self, now: u64) {
        let refused_at = &mut self.kept.get_or_insert_default().refused_at;
        if !std::mem::replace(&mut self.reads_out, true) {
            *refused_at = now;
        } else if now >= *refused_at + READS_OUT {
            self.end_refusing();
        }
    }

    /// PUBREL came. False if nothing was received under this identifier.
    pub fn release(&mut self, packet_id: PacketId) -> bool {
        match self.received(packet_id) {
            None | Some(Received::Accepting) => return false,
            Some(Received::Accepted) => self.accepted -= 1,
            Some(Received::Resumed) => {}
        }
        self.received.remove(&packet_id);
        true
    }

    /// The topic of a Topic Alias, which is set if there is a topic (MQTT 5.0, 3.3.2.3.4).
    pub fn alias(
        &mut self,
        alias: TopicAlias,
        topic: &str,
        maximum: u16,
    ) -> Result<Option<&str>, ReasonCode> {
        let at = usize::from(alias.get()) - 1;
        if alias.get() > maximum {
            // [MQTT-3.3.2-9]
            return Err(ReasonCode::TopicAliasInvalid);
        }
        if !topic.is_empty() {
            if self.aliases.len() <= at {
                self.aliases.resize(at + 1, None);
            }
            self.aliases[at] = Some(topic.into());
            return Ok(None);
        }
        match self.aliases.get(at) {
            Some(Some(topic)) => Ok(Some(topic)),
            _ => Err(ReasonCode::ProtocolError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V5: ProtocolVersion = ProtocolVersion::V5;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    fn acknowledged(inbound: &mut Inbound, version: ProtocolVersion) -> Vec<u8> {
        let mut out = Vec::new();
        inbound.acknowledge(version, 0, &mut out);
        out
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_their_messages() {
        let mut inbound = Inbound::default();
        let first = inbound.begin(id(1), QoS::AtLeastOnce, UNTOLD, 0, 0);
        let second = inbound.begin(id(2), QoS::AtLeastOnce, 1, 0, 0);
        inbound.part_done(second);
        assert!(acknowledged(&mut inbound, V5).is_empty());
        // The first of two parts answers before their number is known.
        inbound.part_done(first);
        assert!(acknowledged(&mut inbound, V5).is_empty());
        inbound.parts_begun(first, Begun { parts: 2, matched: true });
        assert!(acknowledged(&mut inbound, V5).is_empty());
        inbound.part_done(first);
        assert_eq!(acknowledged(&mut inbound, V5), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
    }

    #[test]
    fn a_refusal_is_said_in_5_and_holds_everything_back_in_3() {
        for (version, said) in [(V5, vec![0x40, 3, 0, 1, 0x97]), (ProtocolVersion::V311, vec![])] {
            let mut inbound = Inbound::default();
            let token = inbound.begin(id(1), QoS::AtLeastOnce, 2, 0, 0);
            inbound.refuse(token, ReasonCode::QuotaExceeded, false);
            let mut out = Vec::new();
            assert_eq!(inbound.acknowledge(version, 0, &mut out), said.is_empty());
            assert_eq!(out, said);
        }
    }

    #[test]
    fn what_came_before_a_refusal_was_said_is_of_its_attempt() {
        let mut inbound = Inbound::default();
        let begin = |inbound: &mut Inbound, packet_id| {
            let token = inbound.begin(id(packet_id), QoS::AtLeastOnce, 1, 0, 0);
            (token, token::split_attempt(token).1)
        };
        let ([first, next], refused) = ([1, 2].map(|n| begin(&mut inbound, n).0), ReasonCode::QuotaExceeded);
        inbound.refuse(first, refused, true);
        inbound.refuse(next, refused, true);
        assert_eq!(acknowledged(&mut inbound, V5).len(), 10);
        // It lay in the socket.
        let (late, attempt) = begin(&mut inbound, 3);
        assert_eq!(attempt, 0);
        inbound.read_out();
        inbound.refuse(late, refused, true);
        assert!(inbound.reads_out() && acknowledged(&mut inbound, V5).len() == 5);
        inbound.read_out();
        let (now, attempt) = begin(&mut inbound, 4);
        assert_eq!((attempt, inbound.reads_out()), (1, false));
        inbound.part_done(now);
        assert_eq!(acknowledged(&mut inbound, V5), [0x40, 2, 0, 4]);
    }

    #[test]
    fn who_sends_without_a_pause_is_heard_again_after_a_while() {
        let mut inbound = Inbound::default();
        for (at, attempt) in [(0, 0), (10, 0), (READS_OUT, 0), (READS_OUT + 10, 1)] {
            let token = inbound.begin(id(1), QoS::AtLeastOnce, 1, 0, at);
            assert_eq!(token::split_attempt(token).1, attempt, "at {at}");
            inbound.refuse(token, ReasonCode::QuotaExceeded, true);
            assert!(!inbound.acknowledge(V5, at, &mut Vec::new()));
        }
    }

    #[test]
    fn what_is_open_and_kept_is_sent_again_in_its_order() {
        let mut inbound = Inbound::default();
        let place = |slot| Place { slot, partition: 7 };
        let begin = |inbound: &mut Inbound, packet_id, slot| {
            let token = inbound.begin(id(packet_id), QoS::AtLeastOnce, 1, 0, 0);
            inbound.keep(place(slot), Bytes::new());
            token
        };
        let tokens: Vec<_> = (1..=4).map(|n| begin(&mut inbound, n, n)).collect();
        inbound.part_done(tokens[0]);
        inbound.part_done(tokens[2]);
        assert_eq!(acknowledged(&mut inbound, V5), [0x40, 2, 0, 1]);
        let waits_for = |inbound: &Inbound, slot| inbound.waits_for(|of| of == SlotId(slot), SlotId(9));
        assert_eq!([1, 2, 3, 4].map(|slot| waits_for(&inbound, slot)), [false, true, false, true]);
        inbound.next_attempt();
        let again = inbound.retry();
        assert_eq!(again.iter().map(|again| again.packet_id).collect::<Vec<_>>(), [id(2), id(4)]);
        // What is said of the attempt before is not heard any more.
        inbound.part_done(tokens[1]);
        for Again { token, .. } in again {
            inbound.parts_begun(token, Begun { parts: 0, matched: true });
        }
        assert!(inbound.can_retry());
        inbound.begin(id(5), QoS::AtLeastOnce, 1, 0, 0);
        assert!(
            !inbound.can_retry() && waits_for(&inbound, 1),
            "of what is not kept nobody knows where it went"
        );
        assert_eq!(acknowledged(&mut inbound, V5).len(), 3 * 4);
        assert!(inbound.kept.is_some_and(|kept| kept.messages.is_empty()));
    }

    #[test]
    fn an_identifier_is_in_use_from_publish_to_release() {
        let mut inbound = Inbound::default();
        let token = inbound.begin(id(7), QoS::ExactlyOnce, 1, 0, 0);
        assert_eq!(inbound.received(id(7)), Some(Received::Accepting));
        assert!(!inbound.release(id(7)));
        inbound.part_done(token);
        assert_eq!(acknowledged(&mut inbound, V5), [0x50, 2, 0, 7]);
        assert_eq!(inbound.received(id(7)), Some(Received::Accepted));
        assert!(inbound.release(id(7)) && !inbound.release(id(7)));
    }

    #[test]
    fn every_copy_of_a_message_has_its_pubrec() {
        // [MQTT-4.3.3-10]
        for (reason, said) in
            [(None, vec![0x50, 2, 0, 7]), (Some(ReasonCode::QuotaExceeded), vec![0x50, 3, 0, 7, 0x97])]
        {
            let mut inbound = Inbound::default();
            let token = inbound.begin(id(7), QoS::ExactlyOnce, 1, 0, 0);
            inbound.came_again(id(7), 0);
            assert!(acknowledged(&mut inbound, V5).is_empty());
            match reason {
                None => inbound.part_done(token),
                Some(reason) => inbound.refuse(token, reason, false),
            }
            assert_eq!(acknowledged(&mut inbound, V5), [&said[..], &said].concat());
            assert_eq!((inbound.release(id(7)), inbound.unfinished()), (reason.is_none(), 0));
        }
    }

    #[test]
    fn what_was_received_before_does_not_count_now() {
        // MQTT 5.0, 4.9
        let mut inbound = Inbound::default();
        inbound.resume(&[7, 8]);
        assert_eq!((inbound.unfinished(), inbound.received(id(7))), (0, Some(Received::Resumed)));
        assert!(inbound.release(id(7)) && !inbound.release(id(7)));
        assert_eq!(inbound.unfinished(), 0);
    }

    #[test]
    fn an_alias_is_known_once_it_was_set() {
        let mut inbound = Inbound::default();
        let alias = TopicAlias::new(2).unwrap();
        assert_eq!(inbound.alias(alias, "", 2), Err(ReasonCode::ProtocolError));
        assert_eq!(inbound.alias(alias, "a/b", 2), Ok(None));
        assert_eq!(inbound.alias(alias, "", 2), Ok(Some("a/b")));
        assert_eq!(inbound.alias(TopicAlias::new(3).unwrap(), "a", 2), Err(ReasonCode::TopicAliasInvalid));
    }
}
