//! How the fields of a record become bytes, and back. The one module that knows `bincode`.
//!
//! The form is `bincode::config::standard()` of bincode 2: little-endian, small integers short. It names neither
//! fields nor versions: an [`envelope`](crate::envelope) around it does. Records are read from disks and from nodes of
//! our fleet, never from Clients.
//!
//! A type of another crate takes its derives from here and says so, because the derives name their crate:
//!
//! ```
//! use convoy_storage::record::{self, BorrowDecode, Encode};
//!
//! #[derive(Debug, PartialEq, Encode, BorrowDecode)]
//! #[bincode(crate = "convoy_storage::record")]
//! struct Publication<'a> {
//!     topic: &'a str,
//!     qos: u8,
//!     payload: &'a [u8],
//! }
//!
//! let publication = Publication { topic: "doors/open", qos: 1, payload: b"left" };
//! let mut bytes = Vec::new();
//! record::encode_into(&publication, &mut bytes);
//! assert_eq!(record::decode::<Publication>(&bytes).unwrap(), publication);
//! ```
//!
//! A borrowed `&str` or `&[u8]` points into the bytes that were decoded and allocates nothing. A type without borrowed
//! fields derives `Encode` and `Decode`, and it is `BorrowDecode` by that.

pub use bincode::{BorrowDecode, Decode, Encode};
// What the derives refer to.
#[doc(hidden)]
pub use bincode::{de, enc, error};

use bincode::config;

/// A record longer than this is refused, and no length within a record can make more than this be allocated.
pub const BYTES_LIMIT: usize = 256 << 20;

/// Records up to this length may allocate [`SMALL_ALLOCATION_LIMIT`] only: a damaged length in a small record stays
/// harmless. 64 times the length is more than any type of ours unfolds to.
const SMALL_BYTES: usize = 64 << 10;
const SMALL_ALLOCATION_LIMIT: usize = 64 * SMALL_BYTES;

/// In which way the bytes are not a record of that type. Nothing was decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("record ends before its last field")]
    Short,
    #[error("record is followed by {excess} bytes that belong to no field")]
    Trailing { excess: usize },
    /// The record is longer than [`BYTES_LIMIT`], or a length within it makes it so.
    #[error("record is larger than allowed")]
    Limit,
    /// A field has a value that its type does not have.
    #[error("record has an impossible value: {0}")]
    Value(String),
}

/// Appends the record to `into`.
///
/// # Panics
///
/// If the type holds something that cannot always be encoded, such as a `RefCell`: no record should.
pub fn encode_into<T: Encode>(record: &T, into: &mut Vec<u8>) {
    bincode::encode_into_writer(record, Append(into), config::standard())
        .expect("a record holds fields that can always be encoded");
}

/// The record that `bytes` are: all of them, nothing left over.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, Error> {
    let decoded = if bytes.len() <= SMALL_BYTES {
        bincode::borrow_decode_from_slice(bytes, config::standard().with_limit::<SMALL_ALLOCATION_LIMIT>())
    } else if bytes.len() <= BYTES_LIMIT {
        bincode::borrow_decode_from_slice(bytes, config::standard().with_limit::<BYTES_LIMIT>())
    } else {
        return Err(Error::Limit);
    };
    match decoded {
        Ok((record, length)) if length == bytes.len() => Ok(record),
        Ok((_, length)) => Err(Error::Trailing { excess: bytes.len() - length }),
        Err(error::DecodeError::UnexpectedEnd { .. }) => Err(Error::Short),
        Err(error::DecodeError::LimitExceeded) => Err(Error::Limit),
        Err(other) => Err(Error::Value(other.to_string())),
    }
}

struct Append<'a>(&'a mut Vec<u8>);

impl enc::write::Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), error::EncodeError> {
        // Most fields are a byte, for which a copy is called that costs more than the byte.
        match bytes {
            [byte] => self.0.push(*byte),
            bytes => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Encode, BorrowDecode)]
    #[bincode(crate = "crate::record")]
    enum Event<'a> {
        Subscribed { filter: &'a str, qos: u8 },
        Published(&'a [u8], u64),
        Expired,
    }

    #[derive(Clone, Debug, PartialEq, Encode, Decode)]
    #[bincode(crate = "crate::record")]
    struct Owned {
        name: String,
        numbers: Vec<u64>,
        next: Option<i32>,
    }

    fn encoded(record: &impl Encode) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_into(record, &mut bytes);
        bytes
    }

    /// Records as the first release writes them. They must be readable for ever.
    #[test]
    fn the_form_is_frozen() {
        assert_eq!(encoded(&Event::Subscribed { filter: "a/#", qos: 2 }), b"\0\x03a/#\x02");
        assert_eq!(encoded(&Event::Published(b"on", 1000)), b"\x01\x02on\xfb\xe8\x03");
        assert_eq!(encoded(&Event::Expired), b"\x02");
        let owned = Owned { name: "n".into(), numbers: vec![1, 70_000], next: Some(-1) };
        assert_eq!(encoded(&owned), b"\x01n\x02\x01\xfc\x70\x11\x01\0\x01\x01");
    }

    #[test]
    fn borrowed_fields_point_into_the_bytes() {
        let bytes = encoded(&Event::Published(b"payload", 7));
        let Event::Published(payload, 7) = decode(&bytes).unwrap() else { panic!("another event") };
        assert!(bytes.as_ptr_range().contains(&payload.as_ptr()));
    }

    #[test]
    fn encoding_appends() {
        let mut bytes = b"before".to_vec();
        encode_into(&Event::Expired, &mut bytes);
        assert_eq!(bytes, b"before\x02");
    }

    #[test]
    fn a_record_must_be_whole_and_alone() {
        let mut bytes = encoded(&Event::Subscribed { filter: "a/#", qos: 2 });
        for end in 0..bytes.len() {
            assert_eq!(decode::<Event<'_>>(&bytes[..end]), Err(Error::Short));
        }
        bytes.push(0);
        assert_eq!(decode::<Event<'_>>(&bytes), Err(Error::Trailing { excess: 1 }));
    }

    #[test]
    fn impossible_values_are_named() {
        assert!(matches!(decode::<Event<'_>>(b"\x09"), Err(Error::Value(_))));
        assert!(matches!(decode::<Event<'_>>(b"\0\x02\xff\xff\x01"), Err(Error::Value(_))));
        assert!(matches!(decode::<bool>(b"\x02"), Err(Error::Value(_))));
    }

    #[test]
    fn a_damaged_length_allocates_nothing() {
        let huge = b"\xfd\xff\xff\xff\xff\xff\xff\xff\x7f";
        assert_eq!(decode::<Vec<u64>>(huge), Err(Error::Limit));
        assert_eq!(decode::<Vec<u8>>(&encoded(&(SMALL_ALLOCATION_LIMIT as u64 + 1))), Err(Error::Limit));
        assert!(matches!(decode::<&[u8]>(huge), Err(Error::Limit | Error::Short)));
        assert!(matches!(decode::<&str>(huge), Err(Error::Limit | Error::Short)));
    }

    #[test]
    fn long_records_are_decoded() {
        let long = vec![300_u64; 200_000];
        assert_eq!(decode::<Vec<u64>>(&encoded(&long)), Ok(long));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(name: String, numbers: Vec<u64>, next: Option<i32>) {
            let owned = Owned { name, numbers, next };
            prop_assert_eq!(decode::<Owned>(&encoded(&owned)), Ok(owned.clone()));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode::<Owned>(&bytes);
            let _ = decode::<Event<'_>>(&bytes);
        }
    }
}
