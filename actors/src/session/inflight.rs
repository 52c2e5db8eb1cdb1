//! Outbound messages a Client has not finished acknowledging, and the Packet Identifiers they travel under.
//!
//! Identifiers are handed out here alone. They follow from the message's sequence number in its Session,
//! `1 + seq mod 65,535`, so that after a failover every replica knows under which identifier a message was sent,
//! without a record of it. That is unambiguous because the window never spans 65,535 numbers: [`Inflight::has_room`]
//! holds new messages back until the oldest one is finished.

use std::collections::VecDeque;

use convoy_storage::record::{Decode, Encode};
use convoy_wire::PacketId;

/// Number of an outbound message in its Session, from 0, never used twice.
pub type Seq = u64;

const IDENTIFIERS: u64 = 65_535;

/// Bytes under way to one Client beyond which nothing more is sent, whatever its Receive Maximum: a Client that does not
/// acknowledge must not become our memory.
const BYTES: u64 = 1 << 20;

/// How far the delivery of one message has come (MQTT 5.0, 4.3.2 and 4.3.3, sender).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub enum Stage {
    /// QoS 1: PUBLISH sent, PUBACK awaited.
    Published,
    /// QoS 2: PUBLISH sent, PUBREC awaited.
    Unreceived,
    /// QoS 2: PUBREC came; PUBREL waits until the log holds that, else a resend after a crash is a second delivery.
    Receiving,
    /// QoS 2: PUBREL sent, PUBCOMP awaited.
    Released,
    /// Finished, but an older message is not.
    Finished,
}

/// What an acknowledgement of the Client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message, of so many bytes, is finished.
    Finished(Seq, u32),
    /// PUBREC: once this is on record (or at once where nothing is recorded) PUBREL is due.
    Received(Seq),
    /// PUBREC again for a message whose PUBREL was sent: send PUBREL again.
    ReleaseAgain(Seq),
    /// PUBREC again while the first is still being committed: nothing to do.
    Waiting,
    /// No message is under way under this identifier.
    Unknown,
    /// One is, and this is not the acknowledgement that it waits for: a Protocol Error.
    Wrong,
}

/// The send window of one Session.
#[derive(Debug, Default)]
pub struct Inflight {
    /// Ascending and contiguous from `first`: entry `i` belongs to message `first + i` and holds its size in bytes.
    stages: VecDeque<(Stage, u32)>,
    first: Seq,
    /// Entries not finished; never above the Client's Receive Maximum.
    used: u16,
    /// Size of the messages not finished.
    bytes: u64,
    receive_maximum: u16,
}

/// The identifier under which message `seq` of a Session travels.
pub fn packet_id(seq: Seq) -> PacketId {
    PacketId::new(1 + (seq % IDENTIFIERS) as u16).expect("1 + n mod 65,535 is between 1 and 65,535")
}

impl Inflight {
    /// A window that begins with message `first`.
    pub fn new(first: Seq, receive_maximum: u16) -> Self {
        Self { first, receive_maximum, ..Self::default() }
    }

    /// Messages sent and not finished.
    pub fn used(&self) -> u16 {
        self.used
    }

    /// Size of the messages sent and not finished.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many more may be sent now.
    pub fn room(&self) -> u16 {
        if (self.stages.len() as u64) < IDENTIFIERS - 1 {
            self.receive_maximum.saturating_sub(self.used)
        } else {
            0
        }
    }

    /// Whether one more may be sent now.
    pub fn has_room(&self) -> bool {
        self.room() > 0 && self.bytes < BYTES
    }

    /// Whether message `seq` may be under way together with the oldest that is: else their identifiers could be the same.
    pub fn reaches(&self, seq: Seq) -> bool {
        self.stages.is_empty() || seq.saturating_sub(self.first) < IDENTIFIERS - 1
    }

    /// The oldest message that is not finished, or the next one to be sent.
    #[cfg(test)]
    pub fn first(&self) -> Seq {
        self.first
    }

    /// The number that the next sent message must have or pass.
    pub fn next(&self) -> Seq {
        self.first + self.stages.len() as u64
    }

    /// Enters a message that is being sent. Numbers that were left out (expired, dropped) count as finished.
    pub fn send(&mut self, seq: Seq, stage: Stage, bytes: u32) -> PacketId {
        debug_assert!(seq >= self.next() && self.reaches(seq) && stage != Stage::Finished);
        if self.stages.is_empty() {
            self.first = seq;
        }
        while self.next() < seq {
            self.stages.push_back((Stage::Finished, 0));
        }
        self.stages.push_back((stage, bytes));
        self.used += 1;
        self.bytes += u64::from(bytes);
        packet_id(seq)
    }

