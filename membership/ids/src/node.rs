//! A node is one process with one data folder. Its identifier is drawn once, when the folder is made.

use core::{fmt, num::NonZeroU64, str::FromStr};

/// Identity of a node: never zero, never used again after its data is lost. The first replicas of a slot have the numbers
/// of their nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub NonZeroU64);

/// The text is not a node identifier: 1 to 16 hexadecimal digits, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseNodeIdError;

impl fmt::Display for ParseNodeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node identifier is 1 to 16 hexadecimal digits, not all zero")
    }
}

impl core::error::Error for ParseNodeIdError {}

impl NodeId {
    /// `None` for zero.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseNodeIdError);
        }
        u64::from_str_radix(text, 16).ok().and_then(Self::new).ok_or(ParseNodeIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_printed_is_parsed_again() {
        let id = NodeId::new(0x00c0_ffee).unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn zero_signs_and_long_numbers_are_refused() {
        for text in ["", "0", "+1", "-1", "g", "12345678901234567"] {
            assert_eq!(text.parse::<NodeId>(), Err(ParseNodeIdError), "{text}");
        }
    }
}
