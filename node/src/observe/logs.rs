//! One subscriber for the whole process, on stderr: stdout belongs to what a command was asked for.

use super::teller::Teller;
use crate::config::{LogFormat, LogOptions};
use crate::listen::LogLimit;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The variable that overrides `log.level`, for a look inside without touching the configuration.
const VARIABLE: &str = "CONVOY_LOG";

/// How long the end of the process waits for the reader of the log.
const FAREWELL: Duration = Duration::from_secs(1);

static TELLER: OnceLock<Teller> = OnceLock::new();

/// Nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{VARIABLE} = {text}: expected error, warn, info, debug, trace or directives such as info,convoy=debug"
    )]
    Directives { text: String },
    /// Another subscriber was there first: `start` ran twice.
    #[error("logging has already been started")]
    Started,
    #[error("logging cannot be started")]
    Thread(#[source] io::Error),
}

/// What is logged: as the variable says, else as the configuration does.
pub fn level(options: &LogOptions) -> Result<String, Error> {
    match std::env::var(VARIABLE) {
        Ok(text) if text.is_empty() => Ok(options.level.clone()),
        Ok(text) if is_directives(&text) => Ok(text),
        Ok(text) => Err(Error::Directives { text }),
        Err(_) => Ok(options.level.clone()),
    }
}

/// Starts logging; called once, before anything that logs.
pub fn start(options: &LogOptions) -> Result<(), Error> {
    let level = level(options)?;
    // The server under the API announces each of its starts; what matters of it is said by `admin`.
    let filter = EnvFilter::builder()
        .parse(format!("actix_server=warn,{level}"))
        .map_err(|_| Error::Directives { text: level })?;
    let teller = Teller::start(io::stderr()).map_err(Error::Thread)?;
    let _ = TELLER.set(teller.clone());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || teller.clone());
    let started = match options.format {
        LogFormat::Text => {
            builder.with_ansi(io::stderr().is_terminal()).finish().with(Sampled::default()).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).finish().with(Sampled::default()).try_init(),
    };
    started.map_err(|_| Error::Started)
}

/// Waits until what was logged is written, though not for a reader that has stopped. The last thing a process does.
pub fn finish() {
    if let Some(teller) = TELLER.get() {
        teller.finish(FAREWELL);
    }
}

/// The server under the API writes a line for each bad request, of whomever: few of them are let through.
#[derive(Default)]
struct Sampled(LogLimit);

impl<S: Subscriber> Layer<S> for Sampled {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        !event.metadata().target().starts_with("actix")
            || self.0.say(Instant::now(), |unsaid| {
                if unsaid > 0 {
                    tracing::warn!(unsaid, "lines of the api's server were left out");
                }
            })
    }
}

/// Whether `text` is a level, or a list of levels and `module=level`.
///
/// The filter itself would take `verbose` for the name of a module and log nothing else.
pub fn is_directives(text: &str) -> bool {
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    text.split(',').all(|part| match part.trim().rsplit_once('=') {
        Some((module, level)) => !module.is_empty() && is_level(level),
        None => is_level(part.trim()),
    }) && EnvFilter::builder().parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_directives;

    #[test]
    fn levels_and_directives_are_told_from_guesses() {
        for text in ["info", "WARN", "off", "info,convoy::drive=debug", "convoy=trace"] {
            assert!(is_directives(text), "{text}");
        }
        for text in ["", "verbose", "info,", "convoy=", "=debug", "convoy=loud"] {
            assert!(!is_directives(text), "{text}");
        }
    }
}
