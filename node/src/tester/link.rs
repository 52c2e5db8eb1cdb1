//! The socket under a [`Client`]: carries its bytes and keeps its deadlines, and decides nothing.

use super::{
    Error,
    client::{Client, Event},
};
use super::{line::Line, options::ConnectionOptions};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::time;

pub struct Link {
    pub client: Client,
    line: Line,
    ended: bool,
}

/// How long a connection may take, and how long the server may take to close it after our DISCONNECT.
const CONNECT_TIME: Duration = Duration::from_secs(30);
const CLOSE_TIME: Duration = Duration::from_secs(1);

impl Link {
    /// Connects and lets `client` begin.
    pub async fn open(options: &ConnectionOptions, mut client: Client) -> Result<Self, (Client, Error)> {
        let (host, port, secure) = (options.host.as_str(), options.port(), &options.secure);
        let config = match secure.config() {
            Ok(config) => config,
            Err(error) => return Err((client, error)),
        };
        let connected = time::timeout(CONNECT_TIME, Line::open(host, port, config, secure))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let line = match connected {
            Ok(line) => line,
            Err(source) => return Err((client, Error::Connect { host: host.to_owned(), port, source })),
        };
        match client.open(Instant::now()) {
            Ok(()) => Ok(Self { client, line, ended: false }),
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
        let writes = !self.client.output().is_empty();
        let deadline = self.client.next_deadline();
        let timer = async {
            match deadline {
                Some(at) => time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.line.ready(writes) => {
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
        let written = loop {
            if self.client.output().is_empty() {
                break self.line.flush();
            }
            match self.line.write(self.client.output()) {
                Ok(count) => self.client.written(count),
                Err(error) => break Err(error),
            }
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            // What the server said before it closed is still to be read: it may be the reason.
            Err(error) if is_close(&error) => Ok(()),
            written => written.map_err(Error::Broken),
        }
    }

    fn read(&mut self) -> Result<(), Error> {
        let Self { client, line, ended } = self;
        match line.read(&mut |bytes| client.feed(bytes)) {
            Ok(more) => *ended = !more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if is_close(&error) => *ended = true,
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
        let Self { client, line, .. } = self;
        let goodbye = line.close(client.output());
        match time::timeout(CLOSE_TIME, goodbye).await {
            Ok(Err(error)) if !is_close(&error) => Err(Error::Broken(error)),
            Ok(_) | Err(_) => Ok(client),
        }
    }
}

fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}
