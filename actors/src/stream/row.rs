//! A slot's knowledge of streams as rows: one for each node, one for each stream.
//!
//! ```text
//! key of a node   = 0   node: u64 be
//! key of a stream = 1   node: u64 be   start: u64 be   shard: u16 be   place: u64 be
//! value of a node   = envelope of kind 0x31, version 1: start, whether it is gone, (shard, last place)*
//! value of a stream = envelope of kind 0x32, version 1: last number, replies (0 done, 1 refused, 2 void; body)*
//! ```
//!
//! What [`Receiver::take`] changes is the row of the stream, and of its node if it has opened it.

use convoy_ids::NodeId;
use convoy_membership::support::Process;
use convoy_storage::record::{Decode, Encode};
use convoy_storage::sealed;

use super::receiver::{Known, Taken};
use super::{Limits, Receiver, Reply, Source};

const NODE: u8 = 0x31;
const STREAM: u8 = 0x32;
const VERSION: u8 = 1;

/// The key of a row, without the slot's own beginning of it.
pub type Key = Vec<u8>;

/// Why a row is not one of streams.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a key of streams that is none")]
    Key,
    #[error(transparent)]
    Sealed(#[from] sealed::Error),
    #[error("a stream of {replies} results after number {last}")]
    Replies { replies: usize, last: u64 },
}

#[derive(Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
struct NodeRow {
    start: u64,
    is_gone: bool,
    places: Vec<(u16, u64)>,
}

#[derive(Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
struct StreamRow {
    last: u64,
    replies: Vec<ReplyRow>,
}

#[derive(Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub(super) enum ReplyRow {
    Done(Vec<u8>),
    Refused(Vec<u8>),
    Void,
}

impl From<&Reply> for ReplyRow {
    fn from(reply: &Reply) -> Self {
        match reply {
            Reply::Done(body) => Self::Done(body.clone()),
            Reply::Refused(body) => Self::Refused(body.clone()),
            Reply::Void => Self::Void,
        }
    }
}

impl From<ReplyRow> for Reply {
    fn from(row: ReplyRow) -> Self {
        match row {
            ReplyRow::Done(body) => Self::Done(body),
            ReplyRow::Refused(body) => Self::Refused(body),
            ReplyRow::Void => Self::Void,
        }
    }
}

pub fn key_of_node(node: NodeId) -> Key {
    [&[0][..], &node.get().to_be_bytes()].concat()
}

pub fn key_of_stream(source: &Source) -> Key {
    let Source { process, shard, place } = source;
    let mut key = vec![1];
    key.extend_from_slice(&process.node.get().to_be_bytes());
    key.extend_from_slice(&process.start.to_be_bytes());
    key.extend_from_slice(&shard.to_be_bytes());
    key.extend_from_slice(&place.to_be_bytes());
    key
}

impl Receiver {
    /// The row of a node, if it has one.
    pub fn row_of_node(&self, node: NodeId) -> Option<Vec<u8>> {
        let known = self.nodes.get(&node)?;
        let places = known.places.iter().map(|(shard, place)| (*shard, *place)).collect();
        Some(sealed::seal(NODE, VERSION, &NodeRow { start: known.start, is_gone: known.is_gone, places }))
    }

    /// The row of a stream, if it has one.
    pub fn row_of_stream(&self, source: &Source) -> Option<Vec<u8>> {
        let taken = self.streams.get(source)?;
        let replies = taken.replies.iter().map(ReplyRow::from).collect();
        Some(sealed::seal(STREAM, VERSION, &StreamRow { last: taken.last, replies }))
    }

    /// All rows, in the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = (Key, Vec<u8>)> + '_ {
        let nodes = self.nodes.keys().filter_map(|node| Some((key_of_node(*node), self.row_of_node(*node)?)));
        let streams = self.streams.keys();
        nodes.chain(streams.filter_map(|source| Some((key_of_stream(source), self.row_of_stream(source)?))))
    }

    /// What rows say, in whatever order they come.
    pub fn recover<'a>(
        limits: Limits,
        rows: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, Error> {
        let mut receiver = Self::new(limits);
        for (key, value) in rows {
            match key.split_first() {
                Some((0, key)) => {
                    let node = key.try_into().ok().and_then(|key| NodeId::new(u64::from_be_bytes(key)));
                    let row: NodeRow = sealed::open(NODE, VERSION, value)?;
                    let places = row.places.into_iter().collect();
                    let known = Known { start: row.start, is_gone: row.is_gone, places };
                    receiver.nodes.insert(node.ok_or(Error::Key)?, known);
                }
                Some((1, key)) => {
                    let source = source_of(key).ok_or(Error::Key)?;
                    receiver.streams.insert(source, taken_of(sealed::open(STREAM, VERSION, value)?)?);
                }
                _ => return Err(Error::Key),
            }
        }
        Ok(receiver)
    }
}

fn taken_of(row: StreamRow) -> Result<Taken, Error> {
    let replies: std::collections::VecDeque<Reply> = row.replies.into_iter().map(Reply::from).collect();
    if replies.is_empty() || replies.len() as u64 > row.last {
        return Err(Error::Replies { replies: replies.len(), last: row.last });
    }
    let reply_bytes = replies.iter().map(Reply::len_bytes).sum();
    Ok(Taken { last: row.last, replies, reply_bytes })
}

fn source_of(key: &[u8]) -> Option<Source> {
    let (node, key) = key.split_first_chunk()?;
    let (start, key) = key.split_first_chunk()?;
    let (shard, place) = key.split_first_chunk()?;
    let process =
        Process { node: NodeId::new(u64::from_be_bytes(*node))?, start: u64::from_be_bytes(*start) };
    let place = u64::from_be_bytes(place.try_into().ok()?);
    Some(Source { process, shard: u16::from_be_bytes(*shard), place })
}
