//! What stands in a row of a Retained Message: the number under which its slot decided on it, then the message. The
//! number tells a reader whether the message was there before its Subscription, or reached it live.

use convoy_storage::engine::Error;

/// Begins a value with a number. Values that were written before there were numbers begin with the message, whose first
/// byte is below this.
const NUMBERED: u8 = 0x80;

const HEAD: usize = 1 + 8;

/// What goes before the message.
pub(super) fn head(number: u64) -> [u8; HEAD] {
    let mut head = [NUMBERED; HEAD];
    head[1..].copy_from_slice(&number.to_le_bytes());
    head
}

/// The number, zero for a value without one, and the message.
pub(super) fn split(value: &[u8]) -> Result<(u64, &[u8]), Error> {
    match value.first() {
        Some(&NUMBERED) => {
            let Some((head, message)) = value.split_first_chunk::<HEAD>() else {
                let place = "a Retained Message".to_owned();
                return Err(Error::Damaged { place, reason: "its number is cut short".into() });
            };
            let number = u64::from_le_bytes(head[1..].try_into().expect("eight bytes"));
            Ok((number, message))
        }
        _ => Ok((0, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_and_without_a_number_are_told_apart() {
        let value = [&head(u64::MAX)[..], b"\x07message"].concat();
        assert_eq!(split(&value).unwrap(), (u64::MAX, &b"\x07message"[..]));
        assert_eq!(split(b"\x07message").unwrap(), (0, &b"\x07message"[..]));
        assert_eq!(split(b"").unwrap(), (0, &b""[..]));
        assert!(split(&value[..8]).is_err());
    }
}
