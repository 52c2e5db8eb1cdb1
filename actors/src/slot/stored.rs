//! A message as a row of the family `queue`: how it is to be delivered, and the message itself.

use convoy_storage::engine::Error;
use convoy_storage::envelope;

use crate::session::Delivery;

const KIND: u8 = b'Q';
const VERSION: u8 = 1;

/// Of a row whose message is another row's: see [`super::body`].
const VERSION_OF_REFERENCE: u8 = 2;

/// The row that holds a message for many queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    pub number: u64,
    /// Of the message.
    pub bytes: u32,
}

/// A queued message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Bytes of all messages that ever came into this queue, this one included.
    pub came: u64,
    pub delivery: Delivery,
    /// As [`crate::message::Message::decode`] reads it; empty if it is in the row of `body`.
    pub message: &'a [u8],
    pub body: Option<Body>,
}

/// Writes the value of a row over `into`.
pub fn seal(stored: &Stored<'_>, into: &mut Vec<u8>) {
    into.clear();
    let version = if stored.body.is_some() { VERSION_OF_REFERENCE } else { VERSION };
    envelope::seal(KIND, version, into, |into| {
        into.extend_from_slice(&stored.came.to_le_bytes());
        stored.delivery.push(into);
        match stored.body {
            Some(body) => {
                into.extend_from_slice(&body.number.to_le_bytes());
                into.extend_from_slice(&body.bytes.to_le_bytes());
            }
            None => into.extend_from_slice(stored.message),
        }
    });
}

/// Reads the value of a row; a damaged one is refused by the name of its key.
pub fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<Stored<'a>, Error> {
    let (version, row) = envelope::open(KIND, value).map_err(|error| torn(key, error))?;
    let parts = row.split_first_chunk::<8>().and_then(|(came, rest)| {
        let (delivery, rest) = Delivery::read(rest)?;
        let came = u64::from_le_bytes(*came);
        if version < VERSION_OF_REFERENCE {
            return Some(Stored { came, delivery, message: rest, body: None });
        }
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let bytes = u32::from_le_bytes(rest.try_into().ok()?);
        let body = Some(Body { number: u64::from_le_bytes(*number), bytes });
        Some(Stored { came, delivery, message: &[], body })
    });
    parts.ok_or_else(|| torn(key, envelope::Error::Short { present: row.len() }))
}

/// A row that cannot be read.
pub fn damaged(key: &[u8], reason: &str) -> Error {
    Error::Damaged { place: format!("row {}", key.escape_ascii()), reason: reason.to_string() }
}

/// An envelope that could not be opened, as a damaged row.
fn torn(key: &[u8], error: envelope::Error) -> Error {
    damaged(key, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use convoy_wire::QoS;

    #[test]
    fn a_damaged_row_is_named_and_not_served() {
        let delivery = Delivery::new(QoS::ExactlyOnce, true, 4);
        let whole = Stored { came: 99, delivery, message: b"message", body: None };
        let reference = Stored { message: &[], body: Some(Body { number: 7, bytes: 8 }), ..whole };
        for stored in [whole, reference] {
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
}
