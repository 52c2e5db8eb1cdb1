//! MQTT over TCP.

use convoy_actors::Peer;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Bound;
use super::admit::Admission;
use crate::drive::{Accepted, ShardHandle};

/// Connections the kernel holds for us: a tunnel's worth of vehicles that come back at once.
const BACKLOG: i32 = 4096;

/// After an error that concerns all connections, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Binds; an IPv6 address is bound for IPv6 alone, so that both can be listed.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the last start's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

pub async fn accept(bound: Bound, admission: Arc<Admission>, shards: Arc<[ShardHandle]>) {
    let Bound { addr, listener, socket } = bound;
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%addr, %error, "the listener cannot be served"),
    };
    for shard in shards.iter().cycle() {
        let (stream, address) = loop {
            match socket.accept().await {
                Ok(accepted) => break accepted,
                Err(error) => {
                    tracing::warn!(%addr, %error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let peer = Peer { address, listener: Arc::clone(&listener), certificate: None };
        if !listener.allow_anonymous && !peer.is_loopback() {
            tracing::info!(peer = %address, "refused: anonymous Clients are let in from this machine only");
            continue;
        }
        let Ok(admitted) = admission.admit(Instant::now()) else { continue };
        let Ok(stream) = stream.into_std() else { continue };
        if !shard.accepted(Accepted { stream, peer, admitted }).await {
            return;
        }
    }
}
