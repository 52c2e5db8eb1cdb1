//! UTF-8 Encoded Strings [1.5.4] and Binary Data [1.5.6]: two bytes of length, then the bytes.
//!
//! Control characters and non-characters are let through: the specification says SHOULD NOT to the sender and MAY to
//! the receiver, and fleets have them in their texts. U+0000 and ill-formed UTF-8, surrogates included, are refused.

use alloc::vec::Vec;

use crate::{EncodeError, Error};

const ILL_FORMED: Error = Error::malformed("[MQTT-1.5.4-1] a text is well-formed UTF-8 without surrogates");
pub(crate) const NUL: Error = Error::malformed("[MQTT-1.5.4-2] a text does not contain U+0000");

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
