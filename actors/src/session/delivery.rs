//! How one message reaches one Session.

use convoy_storage::record::{BorrowDecode, Encode, de, enc, error};
use convoy_wire::{QoS, SubscriptionId};

use super::SessionNumber;

/// One receiver of a message that goes to Sessions of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub session: SessionNumber,
    pub delivery: Delivery,
}

/// How one message is to be delivered to one Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The lower of the message's and the Subscription's.
    pub qos: QoS,
    /// The RETAIN flag on delivery (MQTT 5.0, 3.3.1.3).
    pub retain: bool,
    identifiers: [u32; Self::IDENTIFIERS],
    /// The Shared Subscription it came by; zero for none.
    group: u64,
}

impl Target {
    /// Bytes of one without Subscription Identifiers.
    pub const LEAST: usize = 9;
    /// Bytes of one by a Shared Subscription, with as many of them as there can be.
    pub const MOST: usize = Self::LEAST + 8 + 4 * Delivery::IDENTIFIERS;

    /// Bytes that [`Target::push`] appends.
    pub fn len_bytes(&self) -> usize {
        let group = if self.delivery.group != 0 { 8 } else { 0 };
        Self::LEAST + group + 4 * self.delivery.identifiers().len()
    }

    pub fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.session.0.to_le_bytes());
        self.delivery.push(out);
    }

    /// Targets one behind the other, up to the first bytes that are not one.
    pub fn all(mut bytes: &[u8]) -> impl Iterator<Item = Target> + '_ {
        std::iter::from_fn(move || {
            let (session, rest) = bytes.split_first_chunk::<8>()?;
            let (delivery, rest) = Delivery::read(rest)?;
            bytes = rest;
            Some(Target { session: SessionNumber(u64::from_le_bytes(*session)), delivery })
        })
    }
}

impl Delivery {
    /// Subscription Identifiers that fit one delivery. A Session with more overlapping Subscriptions gets a further
    /// copy, as MQTT 5.0, 3.3.4 allows.
    pub const IDENTIFIERS: usize = 4;

    const RETAIN: u8 = 1 << 2;
    const SHARED: u8 = 1 << 7;

    pub const fn new(qos: QoS, retain: bool, identifier: u32) -> Self {
        let mut identifiers = [0; Self::IDENTIFIERS];
        identifiers[0] = identifier;
        Self { qos, retain, identifiers, group: 0 }
    }

    /// The same by a Shared Subscription; zero for none.
    pub fn by_share(self, group: u64) -> Self {
        Self { group, ..self }
    }

    /// The Shared Subscription that it came by (see `topic::group_of`).
    pub fn group(&self) -> Option<u64> {
        (self.group != 0).then_some(self.group)
    }

    /// Subscription Identifiers of the matching Subscriptions.
    pub fn identifiers(&self) -> &[u32] {
        let used = self.identifiers.iter().position(|&identifier| identifier == 0);
        &self.identifiers[..used.unwrap_or(Self::IDENTIFIERS)]
    }

    /// Takes another matching Subscription of the same Session in: the higher QoS [MQTT-3.3.4-2] and all the
    /// identifiers [MQTT-3.3.4-4]. False, and nothing taken, if they do not fit.
    pub fn merge(&mut self, other: &Delivery) -> bool {
        let (mine, theirs) = (self.identifiers().len(), other.identifiers());
        if mine + theirs.len() > Self::IDENTIFIERS {
            return false;
        }
        self.identifiers[mine..mine + theirs.len()].copy_from_slice(theirs);
        self.qos = self.qos.max(other.qos);
        self.retain |= other.retain;
        true
    }

    pub fn push(&self, out: &mut Vec<u8>) {
        let identifiers = self.identifiers();
        let retain = if self.retain { Self::RETAIN } else { 0 };
        let shared = if self.group != 0 { Self::SHARED } else { 0 };
        out.push(self.qos as u8 | retain | shared | (identifiers.len() as u8) << 3);
        if self.group != 0 {
            out.extend_from_slice(&self.group.to_le_bytes());
        }
        for identifier in identifiers {
            out.extend_from_slice(&identifier.to_le_bytes());
        }
    }

