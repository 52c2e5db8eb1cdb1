//! One Network Connection: packets out in batches, packets in one by one, nothing remembered beyond it.
//!
//! Sessions, histories and persistence are above ([`super::Client`]); what needs many thousand connections, or odd ones,
//! uses this.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use convoy_wire::{Cut, EncodeError, Limits, Packet, ProtocolVersion, QoS, Sender, cut, decode_from};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::place::Place;
use super::web_socket::WebSocket;
use crate::oracle::Qos;

/// A Server that does not take or answer anything for so long counts as gone.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The connection is over. What was on its way may have arrived or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    Closed,
    /// A 5.0 DISCONNECT from the Server.
    Disconnected(u8),
    /// Bytes that are no MQTT, or a packet in the wrong place.
    Broken(String),
    /// No answer within [`PATIENCE`].
    Silent,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Closed => f.write_str("the connection was closed"),
            Gone::Disconnected(reason) => write!(f, "the Server disconnected with {reason:#04x}"),
            Gone::Broken(why) => write!(f, "the Server broke the protocol: {why}"),
            Gone::Silent => f.write_str("the Server stayed silent"),
        }
    }
}

impl std::error::Error for Gone {}

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Gone::Closed
    }
}

/// What a Server sends, on its own feet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Connack { session_present: bool, reason: u8, receive_maximum: u16 },
    Publish { topic: String, payload: Vec<u8>, qos: Qos, dup: bool, retain: bool, packet_id: u16 },
    Puback { packet_id: u16, reason: u8 },
    Pubrec { packet_id: u16, reason: u8 },
    Pubrel { packet_id: u16 },
    Pubcomp { packet_id: u16 },
    Suback { packet_id: u16, reasons: Vec<u8> },
    Unsuback { packet_id: u16 },
    Pingresp,
    Disconnect { reason: u8 },
}

/// TCP, or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub struct Pipe {
    stream: Box<dyn Stream>,
    web_socket: Option<WebSocket>,
    version: ProtocolVersion,
    inbox: Vec<u8>,
    taken: usize,
    outbox: Vec<u8>,
}

impl Pipe {
    pub async fn open(to: impl Into<Place>, version: ProtocolVersion) -> Result<Self, Gone> {
        let place = to.into();
        let opening = async {
            let mut stream = connect(&place).await?;
            let web_socket = match place.is_web_socket {
                true => Some(WebSocket::open(&mut stream).await?),
                false => None,
            };
            Ok(Self::over(stream, web_socket, version))
        };
        timeout(PATIENCE, opening).await.map_err(|_| Gone::Silent)?
    }

