//! The TLS of listeners: from files to what a handshake needs, and again when the files change.

mod files;
mod names;
mod watch;

use convoy_actors::{Certificate, CertificateId};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::config::{ClientCertificate, ExpiredCrl, TlsOptions, TlsVersion};
use files::Files;
use names::{Names, Validity};

pub use files::Problem;
pub use watch::watch;

/// What a Client offers by ALPN to say that it wants MQTT.
pub const ALPN_MQTT: &[u8] = b"mqtt";
/// A secure WebSocket begins as HTTP.
pub const ALPN_HTTP: &[u8] = b"http/1.1";

/// What `rustls` counts as a part of a record beside its plain bytes.
const RECORD_HEADER_BYTES: usize = 5;

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
    /// When each certificate is valid.
    validities: Vec<Validity>,
}

/// When something in a file ends: a certificate of ours, or the time for which a list of revoked ones was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    pub what: What,
    pub file: PathBuf,
    pub at: SystemTime,
}

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Certificate,
    Crl,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Crl => "list of revoked certificates",
        })
    }
}

/// Authorities, lists of what they revoked, and what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Judges {
    authorities: Vec<Vec<u8>>,
    revoked: Vec<Vec<u8>>,
    asked: ClientCertificate,
}

impl Tls {
    /// Reads the files and checks that they can be used. Certificates that are out of date are a problem if all have to
    /// be `in_date`; else their listener is not served until there are others.
    pub fn load(options: &TlsOptions, is_web: bool, in_date: bool) -> Result<Self, Problem> {
        let alpn = if is_web { ALPN_HTTP } else { ALPN_MQTT };
        let stamps = files::stamps(options);
        let current = Current::load(options, alpn, stamps, None, in_date)?;
        Ok(Self { options: options.clone(), alpn, current: RwLock::new(current) })
    }

    /// What the next handshake needs.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// Whether there is a certificate that can be shown now.
    pub fn is_in_date(&self, now: SystemTime) -> bool {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.validities.iter().any(|validity| validity.contains(now))
    }

    /// Whether no certificate of a Client can be judged: a list of revoked ones is out of date, and that matters here.
    pub fn judges_nobody(&self, now: SystemTime) -> bool {
        let has_expired = |expiry: &Expiry| expiry.what == What::Crl && expiry.at < now;
        self.options.expired_crl == ExpiredCrl::Refuse && self.expiries().iter().any(has_expired)
    }

    /// Whether every Client shows a certificate and none is called by it.
    pub fn proves_without_a_name(&self) -> bool {
        let TlsOptions { client_certificate, user_name_from_certificate, client_id_from_certificate, .. } =
            self.options;
        client_certificate == ClientCertificate::Required
            && !user_name_from_certificate
            && !client_id_from_certificate
    }

    /// The certificates that the lists name now.
    pub fn revoked(&self) -> BTreeSet<CertificateId> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.judges.revoked.iter().flat_map(|list| names::revoked(list)).collect()
    }

    pub fn expiries(&self) -> Vec<Expiry> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).expiries.clone()
    }

    /// Takes up files that have changed, or all if `anyway`. Some if there were any: everything stays as it is if the new
    /// files cannot be used. A file that could not be used is looked at again when it changes.
    pub fn reload(&self, anyway: bool) -> Option<Result<(), Problem>> {
        let stamps = files::stamps(&self.options);
        let before = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if current.stamps == stamps && !anyway {
                return None;
            }
            (current.judges.clone(), Arc::clone(&current.tickets))
        };
        let next = Current::load(&self.options, self.alpn, stamps.clone(), Some(before), true);
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
        in_date: bool,
    ) -> Result<Self, Problem> {
        let files = Files::read(options, SystemTime::now(), in_date)?;
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
        let validities = files.keys.iter().map(|key| key.validity).collect();
        let config = configure(options, files, Arc::clone(&tickets), alpn)?;
        Ok(Self { config: Arc::new(config), judges, tickets, stamps, expiries, validities })
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
            if options.expired_crl == ExpiredCrl::Refuse {
                verifier = verifier.enforce_revocation_expiration();
            }
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
    config.max_fragment_size = options.record_bytes.map(|bytes| usize::from(bytes) + RECORD_HEADER_BYTES);
    // A Client comes back alone: the second ticket would be for a second connection at the same time.
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// A certificate and the names it is for.
pub struct Key {
    names: Names,
    validity: Validity,
    certified: Arc<CertifiedKey>,
}

/// Chooses among those that are valid, by the name that the Client asks for.
struct ByName(Vec<Key>);

impl std::fmt::Debug for ByName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.names)).finish()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name();
        let now = SystemTime::now();
        let mut valid = self.0.iter().filter(|key| key.validity.contains(now)).peekable();
        let first = valid.peek().copied();
        let found = asked.and_then(|name| valid.find(|key| key.names.cover(name)));
        found.or(first).map(|key| Arc::clone(&key.certified))
    }
}

/// What the certificates of a Client say, its own first, once they were judged. None if it cannot be read or is out of
/// date: a ticket may be younger than the judgement it stands for.
pub fn read_client(chain: &[CertificateDer<'_>]) -> Option<Certificate> {
    let (names, validity) = names::read(chain.first()?).ok()?;
    let ids = chain.iter().filter_map(|der| names::id(der)).collect();
    let Names { common_name, alternative, .. } = names;
    validity.contains(SystemTime::now()).then_some(Certificate {
        common_name,
        alternative_names: alternative,
        ids,
    })
}

#[cfg(test)]
mod tests;
