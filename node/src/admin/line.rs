//! One connection of the API, as its bytes pass: how many it may send and how long it may take, for a head, a body, and
//! nothing at all. The server behind it reads whatever comes; what a stranger sends is bounded here.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use crate::observe::metrics::API_CONNECTIONS_CLOSED;

/// Of the body of a request that is refused: who has begun to send it reads the answer sooner than its end.
const REFUSED_BYTES: usize = 64 << 10;
const REFUSED_TIME: Duration = Duration::from_secs(2);

/// A connection between two requests.
const IDLE_TIME: Duration = Duration::from_secs(30);

const HEAD_TOO_LONG: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\
    Connection: close\r\n\r\n";

/// What a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub head_bytes: usize,
    pub head_time: Duration,
    pub body_bytes: usize,
    pub body_time: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has come of the next request.
    Idle,
    /// Its head is on its way.
    Head,
    /// It is carried out, or its body is on its way.
    Asked,
}

/// What is known of a connection.
pub struct Asker {
    allowance: Allowance,
    stage: Cell<Stage>,
    until: Cell<Instant>,
    bytes_left: Cell<usize>,
    has_key: Cell<bool>,
    is_refused: Cell<bool>,
    /// All bytes that a head may have were looked through for its end.
    is_searched: Cell<bool>,
    displaced: Notify,
}

impl Asker {
    pub fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            stage: Cell::new(Stage::Head),
            until: Cell::new(Instant::now() + allowance.head_time),
            bytes_left: Cell::new(allowance.head_bytes),
            has_key: Cell::new(false),
            is_refused: Cell::new(false),
            is_searched: Cell::new(false),
            displaced: Notify::new(),
        }
    }

    /// Whether it may go when others want its place: it has shown no key, and nothing is done for it.
    pub fn gives_way(&self) -> bool {
        !self.has_key.get() && self.stage.get() != Stage::Asked
    }

    pub fn displace(&self) {
        self.displaced.notify_one();
    }

    /// Waits until somebody else gets its place.
    pub async fn displaced(&self) {
        self.displaced.notified().await;
    }

    pub fn has_key(&self) -> bool {
        self.has_key.get()
    }

    /// A head came that is in order.
    pub fn asks(&self, has_key: bool) {
        self.stage.set(Stage::Asked);
        self.has_key.set(has_key);
        self.allow(self.allowance.body_bytes, self.allowance.body_time);
    }

    /// It is answered without a look at its body.
    pub fn is_refused(&self) {
        self.stage.set(Stage::Asked);
        self.is_refused.set(true);
        self.allow(REFUSED_BYTES, REFUSED_TIME);
    }

    pub fn answered(&self) {
        if !self.is_refused.get() {
            self.stage.set(Stage::Idle);
            self.allow(self.allowance.head_bytes, IDLE_TIME);
        }
    }

    fn allow(&self, bytes: usize, time: Duration) {
        self.bytes_left.set(bytes);
        self.is_searched.set(false);
        self.until.set(Instant::now() + time);
    }

    fn came(&self, bytes: usize) {
        self.bytes_left.set(self.bytes_left.get().saturating_sub(bytes));
        if self.stage.get() == Stage::Idle {
            self.stage.set(Stage::Head);
            self.until.set(self.until.get().min(Instant::now() + self.allowance.head_time));
        }
    }
}

/// Counts a connection that was closed before its time.
pub fn closed(reason: &'static str) {
    metrics::counter!(API_CONNECTIONS_CLOSED, "reason" => reason).increment(1);
}

/// The stream of a connection.
pub struct Line {
    stream: TcpStream,
    pub asker: Rc<Asker>,
    alarm: Pin<Box<Sleep>>,
}

impl Line {
    pub fn new(stream: TcpStream, asker: Rc<Asker>) -> Self {
        let alarm = Box::pin(tokio::time::sleep_until(asker.until.get()));
        Self { stream, asker, alarm }
    }

    /// Fails when it has taken too long.
    fn check_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.alarm.deadline() != self.asker.until.get() {
            self.alarm.as_mut().reset(self.asker.until.get());
        }
        if self.alarm.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        if self.asker.stage.get() != Stage::Idle {
            closed("slow");
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_time(context)?;
        if self.asker.bytes_left.get() == 0 {
            // What came behind a head came with it: it is looked for the end of one before more is read.
            if self.asker.stage.get() == Stage::Head && !self.asker.is_searched.replace(true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            closed("too_long");
            if self.asker.stage.get() == Stage::Head {
                // Nothing else is being written before the first request; what does not fit now is not said.
                let _ = self.stream.try_write(HEAD_TOO_LONG);
            }
            // As if it had ended: what was answered is still written.
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let came = into.filled().len() - before;
        if came > 0 {
            self.asker.came(came);
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