    /// Skips the numbers before `seq`: they hold nothing that is to be sent.
    pub fn skip_to(&mut self, seq: Seq) {
        if self.stages.is_empty() {
            self.first = self.first.max(seq);
        } else {
            while self.next() < seq {
                self.stages.push_back((Stage::Finished, 0));
            }
        }
    }

    /// [MQTT-4.3.2-3]: PUBACK ends a QoS 1 delivery.
    pub fn on_puback(&mut self, id: PacketId) -> Answer {
        match self.find(id) {
            Some((seq, Stage::Published)) => {
                let bytes = self.finish(seq);
                Answer::Finished(seq, bytes)
            }
            other => unexpected(other),
        }
    }

    /// [MQTT-4.3.3-4]: PUBREC is answered by PUBREL; one with an error ends the delivery.
    pub fn on_pubrec(&mut self, id: PacketId, refused: bool) -> Answer {
        match self.find(id) {
            Some((seq, Stage::Unreceived)) if refused => {
                let bytes = self.finish(seq);
                Answer::Finished(seq, bytes)
            }
            Some((seq, Stage::Unreceived)) => {
                self.set(seq, Stage::Receiving);
                Answer::Received(seq)
            }
            Some((_, Stage::Receiving)) => Answer::Waiting,
            Some((seq, Stage::Released)) => Answer::ReleaseAgain(seq),
            other => unexpected(other),
        }
    }

    /// PUBREL is being sent for `seq`; false if it is not awaited.
    pub fn released(&mut self, seq: Seq) -> bool {
        let awaited = self.stage(seq) == Some(Stage::Receiving);
        if awaited {
            self.set(seq, Stage::Released);
        }
        awaited
    }

    /// PUBREL is being sent under this identifier.
    pub fn release(&mut self, id: PacketId) {
        if let Some((seq, Stage::Receiving)) = self.find(id) {
            self.set(seq, Stage::Released);
        }
    }

    /// What is not finished, ascending, and how far it has come.
    pub fn open(&self) -> impl Iterator<Item = (Seq, Stage)> + '_ {
        let numbered = (self.first..).zip(&self.stages).map(|(seq, (stage, _))| (seq, *stage));
        numbered.filter(|(_, stage)| *stage != Stage::Finished)
    }

    /// PUBCOMP ends a QoS 2 delivery.
    pub fn on_pubcomp(&mut self, id: PacketId) -> Answer {
        match self.find(id) {
            Some((seq, Stage::Released)) => {
                let bytes = self.finish(seq);
                Answer::Finished(seq, bytes)
            }
            other => unexpected(other),
        }
    }

    fn stage(&self, seq: Seq) -> Option<Stage> {
        let at = seq.checked_sub(self.first)?;
        self.stages.get(at as usize).map(|&(stage, _)| stage)
    }

    fn set(&mut self, seq: Seq, stage: Stage) {
        self.stages[(seq - self.first) as usize].0 = stage;
    }

    fn find(&self, id: PacketId) -> Option<(Seq, Stage)> {
        let ahead = (u64::from(id.get()) - 1 + IDENTIFIERS - self.first % IDENTIFIERS) % IDENTIFIERS;
        let seq = self.first + ahead;
        Some((seq, self.stage(seq)?))
    }

    fn finish(&mut self, seq: Seq) -> u32 {
        let entry = &mut self.stages[(seq - self.first) as usize];
        let bytes = entry.1;
        *entry = (Stage::Finished, 0);
        self.used -= 1;
        self.bytes -= u64::from(bytes);
        while matches!(self.stages.front(), Some((Stage::Finished, _))) {
            self.stages.pop_front();
            self.first += 1;
        }
        if self.stages.is_empty() && self.stages.capacity() > 64 {
            self.stages = VecDeque::new();
        }
        bytes
    }
}