    /// Reads what [`Delivery::push`] wrote; also returns what follows.
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&flags, mut rest) = bytes.split_first()?;
        let mut group = 0;
        if flags & Self::SHARED != 0 {
            let (word, behind) = rest.split_first_chunk::<8>()?;
            group = u64::from_le_bytes(*word);
            rest = behind;
        }
        let mut identifiers = [0; Self::IDENTIFIERS];
        for identifier in identifiers.get_mut(..usize::from((flags & !Self::SHARED) >> 3))? {
            let (word, behind) = rest.split_first_chunk::<4>()?;
            *identifier = u32::from_le_bytes(*word);
            rest = behind;
        }
        let retain = flags & Self::RETAIN != 0;
        Some((Self { qos: QoS::from_u8(flags & 3)?, retain, identifiers, group }, rest))
    }
}

/// Short, as it stands in letters. It has the flags of [`Delivery::push`].
impl Encode for Delivery {
    fn encode<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        let identifiers = self.identifiers();
        let retain = if self.retain { Self::RETAIN } else { 0 };
        let shared = if self.group != 0 { Self::SHARED } else { 0 };
        (self.qos as u8 | retain | shared | (identifiers.len() as u8) << 3).encode(encoder)?;
        if self.group != 0 {
            self.group.encode(encoder)?;
        }
        identifiers.iter().try_for_each(|identifier| identifier.encode(encoder))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Delivery {
    fn borrow_decode<D: de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, error::DecodeError> {
        let impossible = |what| Err(error::DecodeError::Other(what));
        let flags = u8::borrow_decode(decoder)?;
        let Some(qos) = QoS::from_u8(flags & 3) else { return impossible("a QoS") };
        let mut delivery = Self::new(qos, flags & Self::RETAIN != 0, 0);
        if flags & Self::SHARED != 0 {
            delivery.group = u64::borrow_decode(decoder)?;
            if delivery.group == 0 {
                return impossible("a Shared Subscription");
            }
        }
        let used = usize::from((flags & !Self::SHARED) >> 3);
        let Some(identifiers) = delivery.identifiers.get_mut(..used) else {
            return impossible("a number of Subscription Identifiers");
        };
        for identifier in identifiers {
            *identifier = u32::borrow_decode(decoder)?;
            if SubscriptionId::new(*identifier).is_none() {
                return impossible("a Subscription Identifier");
            }
        }
        Ok(delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_were_written() {
        let mut both = Delivery::new(QoS::AtLeastOnce, false, 7);
        assert!(both.merge(&Delivery::new(QoS::ExactlyOnce, true, 9)));
        let targets = [
            Target { session: SessionNumber(1), delivery: Delivery::new(QoS::AtMostOnce, false, 0) },
            Target { session: SessionNumber(u64::MAX), delivery: both },
            Target { session: SessionNumber(2), delivery: both.by_share(u64::MAX) },
        ];
        let mut bytes = Vec::new();
        targets.iter().for_each(|target| target.push(&mut bytes));
        assert_eq!(Target::all(&bytes).collect::<Vec<_>>(), targets);
        assert_eq!(both.identifiers(), [7, 9]);
    }

    #[test]
    fn identifiers_that_do_not_fit_are_left_for_another_copy() {
        let mut full = Delivery::new(QoS::AtMostOnce, false, 1);
        for identifier in 2..=4 {
            assert!(full.merge(&Delivery::new(QoS::AtMostOnce, false, identifier)));
        }
        assert!(!full.merge(&Delivery::new(QoS::AtMostOnce, false, 5)));
        assert!(full.merge(&Delivery::new(QoS::ExactlyOnce, false, 0)));
        assert_eq!((full.identifiers(), full.qos), (&[1, 2, 3, 4][..], QoS::ExactlyOnce));
    }
}
