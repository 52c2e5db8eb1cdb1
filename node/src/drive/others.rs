//! The shards' ways to and from other nodes. A shard never waits for one: what it says goes into the queue of a link, and what
//! it is told waits here, with a bound in bytes. Beyond either it is dropped and counted, and said again.

use convoy_ids::{NodeId, SlotId};
use convoy_peer::Lane;
use convoy_peer::link::{Frame, Queue};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::Notify;

use super::shard::Driver;
use crate::observe::metrics::PEER_UNHEARD_BYTES;

/// Bytes that may wait for a shard on each lane.
const WAITING_BYTES: usize = 64 << 20;

/// Bytes of mail and of copies that a shard hears at a time; of Raft it hears all there is.
const HEARD_BYTES: usize = 1 << 20;

/// The queues of the links to one node, by lane.
pub type Queues = [Arc<Queue>; Lane::ALL.len()];

/// The queues to all other nodes. They change when members do.
#[derive(Debug, Default)]
pub struct Outward(RwLock<Arc<HashMap<NodeId, Queues>>>);

impl Outward {
    pub fn set(&self, peers: HashMap<NodeId, Queues>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(peers);
    }

    fn peers(&self) -> Arc<HashMap<NodeId, Queues>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What other nodes have said to a shard and it has not heard yet.
#[derive(Debug, Default)]
pub struct Unheard {
    lanes: Mutex<[Waiting; Lane::ALL.len()]>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<(NodeId, Frame)>,
    bytes: usize,
}

impl Unheard {
    /// Frames for this shard have come.
    pub fn bring(&self, from: NodeId, lane: Lane, frames: impl IntoIterator<Item = Frame>) {
        let mut dropped = 0;
        {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = &mut lanes[lane as usize];
            for frame in frames {
                if waiting.bytes + frame.bytes.len() > WAITING_BYTES {
                    dropped += frame.bytes.len();
                    continue;
                }
                waiting.bytes += frame.bytes.len();
                waiting.frames.push_back((from, frame));
            }
        }
        if dropped > 0 {
            metrics::counter!(PEER_UNHEARD_BYTES, "lane" => lane.name()).increment(dropped as u64);
        }
        self.news.notify_one();
    }

    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// What is to be heard now, what is most urgent first.
    fn take(&self, into: &mut Vec<(NodeId, Lane, Frame)>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_left = false;
        for lane in Lane::ALL {
            let (waiting, mut room) = (&mut lanes[lane as usize], HEARD_BYTES);
            while lane == Lane::Raft || room > 0 {
                let Some((from, frame)) = waiting.frames.pop_front() else { break };
                waiting.bytes -= frame.bytes.len();
                room = room.saturating_sub(frame.bytes.len().max(1));
                into.push((from, lane, frame));
            }
            is_left |= !waiting.frames.is_empty();
        }
        if is_left {
            self.news.notify_one();
        }
    }
}

/// The way to all shards of this node.
#[derive(Debug, Default)]
pub struct Inward(Vec<Arc<Unheard>>);

impl Inward {
    pub fn of(shards: u16) -> Self {
        Self((0..shards).map(|_| Arc::default()).collect())
    }

    pub fn shard(&self, number: u16) -> &Arc<Unheard> {
        &self.0[usize::from(number)]
    }

