//! One subscriber for the whole process, on stderr: stdout belongs to what a command was asked for.

use crate::config::{LogFormat, LogOptions};
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The variable that overrides `log.level`, for a look inside without touching the configuration.
const VARIABLE: &str = "CONVOY_LOG";

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
}

/// Starts logging; called once, before anything that logs.
pub fn start(options: &LogOptions) -> Result<(), Error> {
    let level = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => {
            if !is_directives(&text) {
                return Err(Error::Directives { text });
            }
            text
        }
        _ => options.level.clone(),
    };
    // The server under the API announces each of its starts; what matters of it is said by `admin`.
    let filter = EnvFilter::builder()
        .parse(format!("actix_server=warn,{level}"))
        .map_err(|_| Error::Directives { text: level })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match options.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| Error::Started)
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
