//! One listener for each way in which Clients come, as a user would write them into the configuration.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::certificates::Certificates;
use super::free_ports;
use crate::client::{Place, Transport};

#[derive(Clone, Debug)]
pub struct Listeners {
    addresses: [SocketAddr; 5],
    pub certificates: Certificates,
}

impl Listeners {
    pub(super) fn new(tcp: SocketAddr, folder: &Path) -> io::Result<Self> {
        let [tls, mutual, web, secure_web] = free_ports()?;
        Ok(Self { addresses: [tcp, tls, mutual, web, secure_web], certificates: Certificates::new(folder)? })
    }

    pub fn address(&self, transport: Transport) -> SocketAddr {
        let at = Transport::ALL.iter().position(|other| *other == transport);
        self.addresses[at.expect("all of them are in the list")]
    }

    pub fn place(&self, transport: Transport) -> Place {
        let tls = match transport {
            Transport::Tcp | Transport::WebSocket => None,
            Transport::Tls | Transport::SecureWebSocket => Some(self.certificates.anonymous.clone()),
            Transport::MutualTls => Some(self.certificates.known.clone()),
        };
        Place { address: self.address(transport), is_web_socket: transport.is_web_socket(), tls }
    }

    /// The part of a configuration that makes them.
    pub(super) fn toml(&self) -> String {
        let mut text = String::new();
        let files = &self.certificates;
        for transport in Transport::ALL {
            let kind = match transport {
                Transport::Tcp => "mqtt",
                Transport::Tls | Transport::MutualTls => "mqtts",
                Transport::WebSocket => "ws",
                Transport::SecureWebSocket => "wss",
            };
            let address = self.address(transport);
            let _ = write!(text, "[[mqtt.listeners]]\nkind = \"{kind}\"\naddr = \"{address}\"\n");
            if transport.is_secure() {
                let _ = write!(text, "certificate = {:?}\nkey = {:?}\n", files.node, files.node_key);
            }
            if transport == Transport::MutualTls {
                let _ =
                    write!(text, "client_ca = {:?}\nclient_certificate = \"required\"\n", files.authority);
            }
        }
        text
    }
}
