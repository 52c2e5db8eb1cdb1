//! A link: one lane from one node to another.
//!
//! Whoever has something to say dials, says [`hello`] and writes [`frame`]s out of a [`queue`]. The other end reads them, and
//! says twice a second that it lives: a machine that is gone answers nothing, and the kernel would wait a quarter of an hour for
//! it.

pub mod dialling;
pub mod frame;
pub mod hello;
pub mod queue;
pub mod receiving;
pub mod sending;

#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

pub use frame::Frame;
pub use hello::{Hello, Reply};
pub use queue::Queue;

/// How long each side waits for the other one.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For a hello, and for the answer to it.
    pub hello: Duration,
    /// Between two signs of life of whoever reads.
    pub sign: Duration,
    /// Without one, whoever writes gives the link up.
    pub silence: Duration,
    /// Whoever writes says at least so often that it is there.
    pub idle: Duration,
    /// Without a word, whoever reads gives the link up.
    pub forgotten: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(3),
            sign: Duration::from_millis(500),
            silence: Duration::from_secs(3),
            idle: Duration::from_secs(2),
            forgotten: Duration::from_secs(10),
        }
    }
}

/// Why a link has ended.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the other node closed the connection")]
    Closed,
    #[error("the other node has said nothing for {0:?}")]
    Silent(Duration),
    #[error("the other node refuses the link: {0}")]
    Refused(Reply),
    #[error("what came is no hello of a link")]
    NoHello,
    #[error(transparent)]
    Frame(#[from] frame::TooLong),
    #[error("nothing is to be sent there any more")]
    Ended,
}
