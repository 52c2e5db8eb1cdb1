//! TLS over TCP, without buffers of its own: records are decrypted where they were read, in a buffer that all connections
//! of a thread share, and what is kept between two reads is a record that is not whole. An idle connection therefore
//! holds its keys and little else.

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::{Goodbye, Stream, gather};

/// Plain bytes of one record at most.
const RECORD_BYTES: usize = 16 << 10;

/// What a record adds, generously, with a key update before it.
const OVERHEAD_BYTES: usize = 128;

/// Bytes of a handshake that may wait for their next part. A message of it may have 64 KiB; nobody sends such.
const HANDSHAKE_BYTES: usize = 64 << 10;

thread_local! {
    /// Where the parts of one record are gathered.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A TLS connection without its socket.
pub struct State {
    session: UnbufferedServerConnection,
    /// Ciphertext that is not a whole record yet.
    incoming: Vec<u8>,
    /// Ciphertext that the socket did not take, from `written` on.
    outgoing: Vec<u8>,
    written: usize,
    /// Plain bytes that came right behind the handshake.
    early: Vec<u8>,
    /// The other side will send nothing more.
    ended: bool,
    said_goodbye: bool,
    /// The session met an error: an alert may be sent, and nothing else.
    failed: bool,
}

pub struct Tls {
    socket: TcpStream,
    state: Box<State>,
}

/// What a piece of ciphertext meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The handshake goes on when more has come.
    Handshaking,
    Established,
    /// The other side will send nothing more.
    Ended,
}

impl State {
    fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            session: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            written: 0,
            early: Vec::new(),
            ended: false,
            said_goodbye: false,
            failed: false,
        })
    }

    /// Reads records from `bytes` until none is whole. Returns how many bytes are done with; what has to be said in
    /// answer, also to a broken record, is in `outgoing`.
    fn process(
        &mut self,
        bytes: &mut [u8],
        take: &mut impl FnMut(&[u8]),
    ) -> Result<(usize, Progress), rustls::Error> {
        let Self { session, outgoing, .. } = self;
        let (mut at, mut ended) = (0, false);
        loop {
            let UnbufferedStatus { mut discard, state } = session.process_tls_records(&mut bytes[at..]);
            let mut progress = None;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        take(record.payload);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
                // Sending is the caller's, with what else there is.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => ended = true,
                Ok(ConnectionState::WriteTraffic(_)) => progress = Some(Progress::Established),
                Ok(ConnectionState::BlockedHandshake) => progress = Some(Progress::Handshaking),
                Ok(ConnectionState::Closed) => progress = Some(Progress::Ended),
                // Early data may be played again by anybody: our configurations refuse it.
                Ok(_) => return Err(rustls::Error::General("early data was never offered".to_owned())),
                Err(error) => {
                    self.failed = true;
                    self.complain(&mut bytes[at + discard..]);
                    return Err(error);
                }
            }
            at += discard;
            if let Some(progress) = progress {
                return Ok((at, if ended { Progress::Ended } else { progress }));
            }
        }
    }

    /// Puts the alert that follows an error into `outgoing`. `bytes` are those that were not read, which the session may
    /// look at again.
    fn complain(&mut self, mut bytes: &mut [u8]) {
        let Self { session, outgoing, .. } = self;
        // Once it has nothing left to say the session must not be asked again: it would meet the error a second time.
        while session.wants_write() {
            let UnbufferedStatus { discard, state } = session.process_tls_records(bytes);
            match state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
                _ => return,
            }
            bytes = &mut bytes[discard..];
        }
    }

    /// Puts into `outgoing` what `write` makes of the session, once it may write. What is in `incoming` is given to the
    /// session again, which may have begun to read it.
    fn with_writer(
        &mut self,
        room: usize,
        mut write: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        let Self { session, incoming, outgoing, failed, .. } = self;
        if *failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        loop {
            let UnbufferedStatus { discard, state } = session.process_tls_records(incoming);
            let mut done = false;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let grown = grow(outgoing, room, |room| match write(&mut traffic, room) {
                        Ok(written) => Ok(written),
                        Err(EncryptError::InsufficientSize(size)) => Err(Some(size)),
                        Err(EncryptError::EncryptExhausted) => Err(None),
                    });
                    if !grown {
                        return Err(io::Error::other("the keys of this connection are used up"));
                    }
                    done = true;
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(_) => return Err(io::ErrorKind::NotConnected.into()),
                Err(error) => return Err(invalid(error)),
            }
            incoming.drain(..discard);
            if done {
                return Ok(());
            }
        }
    }

    fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        self.with_writer(plain.len() + OVERHEAD_BYTES, |traffic, room| traffic.encrypt(plain, room))
    }

    fn forget_written(&mut self) {
        self.outgoing = Vec::new();
        self.written = 0;
    }
}

