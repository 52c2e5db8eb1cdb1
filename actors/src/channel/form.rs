//! Frames as bytes.
//!
//! ```text
//! envelope of kind 0x42, version 1, around the fields of a frame as `record` writes them
//! ```
//!
//! They come from a peer that has proven to be of the fleet, and are trusted no further: a frame that is foreign, damaged, of
//! another version, too long or impossible is refused whole. A released version is never edited: the next one stands
//! beside it.

use bytes::Bytes;
use convoy_ids::NodeId;
use convoy_storage::record::{BorrowDecode, Encode};
use convoy_storage::sealed;

use super::{End, Frame, Payload, Process, Side};

const KIND: u8 = 0x42;
const VERSION: u8 = 1;

/// Why bytes are no frame. Nothing of it was carried out; whoever sent it is no peer to go on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a frame of {bytes} bytes: {most} at most")]
    Long { bytes: usize, most: usize },
    #[error(transparent)]
    Sealed(#[from] sealed::Error),
    #[error("a frame with an impossible {0}")]
    Impossible(&'static str),
}

#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
struct Form<'a> {
    node: u64,
    start: u64,
    shard: u16,
    shards: u16,
    to_node: u64,
    to_shard: u16,
    epoch: u64,
    of: Option<SideForm>,
    acknowledged: u64,
    sent_at: u64,
    heard: Option<u64>,
    payload: Option<PayloadForm<'a>>,
}

#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
struct SideForm {
    start: u64,
    epoch: u64,
}

#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
struct PayloadForm<'a> {
    number: u64,
    bytes: &'a [u8],
}

impl Frame {
    /// Appends it to `into`.
    pub fn encode_into(&self, into: &mut Vec<u8>) {
        let End { process: Process { node, start }, shard } = self.from;
        let form = Form {
            node: node.get(),
            start,
            shard,
            shards: self.shards,
            to_node: self.to_node.get(),
            to_shard: self.to_shard,
            epoch: self.epoch,
            of: self.of.map(|Side { start, epoch }| SideForm { start, epoch }),
            acknowledged: self.acknowledged,
            sent_at: self.sent_at,
            heard: self.heard,
            payload: self
                .payload
                .as_ref()
                .map(|payload| PayloadForm { number: payload.number, bytes: &payload.bytes }),
        };
        sealed::seal_into(KIND, VERSION, &form, into);
    }

    /// The frame that `bytes` are, all of them; its payload shares them. One of more than `most` bytes is refused before it is
    /// looked at.
    pub fn decode(bytes: &Bytes, most: usize) -> Result<Self, Error> {
        if bytes.len() > most {
            return Err(Error::Long { bytes: bytes.len(), most });
        }
        let form = sealed::open::<Form<'_>>(KIND, VERSION, bytes)?;
        if form.shard >= form.shards {
            return Err(Error::Impossible("shard"));
        }
        if form.epoch == 0 || form.of.as_ref().is_some_and(|of| of.epoch == 0) {
            return Err(Error::Impossible("epoch"));
        }
        // Payloads go to whom the sender has heard, and who is told so.
        let is_of_a_pair = form.of.is_some() && form.heard.is_some();
        if form.payload.as_ref().is_some_and(|payload| payload.number == 0 || !is_of_a_pair) {
            return Err(Error::Impossible("payload"));
        }
        let process = Process { node: named(form.node)?, start: form.start };
        let payload = form.payload.map(|PayloadForm { number, bytes: within }| Payload {
            number,
            // An empty part may point anywhere.
            bytes: if within.is_empty() { Bytes::new() } else { bytes.slice_ref(within) },
        });
        Ok(Self {
            from: End { process, shard: form.shard },
            shards: form.shards,
            to_node: named(form.to_node)?,
            to_shard: form.to_shard,
            epoch: form.epoch,
            of: form.of.map(|SideForm { start, epoch }| Side { start, epoch }),
            acknowledged: form.acknowledged,
            sent_at: form.sent_at,
            heard: form.heard,
            payload,
        })
    }
}

fn named(node: u64) -> Result<NodeId, Error> {
    NodeId::new(node).ok_or(Error::Impossible("node"))
}
