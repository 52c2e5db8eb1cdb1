//! The socket under a link, with TLS or WebSocket or both where they were asked for. One reader, one writer, one thread.

use super::secure::SecureOptions;
use crate::stream::frame::{Decoder, Event, From, Header, Opcode, unmask};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, Read, Write};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::TcpStream;

const READ_BYTES: usize = 64 << 10;

/// Longest answer to an upgrade.
const ANSWER_BYTES: usize = 16 << 10;

pub struct Line {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    frames: Option<Decoder>,
    /// Bytes of frames that TLS or the socket has yet to take.
    pending: Vec<u8>,
    buffer: Box<[u8]>,
    room: Box<[u8]>,
}

/// The socket as `rustls` wants it.
struct Now<'s>(&'s TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Line {
    /// Connects, and shakes hands as `options` ask for it.
    pub async fn open(
        host: &str,
        port: u16,
        config: Option<Arc<ClientConfig>>,
        options: &SecureOptions,
    ) -> io::Result<Self> {
        let socket = TcpStream::connect((host, port)).await?;
        socket.set_nodelay(true)?;
        let tls = match config {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                Some(Box::new(ClientConnection::new(config, name).map_err(io::Error::other)?))
            }
        };
        let mut line = Self {
            socket,
            tls,
            frames: None,
            pending: Vec::new(),
            buffer: vec![0; READ_BYTES].into(),
            room: Box::default(),
        };
        while line.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            line.step(&mut |_| {}).await?;
        }
        if options.ws {
            line.upgrade(host, port, &options.ws_path).await?;
        }
        Ok(line)
    }

    /// Whether all that was written is with the kernel.
    pub fn is_flushed(&self) -> bool {
        self.pending.is_empty() && self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Waits until the socket can be read, or written if `writes`.
    pub async fn ready(&self, writes: bool) -> io::Result<tokio::io::Ready> {
        let interest = match writes || !self.is_flushed() {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        self.socket.ready(interest).await
    }

    /// Takes bytes from the front, as many as can be taken now.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tls.is_none() && self.frames.is_none() {
            return self.socket.try_write(bytes);
        }
        self.flush()?;
        match self.frames {
            None => self.pending.extend_from_slice(bytes),
            Some(_) => self.frame(Opcode::Binary, bytes)?,
        }
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(bytes.len()),
        }
    }

    /// Puts a masked frame behind what waits.
    fn frame(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mut mask = [0; 4];
        ring::default_provider()
            .secure_random
            .fill(&mut mask)
            .map_err(|_| io::Error::other("no chance to be had"))?;
        self.pending.extend_from_slice(Header::new(opcode, payload.len(), Some(mask)).bytes());
        let at = self.pending.len();
        self.pending.resize(at + payload.len(), 0);
        unmask(payload, mask, &mut self.pending[at..]);
        Ok(())
    }

    /// Writes what waits.
    pub fn flush(&mut self) -> io::Result<()> {
        let Self { socket, tls, pending, .. } = self;
        let Some(tls) = tls else {
            while !pending.is_empty() {
                let written = socket.try_write(pending)?;
                pending.drain(..written);
            }
            return Ok(());
        };
        loop {
            while tls.wants_write() {
                tls.write_tls(&mut Now(socket))?;
            }
            if pending.is_empty() || tls.is_handshaking() {
                return Ok(());
            }
            let taken = tls.writer().write(pending)?;
            pending.drain(..taken);
        }
    }

    /// Reads what is there; it goes to `take`. False at the end.
    pub fn read(&mut self, take: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        let Self { socket, tls, frames, buffer, room, .. } = self;
        let mut bytes = &mut buffer[..];
        match tls {
            None => {
                let count = socket.try_read(bytes)?;
                if count == 0 {
                    return Ok(false);
                }
                bytes = &mut bytes[..count];
            }
            Some(tls) => {
                let read = tls.read_tls(&mut Now(socket))?;
                let state = tls.process_new_packets().map_err(|error| {
                    // The server is told why, if it can be told at once.
                    let _ = tls.write_tls(&mut Now(socket));
                    io::Error::new(io::ErrorKind::InvalidData, error)
                })?;
                // One read of TLS is less than this buffer.
                let count = state.plaintext_bytes_to_read().min(bytes.len());
                bytes = &mut bytes[..count];
                tls.reader().read_exact(bytes)?;
                if count == 0 && (read == 0 || state.peer_has_closed()) {
                    return Ok(false);
                }
            }
        }
        let Some(frames) = frames else {
            take(bytes);
            return Ok(true);
        };
        let mut input = &bytes[..];
        let mut goes_on = true;
        let mut pong = None;
        while let Some(event) = frames
            .next(&mut input, room)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?
        {
            match event {
                Event::Data(data) => take(data),
                Event::Ping(payload) => pong = Some(payload),
                Event::Pong => {}
                Event::Close(_) => goes_on = false,
            }
        }
        if let Some(payload) = pong {
            self.frame(Opcode::Pong, &payload)?;
        }
        Ok(goes_on)
    }

    /// Waits, writes and reads once.
    async fn step(&mut self, take: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        let ready = self.ready(false).await?;
        if ready.is_writable() {
            unless_blocked(self.flush())?;
        }
        if ready.is_readable() {
            return match self.read(take) {
                Ok(false) if self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) => {
                    Err(io::ErrorKind::UnexpectedEof.into())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
                read => read,
            };
        }
        Ok(true)
    }

    async fn upgrade(&mut self, host: &str, port: u16, path: &str) -> io::Result<()> {
        let mut key = [0; 16];
        ring::default_provider()
            .secure_random
            .fill(&mut key)
            .map_err(|_| io::Error::other("no chance to be had"))?;
        let key = STANDARD.encode(key);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        self.pending = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        )
        .into_bytes();
        let mut answer = Vec::new();
        loop {
            unless_blocked(self.flush())?;
            let more = self.step(&mut |bytes| answer.extend_from_slice(bytes)).await?;
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            match response.parse(&answer) {
                Ok(httparse::Status::Complete(_)) => {
                    let accept = crate::stream::frame::accept_of(&key);
                    let accepted = response.headers.iter().any(|header| {
                        header.name.eq_ignore_ascii_case("sec-websocket-accept")
                            && header.value == accept.as_bytes()
                    });
                    return match response.code {
                        // Nothing comes behind it: it is for us to speak first.
                        Some(101) if accepted => {
                            self.frames = Some(Decoder::new(From::Server));
                            self.room = vec![0; READ_BYTES].into();
                            Ok(())
                        }
                        code => Err(io::Error::other(format!(
                            "the server does not take a WebSocket there: HTTP {} {}",
                            code.unwrap_or(0),
                            response.reason.unwrap_or("")
                        ))),
                    };
                }
                Ok(httparse::Status::Partial) if more && answer.len() < ANSWER_BYTES => {}
                Ok(httparse::Status::Partial) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(_) => return Err(io::Error::other("the server does not speak HTTP there")),
            }
        }
    }

    /// Writes `rest`, says that this is the end, and waits for the server's.
    pub async fn close(mut self, rest: &[u8]) -> io::Result<()> {
        let mut rest = rest;
        while !rest.is_empty() {
            match self.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        if self.frames.is_some() {
            self.frame(Opcode::Close, &1000_u16.to_be_bytes())?;
        }
        let mut said = false;
        loop {
            unless_blocked(self.flush())?;
            if self.is_flushed() && !said {
                said = true;
                if let Some(tls) = &mut self.tls {
                    tls.send_close_notify();
                    continue;
                }
                if self.frames.is_none() {
                    use tokio::io::AsyncWriteExt;
                    self.socket.shutdown().await?;
                }
            }
            if !self.step(&mut |_| {}).await? {
                return Ok(());
            }
        }
    }
}

fn unless_blocked(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        result => result,
    }
}
