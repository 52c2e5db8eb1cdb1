//! Accepts Network Connections of one listener: plain ones go to a shard at once, those with a handshake to a thread that
//! shakes hands.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

use super::gate::Gate;
use super::handshake::{Handshakes, Knock};
use crate::drive::Accepted;
use crate::stream::Carried;

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

pub async fn accept(socket: TcpListener, gate: Arc<Gate>, handshakes: Handshakes) {
    let name = &gate.listener.name;
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(listener = %name, %error, "the listener cannot be served"),
    };
    loop {
        let (stream, address) = next(&socket, name).await;
        if let Err(refusal) = gate.lets_in_from(address) {
            gate.refuse(address, refusal);
            continue;
        }
        let Ok(admitted) = gate.admission.admit(Instant::now()) else { continue };
        let Ok(stream) = stream.into_std() else { continue };
        let is_served = match gate.shakes_hands() {
            true => {
                // Beyond so many handshakes one waits here for each listener, and all others in the kernel's backlog.
                let permit = handshakes.permit().await;
                let gate = Arc::clone(&gate);
                handshakes.knock(Knock { stream, address, gate, admitted, permit }).await
            }
            false => {
                let peer = gate.peer(address, None);
                let accepted = Accepted { carried: Carried::Tcp(stream), peer, admitted };
                handshakes.shards.next().accepted(accepted).await
            }
        };
        if !is_served {
            return;
        }
    }
}

async fn next(socket: &tokio::net::TcpListener, name: &str) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(listener = name, %error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
