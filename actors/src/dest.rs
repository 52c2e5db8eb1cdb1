//! Where letters can be sent.

/// A shard as another one knows it: one of the same node, by its number, or one of another node that there is a channel to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dest(pub u16);
