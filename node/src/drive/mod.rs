//! Drives shards: one thread and one single-threaded runtime each. Sockets, clocks and syncs are here; what to do about
//! them is decided in `convoy_actors`.

mod bulk;
mod client;
mod clock;
mod others;
mod room;
mod shard;
pub mod sync;

use convoy_actors::meta::{Command, Fleet};
use convoy_actors::query::{Answer, Query};
use convoy_actors::{Access, Bans, CertificateId, CommandError, Home, Mail, Peer, SysTopics, Verdict};
use convoy_ids::NodeId;
use convoy_storage::replica::Round;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use tokio::sync::mpsc as queue;
use tokio::sync::{oneshot, watch};

pub use clock::{Clock, boot_time, wall};
pub use others::{Inward, Outward, Queues};
use room::Room;
pub use shard::start;

use crate::auth::Auth;
use crate::boot::{Board, Watchdog};
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
    /// Other bans hold, and these of them are new.
    Bans(Arc<Bans>, Arc<Bans>),
    /// Users are gone, or have other passwords.
    Revoked(Arc<BTreeSet<String>>),
    /// Other certificates than before are revoked at this listener.
    RevokedCertificates(String, Arc<BTreeSet<CertificateId>>),
    /// A command for the meta group, and who is told whether it is on its way. For the first shard.
    Ordered(Box<Command>, oneshot::Sender<Result<(), CommandError>>),
    /// Which members are away, and since when. For the first shard.
    Away(Vec<(NodeId, u64)>),
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
pub struct ShardHandle {
    events: queue::Sender<Event>,
    /// Bytes of mail that were handed over and are not opened yet.
    mail_bytes: Arc<AtomicUsize>,
    /// Bytes that may be so: whoever brings more keeps it and reads nothing from Clients.
    mail_room: Arc<AtomicUsize>,
}

pub type Mailbox = queue::Receiver<Event>;

/// What a shard knows of the node around it.
pub struct Surroundings {
    pub number: u16,
    pub shards: Arc<[ShardHandle]>,
    pub syncer: Syncer,
    pub board: Arc<Board>,
    pub auth: Auth,
    pub watchdog: Watchdog,
    /// Since when the node's shards count, as [`boot_time`] has it.
    pub begin: u64,
    /// The way to other nodes, if there may be some.
    pub others: Option<Others>,
}

/// A shard's way to other nodes and from them.
#[derive(Clone)]
pub struct Others {
    pub me: NodeId,
    pub outward: Arc<Outward>,
    pub inward: Arc<Inward>,
    /// The fleet as it is known: told by the first shard.
    pub fleet: Arc<watch::Sender<Arc<Fleet>>>,
}

pub fn mailbox() -> (ShardHandle, Mailbox) {
    let (sender, mailbox) = queue::channel(MAILBOX);
    let mail_room = Arc::new(AtomicUsize::new(Room::default().bytes()));
    (ShardHandle { events: sender, mail_bytes: Arc::default(), mail_room }, mailbox)
}

impl ShardHandle {
    /// Hands over a Network Connection. False if the shard is gone.
    pub async fn accepted(&self, accepted: Accepted) -> bool {
        self.events.send(Event::Accepted(accepted)).await.is_ok()
    }

    /// Hands over mail, or gives it back while the shard has much to do.
    pub fn try_mail(&self, mail: Mail) -> Option<Mail> {
        let bytes = mail.len_bytes();
        // Each sender may be over it by one batch.
        if self.mail_bytes() > self.mail_room() {
            return Some(mail);
        }
        self.mail_bytes.fetch_add(bytes, Ordering::Relaxed);
        match self.events.try_send(Event::Mail(mail)) {
            Err(queue::error::TrySendError::Full(Event::Mail(mail))) => {
                self.mail_opened(bytes);
                Some(mail)
            }
            _ => None,
        }
    }

    /// Bytes of mail that wait.
    pub fn mail_bytes(&self) -> usize {
        self.mail_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of mail that may wait.
    pub fn mail_room(&self) -> usize {
        self.mail_room.load(Ordering::Relaxed)
    }

    /// The shard opens its mail slower or faster than before.
    fn set_mail_room(&self, bytes: usize) {
        self.mail_room.store(bytes, Ordering::Relaxed);
    }

    /// Mail of so many bytes needs no room any more.
    pub fn mail_opened(&self, bytes: usize) {
        self.mail_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Asks for what an operator wants to know, or orders it. `None` if the shard is gone.
    pub async fn ask(&self, query: Query) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.events.send(Event::Asked(Box::new(query), answer)).await.ok()?;
        answered.await.ok()
    }

    /// Tells Clients how the node is. A shard with much to do is told the next time.
    pub fn told(&self, topics: Arc<SysTopics>) {
        let _ = self.events.try_send(Event::Told(topics));
    }

    /// To be called from a thread that may wait.
    fn tell(&self, event: Event) {
        // A shard that is gone has taken its Clients with it: nobody waits for this.
        let _ = self.events.blocking_send(event);
    }

    pub fn synced(&self, round: Round, outcome: Result<(), String>) {
        self.tell(Event::Synced(round, outcome));
    }

    /// The verdict on a Client's credentials.
    pub fn proven(&self, home: Home, verdict: Verdict) {
        self.tell(Event::Proven(home, verdict));
    }

    pub async fn set_access(&self, access: Arc<Access>) {
        let _ = self.events.send(Event::Access(access)).await;
    }

    /// Those of the bans that are new are carried out on who is connected.
    pub async fn set_bans(&self, bans: Arc<Bans>, added: Arc<Bans>) {
        let _ = self.events.send(Event::Bans(bans, added)).await;
    }

    /// The connections of these users end.
    pub async fn revoke(&self, users: Arc<BTreeSet<String>>) {
        let _ = self.events.send(Event::Revoked(users)).await;
    }

    /// The connections of this listener that were made with these certificates end.
    pub async fn revoke_certificates(&self, listener: String, ids: Arc<BTreeSet<CertificateId>>) {
        let _ = self.events.send(Event::RevokedCertificates(listener, ids)).await;
    }

    /// Gives the meta group a command, from whichever node leads it. `None` if the shard is gone.
    pub async fn order(&self, command: Command) -> Option<Result<(), CommandError>> {
        let (answer, answered) = oneshot::channel();
        self.events.send(Event::Ordered(Box::new(command), answer)).await.ok()?;
        answered.await.ok()
    }

    /// Tells who of the fleet is away. A shard with much to do is told the next time.
    pub fn see_away(&self, away: Vec<(NodeId, u64)>) {
        let _ = self.events.try_send(Event::Away(away));
    }

    pub fn shut_down(&self, gone: mpsc::Sender<()>) {
        let _ = self.events.try_send(Event::ShutDown(gone));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(bytes: usize) -> Mail {
        let mut mail = Mail::default();
        mail.lay(|into| into.resize(bytes, 0));
        mail
    }

    #[test]
    fn a_mailbox_is_full_by_bytes_until_they_are_opened() {
        let (handle, _mailbox) = mailbox();
        assert!(handle.try_mail(mail(handle.mail_room() + 1)).is_none());
        let back = handle.try_mail(mail(1)).expect("there is no room");
        handle.mail_opened(handle.mail_room() + 1);
        assert!(handle.try_mail(back).is_none());
    }
}
