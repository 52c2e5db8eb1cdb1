//! What a payload says of itself.
//!
//! The oracle can only judge what it can name: each payload carries publisher, topic, QoS and sequence, so a delivery is
//! known for what it is whatever path it took, and a payload that does not parse is itself a finding.

use std::fmt;
use std::sync::Arc;

/// A Client Identifier or a Topic Name; shared, because a history repeats them a million times.
pub type Name = Arc<str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Qos {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl Qos {
    pub const ALL: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

    pub fn level(self) -> u8 {
        match self {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
            Qos::ExactlyOnce => 2,
        }
    }

    pub fn from_level(level: u8) -> Option<Qos> {
        Qos::ALL.get(usize::from(level)).copied()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    pub publisher: Name,
    pub topic: Name,
    pub qos: Qos,
    /// Counts up per (publisher, topic, QoS), from 1.
    pub seq: u64,
}

impl Message {
    pub fn new(publisher: &Name, topic: &Name, qos: Qos, seq: u64) -> Self {
        Self { publisher: publisher.clone(), topic: topic.clone(), qos, seq }
    }

    /// The payload, padded with dots to `size` bytes where it is shorter.
    pub fn payload(&self, size: usize) -> Vec<u8> {
        let mut text = format!("{MARK} {} {} {} {} ", self.publisher, self.topic, self.qos.level(), self.seq)
            .into_bytes();
        if text.len() < size {
            text.resize(size, b'.');
        }
        text
    }

    /// `None`: these bytes were not written by [`payload`](Self::payload), or did not survive.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        let mut words = text.split(' ');
        if words.next()? != MARK {
            return None;
        }
        let message = Self {
            publisher: words.next()?.into(),
            topic: words.next()?.into(),
            qos: Qos::from_level(words.next()?.parse().ok()?)?,
            seq: words.next()?.parse().ok()?,
        };
        let padding = words.next()?;
        (words.next().is_none() && padding.bytes().all(|byte| byte == b'.')).then_some(message)
    }
}

const MARK: &str = "cv1";

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} QoS {} from {}", self.topic, self.seq, self.qos.level(), self.publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_names_its_message_again() {
        let message = Message::new(&"van-7".into(), &"fleet/van-7/speed".into(), Qos::ExactlyOnce, 41);
        assert_eq!(Message::parse(&message.payload(0)), Some(message.clone()));
        assert_eq!(message.payload(256).len(), 256);
        assert_eq!(Message::parse(&message.payload(256)), Some(message));
    }

    #[test]
    fn changed_payload_is_not_taken_for_a_message() {
        let message = Message::new(&"van-7".into(), &"fleet/van-7/speed".into(), Qos::AtLeastOnce, 41);
        let mut padding = message.payload(128);
        padding[127] ^= 1;
        assert_eq!(Message::parse(&padding), None);
        let whole = message.payload(0);
        assert_eq!(Message::parse(&whole[..whole.len() - 4]), None, "cut short");
        assert_eq!(Message::parse(b"hello"), None);
    }
}
