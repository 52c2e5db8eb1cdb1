//! Variable Byte Integers [1.5.5]: seven bits a byte, least significant first, four bytes at most.
//!
//! A fifth byte is refused as soon as the fourth announces it (CVE-2021-41039 let a Client spend a Server's time with
//! more), and so is a value that is spelled with more bytes than it needs [MQTT-1.5.5-1].

use alloc::vec::Vec;

use crate::{EncodeError, Error};

pub(crate) const MAX: u32 = 268_435_455;

const TOO_LONG: Error = Error::malformed("[1.5.5] a Variable Byte Integer has at most four bytes");
const NOT_MINIMAL: Error =
    Error::malformed("[MQTT-1.5.5-1] a Variable Byte Integer uses the fewest bytes that hold its value");

/// The value at the start of `bytes` and how many bytes it takes; `None` if more bytes are needed to tell.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(u32, usize)>, Error> {
    match bytes.first() {
        Some(&byte) if byte < 0x80 => Ok(Some((u32::from(byte), 1))),
        _ => read_long(bytes),
    }
}

fn read_long(bytes: &[u8]) -> Result<Option<(u32, usize)>, Error> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return if byte == 0 && at > 0 { Err(NOT_MINIMAL) } else { Ok(Some((value, at + 1))) };
        }
    }
    if bytes.len() >= 4 { Err(TOO_LONG) } else { Ok(None) }
}

/// How many bytes `value` takes, which must not exceed [`MAX`].
#[inline]
pub(crate) const fn size(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// The bytes of `value`, of which the first `size` count.
#[inline]
pub(crate) fn bytes(value: usize) -> Result<([u8; 4], usize), EncodeError> {
    if value > MAX as usize {
        return Err(EncodeError::TooLong);
    }
    let size = size(value);
    let mut bytes = [0; 4];
    let mut rest = value;
    for byte in &mut bytes[..size] {
        *byte = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
    }
    bytes[size - 1] &= 0x7f;
    Ok((bytes, size))
}

#[inline]
pub(crate) fn put(value: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if value < 0x80 {
        out.push(value as u8);
        return Ok(());
    }
    let (bytes, size) = bytes(value)?;
    out.extend_from_slice(&bytes[..size]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_change_where_the_specification_says() {
        let edges = [
            (0, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            (2_097_151, 3),
            (2_097_152, 4),
            (268_435_455, 4),
        ];
        for (value, expected) in edges {
            let mut out = Vec::new();
            put(value, &mut out).unwrap();
            assert_eq!(out.len(), expected, "{value}");
            assert_eq!(size(value), expected, "{value}");
            assert_eq!(read(&out), Ok(Some((value as u32, expected))));
        }
        assert_eq!(put(268_435_456, &mut Vec::new()), Err(EncodeError::TooLong));
    }

    #[test]
    fn a_fifth_byte_is_refused_when_the_fourth_announces_it() {
        assert_eq!(read(&[0xff, 0xff, 0xff]), Ok(None));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff]), Err(TOO_LONG));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x01]), Err(TOO_LONG));
    }

    #[test]
    fn a_value_spelled_too_long_is_refused() {
        assert_eq!(read(&[0x80, 0x00]), Err(NOT_MINIMAL));
        assert_eq!(read(&[0xff, 0x80, 0x00]), Err(NOT_MINIMAL));
        assert_eq!(read(&[0x00]), Ok(Some((0, 1))));
    }
}
