//! How a record is marked, on disk and between nodes, so that a damaged, torn or foreign one is never taken for a
//! right one. Little-endian:
//!
//! ```text
//! magic: 2 bytes   kind: u8   version: u8   length of the body: u32   crc32c of the 8 bytes before and the body: u32
//! body
//! ```
//!
//! The kind says what the body is, the version how it is written. Both belong to the owner of the records: a released
//! version never changes, the next one stands beside it.

/// Bytes that the envelope adds to a body.
pub const HEADER: usize = 12;

const MAGIC: [u8; 2] = [0xC0, 0x47];
const CHECKED: usize = 8;

/// In which way the bytes are not the record that was asked for. They say nothing that may be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are fewer bytes than a header has.
    #[error("record of {present} bytes ends within its header")]
    Short { present: usize },
    /// The bytes were never a record of ours, or their first two are damaged.
    #[error("not a record: it begins with {found:02x?}")]
    Foreign { found: [u8; 2] },
    /// The end is missing, or the length is damaged.
    #[error("record is torn: its body has {declared} bytes and {present} are there")]
    Torn { declared: usize, present: usize },
    /// The record is followed by something else, or the length is damaged.
    #[error("record is followed by {excess} bytes that are not its own")]
    Trailing { excess: usize },
    #[error("record is damaged: checksum {computed:08x}, written was {written:08x}")]
    Checksum { computed: u32, written: u32 },
    /// The record is whole, and it is another kind of record.
    #[error("record of kind {found} where kind {expected} belongs")]
    Kind { expected: u8, found: u8 },
}

/// Appends to `into` a record whose body is what `write_body` appends. The body is written in place.
///
/// A body is shorter than 4 GiB; a longer one is a mistake of the caller and panics.
pub fn seal(kind: u8, version: u8, into: &mut Vec<u8>, write_body: impl FnOnce(&mut Vec<u8>)) {
    let start = into.len();
    into.extend_from_slice(&MAGIC);
    into.extend_from_slice(&[kind, version]);
    into.extend_from_slice(&[0; HEADER - 4]);
    write_body(into);

    let (header, body) = into[start..].split_at_mut(HEADER);
    let length = u32::try_from(body.len()).expect("a body is shorter than 4 GiB");
    header[4..CHECKED].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&header[..CHECKED], body);
    header[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
}

/// The version and the body of the record that `bytes` are: the record whole, and nothing else.
pub fn open(kind: u8, bytes: &[u8]) -> Result<(u8, &[u8]), Error> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Error::Short { present: bytes.len() });
    };
    let &[m0, m1, found, version, l0, l1, l2, l3, c0, c1, c2, c3] = header;
    if [m0, m1] != MAGIC {
        return Err(Error::Foreign { found: [m0, m1] });
    }
    let declared = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if declared > body.len() {
        return Err(Error::Torn { declared, present: body.len() });
    }
    if declared < body.len() {
        return Err(Error::Trailing { excess: body.len() - declared });
    }
    let (computed, written) = (checksum(&header[..CHECKED], body), u32::from_le_bytes([c0, c1, c2, c3]));
    if computed != written {
        return Err(Error::Checksum { computed, written });
    }
    if found != kind {
        return Err(Error::Kind { expected: kind, found });
    }
    Ok((version, body))
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: u8 = 3;

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        seal(KIND, 1, &mut bytes, |into| into.extend_from_slice(body));
        bytes
    }

    /// A record as the first release writes it. It must be readable for ever.
    #[test]
    fn the_form_is_frozen() {
        let bytes = sealed(b"body");
        assert_eq!(bytes, b"\xC0\x47\x03\x01\x04\0\0\0\x24\xE6\x2B\xFCbody");
    }

    #[test]
    fn a_record_is_appended_to_what_was_there() {
        let mut bytes = b"before".to_vec();
        seal(KIND, 7, &mut bytes, |into| {
            into.extend_from_slice(b"bo");
            into.extend_from_slice(b"dy");
        });
        assert_eq!(&bytes[..6], b"before");
        assert_eq!(open(KIND, &bytes[6..]), Ok((7, &b"body"[..])));
    }

    #[test]
    fn an_empty_body_is_a_body() {
        assert_eq!(open(KIND, &sealed(b"")), Ok((1, &b""[..])));
    }

    #[test]
    fn bytes_that_end_within_the_header_are_short() {
        let bytes = sealed(b"body");
        for present in 0..HEADER {
            assert_eq!(open(KIND, &bytes[..present]), Err(Error::Short { present }));
        }
    }

    #[test]
    fn a_record_without_its_end_is_torn() {
        let bytes = sealed(b"body");
        assert_eq!(open(KIND, &bytes[..HEADER + 1]), Err(Error::Torn { declared: 4, present: 1 }));
    }

    #[test]
    fn bytes_behind_the_record_are_named() {
        let mut bytes = sealed(b"body");
        bytes.extend_from_slice(b"xyz");
        assert_eq!(open(KIND, &bytes), Err(Error::Trailing { excess: 3 }));
    }

    #[test]
    fn foreign_bytes_are_no_record() {
        assert_eq!(open(KIND, b"GET / HTTP/1.1\r\n"), Err(Error::Foreign { found: *b"GE" }));
    }

    #[test]
    fn a_whole_record_of_another_kind_is_named() {
        assert_eq!(open(9, &sealed(b"body")), Err(Error::Kind { expected: 9, found: KIND }));
    }

    #[test]
    fn a_change_of_the_body_or_the_version_is_a_wrong_checksum() {
        for at in [3, HEADER, HEADER + 3] {
            let mut bytes = sealed(b"body");
            bytes[at] ^= 1;
            assert!(matches!(open(KIND, &bytes), Err(Error::Checksum { .. })));
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened(version: u8, body: Vec<u8>) {
            let mut bytes = Vec::new();
            seal(KIND, version, &mut bytes, |into| into.extend_from_slice(&body));
            prop_assert_eq!(open(KIND, &bytes), Ok((version, &body[..])));
        }

        #[test]
        fn no_flipped_bit_goes_unseen(body: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
            let mut bytes = sealed(&body);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(open(KIND, &bytes).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = open(KIND, &bytes);
        }
    }
}
