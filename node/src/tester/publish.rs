//! `convoy pub`: ends well only when everything it was given is acknowledged.

use super::{
    Error,
    client::{Client, ClientOptions, Event, Message},
    link::Link,
    options::PubOptions,
};
use convoy_wire::TopicName;
use std::{
    io::{self, BufRead, Read},
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time};

pub(super) async fn run(mut options: PubOptions) -> Result<ExitCode, Error> {
    let (client, topic) = options.connection.resolve("pub")?;
    let topic =
        topic.or(options.topic.take()).ok_or_else(|| Error::Usage("to which topic? -t TOPIC".to_owned()))?;
    TopicName::new(&topic).map_err(|error| Error::Usage(format!("topic {topic}: {error}")))?;
    publish(&options, client, topic).await
}

async fn publish(options: &PubOptions, client: ClientOptions, topic: String) -> Result<ExitCode, Error> {
    let connection = &options.connection;
    let mut source = Source::open(options)?;
    let client = Client::new(client);
    let mut link = Link::open(connection, client).await.map_err(|(_, error)| error)?;
    let mut message = Message { topic, payload: Vec::new(), qos: options.qos, retain: options.retain };
    let mut refused = None;
    let mut exhausted = false;

    loop {
        while let Some(event) = link.poll().map_err(|error| unfinished(&link.client, error))? {
            if let Event::Published { reason, text } = event
                && reason.is_error()
            {
                refused = Some(Error::PublishRefused { reason, text });
            }
        }
        if exhausted && link.client.is_connected() && link.client.unacknowledged() == 0 {
            break;
        }
        // Small enough that stdin is not read into memory faster than the server takes it.
        let has_room = link.client.can_publish() && link.client.output().len() < OUTPUT_BYTES;
        tokio::select! {
            biased;
            payload = source.next(), if has_room && !exhausted => match payload? {
                Some(payload) => {
                    message.payload = payload;
                    link.client.publish(Instant::now(), &message)?;
                }
                None => exhausted = true,
            },
            waited = link.wait() => waited.map_err(|error| unfinished(&link.client, error))?,
        }
    }
    link.close().await?;
    refused.map_or(Ok(ExitCode::SUCCESS), Err)
}

const OUTPUT_BYTES: usize = 256 << 10;

/// The same error, with how many messages it leaves in doubt.
fn unfinished(client: &Client, error: Error) -> Error {
    match client.unacknowledged() {
        0 => error,
        unacknowledged => Error::Unfinished { unacknowledged, source: Box::new(error) },
    }
}

/// Where payloads come from.
enum Source {
    Repeated { payload: Vec<u8>, left: u64, delay: Duration, due: Option<time::Instant> },
    Lines(mpsc::Receiver<io::Result<Vec<u8>>>),
}

impl Source {
    fn open(options: &PubOptions) -> Result<Self, Error> {
        let given = &options.payload;
        let payload = if let Some(text) = &given.message {
            text.clone().into_bytes()
        } else if let Some(path) = &given.file {
            std::fs::read(path).map_err(|source| Error::Input { what: path.display().to_string(), source })?
        } else if given.stdin_file {
            let mut payload = Vec::new();
            io::stdin().lock().read_to_end(&mut payload).map_err(stdin)?;
            payload
        } else if given.lines {
            return Ok(Self::Lines(lines()));
        } else {
            Vec::new()
        };
        Ok(Self::Repeated { payload, left: options.repeat, delay: options.repeat_delay, due: None })
    }

    /// The next payload, when it is due; `None` after the last. May be dropped at any point and called again.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Lines(lines) => lines.recv().await.transpose().map_err(stdin),
            Self::Repeated { left: 0, .. } => Ok(None),
            Self::Repeated { payload, left, delay, due } => {
                if let Some(due) = due {
                    time::sleep_until(*due).await;
                }
                *left -= 1;
                *due = (!delay.is_zero()).then(|| time::Instant::now() + *delay);
                Ok(Some(payload.clone()))
            }
        }
    }
}

/// Lines of stdin, read by a thread of its own that waits when they are not taken: reading blocks.
fn lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    const AHEAD: usize = 64;
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let line = line.map(|mut line| {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                line
            });
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

fn stdin(source: io::Error) -> Error {
    Error::Input { what: "stdin".to_owned(), source }
}