/// An acknowledgement of what is finished comes late; one of what waits for another is wrong.
fn unexpected(found: Option<(Seq, Stage)>) -> Answer {
    match found {
        None | Some((_, Stage::Finished)) => Answer::Unknown,
        Some(_) => Answer::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn identifiers_follow_from_sequence_numbers() {
        assert_eq!([0, 1, 65_534, 65_535].map(|seq| packet_id(seq).get()), [1, 2, 65_535, 1]);
    }

    #[test]
    fn acknowledgements_may_come_in_any_order() {
        let mut window = Inflight::new(10, 3);
        for seq in 10..13 {
            assert_eq!(window.send(seq, Stage::Published, 5), packet_id(seq));
        }
        assert!(!window.has_room());
        assert_eq!(window.on_puback(packet_id(11)), Answer::Finished(11, 5));
        assert_eq!((window.first(), window.room()), (10, 1));
        assert_eq!(window.on_puback(packet_id(10)), Answer::Finished(10, 5));
        assert_eq!((window.first(), window.next(), window.room()), (12, 13, 2));
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_unknown() {
        let mut window = Inflight::new(0, 10);
        window.send(0, Stage::Published, 5);
        assert_eq!(window.on_puback(id(2)), Answer::Unknown);
        assert_eq!(window.on_pubrec(id(2), false), Answer::Unknown);
        assert_eq!(window.on_puback(id(1)), Answer::Finished(0, 5));
        assert_eq!(window.on_puback(id(1)), Answer::Unknown);
    }

    #[test]
    fn exactly_once_passes_through_its_stages() {
        let mut window = Inflight::new(0, 10);
        window.send(0, Stage::Unreceived, 5);
        assert_eq!(window.on_pubcomp(id(1)), Answer::Wrong);
        assert_eq!(window.on_pubrec(id(1), false), Answer::Received(0));
        assert_eq!(window.on_pubrec(id(1), false), Answer::Waiting);
        window.released(0);
        assert_eq!(window.on_pubrec(id(1), false), Answer::ReleaseAgain(0));
        assert_eq!(window.on_pubcomp(id(1)), Answer::Finished(0, 5));
        assert_eq!(window.used(), 0);
    }

    #[test]
    fn an_acknowledgement_of_another_kind_is_wrong() {
        let mut window = Inflight::new(0, 10);
        window.send(0, Stage::Published, 5);
        window.send(1, Stage::Unreceived, 5);
        assert_eq!(window.on_pubrec(id(1), false), Answer::Wrong);
        assert_eq!(window.on_pubcomp(id(1)), Answer::Wrong);
        assert_eq!(window.on_puback(id(2)), Answer::Wrong);
        assert_eq!(window.on_pubrec(id(2), false), Answer::Received(1));
        assert_eq!(window.on_pubcomp(id(2)), Answer::Wrong);
        assert_eq!(window.used(), 2);
    }

    #[test]
    fn a_refused_exactly_once_message_is_finished() {
        let mut window = Inflight::new(0, 10);
        window.send(0, Stage::Unreceived, 5);
        assert_eq!(window.on_pubrec(id(1), true), Answer::Finished(0, 5));
    }

    #[test]
    fn one_message_that_is_never_acknowledged_holds_the_window_before_identifiers_repeat() {
        let mut window = Inflight::new(0, 65_535);
        window.send(0, Stage::Published, 5);
        let mut seq = 1;
        while window.has_room() {
            window.send(seq, Stage::Published, 5);
            assert_eq!(window.on_puback(packet_id(seq)), Answer::Finished(seq, 5));
            seq += 1;
        }
        assert_eq!(seq, 65_534);
        assert_eq!(window.on_puback(id(1)), Answer::Finished(0, 5));
        assert!(window.has_room());
    }

    #[test]
    fn bytes_under_way_are_bounded_too() {
        let mut window = Inflight::new(0, 65_535);
        for seq in 0.. {
            if !window.has_room() {
                break;
            }
            window.send(seq, Stage::Published, 100_000);
        }
        assert_eq!((window.used(), window.bytes()), (11, 1_100_000));
        window.on_puback(packet_id(0));
        assert!(window.has_room());
    }

    #[test]
    fn numbers_left_out_count_as_finished() {
        let mut window = Inflight::new(0, 10);
        window.send(2, Stage::Published, 5);
        window.send(5, Stage::Published, 5);
        assert_eq!(window.on_puback(packet_id(2)), Answer::Finished(2, 5));
        assert_eq!((window.first(), window.used(), window.bytes()), (5, 1, 5));
    }

    #[test]
    fn a_message_far_behind_one_that_is_never_acknowledged_is_out_of_reach() {
        let mut window = Inflight::new(0, 10);
        assert!(window.reaches(1_000_000_000));
        window.send(5, Stage::Published, 1);
        assert_eq!([65_538, 65_539].map(|seq| window.reaches(seq)), [true, false]);
        window.send(65_538, Stage::Published, 1);
        assert_eq!(window.on_puback(packet_id(5)), Answer::Finished(5, 1));
        assert!(window.reaches(65_539 + 60_000));
    }
}
