//! `convoy sub`: prints what arrives, and acknowledges only what it has printed.

use super::{
    EXIT_TIMED_OUT, Error,
    client::{Client, Event, Message, Received},
    format::Format,
    link::Link,
    options::SubOptions,
};
use convoy_wire::{QoS, SubscriptionOptions, TopicFilter, TopicName};
use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::{signal::unix, time};

pub(super) async fn run(mut options: SubOptions) -> Result<ExitCode, Error> {
    let (client, topic) = options.connection.resolve("sub")?;
    options.topics.extend(topic);
    options.check()?;
    let format = match &options.format {
        Some(format) => Format::parse(format).map_err(Error::Usage)?,
        None if options.verbose => Format::parse("%t %p").expect("this format is right"),
        None => Format::parse("%p").expect("this format is right"),
    };
    let printer = Printer { format, newline: !options.no_newline, out: io::BufWriter::new(io::stdout()) };
    let client = Client::new(client);
    subscribe(&options, client, printer).await
}

/// How long to wait before a broken connection is tried again.
const RETRY_TIME: Duration = Duration::from_secs(1);

async fn subscribe(options: &SubOptions, mut client: Client, printer: Printer) -> Result<ExitCode, Error> {
    let timeout = async {
        match options.timeout {
            Some(timeout) => time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let mut interrupt = unix::signal(unix::SignalKind::interrupt()).map_err(Error::Broken)?;
    let mut terminate = unix::signal(unix::SignalKind::terminate()).map_err(Error::Broken)?;
    let ended = async {
        tokio::select! {
            () = timeout => ExitCode::from(EXIT_TIMED_OUT),
            _ = interrupt.recv() => ExitCode::SUCCESS,
            _ = terminate.recv() => ExitCode::SUCCESS,
        }
    };
    tokio::pin!(ended);

    let mut listener = Listener::new(options, printer);
    let mut was_connected = false;
    loop {
        let connection = &options.connection;
        let opened = tokio::select! {
            biased;
            code = &mut ended => return Ok(code),
            opened = Link::open(connection, client) => opened,
        };
        let error = match opened {
            Err((old, error)) => {
                client = old;
                error
            }
            Ok(mut link) => {
                let result = tokio::select! {
                    biased;
                    code = &mut ended => Ok(code),
                    result = listener.listen(&mut link) => result.map(|()| ExitCode::SUCCESS),
                };
                was_connected |= listener.connected;
                match result {
                    Ok(code) => {
                        listener.printer.flush()?;
                        link.close().await?;
                        return Ok(code);
                    }
                    Err(error) => {
                        client = link.client;
                        error
                    }
                }
            }
        };
        // A server that went away may come back; one that refused us, or was never there, will not.
        let is_gone =
            matches!(error, Error::Closed | Error::Broken(_) | Error::Silent { .. } | Error::Connect { .. });
        if !(was_connected && is_gone) {
            return Err(error);
        }
        if !connection.quiet {
            eprintln!("convoy sub: {error}; trying again");
        }
        tokio::select! {
            code = &mut ended => return Ok(code),
            () = time::sleep(RETRY_TIME) => {}
        }
    }
}

/// What becomes of each event of a connection.
struct Listener<'o> {
    options: &'o SubOptions,
    printer: Printer,
    printed: u64,
    connected: bool,
    /// SUBSCRIBE and UNSUBSCRIBE that are not answered.
    asked: u8,
}

impl<'o> Listener<'o> {
    fn new(options: &'o SubOptions, printer: Printer) -> Self {
        Self { options, printer, printed: 0, connected: false, asked: 0 }
    }

    /// Returns when the work is done. Dropping it on the way loses nothing: what was not printed was not
    /// acknowledged.
    async fn listen(&mut self, link: &mut Link) -> Result<(), Error> {
        loop {
            while let Some(event) = link.poll()? {
                if self.on_event(event, &mut link.client)? {
                    self.printer.flush()?;
                    settle(link).await;
                    return Ok(());
                }
            }
            // Printed first, acknowledged after: the acknowledgement leaves by `wait`.
            self.printer.flush()?;
            link.wait().await?;
        }
    }

    /// Whether this event was the last one wanted.
    fn on_event(&mut self, event: Event, client: &mut Client) -> Result<bool, Error> {
        match event {
            Event::Connected { .. } => {
                self.connected = true;
                self.ask(client)?;
            }
            Event::Subscribed(reasons) => {
                for (topic, reason) in self.options.topics.iter().zip(&reasons) {
                    if reason.is_error() && !self.options.connection.quiet {
                        eprintln!("convoy sub: subscription to {topic} refused: {reason}");
                    }
                }
                if reasons.iter().all(|reason| reason.is_error()) {
                    return Err(Error::SubscriptionsRefused);
                }
                return Ok(self.answered());
            }
            Event::Unsubscribed => return Ok(self.answered()),
            Event::Message(message) => return self.on_message(&message, client),
            Event::Published { .. } => {}
        }
        Ok(false)
    }

    fn ask(&mut self, client: &mut Client) -> Result<(), Error> {
        let now = Instant::now();
        self.asked = 0;
        if !self.options.unsubscribe.is_empty() {
            client.unsubscribe(now, &self.options.unsubscribe)?;
            self.asked += 1;
        }
        if !self.options.topics.is_empty() {
            let mut wanted = SubscriptionOptions::new(self.options.qos);
            wanted.retain_as_published = self.options.retain_as_published;
            client.subscribe(now, &self.options.topics, wanted)?;
            self.asked += 1;
        }
        Ok(())
    }

    /// Done when nothing was to be received: with `-E`, or with unsubscribing alone.
    fn answered(&mut self) -> bool {
        self.asked -= 1;
        self.asked == 0 && (self.options.exit_after_subscribe || self.options.topics.is_empty())
    }

    fn on_message(&mut self, message: &Received, client: &mut Client) -> Result<bool, Error> {
        let options = self.options;
        if options.retained_only && !message.retain {
            return Ok(true);
        }
        if message.retain && options.remove_retained && !message.payload.is_empty() {
            let empty = Message {
                topic: message.topic.clone(),
                payload: Vec::new(),
                qos: QoS::AtMostOnce,
                retain: true,
            };
            client.publish(Instant::now(), &empty)?;
        }
        if (message.retain && options.no_retained) || self.is_filtered_out(&message.topic) {
            return Ok(false);
        }
        self.printer.print(message)?;
        self.printed += 1;
        Ok(options.count == Some(self.printed))
    }

    fn is_filtered_out(&self, topic: &str) -> bool {
        let Ok(name) = TopicName::new(topic) else {
            return false;
        };
        let filters = self.options.filter_out.iter().filter_map(|filter| TopicFilter::new(filter).ok());
        filters.into_iter().any(|filter| filter.matches(name))
    }
}

/// Waits a moment for QoS 2 messages that were printed to be released, so that they are not sent again. What else
/// arrives is neither printed nor acknowledged, and stays with the server.
async fn settle(link: &mut Link) {
    const TIME: Duration = Duration::from_secs(1);
    link.client.stop_receiving();
    let released = async {
        // A connection that breaks now changes nothing: the messages are printed.
        while !link.client.is_settled() && link.poll().is_ok() && link.wait().await.is_ok() {}
    };
    let _ = time::timeout(TIME, released).await;
}

struct Printer {
    format: Format,
    newline: bool,
    out: io::BufWriter<io::Stdout>,
}

impl Printer {
    fn print(&mut self, message: &Received) -> Result<(), Error> {
        self.format.write(message, &mut self.out).map_err(Error::Output)?;
        if self.newline {
            self.out.write_all(b"\n").map_err(Error::Output)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::Output)
    }
}
