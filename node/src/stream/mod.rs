//! What carries a Client's bytes: TCP, TLS, WebSocket, or one within the other. A connection's task is compiled for each
//! of them, so that plain TCP pays nothing for the others; between them stand no buffers but what a socket did not take
//! and what is not a whole record yet, so that an idle connection holds none.

pub mod frame;
mod tcp;
pub mod tls;
pub mod web_socket;

use std::io::{self, IoSlice};
use std::net;
use std::task::{Context, Poll};

pub use tls::Tls;
pub use web_socket::WebSocket;

/// Why we end a connection, for carriers that can say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// What was to be said is said, in MQTT.
    Done,
    /// The node goes down.
    GoingAway,
}

/// Bytes in both directions, in order.
pub trait Stream: Unpin + 'static {
    /// Whether the other side is told of the end before the socket is closed.
    const SAYS_GOODBYE: bool;

    /// Takes bytes from the front of `slices` and says how many. What was taken may wait for `poll_flush`.
    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Ready when the kernel has all that was taken.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads the socket once, with the help of `scratch`. What came goes to `take`, in any number of pieces. False at
    /// the end of the stream, and then nothing came: what came with the end is not lost while a Client is not read from.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the other side broke a rule of the carrier: it is then still to be told, by `poll_goodbye`.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        take: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<bool>>;

    /// Ready when the other side has ended, or the connection is broken, and nothing is to be read before that. Takes
    /// nothing off the socket.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Tells the other side that this is the end. Nothing is written after it.
    fn poll_goodbye(&mut self, context: &mut Context<'_>, goodbye: Goodbye) -> Poll<io::Result<()>>;
}

/// A stream between two threads, registered with neither's runtime.
pub enum Carried {
    Tcp(net::TcpStream),
    Tls(net::TcpStream, Box<tls::State>),
    WebSocket(net::TcpStream, Box<web_socket::State>),
    SecureWebSocket(net::TcpStream, Box<tls::State>, Box<web_socket::State>),
}

/// Takes bytes of several slices up to `limit`.
fn gather(slices: &[IoSlice<'_>], limit: usize, into: &mut Vec<u8>) {
    for slice in slices {
        let room = limit - into.len();
        if room == 0 {
            return;
        }
        into.extend_from_slice(&slice[..slice.len().min(room)]);
    }
}