    /// From a given address: one address has no more than some 28,000 ports.
    pub async fn open_from(from: SocketAddr, to: SocketAddr, version: ProtocolVersion) -> Result<Self, Gone> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(from)?;
        let stream = timeout(PATIENCE, socket.connect(to)).await.map_err(|_| Gone::Silent)??;
        stream.set_nodelay(true)?;
        Ok(Self::over(Box::new(stream), None, version))
    }

    fn over(stream: Box<dyn Stream>, web_socket: Option<WebSocket>, version: ProtocolVersion) -> Self {
        Self { stream, web_socket, version, inbox: Vec::new(), taken: 0, outbox: Vec::new() }
    }

    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Queued until [`flush`](Self::flush).
    pub fn put(&mut self, packet: &Packet<'_>) {
        let written: Result<(), EncodeError> = packet.encode(self.version, &mut self.outbox);
        written.expect("what the suite builds can be written");
    }

    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
    }

    pub async fn flush(&mut self) -> Result<(), Gone> {
        if let Some(web_socket) = &mut self.web_socket
            && (!self.outbox.is_empty() || web_socket.has_answer())
        {
            self.outbox = web_socket.wrap(&self.outbox);
        }
        if self.outbox.is_empty() {
            return Ok(());
        }
        let writing = async {
            self.stream.write_all(&self.outbox).await?;
            // TLS may hold back what it has encrypted.
            self.stream.flush().await
        };
        let written = timeout(PATIENCE, writing).await;
        self.outbox.clear();
        written.map_err(|_| Gone::Silent)?.map_err(Gone::from)
    }

    /// The next packet, or `None` at `until`. What was queued is flushed before anything is waited for. Nothing is lost
    /// when the future is dropped while it waits.
    pub async fn next(&mut self, until: Instant) -> Result<Option<Incoming>, Gone> {
        loop {
            if let Some(packet) = self.take()? {
                return Ok(Some(packet));
            }
            self.flush().await?;
            self.inbox.drain(..self.taken);
            self.taken = 0;
            let raw = self.web_socket.as_mut().map_or(&mut self.inbox, WebSocket::raw);
            match timeout_at(until, self.stream.read_buf(raw)).await {
                Err(_) => return Ok(None),
                Ok(Ok(0)) => return Err(Gone::Closed),
                Ok(read) => read?,
            };
        }
    }

    /// The next packet, whatever it is, within [`PATIENCE`].
    pub async fn answer(&mut self) -> Result<Incoming, Gone> {
        self.next(Instant::now() + PATIENCE).await?.ok_or(Gone::Silent)
    }

    /// Reads until the Server closes; `false` if it did not in time.
    pub async fn closed_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            match self.next(until).await {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    fn take(&mut self) -> Result<Option<Incoming>, Gone> {
        let broken = |error: convoy_wire::Error| Gone::Broken(error.to_string());
        if let Some(web_socket) = &mut self.web_socket {
            web_socket.unwrap(&mut self.inbox)?;
        }
        match cut(&self.inbox[self.taken..], Limits::NONE).map_err(broken)? {
            Cut::Partial { .. } => Ok(None),
            Cut::Whole { first, body, length } => {
                let packet = decode_from(Sender::Server, self.version, first, body).map_err(broken)?;
                let packet = own(&packet)?;
                self.taken += length;
                Ok(Some(packet))
            }
        }
    }
}

/// Up to where HTTP or MQTT begins.
pub async fn connect(place: &Place) -> Result<Box<dyn Stream>, Gone> {
    let stream = TcpStream::connect(place.address).await?;
    stream.set_nodelay(true)?;
    let Some(config) = &place.tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from("localhost").expect("it is a name");
    Ok(Box::new(TlsConnector::from(config.clone()).connect(name, stream).await?))
}

fn own(packet: &Packet<'_>) -> Result<Incoming, Gone> {
    Ok(match packet {
        Packet::Connack(connack) => Incoming::Connack {
            session_present: connack.session_present,
            reason: connack.reason.as_u8(),
            receive_maximum: connack.properties.receive_maximum.map_or(u16::MAX, u16::from),
        },
        Packet::Publish(publish) => Incoming::Publish {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: from_wire(publish.qos),
            dup: publish.dup,
            retain: publish.retain,
            packet_id: publish.packet_id.map_or(0, |packet_id| packet_id.get()),
        },
        Packet::Puback(ack) => {
            Incoming::Puback { packet_id: ack.packet_id.get(), reason: ack.reason.as_u8() }
        }
        Packet::Pubrec(ack) => {
            Incoming::Pubrec { packet_id: ack.packet_id.get(), reason: ack.reason.as_u8() }
        }
        Packet::Pubrel(ack) => Incoming::Pubrel { packet_id: ack.packet_id.get() },
        Packet::Pubcomp(ack) => Incoming::Pubcomp { packet_id: ack.packet_id.get() },
        Packet::Suback(suback) => Incoming::Suback {
            packet_id: suback.packet_id.get(),
            reasons: suback.reasons.iter().map(|reason| reason.as_u8()).collect(),
        },
        Packet::Unsuback(unsuback) => Incoming::Unsuback { packet_id: unsuback.packet_id.get() },
        Packet::Pingresp => Incoming::Pingresp,
        Packet::Disconnect(disconnect) => Incoming::Disconnect { reason: disconnect.reason.as_u8() },
        other => return Err(Gone::Broken(format!("{:?} from a Server", other.packet_type()))),
    })
}

pub(crate) fn from_wire(qos: QoS) -> Qos {
    Qos::from_level(qos.as_u8()).expect("both know three levels")
}

pub(crate) fn to_wire(qos: Qos) -> QoS {
    QoS::from_u8(qos.level()).expect("both know three levels")
}
