//! `convoy pub` and `convoy sub`: a tester's two hands, with the options that users of mosquitto_pub and
//! mosquitto_sub know. They talk to any MQTT server, from outside, as a vehicle would.

mod client;
mod format;
mod line;
mod link;
mod options;
mod property;
mod publish;
mod secure;
mod subscribe;

pub use options::{PubOptions, SubOptions};

use convoy_wire::ReasonCode;
use std::{io, process::ExitCode};

/// What mosquitto_sub exits with when `-W` ends it.
const EXIT_TIMED_OUT: u8 = 27;

/// Why a command ended before its work was done. The outcome of what was not acknowledged is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was sent.
    #[error("{0}")]
    Usage(String),
    #[error("{what} cannot be read: {source}")]
    Input { what: String, source: io::Error },
    /// There was nobody to talk to.
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server did not answer {what} in time")]
    Silent { what: &'static str },
    #[error("connection refused: {}", explained(*reason, text))]
    Refused { reason: ReasonCode, text: String },
    #[error("disconnected by the server: {}", explained(*reason, text))]
    Disconnected { reason: ReasonCode, text: String },
    #[error("the server speaks TLS on this port: name its authorities by --cafile")]
    SpeaksTls,
    #[error("the server broke the protocol: {0}")]
    Protocol(convoy_wire::Error),
    #[error("the server sent a {0:?} that nothing asked for")]
    Unexpected(convoy_wire::PacketType),
    #[error("this message cannot be sent: {0}")]
    Encode(convoy_wire::EncodeError),
    #[error("this message of {bytes} bytes is larger than the server takes ({limit})")]
    TooLarge { bytes: usize, limit: u32 },
    #[error("publish refused: {}", explained(*reason, text))]
    PublishRefused { reason: ReasonCode, text: String },
    #[error("every subscription was refused")]
    SubscriptionsRefused,
    #[error("output cannot be written: {0}")]
    Output(io::Error),
    #[error("{source}; {unacknowledged} messages are not acknowledged")]
    Unfinished { unacknowledged: usize, source: Box<Error> },
}

fn explained(reason: ReasonCode, text: &str) -> String {
    if text.is_empty() { reason.to_string() } else { format!("{reason} ({text})") }
}

pub fn publish(options: PubOptions) -> ExitCode {
    let quiet = options.connection.quiet;
    exit("pub", quiet, block_on(publish::run(options)))
}

pub fn subscribe(options: SubOptions) -> ExitCode {
    let quiet = options.connection.quiet;
    exit("sub", quiet, block_on(subscribe::run(options)))
}

/// Runs one command on this thread alone: a tester's tool needs no second one.
fn block_on(command: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::Broken)?.block_on(command)
}

fn exit(command: &str, quiet: bool, result: Result<ExitCode, Error>) -> ExitCode {
    result.unwrap_or_else(|error| {
        if !quiet {
            eprintln!("convoy {command}: {error}");
        }
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests;
