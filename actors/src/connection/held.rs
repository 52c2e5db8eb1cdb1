//! What is held of a connection until its Client reads it. Counted for what all late Clients may hold together, by the shard
//! that the connection is of.

/// Bytes of one connection. In few of our own: there are many connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Copied into its output, answers not counted.
    pub output: u32,
    /// Given out to be written, and perhaps not written yet.
    pub given: u32,
    /// The same, with what others share.
    pub given_whole: u32,
}
