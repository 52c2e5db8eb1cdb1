//! The thread that makes writes durable. Shards go on meanwhile; what several of them wrote is synced at once.

use convoy_storage::engine::{Engine, Error};
use convoy_storage::replica::Round;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use super::ShardHandle;
use crate::boot::Watch;

/// A shard asks for a sync of all it has written.
pub struct Request {
    pub shard: ShardHandle,
    pub round: Round,
}

/// Requests go in here. One a shard is under way at most, so the queue is as long as there are shards.
#[derive(Clone)]
pub struct Syncer(mpsc::Sender<Request>);

impl Syncer {
    pub fn request(&self, shard: ShardHandle, round: Round) {
        // It ends only when the process does: a shard that is never answered acknowledges nothing.
        let _ = self.0.send(Request { shard, round });
    }
}

pub fn start(engine: Arc<dyn Engine>, watch: Watch) -> io::Result<Syncer> {
    let (requests, inbox) = mpsc::channel::<Request>();
    thread::Builder::new().name("convoy-sync".to_owned()).spawn(move || {
        let _watch = watch;
        let seconds = metrics::histogram!(crate::observe::metrics::SYNC_SECONDS);
        let mut batch = Vec::new();
        while let Ok(first) = inbox.recv() {
            batch.push(first);
            batch.extend(inbox.try_iter());
            let begun = std::time::Instant::now();
            let outcome = loop {
                match engine.sync() {
                    // What was written is there and can be made durable once there is room.
                    Err(Error::Full { path }) => {
                        tracing::error!(path, "disk full: a sync is tried again");
                        thread::sleep(std::time::Duration::from_millis(200));
                    }
                    Ok(()) => break Ok(()),
                    Err(error) => break Err(error.to_string()),
                }
            };
            seconds.record(begun.elapsed());
            for request in batch.drain(..) {
                request.shard.synced(request.round, outcome.clone());
            }
        }
    })?;
    Ok(Syncer(requests))
}
