//! Drives shards: one thread and one single-threaded runtime each. Sockets, clocks and syncs are here; what to do about
//! them is decided in `convoy_actors`.

mod client;
mod clock;
mod shard;
pub mod sync;

use convoy_actors::query::{Answer, Query};
use convoy_actors::{Access, Home, Mail, Peer, SysTopics, Verdict};
use convoy_storage::replica::Round;
use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use tokio::sync::mpsc as queue;
use tokio::sync::oneshot;

pub use shard::start;

use crate::auth::Auth;
use crate::boot::Board;
use crate::stream::Carried;
use sync::Syncer;

/// Events that wait for a shard, beyond which whoever brings them waits.
const MAILBOX: usize = 1024;

/// What a shard is told from outside its thread.
pub enum Event {
    Accepted(Accepted),
    Mail(Mail),
    Synced(Round, Result<(), String>),
    /// What the node tells under `$SYS`.
    Told(Arc<SysTopics>),
    /// An operator asks.
    Asked(Box<Query>, oneshot::Sender<Answer>),
    /// A Client has proven who it is, or has not.
    Proven(Home, Verdict),
    /// Other rules hold.
    Access(Arc<Access>),
    /// Users are gone, or have other passwords.
    Revoked(Arc<BTreeSet<String>>),
    /// The node goes down. The sender is dropped when the last Client is gone.
    ShutDown(mpsc::Sender<()>),
}

/// A Network Connection that was accepted.
pub struct Accepted {
    pub carried: Carried,
    pub peer: Peer,
    /// Counts it.
    pub admitted: crate::listen::Admitted,
}

/// The way to a shard.
#[derive(Clone)]
pub struct ShardHandle(queue::Sender<Event>);

pub type Mailbox = queue::Receiver<Event>;

/// What a shard knows of the node around it.
pub struct Surroundings {
    pub number: u16,
    pub shards: Arc<[ShardHandle]>,
    pub syncer: Syncer,
    pub board: Arc<Board>,
    pub auth: Auth,
}

pub fn mailbox() -> (ShardHandle, Mailbox) {
    let (sender, mailbox) = queue::channel(MAILBOX);
    (ShardHandle(sender), mailbox)
}

impl ShardHandle {
    /// Hands over a Network Connection. False if the shard is gone.
    pub async fn accepted(&self, accepted: Accepted) -> bool {
        self.0.send(Event::Accepted(accepted)).await.is_ok()
    }

    /// Hands over mail, or gives it back while the shard has much to do.
    pub fn try_mail(&self, mail: Mail) -> Option<Mail> {
        match self.0.try_send(Event::Mail(mail)) {
            Err(queue::error::TrySendError::Full(Event::Mail(mail))) => Some(mail),
            _ => None,
        }
    }

    /// Asks for what an operator wants to know, or orders it. `None` if the shard is gone.
    pub async fn ask(&self, query: Query) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Event::Asked(Box::new(query), answer)).await.ok()?;
        answered.await.ok()
    }

    /// Tells Clients how the node is. A shard with much to do is told the next time.
    pub fn told(&self, topics: Arc<SysTopics>) {
        let _ = self.0.try_send(Event::Told(topics));
    }

    /// To be called from a thread that may wait.
    fn tell(&self, event: Event) {
        // A shard that is gone has taken its Clients with it: nobody waits for this.
        let _ = self.0.blocking_send(event);
    }

    pub fn synced(&self, round: Round, outcome: Result<(), String>) {
        self.tell(Event::Synced(round, outcome));
    }

    /// The verdict on a Client's credentials.
    pub fn proven(&self, home: Home, verdict: Verdict) {
        self.tell(Event::Proven(home, verdict));
    }

    pub async fn set_access(&self, access: Arc<Access>) {
        let _ = self.0.send(Event::Access(access)).await;
    }

    /// The connections of these users end.
    pub async fn revoke(&self, users: Arc<BTreeSet<String>>) {
        let _ = self.0.send(Event::Revoked(users)).await;
    }

    pub fn shut_down(&self, gone: mpsc::Sender<()>) {
        let _ = self.0.try_send(Event::ShutDown(gone));
    }
}
