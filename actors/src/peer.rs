//! Who is at the other end of a Network Connection, as far as that is known before CONNECT: what is admitted later is
//! decided by it, and an operator sees it. Every connection keeps one, so it is small: what many share is shared.

use core::net::SocketAddr;
use std::fmt;
use std::sync::Arc;

/// The other end of a Network Connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The Client's own address, also where a trusted proxy stands between us.
    pub address: SocketAddr,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// What the certificate says that it has proven to own.
    pub certificate: Option<Arc<Certificate>>,
}

/// What all connections of one listener have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The name operators gave it, or its kind and address.
    pub name: String,
    pub transport: Transport,
    /// Whether Clients are let in that name nobody, wherever they come from. Where it is not said, they are while nobody
    /// is known whom they could name.
    pub allow_anonymous: Option<bool>,
    /// The common name of a Client's certificate is its user name, whatever CONNECT says.
    pub certificate_is_user_name: bool,
    /// A Client that has shown a certificate must have its common name as Client Identifier.
    pub certificate_is_client_id: bool,
}

/// What carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Tls,
    WebSocket,
    SecureWebSocket,
}

/// A verified certificate of a Client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The last common name of the subject.
    pub common_name: Option<String>,
    /// Subject alternative names: DNS names, URIs, addresses of mail and of the Internet, in their order.
    pub alternative_names: Vec<String>,
    /// What it, and those who vouch for it, would be revoked by.
    pub ids: Box<[CertificateId]>,
}

/// Names a certificate as a list of revoked ones does: a digest of its issuer and its serial number.
pub type CertificateId = [u8; 16];

impl Peer {
    /// Whether it is a process of this machine.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    /// Whether a Client Identifier is what the Client's certificate says, where that is asked for.
    pub fn may_be_called(&self, client_id: &str) -> bool {
        match &self.certificate {
            Some(certificate) if self.listener.certificate_is_client_id => {
                certificate.common_name.as_deref() == Some(client_id)
            }
            _ => true,
        }
    }

    pub fn transport(&self) -> Transport {
        self.listener.transport
    }
}

impl Transport {
    /// Nobody on the way can read or change what is sent.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    pub fn is_web_socket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }

    /// As flags, keys and operators name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Listener {
    /// A listener that is told nothing else.
    pub fn new(name: impl Into<String>, transport: Transport) -> Self {
        Self {
            name: name.into(),
            transport,
            allow_anonymous: None,
            certificate_is_user_name: false,
            certificate_is_client_id: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        let listener = Arc::new(Listener::new("here", Transport::Tcp));
        Peer { address: address.parse().expect("an address"), listener, certificate: None }
    }

    #[test]
    fn a_process_of_this_machine_is_known_in_either_family() {
        let addresses =
            ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "10.0.0.1:1", "[fe80::1]:1"];
        let found = addresses.map(|address| peer(address).is_loopback());
        assert_eq!(found, [true, true, true, true, false, false]);
    }

    #[test]
    fn a_connection_pays_less_than_fifty_bytes_for_it() {
        assert!(size_of::<Peer>() <= 48, "{}", size_of::<Peer>());
    }
}
