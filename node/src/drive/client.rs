//! One task drives one Network Connection: it writes what is pending, then reads until the socket is empty. There is no
//! second task and no lock: whoever has something for this Client puts it in its output and wakes the task once.

use convoy_actors::Output;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Accepted;
use super::shard::Driver;
use crate::listen::Admitted;

/// Wakes a connection's task from within its thread.
#[derive(Default)]
pub struct Wake {
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

pub fn start(driver: &Rc<Driver>, accepted: Accepted) -> io::Result<()> {
    let Accepted { stream, peer, admitted } = accepted;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let stream = TcpStream::from_std(stream)?;
    let key = driver.shard.borrow_mut().accept(driver.clock.now(), peer);
    let wake = Rc::new(Wake::default());
    let mut wakes = driver.wakes.borrow_mut();
    if wakes.len() <= key as usize {
        wakes.resize(key as usize + 1, None);
    }
    wakes[key as usize] = Some(Rc::clone(&wake));
    drop(wakes);
    let client = Client { driver: Rc::clone(driver), stream, key, wake, sending: Output::default() };
    tokio::task::spawn_local(run(client, admitted));
    Ok(())
}

struct Client {
    driver: Rc<Driver>,
    stream: TcpStream,
    key: u32,
    wake: Rc<Wake>,
    /// What is being written.
    sending: Output,
}

async fn run(mut client: Client, _admitted: Admitted) {
    let end = std::future::poll_fn(|context| client.poll(context)).await;
    if let End::Failed(error) = end {
        tracing::trace!(%error, "connection failed");
    }
    client.driver.wakes.borrow_mut()[client.key as usize] = None;
    let now = client.driver.clock.now();
    client.driver.shard.borrow_mut().closed(now, client.key);
    client.driver.after();
}

impl Client {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        self.wake.register(context);
        let mut reads = 0;
        loop {
            if self.driver.shard.borrow().is_gone(self.key) {
                return Poll::Ready(End::Closed);
            }
            match self.poll_write(context) {
                Poll::Ready(Ok(())) if self.driver.shard.borrow().is_closing(self.key) => {
                    return Poll::Ready(End::Closed);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                // A Client that does not read is still read from, within its credit: it may be waiting for us.
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if self.driver.is_congested() || !self.driver.shard.borrow().is_reading(self.key) {
                return Poll::Pending;
            }
            if reads == READS {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            reads += 1;
            match self.poll_read(context) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(End::Closed),
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Ready when everything is written.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sending.is_empty() {
                let now = self.driver.clock.now();
                self.driver.shard.borrow_mut().take_output(now, self.key, &mut self.sending);
                if self.sending.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            let mut slices = [IoSlice::new(&[]); 16];
            let used = self.sending.slices(&mut slices);
            let stream = Pin::new(&mut self.stream);
            let written = match used {
                1 => stream.poll_write(context, &slices[0]),
                _ => stream.poll_write_vectored(context, &slices[..used]),
            };
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.driver.sent.increment(written as u64);
                    self.sending.advance(written);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads once and hands the bytes on. False at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let driver = &self.driver;
        if driver.shard.borrow().has_whole_input(self.key) {
            driver.shard.borrow_mut().receive(driver.clock.now(), self.key, &[]);
            driver.after();
            return Poll::Ready(Ok(true));
        }
        let mut scratch = driver.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let bytes = buffer.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(false));
        }
        driver.received.increment(bytes.len() as u64);
        driver.shard.borrow_mut().receive(driver.clock.now(), self.key, bytes);
        drop(scratch);
        driver.after();
        Poll::Ready(Ok(true))
    }
}
