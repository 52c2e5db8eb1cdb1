//! Where Clients connect, and on what terms. Each field says what it changes, when to raise it and what that costs.

use convoy_actors::Transport;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// One of `[[mqtt.listeners]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// MQTT over TCP, over TLS, over WebSocket, or over secure WebSocket. By default MQTT over TCP.
    pub kind: Transport,
    /// The address to listen on, without a name: it is no matter of DNS. It must be said.
    pub addr: SocketAddr,
    /// What operators see in metrics and logs, and what `listener` of a rule means. By default its kind and address.
    pub name: Option<String>,
    /// Whether Clients are let in without credentials. Off loopback `true` must be said, because everybody who can reach
    /// the address can then read and write every topic. On loopback they are let in while there are no users, unless
    /// `false` is said. Who has shown a certificate to a listener that requires one is not anonymous.
    pub allow_anonymous: Option<bool>,
    /// Network Connections of this listener, within `limits.connections`. Lower it to keep room for other listeners.
    pub connections: Option<u32>,
    /// Network Connections accepted per second by this listener, within `limits.connects_per_second`.
    pub connects_per_second: Option<u32>,
    /// Proxies that say by the PROXY protocol whom they speak for. From them a connection must begin with its header,
    /// and from others none is accepted.
    pub proxy_from: Vec<Network>,
    /// For `mqtts` and `wss`.
    pub tls: Option<TlsOptions>,
    /// For `ws` and `wss`.
    pub web: Option<WebOptions>,
}

/// Certificates of a listener. What is not said there is taken from section `[tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Chains, each beginning with the certificate of this server, as PEM. A Client that asks for a name gets the one
    /// that has it, any other the first.
    pub certificate: Vec<PathBuf>,
    /// Their private keys, in the same order.
    pub key: Vec<PathBuf>,
    /// Authorities by which certificates of Clients are judged.
    pub client_ca: Option<PathBuf>,
    /// Lists of revoked certificates: one of each authority in a Client's chain but the root. When a list changes the
    /// connections of those whom it names are closed (Not authorized).
    pub client_crl: Vec<PathBuf>,
    /// What a list is worth whose time has passed: "allow" goes on with what it says, since
    /// nobody could connect without; "refuse" accepts no certificate until there is a new one. Both are told in the log
    /// and by `convoy_certificate_expiry_timestamp_seconds`.
    pub expired_crl: ExpiredCrl,
    /// Whether Clients have to have certificates: "off" asks for none, "optional" takes Clients without one, "required" does
    /// not. One that is shown must be valid. By default "required" if there is a `client_ca`, else "off". With
    /// `user_name_from_certificate` a certificate is all that a Client needs; without it there has to be a user name and a
    /// password as well, once there are users.
    pub client_certificate: ClientCertificate,
    /// The common name of a Client's certificate is its user name, and no password is asked for. Who shows none is
    /// refused (Not authorized), also where `client_certificate` is "optional". By default false.
    pub user_name_from_certificate: bool,
    /// A Client that shows a certificate must have its common name as Client Identifier (else Client Identifier not
    /// valid), so that no vehicle takes over the Session of another one. By default false.
    pub client_id_from_certificate: bool,
    /// The oldest version of TLS that is spoken. By default "1.2".
    pub min_version: TlsVersion,
    /// Plain bytes of one TLS record to a Client, 512 to 16384. Lower it to what small devices have room for; each record
    /// costs some 22 bytes and an encryption.
    pub record_bytes: Option<u16>,
}

/// Whether Clients have to have certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// None is asked for.
    #[default]
    Off,
    /// One that is shown must be valid.
    Optional,
    Required,
}

/// Whether a list of revoked certificates is used beyond its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiredCrl {
    #[default]
    Allow,
    Refuse,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    #[default]
    Tls12,
    Tls13,
}

/// How a listener takes WebSockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOptions {
    /// Paths at which MQTT is served. By default those that Clients ask for who are told an
    /// address and no path.
    pub paths: Vec<String>,
    /// Pages that may connect, such as `https://console.example.com`; `*` for every page. Browsers tell the truth about
    /// it, other Clients say what they like. With none named every page may where Clients have to say who they are; where
    /// anonymous Clients are let in only pages of this machine, or of the address or `localhost` that the page connects
    /// to: a page from elsewhere could use the browser of somebody who may reach the listener.
    pub origins: Vec<String>,
    /// Whether pages of other hosts may connect where none is named.
    pub takes_foreign_pages: bool,
}

impl Default for WebOptions {
    fn default() -> Self {
        let paths = ["/mqtt", "/mqtt/", "/"].map(str::to_owned).into();
        Self { paths, origins: Vec::new(), takes_foreign_pages: true }
    }
}

impl Listener {
    pub(super) fn default_addr() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1883))
    }

    /// Nobody gets in without proof of who they are, even where there are no users.
    pub fn proves_clients(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_certificate == ClientCertificate::Required)
    }
}

impl ClientCertificate {
    pub(super) const ALL: [(&str, Self); 3] =
        [("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];
}

impl ExpiredCrl {
    pub(super) const ALL: [(&str, Self); 2] = [("allow", Self::Allow), ("refuse", Self::Refuse)];
}

impl TlsVersion {
    pub(super) const ALL: [(&str, Self); 2] = [("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}

/// Addresses with a common beginning, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    addr: IpAddr,
    prefix: u8,
}

impl Network {
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix);
                (network.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix);
                (network.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// An address without a length stands for itself.
impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| ())?;
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or(())?,
            None => longest,
        };
        Ok(Self { addr, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_begins_like_it() {
        let cases = [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "fe80::1", true),
        ];
        for (network, ip, inside) in cases {
            let network: Network = network.parse().expect("a network");
            assert_eq!(network.contains(ip.parse().expect("an address")), inside, "{network} {ip}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129", "localhost"] {
            assert_eq!(text.parse::<Network>(), Err(()), "{text}");
        }
    }
}
