//! One task drives one Network Connection: it writes what is pending, then reads until the socket is empty. There is no
//! second task and no lock: whoever has something for this Client puts it in its output and wakes the task once.

use convoy_actors::{Activity, Heed, Output, Peer};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::net::TcpStream;

use super::Accepted;
use super::bulk::{self, PIECE_BYTES, SMALL_BYTES};
use super::shard::Driver;
use crate::listen::Admitted;
use crate::stream::{Carried, Goodbye, Stream, Tls, WebSocket};

/// Wakes a connection's task from within its thread.
#[derive(Default)]
pub struct Wake {
    /// In the line of those who are sent much.
    pub place: Cell<bulk::Place>,
    woken: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Wake {
    pub fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    fn register(&self, context: &Context<'_>) {
        self.woken.set(false);
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }
}

/// Reads of one Client before others have their turn.
const READS: usize = 4;

/// Why a connection's task ends.
enum End {
    /// The Client closed, or its output is written and it is to be closed.
    Closed,
    Failed(io::Error),
}

/// How long the other side is waited for when it is told of the end: until it has been told, and until it closes too.
const FAREWELL: Duration = Duration::from_secs(1);

pub fn start(driver: &Rc<Driver>, accepted: Accepted) -> io::Result<()> {
    let Accepted { carried, peer, admitted } = accepted;
    let start = Start { driver, peer, admitted };
    match carried {
        Carried::Tcp(stream) => start.with(attach(stream)?),
        Carried::Tls(stream, state) => start.with(Tls::attach(attach(stream)?, state)),
        Carried::WebSocket(stream, state) => start.with(WebSocket::new(attach(stream)?, state)),
        Carried::SecureWebSocket(stream, tls, state) => {
            start.with(WebSocket::new(Tls::attach(attach(stream)?, tls), state));
        }
    }
    Ok(())
}

fn attach(stream: net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

struct Start<'d> {
    driver: &'d Rc<Driver>,
    peer: Peer,
    admitted: Admitted,
}

impl Start<'_> {
    fn with<S: Stream>(self, stream: S) {
        let Self { driver, peer, admitted } = self;
        let key = driver.shard.borrow_mut().accept(driver.clock.now(), peer);
        let wake = Rc::new(Wake::default());
        let mut wakes = driver.wakes.borrow_mut();
        if wakes.len() <= key as usize {
            wakes.resize(key as usize + 1, None);
        }
        wakes[key as usize] = Some(Rc::clone(&wake));
        drop(wakes);
        let client = Client {
            driver: Rc::clone(driver),
            stream,
            key,
            wake,
            sending: Output::default(),
            is_stalled: false,
            admitted,
        };
        tokio::task::spawn_local(run(client));
    }
}

struct Client<S> {
    driver: Rc<Driver>,
    stream: S,
    key: u32,
    wake: Rc<Wake>,
    /// What is being written.
    sending: Output,
    /// The socket did not take all of it.
    is_stalled: bool,
    /// Its place, given back when the stream is closed.
    admitted: Admitted,
}

async fn run<S: Stream>(mut client: Client<S>) {
    let end = std::future::poll_fn(|context| client.poll(context)).await;
    let says_goodbye = S::SAYS_GOODBYE
        && match &end {
            End::Closed => true,
            End::Failed(error) => error.kind() == io::ErrorKind::InvalidData,
        };
    if let End::Failed(error) = end {
        tracing::trace!(%error, "connection failed");
    }
    client.driver.wakes.borrow_mut()[client.key as usize] = None;
    if says_goodbye {
        // Apart, so that a connection which has nothing to say at its end carries no room for it.
        Box::pin(client.say_goodbye()).await;
    }
    let now = client.driver.clock.now();
    client.driver.pulse.begin(Activity::Close, client.key);
    client.driver.shard.borrow_mut().closed(now, client.key);
    client.driver.after();
    client.driver.pulse.rest();
    if says_goodbye {
        Box::pin(client.linger()).await;
    }
}

impl<S: Stream> Client<S> {
    async fn say_goodbye(&mut self) {
        let goodbye = if self.driver.is_going_away() { Goodbye::GoingAway } else { Goodbye::Done };
        let said = std::future::poll_fn(|context| self.stream.poll_goodbye(context, goodbye));
        let _ = tokio::time::timeout(FAREWELL, said).await;
    }

