//! Who does something, as rules take a Client: for as long as it is asked about, and as it stands beside what outlives its
//! connection. It is below the rules and below what is stored, which carries it and knows no rule.

use core::net::IpAddr;

use convoy_storage::record::{self, Decode, Encode};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub client_id: &'a str,
    /// A user name that was proven; `None` for a Client that is anonymous.
    pub user: Option<&'a str>,
    pub address: IpAddr,
    pub listener: &'a str,
}

/// Who has left a Will or a Retained Message behind: a Will is judged when it is due, and what is retained when it is read,
/// perhaps long after the connection.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Author {
    pub client_id: String,
    pub user: Option<String>,
    /// As IPv6.
    pub address: u128,
    pub listener: String,
}

impl Author {
    pub fn of(who: &Who<'_>) -> Self {
        let address = match who.address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        Self {
            client_id: who.client_id.into(),
            user: who.user.map(Into::into),
            address: address.to_bits(),
            listener: who.listener.into(),
        }
    }

    /// As a Retained Message carries it; it never changes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        record::encode_into(self, &mut bytes);
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, record::Error> {
        record::decode(bytes)
    }

    pub fn who(&self) -> Who<'_> {
        Who {
            client_id: &self.client_id,
            user: self.user.as_deref(),
            address: IpAddr::V6(self.address.into()).to_canonical(),
            listener: &self.listener,
        }
    }
}
