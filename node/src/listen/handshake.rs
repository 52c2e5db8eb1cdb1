//! What comes before MQTT: the header of a proxy, TLS, the upgrade to WebSocket. Threads of their own do it and hand the
//! finished stream to a shard: a handshake costs a core about a millisecond, and thousands of vehicles come back at once
//! when a tunnel ends. They give way to the shards, whose Clients are already there
//! (`docs/decisions/2026-11-21-handshakes-have-threads.md`).

use convoy_actors::Certificate;
use rustls::{CertificateError, Error, HandshakeKind, InvalidMessage, ProtocolVersion};
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::LocalSet;

use super::admit::Admitted;
use super::gate::Gate;
use super::{proxy, tls, upgrade};
use crate::boot::Watch;
use crate::drive::{Accepted, ShardHandle};
use crate::observe::metrics::TLS_HANDSHAKES;
use crate::stream::{self, Carried, web_socket};

/// How much these threads give way (`nice`): at 5 a shard that competes for a core gets three quarters of it.
const NICE: i32 = 5;

/// Spreads connections over shards.
pub struct Shards {
    handles: Arc<[ShardHandle]>,
    next: AtomicUsize,
}

impl Shards {
    pub fn new(handles: Arc<[ShardHandle]>) -> Self {
        Self { handles, next: AtomicUsize::new(0) }
    }

    pub fn all(&self) -> Arc<[ShardHandle]> {
        Arc::clone(&self.handles)
    }

    pub fn next(&self) -> &ShardHandle {
        &self.handles[self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len()]
    }
}

/// The threads. Cheap to clone.
#[derive(Clone)]
pub struct Handshakes {
    pub shards: Arc<Shards>,
    threads: Arc<[mpsc::Sender<Knock>]>,
    next: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

/// A connection that was accepted and has not said anything.
pub struct Knock {
    pub stream: net::TcpStream,
    pub address: SocketAddr,
    pub gate: Arc<Gate>,
    pub admitted: Admitted,
    pub permit: OwnedSemaphorePermit,
}

pub struct Options {
    pub threads: usize,
    /// Under way at once.
    pub limit: usize,
    pub timeout: Duration,
}

impl Handshakes {
    /// Each thread keeps a watch of its own.
    pub fn start(options: &Options, shards: Shards, watch: impl Fn() -> Watch) -> io::Result<Self> {
        let shards = Arc::new(shards);
        let mut threads = Vec::new();
        for number in 0..options.threads {
            // The permits keep this from ever being full.
            let (sender, knocks) = mpsc::channel(options.limit);
            let (shards, timeout, watch) = (Arc::clone(&shards), options.timeout, watch());
            let name = format!("convoy-door-{number}");
            thread::Builder::new().name(name).spawn(move || {
                let _watch = watch;
                if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE)
                {
                    tracing::warn!(%error, "handshakes cannot give way to shards");
                }
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime needs an epoll and nothing else");
                LocalSet::new().block_on(&runtime, run(knocks, shards, timeout));
            })?;
            threads.push(sender);
        }
        Ok(Self {
            shards,
            threads: threads.into(),
            next: Arc::default(),
            permits: Arc::new(Semaphore::new(options.limit)),
        })
    }

    /// Waits until one more handshake may begin.
    pub async fn permit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// False if the thread is gone.
    pub async fn knock(&self, knock: Knock) -> bool {
        let thread = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        self.threads[thread].send(knock).await.is_ok()
    }
}

async fn run(mut knocks: mpsc::Receiver<Knock>, shards: Arc<Shards>, timeout: Duration) {
    while let Some(knock) = knocks.recv().await {
        let shards = Arc::clone(&shards);
        tokio::task::spawn_local(async move {
            let Knock { stream, mut address, gate, mut admitted, permit } = knock;
            let shaken = shake(stream, &mut address, &gate, &mut admitted);
            let outcome = tokio::time::timeout(timeout, shaken).await;
            match outcome.unwrap_or(Err(Failure { reason: "timeout", why: "it took too long".to_owned() })) {
                Ok((carried, certificate)) => {
                    let peer = gate.peer(address, certificate);
                    shards.next().accepted(Accepted { carried, peer, admitted }).await;
                }
                Err(Failure { reason, why }) => gate.failed(address, reason, &why),
            }
            // A shard that has much to do slows the handshakes down, too.
            drop(permit);
        });
    }
}

/// A word for the metric, and a sentence for the log.
#[derive(Debug)]
struct Failure {
    reason: &'static str,
    why: String,
}

