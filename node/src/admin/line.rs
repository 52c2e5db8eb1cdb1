//! One connection of the API, as its bytes pass: how many it may send and how long it may take, for a head, a body, an
//! answer, and nothing at all. The server behind it reads whatever comes and makes of it as many requests as it finds;
//! so it is handed one request at a time, and the next one once the answer to the last is written. Whoever does not read
//! its answers holds one of them, and nothing is read or computed for it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::head::HeadEnd;
use crate::listen::LogLimit;
use crate::observe::metrics::API_CONNECTIONS_CLOSED;

/// Of what follows the last request that is read: who has begun to send it reads the answer sooner than its end.
const REFUSED_BYTES: usize = 64 << 10;
const REFUSED_TIME: Duration = Duration::from_secs(2);

/// A connection between two requests.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// An answer of which no byte is taken.
const STILL_TIME: Duration = Duration::from_secs(5);

/// Bytes that are read ahead of what the server gets.
const READ_BYTES: usize = 4 << 10;

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
    /// Its head was handed on; it is carried out, or its body is on its way.
    Asked,
    /// Its answer is being written.
    Answered,
    /// All is written, and what comes is not looked at.
    Over,
}

/// What is known of a connection.
pub struct Asker {
    pub address: IpAddr,
    allowance: Allowance,
    stage: Cell<Stage>,
    until: Cell<Instant>,
    /// The time for the answer that is being written, however slowly.
    answer_until: Cell<Instant>,
    bytes_left: Cell<usize>,
    /// What the body of the request under way may have.
    body_bytes: Cell<usize>,
    head_end: RefCell<HeadEnd>,
    has_key: Cell<bool>,
    /// Nothing is handed on after this request.
    is_last: Cell<bool>,
    /// All of the answer was handed to the server's buffer.
    is_told: Cell<bool>,
    /// The last thing that was to be written was not taken.
    stands_still: Cell<bool>,
    /// The server, while it waits for something that is not handed on yet.
    reader: RefCell<Option<Waker>>,
    displaced: Notify,
}

impl Asker {
    pub fn new(address: IpAddr, allowance: Allowance) -> Self {
        let until = Instant::now() + allowance.head_time;
        Self {
            address,
            allowance,
            stage: Cell::new(Stage::Head),
            until: Cell::new(until),
            answer_until: Cell::new(until),
            bytes_left: Cell::new(allowance.head_bytes),
            body_bytes: Cell::new(0),
            head_end: RefCell::default(),
            has_key: Cell::new(false),
            is_last: Cell::new(false),
            is_told: Cell::new(false),
            stands_still: Cell::new(false),
            reader: RefCell::default(),
            displaced: Notify::new(),
        }
    }

    /// Whether it may go when others want its place: it has shown no key, and nothing is done for it, or it does not take
    /// what was done.
    pub fn gives_way(&self) -> bool {
        let is_busy = matches!(self.stage.get(), Stage::Asked | Stage::Answered);
        !self.has_key.get() && (!is_busy || self.stands_still.get())
    }

    /// Whether it does not take its answer.
    pub fn stands_still(&self) -> bool {
        self.stands_still.get()
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

    /// A head came that is in order, with a body of so many bytes at most that is to be read.
    pub fn asks(&self, has_key: bool, body_bytes: usize) {
        self.has_key.set(has_key);
        self.stage.set(Stage::Asked);
        self.body_bytes.set(body_bytes.min(self.allowance.body_bytes));
        self.allow(self.body_bytes.get(), self.allowance.body_time);
        self.answer_until.set(self.until.get());
        self.read_on();
    }

    /// Nothing is read after this request: there is no telling where the next one begins.
    pub fn asks_no_more(&self) {
        self.is_last.set(true);
    }

    /// It is answered without a look at its body, and nothing after it is looked at.
    pub fn is_refused(&self) {
        self.stage.set(Stage::Answered);
        self.is_last.set(true);
        self.is_told.set(true);
        self.allow(REFUSED_BYTES, REFUSED_TIME);
        self.answer_until.set(self.until.get());
        self.read_on();
    }

    /// Whether the connection ends with this request.
    pub fn is_last(&self) -> bool {
        self.is_last.get()
    }

    /// Bytes of a body that may be held for it.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes.get()
    }

    /// There is an answer; [`Self::told`] follows.
    pub fn answered(&self) {
        self.body_bytes.set(0);
        self.stage.set(Stage::Answered);
        self.is_told.set(false);
        if self.is_last.get() || self.bytes_left.get() > 0 {
            self.is_last.set(true);
            self.bytes_left.set(REFUSED_BYTES);
        }
        self.read_on();
    }

    /// The server has all of the answer.
    pub fn told(&self) {
        self.is_told.set(true);
    }

