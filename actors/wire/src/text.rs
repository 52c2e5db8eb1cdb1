//! UTF-8 Encoded Strings [1.5.4] and Binary Data [1.5.6]: two bytes of length, then the bytes.
//!
//! U+0000 and ill-formed UTF-8, surrogates included, are refused everywhere. Of control characters and non-characters
//! the specification says SHOULD NOT to the sender and MAY to the receiver: names (of topics, Clients and users) are
//! refused with them, for they end up in logs, keys and rules; what applications say to each other is let through.

use alloc::vec::Vec;

use crate::{EncodeError, Error};

const ILL_FORMED: Error = Error::malformed("[MQTT-1.5.4-1] a text is well-formed UTF-8 without surrogates");
pub(crate) const NUL: Error = Error::malformed("[MQTT-1.5.4-2] a text does not contain U+0000");

pub(crate) const CONTROL: Error =
    Error::malformed("[1.5.4] a name contains no control characters and no non-characters");

/// The length field has 16 bits.
pub(crate) const BYTES_MAX: usize = u16::MAX as usize;

#[inline]
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<&str, Error> {
    let text = well_formed(bytes)?;
    // Without an early exit the loop runs over many bytes at a time.
    let mut has_nul = false;
    for &byte in bytes {
        has_nul |= byte == 0;
    }
    if has_nul { Err(NUL) } else { Ok(text) }
}

/// Without a look for U+0000, for callers that look for more than that in one pass.
#[inline]
pub(crate) fn well_formed(bytes: &[u8]) -> Result<&str, Error> {
    core::str::from_utf8(bytes).map_err(|_| ILL_FORMED)
}

/// Refuses control characters and non-characters in a name. It does not look for U+0000.
#[inline]
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let found = scan(name, [DELETE; 2]);
    if found.is_refused || (found.is_wide && has_wide_control(name)) { Err(CONTROL) } else { Ok(()) }
}

const DELETE: u8 = 0x7f;

/// What [`scan`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// A control character of one byte (U+0000 to U+001F, U+007F), or one of those that are refused as well.
    pub(crate) is_refused: bool,
    /// Characters of more than one byte.
    pub(crate) is_wide: bool,
}

/// Looks through a name eight bytes at a time: most names are too short for the wide instructions of the machine, and
/// every message has one. `refused`: what is refused beside control characters, of ASCII.
#[inline]
pub(crate) fn scan(name: &str, refused: [u8; 2]) -> Scan {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let (mut found, mut wide) = (0, 0);
    let mut look = |eight: [u8; 8]| {
        let eight = u64::from_ne_bytes(eight);
        // A byte less than the number leaves a borrow in its highest bit ("Bit Twiddling Hacks", S. E. Anderson).
        let less_than = |bytes: u64, number: u8| bytes.wrapping_sub(EACH * u64::from(number)) & !bytes;
        let equal_to = |byte: u8| less_than(eight ^ (EACH * u64::from(byte)), 1);
        found |= less_than(eight, 0x20) | equal_to(DELETE) | equal_to(refused[0]) | equal_to(refused[1]);
        wide |= eight;
    };
    let bytes = name.as_bytes();
    let mut rest = bytes;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        look(*eight);
        rest = behind;
    }
    match bytes.last_chunk() {
        _ if rest.is_empty() => {}
        // Some are looked at twice.
        Some(eight) => look(*eight),
        None => {
            let mut eight = [b' '; 8];
            eight.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            look(eight);
        }
    }
    Scan { is_refused: found & HIGH != 0, is_wide: wide & HIGH != 0 }
}

/// Of several bytes: U+0080 to U+009F, and what Unicode will never assign.
#[cold]
pub(crate) fn has_wide_control(name: &str) -> bool {
    name.chars().any(|char| {
        matches!(char, '\u{80}'..='\u{9f}' | '\u{fdd0}'..='\u{fdef}') || char as u32 & 0xfffe == 0xfffe
    })
}

#[inline]
pub(crate) fn put(text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_binary(text.as_bytes(), out)
}

#[inline]
pub(crate) fn put_binary(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = u16::try_from(bytes.len()).map_err(|_| EncodeError::TooLong)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn a_name_is_looked_through_wherever_in_it_something_is() {
        for length in 0..40 {
            for at in 0..=length {
                for byte in 0..0x80u8 {
                    let mut name = alloc::string::String::from("\u{e9}").repeat(at % 2);
                    name.extend((0..length).map(|_| 'x'));
                    name.insert(at / 2 * 2, char::from(byte));
                    let is_refused = byte < 0x20 || matches!(byte, 0x7f | b'#' | b'+');
                    let expected = Scan { is_refused, is_wide: at % 2 == 1 };
                    assert_eq!(scan(&name, [b'#', b'+']), expected, "{name:?}");
                }
            }
        }
    }

    #[test]
    fn surrogates_and_overlong_forms_are_ill_formed() {
        // U+D800 as CESU would write it, "/" in two bytes, a lone continuation byte, beyond U+10FFFF
        for bytes in [&[0xed, 0xa0, 0x80][..], &[0xc0, 0xaf], &[0x80], &[0xf4, 0x90, 0x80, 0x80]] {
            assert_eq!(from_bytes(bytes), Err(ILL_FORMED));
        }
    }

    #[test]
    fn nul_is_refused_wherever_it_stands() {
        assert_eq!(from_bytes(b"\0"), Err(NUL));
        assert_eq!(from_bytes(b"a long enough text to be scanned in words\0"), Err(NUL));
    }

    #[test]
    fn names_have_no_control_characters_and_no_non_characters() {
        for name in
            ["a\u{1}", "\u{1f}a", "a\u{7f}", "a\u{80}", "\u{9f}", "a\u{fdd0}", "\u{ffff}", "\u{1fffe}"]
        {
            assert_eq!(check_name(name), Err(CONTROL), "{name:?}");
            assert!(from_bytes(name.as_bytes()).is_ok(), "{name:?}");
        }
        for name in ["a b~", "\u{a0}", "\u{2a6d4}", "\u{feff}", "\u{fdcf}\u{fdf0}", "\u{fffd}"] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_stays_where_it_is() {
        // [MQTT-1.5.4-3]: U+FEFF is a zero width no-break space wherever it appears.
        assert_eq!(from_bytes(&[0xef, 0xbb, 0xbf, b'a']), Ok("\u{feff}a"));
    }

    #[test]
    fn a_text_longer_than_its_length_field_is_not_written() {
        let mut out = vec![7];
        assert_eq!(put_binary(&vec![b'x'; 65_536], &mut out), Err(EncodeError::TooLong));
        assert_eq!(out, [7]);
        put_binary(&vec![b'x'; 65_535], &mut out).unwrap();
        assert_eq!(out.len(), 1 + 2 + 65_535);
    }
}
