//! The little MQTT that these stories need, over anything that reads and writes; and TLS under it.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::authority::{Authority, Pair};
use crate::node::connect;

/// CONNECT of 3.1.1 with Clean Session.
pub fn connect_packet(client_id: &str) -> Vec<u8> {
    let mut packet = vec![0x10, 12 + client_id.len() as u8, 0, 4];
    packet.extend(b"MQTT\x04\x02\x00\x3C\x00");
    packet.push(client_id.len() as u8);
    packet.extend(client_id.as_bytes());
    packet
}

pub const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
pub const PINGREQ: [u8; 2] = [0xC0, 0];
pub const PINGRESP: [u8; 2] = [0xD0, 0];

/// Sends `bytes` and reads an answer of this length.
pub fn ask<const N: usize>(stream: &mut (impl Read + Write), bytes: &[u8]) -> io::Result<[u8; N]> {
    stream.write_all(bytes)?;
    stream.flush()?;
    let mut answer = [0; N];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Connects as a Client of MQTT that nobody else is, and hears of it.
pub fn join(stream: &mut (impl Read + Write)) -> io::Result<()> {
    static CLIENTS: AtomicU32 = AtomicU32::new(0);
    let client_id = format!("story-{}", CLIENTS.fetch_add(1, Ordering::Relaxed));
    assert_eq!(ask(stream, &connect_packet(&client_id))?, CONNACK);
    Ok(())
}

pub fn ping(stream: &mut (impl Read + Write)) -> io::Result<()> {
    assert_eq!(ask(stream, &PINGREQ)?, PINGRESP);
    Ok(())
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// How a Client does TLS. Sessions are resumed among streams of the same one.
#[derive(Clone)]
pub struct TlsClient {
    pub config: Arc<ClientConfig>,
    pub name: &'static str,
}

pub static BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
pub static ONLY_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

impl TlsClient {
    pub fn new(
        authority: &Authority,
        pair: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM"))
            .expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key }) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
                )
                .expect("a certificate"),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { config: Arc::new(config), name: "localhost" }
    }

    /// What a Client without anything special does.
    pub fn plain(authority: &Authority) -> Self {
        Self::new(authority, None, BOTH, &[])
    }

    pub fn with(authority: &Authority, pair: &Pair) -> Self {
        Self::new(authority, Some(pair), BOTH, &[])
    }

    pub fn asking_for(&self, name: &'static str) -> Self {
        Self { name, ..self.clone() }
    }

    pub fn open(&self, addr: SocketAddr) -> Tls {
        let name = ServerName::try_from(self.name).expect("a name");
        let session = ClientConnection::new(Arc::clone(&self.config), name).expect("a session");
        StreamOwned::new(session, connect(addr))
    }

    /// Connects by TLS and by MQTT.
    pub fn join(&self, addr: SocketAddr) -> io::Result<Tls> {
        let mut stream = self.open(addr);
        join(&mut stream)?;
        Ok(stream)
    }
}
