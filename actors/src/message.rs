//! An Application Message as records, queues and the Retained store keep it: everything a later delivery needs, in one
//! run of bytes whose payload is never encoded again.

use convoy_wire::QoS;

use crate::budget::User;
use crate::clock::Millis;
use crate::session::SessionNumber;

/// An Application Message outside of any packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    pub topic: &'a str,
    /// What travels with the message (MQTT 5.0, 3.3.2.3), as [`convoy_wire::Forwardable`] holds it.
    pub properties: &'a [u8],
    pub payload: &'a [u8],
    pub qos: QoS,
    /// The RETAIN flag of the PUBLISH.
    pub retain: bool,
    pub published_at: Millis,
    /// When the Message Expiry Interval ends.
    pub expires_at: Option<Millis>,
    /// Who published it, for No Local [MQTT-3.8.3-3]; zero if no Session did.
    pub publisher: SessionNumber,
    /// Whose Retained Message it will be; of others nobody asks.
    pub user: User,
    /// Who publishes it, as [`crate::author::Author::to_bytes`] writes it: a Retained Message that is read is judged by the
    /// rules of then. Empty for what no Client has published. Of others nobody asks.
    pub author: &'a [u8],
}

/// The bytes are not a message that [`Message::encode_into`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an encoded message: {0}")]
pub struct Error(&'static str);

impl Error {
    /// Of bytes that are one, and say what no message says.
    pub const fn new(why: &'static str) -> Self {
        Self(why)
    }
}

const HEAD: usize = 1 + 8 + 8 + 8 + 2 + 4;
const RETAIN: u8 = 0b100;
/// The user follows the head.
const USER: u8 = 0b1000;
/// Then the author does, behind the length of it.
const AUTHOR: u8 = 0b1_0000;
const QOS: u8 = 0b011;

impl<'a> Message<'a> {
    /// Appends the message; [`Message::decode`] reads it back.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        let has_user = if self.has_user() { USER } else { 0 };
        let has_author = if self.has_author() { AUTHOR } else { 0 };
        out.push(self.qos as u8 | if self.retain { RETAIN } else { 0 } | has_user | has_author);
        out.extend_from_slice(&self.published_at.to_le_bytes());
        out.extend_from_slice(&self.expires_at.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&self.publisher.0.to_le_bytes());
        out.extend_from_slice(&(self.topic.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.properties.len() as u32).to_le_bytes());
        if self.has_user() {
            out.extend_from_slice(&self.user.0.to_le_bytes());
        }
        if self.has_author() {
            out.extend_from_slice(&(self.author.len() as u32).to_le_bytes());
            out.extend_from_slice(self.author);
        }
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(self.properties);
        out.extend_from_slice(self.payload);
    }

    pub fn encoded_len(&self) -> usize {
        let user = if self.has_user() { size_of::<User>() } else { 0 };
        let author = if self.has_author() { size_of::<u32>() + self.author.len() } else { 0 };
        HEAD + user + author + self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// Bytes of what every receiver gets, but that one of 3.x gets no properties.
    #[inline]
    pub fn body_len(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// Whether these are the bytes that it was decoded from.
    pub fn lies_in(&self, bytes: &[u8]) -> bool {
        let body = self.topic.as_ptr();
        let ends = body.wrapping_add(self.topic.len() + self.properties.len()) == self.payload.as_ptr();
        let rest = (bytes.as_ptr() as usize + bytes.len()).checked_sub(body as usize);
        ends && rest == Some(self.body_len()) && bytes.len() == self.encoded_len()
    }

    /// Most messages are kept for nobody's account.
    fn has_user(&self) -> bool {
        self.retain && self.user != User::NOBODY
    }

    fn has_author(&self) -> bool {
        self.is_kept() && !self.author.is_empty()
    }

    /// Whether it is kept for its topic [MQTT-3.3.1-5], and does not delete what is.
    pub fn is_kept(&self) -> bool {
        self.retain && !self.payload.is_empty()
    }

    /// Borrows a message from the bytes of [`Message::encode_into`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let (head, rest) = bytes.split_at_checked(HEAD).ok_or(Error("too short"))?;
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let topic_len = u16::from_le_bytes([head[25], head[26]]) as usize;
        let properties_len = u32::from_le_bytes([head[27], head[28], head[29], head[30]]) as usize;
        let (user, rest) = match head[0] & USER {
            0 => (User::NOBODY, rest),
            _ => {
                let (user, rest) = rest.split_first_chunk().ok_or(Error("user cut short"))?;
                (User(u64::from_le_bytes(*user)), rest)
            }
        };
        let (author, rest) = match head[0] & AUTHOR {
            0 => (&[][..], rest),
            _ => {
                let (len, rest) = rest.split_first_chunk().ok_or(Error("author cut short"))?;
                rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(Error("author cut short"))?
            }
        };
        let (topic, rest) = rest.split_at_checked(topic_len).ok_or(Error("topic cut short"))?;
        let (properties, payload) =
            rest.split_at_checked(properties_len).ok_or(Error("properties cut short"))?;
        let expires_at = u64_at(9);
        Ok(Self {
            topic: std::str::from_utf8(topic).map_err(|_| Error("topic is not UTF-8"))?,
            properties,
            payload,
            qos: QoS::from_u8(head[0] & QOS).ok_or(Error("QoS 3"))?,
            retain: head[0] & RETAIN != 0,
            published_at: u64_at(1),
            expires_at: (expires_at != 0).then_some(expires_at),
            publisher: SessionNumber(u64_at(17)),
            user,
            author,
        })
    }

    /// Whether its Message Expiry Interval is zero: it is for those whom it can be sent to at once, and waits for nobody
    /// (MQTT 5.0, 3.3.2.3.3).
    pub fn is_momentary(&self) -> bool {
        self.expires_at == Some(self.published_at)
    }

    /// What is left of the Message Expiry Interval at `now`, in whole seconds, at least one: `None` once it has passed
    /// [MQTT-3.3.2-5], `Some(None)` for a message that does not expire.
    pub fn remaining(&self, now: Millis) -> Option<Option<u32>> {
        // The clocks of two shards, or one that was set back, differ: nobody is told more than the publisher said.
        let now = now.max(self.published_at);
        match self.expires_at {
            None => Some(None),
            Some(at) if at <= now => None,
            Some(at) => Some(Some((at - now).div_ceil(1000).min(u64::from(u32::MAX)) as u32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message<'static> {
        Message {
            topic: "fleet/7/doors",
            properties: &[1, 1],
            payload: b"open",
            qos: QoS::AtLeastOnce,
            retain: true,
            published_at: 1_000,
            expires_at: Some(61_500),
            publisher: SessionNumber(9),
            user: User(7),
            author: b"who",
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut bytes = Vec::new();
        message().encode_into(&mut bytes);
        assert_eq!(bytes.len(), message().encoded_len());
        assert_eq!(Message::decode(&bytes), Ok(message()));
        let of_nobody = Message { user: User::NOBODY, ..message() };
        let mut shorter = Vec::new();
        of_nobody.encode_into(&mut shorter);
        assert_eq!(shorter.len() + 8, bytes.len());
        assert_eq!(Message::decode(&shorter), Ok(of_nobody));
    }

    #[test]
    fn what_was_kept_before_it_had_an_author_is_read() {
        // Byte by byte as it was written then.
        let mut bytes = vec![1 | RETAIN | USER];
        bytes.extend_from_slice(&1_000_u64.to_le_bytes());
        bytes.extend_from_slice(&61_500_u64.to_le_bytes());
        bytes.extend_from_slice(&9_u64.to_le_bytes());
        bytes.extend_from_slice(&[13, 0, 2, 0, 0, 0]);
        bytes.extend_from_slice(&7_u64.to_le_bytes());
        bytes.extend_from_slice(b"fleet/7/doors\x01\x01open");
        let old = Message { author: &[], ..message() };
        assert_eq!(Message::decode(&bytes), Ok(old));
        let mut again = Vec::new();
        old.encode_into(&mut again);
        assert_eq!(again, bytes);
    }

    #[test]
    fn only_what_is_kept_names_its_author() {
        for (other, kept) in [
            (message(), true),
            (Message { retain: false, ..message() }, false),
            (Message { payload: b"", ..message() }, false),
        ] {
            let mut bytes = Vec::new();
            other.encode_into(&mut bytes);
            assert_eq!(bytes.len(), other.encoded_len());
            assert_eq!(Message::decode(&bytes).unwrap().author == b"who", kept, "{other:?}");
        }
    }

    #[test]
    fn bytes_cut_short_before_the_payload_are_refused() {
        let mut bytes = Vec::new();
        message().encode_into(&mut bytes);
        for len in 0..bytes.len() - message().payload.len() {
            assert!(Message::decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn the_remaining_interval_is_rounded_up_and_never_zero() {
        assert_eq!(message().remaining(1_000), Some(Some(61)));
        assert_eq!(message().remaining(61_499), Some(Some(1)));
        assert_eq!(message().remaining(61_500), None);
        assert_eq!(Message { expires_at: None, ..message() }.remaining(u64::MAX), Some(None));
    }

    #[test]
    fn a_clock_that_goes_back_adds_nothing_to_what_is_left() {
        // [MQTT-3.3.2-6]
        let message = Message { published_at: 5_000, expires_at: Some(65_000), ..message() };
        assert_eq!([4_000, 4_999, 5_000, 5_001].map(|now| message.remaining(now)), [Some(Some(60)); 4]);
    }
}
