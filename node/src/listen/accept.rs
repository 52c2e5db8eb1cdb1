//! Accepts Network Connections of one listener: plain ones go to a shard at once, those with a handshake to a thread that
//! shakes hands.

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

use super::gate::{Gate, LogLimit};
use super::handshake::{Handshakes, Knock};
use crate::drive::Accepted;
use crate::stream::Carried;

/// Connections the kernel holds for us: a tunnel's worth of vehicles that come back at once.
const BACKLOG: i32 = 4096;

/// After an error that concerns all connections, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// A peer that has vanished is found by the kernel, also where its Client has asked for a Keep Alive of 0: after so long
/// without a byte it is asked, each minute, and closed when it does not answer (Linux asks nine times).
const VANISHED: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(300)).with_interval(Duration::from_secs(60));

/// Binds; an IPv6 address is bound for IPv6 alone, so that both can be listed.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the last start's connections to be forgotten.
    socket.set_reuse_address(true)?;
    // What is accepted inherits it.
    socket.set_tcp_keepalive(&VANISHED)?;
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
    let log = LogLimit::default();
    loop {
        let (stream, address) = next(&socket, name, &log).await;
        if let Err(refusal) = gate.lets_in_from(address) {
            gate.refuse(address, refusal);
            continue;
        }
        let Some(admitted) = gate.admit(address, Instant::now()) else { continue };
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

/// The next connection. What keeps one from being accepted is told, at most so often, and waited for.
pub async fn next(socket: &tokio::net::TcpListener, name: &str, log: &LogLimit) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                log.say(Instant::now(), |unsaid| {
                    tracing::warn!(listener = name, %error, unsaid, "a connection cannot be accepted");
                });
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;

    #[test]
    fn whoever_is_accepted_is_asked_whether_it_is_still_there() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(SockRef::from(&accepted).keepalive().unwrap());
    }
}
