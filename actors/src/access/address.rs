//! Addresses with a common beginning, such as `10.0.0.0/8`.

use core::net::IpAddr;
use core::str::FromStr;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether every address of another one is in this one.
    pub fn holds(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// The network of so many bits that holds this address; `None` if it has fewer. An IPv4 address that came as IPv6
    /// is an IPv4 address.
    pub(super) fn around(address: IpAddr, bits: u8) -> Option<Self> {
        let address = address.to_canonical();
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, prefix: bits })
    }

    pub(super) fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }

    pub(super) fn bits(&self) -> u8 {
        self.prefix
    }

    /// Its first address, as a number.
    pub(super) fn first(&self) -> u128 {
        let (address, longest) = match self.address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let others = longest - u32::from(self.prefix);
        address.checked_shr(others).unwrap_or(0).checked_shl(others).unwrap_or(0)
    }

    /// An IPv4 address that came as IPv6 is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (mine, theirs, longest) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(theirs)) => {
                (u128::from(mine.to_bits()), u128::from(theirs.to_bits()), 32)
            }
            (IpAddr::V6(mine), IpAddr::V6(theirs)) => (mine.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        (mine ^ theirs).checked_shr(longest - u32::from(self.prefix)).unwrap_or(0) == 0
    }
}

/// An address without a length stands for itself.
impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or(())?,
            None => longest,
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