    /// Frames have come, each for a slot or a shard.
    pub fn bring(&self, from: NodeId, lane: Lane, frames: impl IntoIterator<Item = Frame>) {
        let shard_of = |to: u16| match lane {
            Lane::Shards => usize::from(to),
            Lane::Raft | Lane::Snapshots if SlotId(to).is_meta() => 0,
            Lane::Raft | Lane::Snapshots => usize::from(to) % self.0.len(),
        };
        let mut of_shards: Vec<Vec<Frame>> = self.0.iter().map(|_| Vec::new()).collect();
        for frame in frames {
            // A node that had more shards in an earlier life is spoken to as it was.
            if let Some(of_shard) = of_shards.get_mut(shard_of(frame.to)) {
                of_shard.push(frame);
            }
        }
        for (shard, frames) in self.0.iter().zip(of_shards).filter(|(_, frames)| !frames.is_empty()) {
            shard.bring(from, lane, frames);
        }
    }
}

impl Driver {
    /// Hears what other nodes have said, a piece of it if that is much.
    pub fn hear_others(&self, heard: &mut Vec<(NodeId, Lane, Frame)>) {
        let Some(others) = &self.surroundings.others else { return };
        others.inward.shard(self.surroundings.number).take(heard);
        let (now, mut shard) = (self.clock.now(), self.shard.borrow_mut());
        for (from, lane, Frame { to, bytes }) in heard.drain(..) {
            match lane {
                Lane::Raft => shard.step(now, from, SlotId(to), &bytes),
                Lane::Shards => shard.hear_shard(now, from, &bytes),
                Lane::Snapshots => shard.hear_snapshot_message(now, from, SlotId(to), &bytes),
            }
        }
    }

    /// Says what the shard has for other nodes: in one write for each of them and each lane.
    pub fn say_to_others(&self) {
        let Some(others) = &self.surroundings.others else { return };
        let mut shard = self.shard.borrow_mut();
        let of_replicas = |lane, said: Vec<convoy_storage::replica::Outgoing>| {
            said.into_iter().map(move |said| (said.to, lane, said.slot.0, said.bytes))
        };
        let said = of_replicas(Lane::Raft, shard.take_to_replicas());
        let said = said.chain(of_replicas(Lane::Snapshots, shard.take_snapshot_messages()));
        let parcels = shard.take_to_shards(self.clock.now()).into_iter();
        let said = said.chain(parcels.map(|said| (said.to, Lane::Shards, said.shard, said.bytes)));
        let mut said: Vec<_> = said.collect();
        drop(shard);
        if said.is_empty() {
            return;
        }
        let peers = others.outward.peers();
        // What is for one link stays in its order.
        said.sort_by_key(|(to, lane, ..)| (*to, *lane));
        for run in said.chunk_by(|one, next| (one.0, one.1) == (next.0, next.1)) {
            let (to, lane) = (run[0].0, run[0].1);
            let frames = run.iter().map(|(_, _, to, bytes)| (*to, &bytes[..]));
            if to == others.me {
                // What shards of one node say to each other about replicas that move.
                let frames = frames.map(|(to, bytes)| Frame { to, bytes: bytes.to_vec().into() });
                others.inward.bring(to, lane, frames);
            } else if let Some(queues) = peers.get(&to) {
                queues[lane as usize].push(frames);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Frame {
        Frame { to: 1, bytes: vec![0; bytes].into() }
    }

    #[test]
    fn raft_is_heard_before_all_else_and_the_rest_in_pieces() {
        let (unheard, from) = (Unheard::default(), NodeId::new(7).unwrap());
        unheard.bring(from, Lane::Snapshots, (0..3).map(|_| frame(HEARD_BYTES)));
        unheard.bring(from, Lane::Shards, [frame(1), frame(HEARD_BYTES), frame(1)]);
        unheard.bring(from, Lane::Raft, (0..3).map(|_| frame(HEARD_BYTES)));
        let mut heard = Vec::new();
        unheard.take(&mut heard);
        let lanes: Vec<_> = heard.drain(..).map(|(_, lane, _)| lane).collect();
        use Lane::{Raft, Shards, Snapshots};
        assert_eq!(lanes, [Raft, Raft, Raft, Shards, Shards, Snapshots]);
        unheard.take(&mut heard);
        assert_eq!(heard.iter().map(|(_, lane, _)| *lane).collect::<Vec<_>>(), [Shards, Snapshots]);
    }

    #[test]
    fn what_is_not_heard_has_a_bound() {
        let (unheard, from) = (Unheard::default(), NodeId::new(7).unwrap());
        for _ in 0..3 {
            unheard.bring(from, Lane::Raft, [frame(WAITING_BYTES / 2)]);
        }
        let mut heard = Vec::new();
        unheard.take(&mut heard);
        assert_eq!(heard.len(), 2);
    }
}