impl Failure {
    fn new(reason: &'static str, why: impl ToString) -> Self {
        Self { reason, why: why.to_string() }
    }

    fn of_socket(error: &io::Error) -> Self {
        Self::new("closed", error)
    }

    fn of_tls(error: &Error) -> Self {
        let reason = match error {
            Error::NoCertificatesPresented => "no_certificate",
            Error::InvalidCertificate(CertificateError::Revoked) => "certificate_revoked",
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => "certificate_expired",
            Error::InvalidCertificate(
                CertificateError::ExpiredRevocationList
                | CertificateError::ExpiredRevocationListContext { .. },
            ) => "crl_expired",
            Error::InvalidCertificate(CertificateError::Other(other))
                if other.to_string().contains("UnsupportedCertVersion") =>
            {
                return Self::new("certificate_version", "the certificate is of X.509 version 1, not 3");
            }
            Error::InvalidCertificate(_) => "certificate",
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                return Self::new("tls", "what came is no TLS: this listener speaks TLS alone");
            }
            Error::NoApplicationProtocol => "alpn",
            Error::PeerIncompatible(_) => "version",
            Error::AlertReceived(_) => "alert",
            _ => "tls",
        };
        Self::new(reason, error)
    }
}

type Shaken = (Carried, Option<Arc<Certificate>>);

/// `address` becomes that of the Client where a proxy says it.
async fn shake(
    stream: net::TcpStream,
    address: &mut SocketAddr,
    gate: &Gate,
    admitted: &mut Admitted,
) -> Result<Shaken, Failure> {
    let socket = |error: io::Error| Failure::of_socket(&error);
    let mut stream = TcpStream::from_std(stream).map_err(socket)?;
    stream.set_nodelay(true).map_err(socket)?;
    if !gate.proxy_from.is_empty() {
        let said = proxy::read(&mut stream).await.map_err(|failure| match failure {
            proxy::Failure::Socket(error) => Failure::of_socket(&error),
            malformed => Failure::new("proxy", malformed),
        })?;
        *address = said.unwrap_or(*address);
        gate.lets_in(*address).map_err(|refusal| Failure::new("stranger", refusal))?;
        // A proxy that speaks for itself only looks whether we are there.
        if said.is_some() {
            let entered = admitted.belongs_to(address.ip(), Instant::now());
            entered.map_err(|refusal| Failure::new("address", refusal))?;
        }
    }
    let Some(tls) = &gate.tls else {
        let Some(web) = &gate.web else {
            return Ok((Carried::Tcp(stream.into_std().map_err(socket)?), None));
        };
        let early = upgrade::accept(&mut stream, web).await.map_err(of_upgrade)?;
        let state = Box::new(web_socket::State::new(early));
        return Ok((Carried::WebSocket(stream.into_std().map_err(socket)?, state), None));
    };
    let mut stream = stream::Tls::accept(stream, tls.config()).await.map_err(|failure| match failure {
        stream::tls::Failure::Tls(error) => Failure::of_tls(&error),
        stream::tls::Failure::Socket(error) => Failure::of_socket(&error),
    })?;
    let session = stream.session();
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let resumed = match session.handshake_kind() {
        Some(HandshakeKind::Resumed) => "true",
        _ => "false",
    };
    let certificate = match session.peer_certificates() {
        None | Some([]) => None,
        // A ticket does not look at lists.
        Some(_) if tls.judges_nobody(SystemTime::now()) => {
            return Err(Failure::new("crl_expired", "the list of revoked certificates is out of date"));
        }
        Some(chain) => Some(Arc::new(tls::read_client(chain).ok_or_else(|| {
            Failure::new("certificate_expired", "the certificate of a resumed session is out of date")
        })?)),
    };
    let name = gate.listener.name.clone();
    metrics::counter!(TLS_HANDSHAKES, "listener" => name, "version" => version, "resumed" => resumed)
        .increment(1);
    let Some(web) = &gate.web else {
        let (stream, state) = stream.detach().map_err(socket)?;
        return Ok((Carried::Tls(stream, state), certificate));
    };
    let early = upgrade::accept(&mut stream, web).await.map_err(of_upgrade)?;
    let (stream, state) = stream.detach().map_err(socket)?;
    let web = Box::new(web_socket::State::new(early));
    Ok((Carried::SecureWebSocket(stream, state, web), certificate))
}

fn of_upgrade(failure: upgrade::Failure) -> Failure {
    match failure {
        upgrade::Failure::Socket(error) => Failure::of_socket(&error),
        refused => Failure::new("upgrade", refused),
    }
}