    /// Whatever the server had to write is written.
    fn wrote_all(&self) {
        self.moves();
        if self.stage.get() != Stage::Answered || !self.is_told.replace(false) {
            return;
        }
        match self.is_last.get() {
            true => {
                self.stage.set(Stage::Over);
                self.allow(self.bytes_left.get(), REFUSED_TIME);
            }
            false => {
                self.stage.set(Stage::Idle);
                *self.head_end.borrow_mut() = HeadEnd::default();
                self.allow(self.allowance.head_bytes, IDLE_TIME);
            }
        }
        self.read_on();
    }

    fn wrote_nothing(&self) {
        if !self.stands_still.replace(true) {
            self.until.set(self.answer_until.get().min(Instant::now() + STILL_TIME));
        }
    }

    fn moves(&self) {
        if self.stands_still.replace(false) {
            self.until.set(self.answer_until.get());
        }
    }

    fn allow(&self, bytes: usize, time: Duration) {
        self.bytes_left.set(bytes);
        self.until.set(Instant::now() + time);
    }

    fn came(&self) {
        if self.stage.get() == Stage::Idle {
            self.stage.set(Stage::Head);
            self.until.set(self.until.get().min(Instant::now() + self.allowance.head_time));
        }
    }

    /// Of what came, how much is handed on now.
    fn takes(&self, bytes: &[u8]) -> usize {
        let bytes = &bytes[..bytes.len().min(self.bytes_left.get())];
        let taken = match self.stage.get() {
            Stage::Head | Stage::Idle => match self.head_end.borrow_mut().find(bytes) {
                Some(length) => {
                    self.stage.set(Stage::Asked);
                    self.bytes_left.set(length);
                    length
                }
                None => bytes.len(),
            },
            Stage::Asked | Stage::Answered | Stage::Over => bytes.len(),
        };
        self.bytes_left.set(self.bytes_left.get() - taken);
        taken
    }

    /// Whether the server has to wait, for its own answer above all.
    fn is_to_wait(&self) -> bool {
        match self.stage.get() {
            Stage::Idle | Stage::Head => false,
            Stage::Asked => self.bytes_left.get() == 0,
            Stage::Answered | Stage::Over => true,
        }
    }

    fn read_on(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
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
    /// What came and is not handed on yet.
    came: Vec<u8>,
    pauses: bool,
    log: Rc<LogLimit>,
}

impl Line {
    pub fn new(stream: TcpStream, asker: Rc<Asker>, log: Rc<LogLimit>) -> Self {
        let alarm = Box::pin(tokio::time::sleep_until(asker.until.get()));
        Self { stream, asker, alarm, came: Vec::new(), pauses: false, log }
    }

    /// Fails when it has taken too long.
    fn check_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.alarm.deadline() != self.asker.until.get() {
            self.alarm.as_mut().reset(self.asker.until.get());
        }
        if self.alarm.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        if self.asker.stands_still.get() {
            closed("unread");
            let address = self.asker.address;
            self.log.say(std::time::Instant::now(), |unsaid| {
                tracing::warn!(%address, unsaid, "a connection of the api was closed: it does not read its answer");
            });
        } else if self.asker.stage.get() != Stage::Idle {
            closed("slow");
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Reads what has come, if all that came before was handed on; says whether the other side goes on.
    fn poll_come(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.came.is_empty() {
            let mut bytes = [0; READ_BYTES];
            let mut bytes = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut bytes))?;
            self.came.extend_from_slice(bytes.filled());
        }
        Poll::Ready(Ok(!self.came.is_empty()))
    }

    /// Reads what nobody looks at, until there is enough of it.
    fn poll_waste(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while ready!(self.poll_come(context))? {
            let left = self.asker.bytes_left.get().saturating_sub(self.came.len());
            self.asker.bytes_left.set(left);
            self.came.clear();
            if left == 0 {
                closed("too_long");
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_time(context)?;
        if self.asker.is_last.get() && self.asker.stage.get() != Stage::Asked {
            return self.poll_waste(context);
        }
        if self.asker.is_to_wait() {
            *self.asker.reader.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        if self.asker.is_last.get() {
            // Where this body ends the server alone finds out: it gets a little, looks at it, and asks for more.
            self.pauses = !self.pauses;
            if self.pauses {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if self.asker.bytes_left.get() == 0 {
            closed("too_long");
            // Nothing else is being written between two requests; what does not fit now is not said.
            let _ = self.stream.try_write(HEAD_TOO_LONG);
            return Poll::Ready(Ok(()));
        }
        if ready!(self.poll_come(context))? {
            self.asker.came();
            let most = self.came.len().min(into.remaining());
            let taken = self.asker.takes(&self.came[..most]);
            into.put_slice(&self.came[..taken]);
            self.came.drain(..taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_time(context)?;
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        match &wrote {
            Poll::Pending => self.asker.wrote_nothing(),
            Poll::Ready(_) => self.asker.moves(),
        }
        if wrote.is_pending() {
            // It may have little time from now on.
            self.check_time(context)?;
        }
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.asker.wrote_all();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        if !self.asker.is_last.get() {
            return Poll::Ready(Ok(()));
        }
        // Closed with something unread, the kernel would say so before the answer is read.
        self.check_time(context)?;
        self.poll_waste(context)
    }
}
