//! Where a Server is, and what MQTT travels in on the way there.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    /// The Client has a certificate too.
    MutualTls,
    WebSocket,
    SecureWebSocket,
}

impl Transport {
    pub const ALL: [Transport; 5] = [
        Transport::Tcp,
        Transport::Tls,
        Transport::MutualTls,
        Transport::WebSocket,
        Transport::SecureWebSocket,
    ];

    pub fn is_web_socket(self) -> bool {
        matches!(self, Transport::WebSocket | Transport::SecureWebSocket)
    }

    pub fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::MutualTls | Transport::SecureWebSocket)
    }
}

/// A listener of a Server, as a Client has to know it.
#[derive(Clone, Debug)]
pub struct Place {
    pub address: SocketAddr,
    pub is_web_socket: bool,
    pub tls: Option<Arc<ClientConfig>>,
}

/// Plain TCP.
impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self { address, is_web_socket: false, tls: None }
    }
}