/// Appends a part of the handshake.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Vec<u8>) {
    grow(outgoing, OVERHEAD_BYTES, |room| match data.encode(room) {
        Ok(written) => Ok(written),
        Err(EncodeError::InsufficientSize(size)) => Err(Some(size)),
        Err(EncodeError::AlreadyEncoded) => Err(None),
    });
}

/// Appends what `write` puts into the room that it is given, or into more if it asks for it. False if it fails for
/// another reason.
fn grow(
    outgoing: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> bool {
    let begin = outgoing.len();
    let mut room = room;
    loop {
        outgoing.resize(begin + room, 0);
        match write(&mut outgoing[begin..]) {
            Ok(written) => {
                outgoing.truncate(begin + written);
                return true;
            }
            Err(Some(InsufficientSizeError { required_size })) if required_size > room => {
                room = required_size
            }
            Err(_) => {
                outgoing.truncate(begin);
                return false;
            }
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The Client was told, by an alert.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Socket(#[from] io::Error),
}

impl Tls {
    /// Shakes hands. How long that may take is for the caller to say.
    pub async fn accept(mut socket: TcpStream, config: Arc<ServerConfig>) -> Result<Self, Failure> {
        let mut state = State::new(config)?;
        let mut incoming = Vec::with_capacity(4096);
        loop {
            if incoming.len() > HANDSHAKE_BYTES {
                return Err(Failure::Tls(rustls::Error::General("the handshake is too long".to_owned())));
            }
            if socket.read_buf(&mut incoming).await? == 0 {
                return Err(Failure::Socket(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut early = Vec::new();
            let outcome = state.process(&mut incoming, &mut |bytes| early.extend_from_slice(bytes));
            state.early.append(&mut early);
            let answered = socket.write_all(&state.outgoing).await;
            state.forget_written();
            let (done, progress) = outcome?;
            answered?;
            incoming.drain(..done);
            match progress {
                Progress::Handshaking => {}
                Progress::Ended if state.session.is_handshaking() => {
                    return Err(Failure::Socket(io::ErrorKind::UnexpectedEof.into()));
                }
                Progress::Established => break,
                Progress::Ended => {
                    state.ended = true;
                    break;
                }
            }
        }
        if !incoming.is_empty() {
            state.incoming = incoming;
        }
        Ok(Self { socket, state: Box::new(state) })
    }

    pub fn session(&self) -> &UnbufferedServerConnection {
        &self.state.session
    }

    /// Takes the stream off this thread's runtime.
    pub fn detach(self) -> io::Result<(net::TcpStream, Box<State>)> {
        Ok((self.socket.into_std()?, self.state))
    }

    pub fn attach(socket: TcpStream, state: Box<State>) -> Self {
        Self { socket, state }
    }
}

impl Stream for Tls {
    const SAYS_GOODBYE: bool = true;

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(context))?;
        let taken = match slices {
            [one] => {
                let plain = &one[..one.len().min(RECORD_BYTES)];
                self.state.encrypt(plain)?;
                plain.len()
            }
            several => GATHERED.with_borrow_mut(|gathered| {
                gathered.clear();
                gather(several, RECORD_BYTES, gathered);
                self.state.encrypt(gathered).map(|()| gathered.len())
            })?,
        };
        match self.poll_flush(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, state } = self;
        while state.written < state.outgoing.len() {
            let written =
                ready!(Pin::new(&mut *socket).poll_write(context, &state.outgoing[state.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.written += written;
        }
        if state.written > 0 {
            state.forget_written();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        take: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        let Self { socket, state } = self;
        if !state.early.is_empty() {
            take(&std::mem::take(&mut state.early));
            return Poll::Ready(Ok(true));
        }
        if state.ended {
            return Poll::Ready(Ok(false));
        }
        let held = state.incoming.len();
        if held >= scratch.len() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        scratch[..held].copy_from_slice(&state.incoming);
        let mut buffer = ReadBuf::new(scratch);
        buffer.set_filled(held);
        ready!(tokio::io::AsyncRead::poll_read(Pin::new(socket), context, &mut buffer))?;
        let filled = buffer.filled().len();
        if filled == held {
            return Poll::Ready(Ok(false));
        }
        state.incoming = Vec::new();
        let bytes = &mut scratch[..filled];
        let (done, progress) = state.process(bytes, take).map_err(invalid)?;
        if done < filled {
            state.incoming = bytes[done..].to_vec();
        }
        state.ended = progress == Progress::Ended;
        Poll::Ready(Ok(true))
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &self.state.early[..] {
            [] if self.state.ended => Poll::Ready(()),
            // What has come is still to be taken.
            [_, ..] => Poll::Pending,
            [] => self.socket.poll_end(context),
        }
    }

    fn poll_goodbye(&mut self, context: &mut Context<'_>, _: Goodbye) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.state.said_goodbye, true) {
            // If the session has failed, its alert is all that is said.
            let _ = self.state.with_writer(OVERHEAD_BYTES, |traffic, room| traffic.queue_close_notify(room));
        }
        ready!(self.poll_flush(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
