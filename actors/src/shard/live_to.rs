//! What a slot gives to connections out of the log, until all of them have it: see [`crate::slot::Live`].

use crate::dest::Dest;
use crate::slot::Live;

/// A message that came by the log, and the shards whose connections are given it.
#[derive(Debug)]
pub struct LiveTo {
    pub live: Live,
    pub shards: Vec<Dest>,
    /// It is passed on in pieces.
    pub is_cast: bool,
}
