//! The socket under a [`Client`]: carries its bytes and keeps its deadlines, and decides nothing.

use super::{
    Error,
    client::{Client, Event},
};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
    time,
};

pub struct Link {
    pub client: Client,
    stream: TcpStream,
    buffer: Box<[u8]>,
    ended: bool,
}

const READ_BYTES: usize = 64 << 10;
/// How long a connection may take, and how long the server may take to close it after our DISCONNECT.
const CONNECT_TIME: Duration = Duration::from_secs(30);
const CLOSE_TIME: Duration = Duration::from_secs(1);

impl Link {
    /// Connects and lets `client` begin.
    pub async fn open(host: &str, port: u16, mut client: Client) -> Result<Self, (Client, Error)> {
        let connected = time::timeout(CONNECT_TIME, TcpStream::connect((host, port)))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = match connected {
            Ok(stream) => stream,
            Err(source) => return Err((client, Error::Connect { host: host.to_owned(), port, source })),
        };
        match client.open(Instant::now()) {
            Ok(()) => Ok(Self { client, stream, buffer: vec![0; READ_BYTES].into(), ended: false }),
            Err(error) => Err((client, error)),
        }
    }

    /// The next event of what has been read.
    pub fn poll(&mut self) -> Result<Option<Event>, Error> {
        let event = self.client.poll(Instant::now());
        for line in self.client.take_trace() {
            eprintln!("{line}");
        }
        match event? {
            None if self.ended => Err(Error::Closed),
            event => Ok(event),
        }
    }

    /// Writes what is pending and reads what has come; returns when `poll` may have something new. May be dropped
    /// at any point and called again.
    pub async fn wait(&mut self) -> Result<(), Error> {
        let interest = match self.client.output() {
            [] => Interest::READABLE,
            _ => Interest::READABLE | Interest::WRITABLE,
        };
        let deadline = self.client.next_deadline();
        let timer = async {
            match deadline {
                Some(at) => time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.stream.ready(interest) => {
                let ready = ready.map_err(Error::Broken)?;
                if ready.is_writable() {
                    self.write()?;
                }
                if ready.is_readable() {
                    self.read()?;
                }
                Ok(())
            }
            () = timer => self.client.on_deadline(Instant::now()),
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        while !self.client.output().is_empty() {
            match self.stream.try_write(self.client.output()) {
                Ok(count) => self.client.written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What the server said before it closed is still to be read: it may be the reason.
                Err(error) if is_close(&error) => return Ok(()),
                Err(error) => return Err(Error::Broken(error)),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Error> {
        match self.stream.try_read(&mut self.buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.client.feed(&self.buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if is_close(&error) => self.ended = true,
            Err(error) => return Err(Error::Broken(error)),
        }
        Ok(())
    }

    /// Says goodbye, and waits a moment for the server to have heard it: closing over unread bytes would take back
    /// what was written.
    pub async fn close(mut self) -> Result<Client, Error> {
        self.client.disconnect(Instant::now())?;
        for line in self.client.take_trace() {
            eprintln!("{line}");
        }
        let goodbye = async {
            self.stream.write_all(self.client.output()).await?;
            self.stream.shutdown().await?;
            while self.stream.read(&mut self.buffer).await? > 0 {}
            io::Result::Ok(())
        };
        match time::timeout(CLOSE_TIME, goodbye).await {
            Ok(Err(error)) if !is_close(&error) => Err(Error::Broken(error)),
            Ok(_) | Err(_) => Ok(self.client),
        }
    }
}

fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}
