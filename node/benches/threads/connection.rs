//! The task of a connection. It is written once, for both ways to run the relay.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::mqtt::{
    CONNACK, CONNECT, PINGREQ, PINGRESP, PUBACK, PUBLISH, SUBACK, SUBSCRIBE, packet, put_varint, text,
};
use super::relay::{Message, Own, Shape, Subscription};

/// Bytes read from a socket at once. One buffer serves all connections of a thread.
pub const READ_BYTES: usize = 64 << 10;

/// Reads of one client before others have their turn.
const READS: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A connection's task: it writes what is pending, then reads until the socket is empty.
pub struct Connection<S: Shape> {
    shape: S,
    number: u64,
    stream: TcpStream,
    own: S::Own,
    address: S::Address,
    sending: Vec<u8>,
    sent: usize,
    /// The beginning of a packet whose end has not been read.
    rest: Vec<u8>,
    routes: HashMap<Vec<u8>, Vec<(S::Address, u8)>>,
    routes_version: u64,
    wakes: Vec<Waker>,
}

/// The client is done, or speaks what this relay does not.
struct Closed;

impl<S: Shape + Unpin> Connection<S>
where
    S::Own: Unpin,
    S::Address: Unpin,
{
    pub fn new(shape: S, stream: TcpStream, number: u64, own: S::Own, address: S::Address) -> Self {
        Self {
            shape,
            number,
            stream,
            own,
            address,
            sending: Vec::new(),
            sent: 0,
            rest: Vec::new(),
            routes: HashMap::new(),
            routes_version: 0,
            wakes: Vec::new(),
        }
    }

    pub async fn run(mut self) {
        // Why it ended is the generator's to notice.
        let _ = std::future::poll_fn(|context| self.poll(context)).await;
        let number = self.number;
        self.shape.table().change(|all| all.retain(|one| one.connection != number));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..READS {
            self.gather(context);
            // A client that does not read is still read from: it may be waiting for us.
            if let Poll::Ready(Err(error)) = self.poll_write(context) {
                return Poll::Ready(Err(error));
            }
            match self.poll_read(context) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes what was put into the output, and says whom to wake for more.
    fn gather(&mut self, context: &Context<'_>) {
        if self.sent == self.sending.len() {
            self.sending.clear();
            self.sent = 0;
        }
        let sending = &mut self.sending;
        self.own.with(|outbox| {
            if !outbox.waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                outbox.waker = Some(context.waker().clone());
            }
            if sending.is_empty() {
                mem::swap(sending, &mut outbox.bytes);
            } else {
                sending.append(&mut outbox.bytes);
            }
        });
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.sending.len() {
            match Pin::new(&mut self.stream).poll_write(context, &self.sending[self.sent..]) {
                Poll::Ready(Ok(written)) => self.sent += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// False at the end of the connection.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            let bytes = buffer.filled();
            Poll::Ready(Ok(!bytes.is_empty() && self.receive(bytes).is_ok()))
        })
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        let outcome = if self.rest.is_empty() {
            self.packets(bytes).map(|taken| self.rest.extend_from_slice(&bytes[taken..]))
        } else {
            let mut all = mem::take(&mut self.rest);
            all.extend_from_slice(bytes);
            self.packets(&all).map(|taken| {
                all.drain(..taken);
                self.rest = all;
            })
        };
        for waker in self.wakes.drain(..) {
            waker.wake();
        }
        self.shape.delivered();
        outcome
    }

    /// Takes the whole packets, and says how many bytes they were.
    fn packets(&mut self, bytes: &[u8]) -> Result<usize, Closed> {
        let mut at = 0;
        while let Some((body_at, len)) = packet(&bytes[at..]) {
            self.packet(&bytes[at..at + len], body_at)?;
            at += len;
        }
        Ok(at)
    }

    fn packet(&mut self, frame: &[u8], body_at: usize) -> Result<(), Closed> {
        let body = &frame[body_at..];
        match frame[0] >> 4 {
            CONNECT => self.sending.extend_from_slice(&[CONNACK << 4, 2, 0, 0]),
            PUBLISH => self.publish(frame, body_at)?,
            SUBSCRIBE => self.subscribe(body)?,
            PINGREQ => self.sending.extend_from_slice(&[PINGRESP << 4, 0]),
            PUBACK => {}
            _ => return Err(Closed),
        }
        Ok(())
    }

    fn subscribe(&mut self, body: &[u8]) -> Result<(), Closed> {
        let mut at = 2;
        let mut codes = Vec::new();
        while at < body.len() {
            let filter = text(body, at).ok_or(Closed)?;
            at += 2 + filter.len();
            let qos = (*body.get(at).ok_or(Closed)?).min(1);
            at += 1;
            codes.push(qos);
            let prefix = filter.strip_suffix(b"#");
            let subscription = Subscription {
                connection: self.number,
                filter: prefix.unwrap_or(filter).to_vec(),
                is_prefix: prefix.is_some(),
                address: self.address.clone(),
                qos,
            };
            self.shape.table().change(|all| all.push(subscription));
        }
        self.sending.push(SUBACK << 4);
        put_varint(&mut self.sending, 2 + codes.len());
        self.sending.extend_from_slice(body.get(..2).ok_or(Closed)?);
        self.sending.extend_from_slice(&codes);
        Ok(())
    }

    fn publish(&mut self, frame: &[u8], body_at: usize) -> Result<(), Closed> {
        let topic = text(frame, body_at).ok_or(Closed)?;
        let message =
            Message { frame, body_at, packet_id_at: body_at + 2 + topic.len(), qos: frame[0] >> 1 & 3 };
        if message.qos > 0 {
            let packet_id = frame.get(message.packet_id_at..message.packet_id_at + 2).ok_or(Closed)?;
            self.sending.extend_from_slice(&[PUBACK << 4, 2]);
            self.sending.extend_from_slice(packet_id);
        }
        let version = self.shape.table().version.load(Ordering::Acquire);
        if self.routes_version != version {
            self.routes.clear();
            self.routes_version = version;
        }
        if !self.routes.contains_key(topic) {
            self.routes.insert(topic.to_vec(), self.shape.table().receivers(topic));
        }
        let to = &self.routes[topic];
        self.shape.deliver(&message, to, &mut self.wakes);
        Ok(())
    }
}
