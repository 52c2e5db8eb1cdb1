//! A message as a row of the family `queue`: how it is to be delivered, and the message itself.

use convoy_storage::engine::Error;
use convoy_storage::envelope;

use super::active::torn;
use super::op::Delivery;

const KIND: u8 = b'Q';
const VERSION: u8 = 1;

/// A queued message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Bytes of all messages that ever came into this queue, this one included.
    pub came: u64,
    pub delivery: Delivery,
    /// As [`crate::message::Message::decode`] reads it.
    pub message: &'a [u8],
}

/// Writes the value of a row over `into`.
pub fn seal(stored: &Stored<'_>, into: &mut Vec<u8>) {
    into.clear();
    envelope::seal(KIND, VERSION, into, |body| {
        body.extend_from_slice(&stored.came.to_le_bytes());
        stored.delivery.push(body);
        body.extend_from_slice(stored.message);
    });
}

/// Reads the value of a row; a damaged one is refused by the name of its key.
pub fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<Stored<'a>, Error> {
    let (_, body) = envelope::open(KIND, value).map_err(|error| torn(key, error))?;
    let parts = body.split_first_chunk::<8>().and_then(|(came, rest)| {
        let (delivery, message) = Delivery::read(rest)?;
        Some(Stored { came: u64::from_le_bytes(*came), delivery, message })
    });
    parts.ok_or_else(|| torn(key, envelope::Error::Short { present: body.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use convoy_wire::QoS;

    #[test]
    fn a_damaged_row_is_named_and_not_served() {
        let stored =
            Stored { came: 99, delivery: Delivery::new(QoS::ExactlyOnce, true, 4), message: b"message" };
        let mut value = Vec::new();
        seal(&stored, &mut value);
        assert_eq!(open(b"key", &value).unwrap(), stored);
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 0x10;
            match open(b"key", &damaged) {
                Err(Error::Damaged { place, .. }) => assert_eq!(place, "row key"),
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }
}
