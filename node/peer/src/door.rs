//! Where other nodes come in: links of members, and nodes that want to join. What protocol it is they say in the handshake
//! (ALPN), and who they are by their certificate.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use convoy_ids::NodeId;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Lane;
use crate::link::{Broken, Frame, Hello, Reply, Times, receiving};

/// Of the protocol of links, in the handshake.
pub const LINK: &[u8] = b"convoy-link/1";

/// Of the protocol by which a node joins, and members call each other.
pub const CALL: &[u8] = b"convoy-join/1";

/// Connections that are not a link yet, at a time: more wait in the kernel's backlog.
const STRANGERS: usize = 64;

/// For a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// After an error of `accept`, which does not go away by trying.
const PAUSE: Duration = Duration::from_millis(50);

/// Why nobody came in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("no handshake within {HANDSHAKE:?}")]
    Slow,
    #[error("the handshake failed: {0}")]
    Handshake(#[source] io::Error),
    #[error("{0}")]
    Unknown(String),
}

/// What the node does with who comes in.
pub trait Host: Send + Sync + 'static {
    /// Whose certificates these are, which the handshake has verified; or why they are nobody's.
    fn who(&self, certificates: Option<&[CertificateDer<'static>]>) -> Result<NodeId, String>;

    /// Whether a link is wanted.
    fn judge(&self, node: NodeId, hello: Hello) -> Reply;

    /// Takes frames, and does not wait.
    fn take(&self, node: NodeId, lane: Lane, frames: Vec<Frame>);

    /// Answers a call; `node` is none where whoever calls has no certificate. Has to come to an end by itself.
    fn answer(&self, node: Option<NodeId>, stream: TlsStream<TcpStream>) -> impl Future<Output = ()> + Send;

    /// Somebody was not let in, or a link has ended.
    fn tell(&self, from: SocketAddr, node: Option<NodeId>, refused: &Refused);
}

/// Bytes in a frame at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub frame_bytes: usize,
}

/// Links that are up, by who writes and on which lane: a new one takes the place of the one before, of which nothing more
/// comes.
#[derive(Default)]
struct Links(Mutex<HashMap<(NodeId, Lane), (u64, AbortHandle)>>);

impl Links {
    fn enter(&self, key: (NodeId, Lane), number: u64, handle: AbortHandle) {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, before)) = links.insert(key, (number, handle)) {
            before.abort();
        }
    }

    fn leave(&self, key: (NodeId, Lane), number: u64) {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if links.get(&key).is_some_and(|(of, _)| *of == number) {
            links.remove(&key);
        }
    }
}

/// Lets nodes in until it is dropped; then all links that have come in end.
pub async fn serve<H: Host>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    host: Arc<H>,
    times: Times,
    limits: Limits,
) {
    let (acceptor, strangers) = (TlsAcceptor::from(tls), Arc::new(Semaphore::new(STRANGERS)));
    let (links, mut tasks, mut number) = (Arc::new(Links::default()), JoinSet::new(), 0);
    loop {
        while tasks.try_join_next().is_some() {}
        let place = Arc::clone(&strangers).acquire_owned().await.expect("it is never closed");
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        number += 1;
        let (acceptor, host, links) = (acceptor.clone(), Arc::clone(&host), Arc::clone(&links));
        let (handle_in, handle_out) = tokio::sync::oneshot::channel();
        let handle = tasks.spawn(async move {
            let Ok(handle) = handle_out.await else { return };
            let came = Came { number, handle, links };
            if let Err((node, refused)) = came.let_in(stream, acceptor, &*host, place, &times, limits).await {
                host.tell(from, node, &refused);
            }
        });
        let _ = handle_in.send(handle);
    }
}

/// A connection that came.
struct Came {
    number: u64,
    handle: AbortHandle,
    links: Arc<Links>,
}

impl Came {
    async fn let_in<H: Host>(
        self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        host: &H,
        place: tokio::sync::OwnedSemaphorePermit,
        times: &Times,
        limits: Limits,
    ) -> Result<(), (Option<NodeId>, Refused)> {
        let _ = stream.set_nodelay(true);
        let shaken = timeout(HANDSHAKE, acceptor.accept(stream)).await.map_err(|_| (None, Refused::Slow))?;
        let mut stream = shaken.map_err(|error| (None, Refused::Handshake(error)))?;
        let (_, session) = stream.get_ref();
        let who = host.who(session.peer_certificates());
        let is_link = session.alpn_protocol() == Some(LINK);
        let has_none = session.peer_certificates().is_none();
        let node = match who {
            Ok(node) => Some(node),
            Err(_) if has_none && !is_link => None,
            Err(reason) => return Err((None, Refused::Unknown(reason))),
        };
        let Some(node) = node.filter(|_| is_link) else {
            host.answer(node, stream).await;
            return Ok(());
        };
        let judge = |hello| host.judge(node, hello);
        let hello = receiving::welcome(&mut stream, judge, times).await;
        let lane = hello.map_err(|broken| (Some(node), broken.into()))?.lane;
        drop(place);
        self.links.enter((node, lane), self.number, self.handle.clone());
        let take = |frames| host.take(node, lane, frames);
        let broken = receiving::receive(stream, lane, limits.frame_bytes, times, take).await;
        self.links.leave((node, lane), self.number);
        Err((Some(node), broken.into()))
    }
}
