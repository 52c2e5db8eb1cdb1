//! The TLS of listeners: from files to what a handshake needs, and again when the files change.

mod files;
mod names;
mod watch;

use convoy_actors::Certificate;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::config::{ClientCertificate, TlsOptions, TlsVersion};
use files::Files;
use names::Names;

pub use files::Problem;
pub use watch::watch;

/// What a Client offers by ALPN to say that it wants MQTT.
pub const ALPN_MQTT: &[u8] = b"mqtt";
/// A secure WebSocket begins as HTTP.
pub const ALPN_HTTP: &[u8] = b"http/1.1";

/// The TLS of one listener, as it is now.
pub struct Tls {
    options: TlsOptions,
    alpn: &'static [u8],
    current: RwLock<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// By whom Clients are judged. A ticket vouches for a certificate that was judged so: it goes when this changes.
    judges: Judges,
    tickets: Arc<dyn ProducesTickets>,
    stamps: files::Stamps,
    expiries: Vec<Expiry>,
}

/// When something in a file ends: a certificate of ours, or the time for which a list of revoked ones was made. An old
/// list is used all the same, since nobody could connect without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    pub what: &'static str,
    pub file: PathBuf,
    pub at: SystemTime,
}

/// Authorities, lists of what they revoked, and what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Judges {
    authorities: Vec<Vec<u8>>,
    revoked: Vec<Vec<u8>>,
    asked: ClientCertificate,
}

impl Tls {
    /// Reads the files and checks that they can be used.
    pub fn load(options: &TlsOptions, is_web: bool) -> Result<Self, Problem> {
        let alpn = if is_web { ALPN_HTTP } else { ALPN_MQTT };
        let stamps = files::stamps(options);
        let current = Current::load(options, alpn, stamps, None)?;
        Ok(Self { options: options.clone(), alpn, current: RwLock::new(current) })
    }

    /// What the next handshake needs.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    pub fn expiries(&self) -> Vec<Expiry> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).expiries.clone()
    }

    /// Takes up files that have changed, or all if `anyway`. Some if there were any: connections that are open stay as
    /// they are, and so does everything if the new files cannot be used. A file that could not be used is looked at
    /// again when it changes.
    pub fn reload(&self, anyway: bool) -> Option<Result<(), Problem>> {
        let stamps = files::stamps(&self.options);
        let before = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if current.stamps == stamps && !anyway {
                return None;
            }
            (current.judges.clone(), Arc::clone(&current.tickets))
        };
        let next = Current::load(&self.options, self.alpn, stamps.clone(), Some(before));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        Some(match next {
            Ok(next) => {
                *current = next;
                Ok(())
            }
            Err(problem) => {
                current.stamps = stamps;
                Err(problem)
            }
        })
    }
}

impl Current {
    fn load(
        options: &TlsOptions,
        alpn: &[u8],
        stamps: files::Stamps,
        before: Option<(Judges, Arc<dyn ProducesTickets>)>,
    ) -> Result<Self, Problem> {
        let files = Files::read(options, SystemTime::now())?;
        let judges = Judges {
            authorities: files.authorities.iter().map(|der| der.to_vec()).collect(),
            revoked: files.revoked.iter().map(|der| der.to_vec()).collect(),
            asked: options.client_certificate,
        };
        let tickets = match before {
            Some((same, tickets)) if same == judges => tickets,
            _ => ring::Ticketer::new().map_err(|error| Problem::general(options, error))?,
        };
        let expiries = files.expiries.clone();
        let config = configure(options, files, Arc::clone(&tickets), alpn)?;
        Ok(Self { config: Arc::new(config), judges, tickets, stamps, expiries })
    }
}

fn configure(
    options: &TlsOptions,
    files: Files,
    tickets: Arc<dyn ProducesTickets>,
    alpn: &[u8],
) -> Result<ServerConfig, Problem> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match options.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| Problem::general(options, error))?;
    let verifier = match (options.client_certificate, &options.client_ca) {
        (ClientCertificate::Off, _) | (_, None) => WebPkiClientVerifier::no_client_auth(),
        (asked, Some(path)) => {
            let mut roots = RootCertStore::empty();
            for (at, der) in files.authorities.into_iter().enumerate() {
                roots.add(der).map_err(|error| {
                    Problem::new(path, format!("certificate {} cannot be an authority: {error}", at + 1))
                })?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .with_crls(files.revoked);
            if asked == ClientCertificate::Optional {
                verifier = verifier.allow_unauthenticated();
            }
            verifier.build().map_err(|error| {
                let path = options.client_crl.first().unwrap_or(path);
                Problem::new(path, format!("Clients cannot be judged by it: {error}"))
            })?
        }
    };
    let mut config =
        builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(ByName(files.keys)));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.ticketer = tickets;
    // A Client comes back alone: the second ticket would be for a second connection at the same time.
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// A certificate and the names it is for.
pub struct Key {
    names: Names,
    certified: Arc<CertifiedKey>,
}

/// Chooses by the name that the Client asks for.
struct ByName(Vec<Key>);

impl std::fmt::Debug for ByName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.names)).finish()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name();
        let found = asked.and_then(|name| self.0.iter().find(|key| key.names.cover(name)));
        found.or(self.0.first()).map(|key| Arc::clone(&key.certified))
    }
}

/// What the certificate of a Client says, once it was judged. None if it cannot be read or is out of date: a ticket may
/// be younger than the judgement it stands for.
pub fn read_client(der: &[u8]) -> Option<Certificate> {
    let (names, validity) = names::read(der).ok()?;
    let Names { common_name, alternative, .. } = names;
    validity
        .contains(SystemTime::now())
        .then_some(Certificate { common_name, alternative_names: alternative })
}

#[cfg(test)]
mod tests;