    /// Waits for the other side's end: what it still sends would else take back what it was told.
    async fn linger(&mut self) {
        let ended = std::future::poll_fn(|context| {
            let mut scratch = self.driver.scratch.borrow_mut();
            // Bounded by the time that it may take, and by what comes at once.
            for _ in 0..READS {
                match ready!(self.stream.poll_read(context, &mut scratch, &mut |_| {})) {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return Poll::Ready(()),
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let _ = tokio::time::timeout(FAREWELL, ended).await;
    }
}

impl<S: Stream> Client<S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        self.driver.pulse.begin(Activity::Connection, self.key);
        let end = self.poll_on(context);
        self.driver.pulse.rest();
        end
    }

    fn poll_on(&mut self, context: &mut Context<'_>) -> Poll<End> {
        self.wake.register(context);
        if self.admitted.is_half_open() && !self.driver.shard.borrow().is_half_open(self.key) {
            self.admitted.opened();
        }
        let mut reads = 0;
        loop {
            // A Client that does not read is still read from, as far as its answers have room: it may be waiting for us.
            let is_written = match self.poll_write(context) {
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                written => written.is_ready(),
            };
            let heed = self.heed();
            match heed {
                Heed::Reads | Heed::ReadsOut => {}
                Heed::Gone => return Poll::Ready(End::Closed),
                Heed::Closes if is_written => return Poll::Ready(End::Closed),
                Heed::Closes | Heed::Waits => return Poll::Pending,
                Heed::Watches => return self.poll_end(context),
            }
            if reads == READS {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            // What is left of an earlier read was more than a turn's work already.
            let is_kept = self.driver.shard.borrow().has_whole_input(self.key);
            reads = if is_kept { READS } else { reads + 1 };
            match self.poll_read(context, is_kept) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(End::Closed),
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                Poll::Pending => {
                    if heed == Heed::ReadsOut {
                        self.driver.shard.borrow_mut().read_out(self.key);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Whether the Client is read from now.
    fn heed(&self) -> Heed {
        let heed = self.driver.shard.borrow_mut().heed(|| self.driver.clock.now(), self.key);
        match heed {
            Heed::Reads | Heed::ReadsOut if self.driver.is_congested() => Heed::Watches,
            heed => heed,
        }
    }

    /// Ready when a Client is gone that is not read from. What it has sent before that keeps its end from being seen.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        ready!(self.stream.poll_end(context));
        match self.driver.shard.borrow_mut().ends(self.driver.clock.now(), self.key) {
            true => Poll::Ready(End::Closed),
            false => Poll::Pending,
        }
    }

    /// Ready when everything is written. The shard is told when the Client stops taking it, and when it goes on.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut taken = 0;
        let written = self.poll_write_on(context, &mut taken);
        if written.is_pending() && self.wake.place.get() == bulk::Place::InLine {
            // Its turn comes with the next one of the shard, which nothing else may have asked for.
            self.driver.after();
            // It waits for others, and that says nothing of its Client but for what was taken before.
            if taken > 0 && std::mem::take(&mut self.is_stalled) {
                self.driver.shard.borrow_mut().write_ends(self.key);
            }
        } else if written.is_pending() {
            if taken > 0 || !self.is_stalled {
                self.driver.shard.borrow_mut().write_stalls(self.driver.clock.now(), self.key);
            }
            self.is_stalled = true;
        } else if std::mem::take(&mut self.is_stalled) {
            self.driver.shard.borrow_mut().write_ends(self.key);
        }
        written
    }

    /// Counts bytes that the socket took in `taken`.
    fn poll_write_on(&mut self, context: &mut Context<'_>, taken: &mut usize) -> Poll<io::Result<()>> {
        loop {
            if self.sending.is_empty() {
                let mut shard = self.driver.shard.borrow_mut();
                let asks = shard.take_output(|| self.driver.clock.now(), self.key, &mut self.sending);
                drop(shard);
                if asks {
                    self.driver.after();
                }
                if self.sending.is_empty() {
                    return self.stream.poll_flush(context);
                }
            }
            let much = self.sending.len() > SMALL_BYTES;
            if much && !self.driver.bulk.may_write(&self.wake) {
                return Poll::Pending;
            }
            let mut slices = [IoSlice::new(&[]); 16];
            let used = self.sending.slices(&mut slices, if much { PIECE_BYTES } else { SMALL_BYTES });
            match self.stream.poll_write(context, &slices[..used]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.driver.sent.increment(written as u64);
                    self.sending.advance(written);
                    *taken += written;
                    if much && self.sending.len() > SMALL_BYTES {
                        self.driver.bulk.stand_in_line(&self.wake);
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads once and hands the bytes on, or has those taken up that were kept. False at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>, is_kept: bool) -> Poll<io::Result<bool>> {
        let driver = &self.driver;
        if is_kept {
            driver.shard.borrow_mut().receive(driver.clock.now(), self.key, &[]);
            driver.after();
            return Poll::Ready(Ok(true));
        }
        let mut scratch = driver.scratch.borrow_mut();
        let mut take = |bytes: &[u8]| {
            driver.received.increment(bytes.len() as u64);
            driver.shard.borrow_mut().receive(driver.clock.now(), self.key, bytes);
        };
        let read = ready!(self.stream.poll_read(context, &mut scratch, &mut take));
        drop(scratch);
        driver.after();
        Poll::Ready(read)
    }
}
