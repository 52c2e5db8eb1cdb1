//! The relay on shards: nothing is shared, and what is for another shard is handed over once a turn.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem;
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use super::connection::Connection;
use super::relay::{CROSSED, Message, Outbox, Own, Shape, Table};

/// Batches that wait for a shard, beyond which whoever has more keeps gathering.
const MAILBOX: usize = 1024;

enum Event {
    Accepted(StdStream, u64),
    Batch(Batch),
}

/// What one turn of a shard has for another: each message once, and who gets it.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    messages: Vec<Batched>,
    /// Connection and granted QoS, those of each message after those of the one before.
    receivers: Vec<(u32, u8)>,
}

struct Batched {
    ends_at: usize,
    body_at: usize,
    packet_id_at: usize,
    qos: u8,
    receivers_end_at: usize,
}

type ShardAddress = (u16, u32);

#[derive(Clone)]
struct OnShard(Rc<Shard>);

struct Shard {
    number: u16,
    table: Arc<Table<ShardAddress>>,
    outboxes: RefCell<Vec<Rc<RefCell<Outbox>>>>,
    /// By shard.
    batches: RefCell<Vec<Batch>>,
    shards: Vec<mpsc::Sender<Event>>,
    turn: Notify,
    turn_due: Cell<bool>,
}

impl Own for Rc<RefCell<Outbox>> {
    fn with<R>(&self, change: impl FnOnce(&mut Outbox) -> R) -> R {
        change(&mut self.borrow_mut())
    }
}

impl Shape for OnShard {
    type Own = Rc<RefCell<Outbox>>;
    type Address = ShardAddress;

    fn table(&self) -> &Table<ShardAddress> {
        &self.0.table
    }

    fn deliver(&self, message: &Message<'_>, to: &[(ShardAddress, u8)], wakes: &mut Vec<Waker>) {
        let shard = &*self.0;
        let outboxes = shard.outboxes.borrow();
        let mut batches = shard.batches.borrow_mut();
        for (number, batch) in batches.iter_mut().enumerate() {
            let before = batch.receivers.len();
            for &((there, key), qos) in to.iter().filter(|((there, _), _)| usize::from(*there) == number) {
                if there == shard.number {
                    wakes.extend(outboxes[key as usize].borrow_mut().put(message, qos.min(message.qos)));
                } else {
                    batch.receivers.push((key, qos.min(message.qos)));
                }
            }
            if batch.receivers.len() > before {
                batch.bytes.extend_from_slice(message.frame);
                batch.messages.push(Batched {
                    ends_at: batch.bytes.len(),
                    body_at: message.body_at,
                    packet_id_at: message.packet_id_at,
                    qos: message.qos,
                    receivers_end_at: batch.receivers.len(),
                });
                shard.turn_due.set(true);
            }
        }
    }

    fn delivered(&self) {
        if self.0.turn_due.replace(false) {
            self.0.turn.notify_one();
        }
    }
}

impl Shard {
    /// Runs behind every task that was ready when it was woken, and so hands over what all of them had.
    async fn end_turns(self: Rc<Self>) {
        loop {
            self.turn.notified().await;
            for (to, shard) in self.shards.iter().enumerate() {
                if self.batches.borrow()[to].messages.is_empty() {
                    continue;
                }
                let Ok(room) = shard.reserve().await else { return };
                let batch = mem::take(&mut self.batches.borrow_mut()[to]);
                CROSSED.fetch_add(batch.receivers.len() as u64, Ordering::Relaxed);
                room.send(Event::Batch(batch));
            }
        }
    }

    fn take(&self, batch: &Batch) {
        let outboxes = self.outboxes.borrow();
        let (mut begins_at, mut receivers_begin_at) = (0, 0);
        for one in &batch.messages {
            let message = Message {
                frame: &batch.bytes[begins_at..one.ends_at],
                body_at: one.body_at,
                packet_id_at: one.packet_id_at,
                qos: one.qos,
            };
            for &(key, qos) in &batch.receivers[receivers_begin_at..one.receivers_end_at] {
                if let Some(waker) = outboxes[key as usize].borrow_mut().put(&message, qos) {
                    waker.wake();
                }
            }
            (begins_at, receivers_begin_at) = (one.ends_at, one.receivers_end_at);
        }
    }

    async fn run(self: Rc<Self>, mut mailbox: mpsc::Receiver<Event>) -> io::Result<()> {
        tokio::task::spawn_local(Rc::clone(&self).end_turns());
        let mut events = Vec::new();
        while mailbox.recv_many(&mut events, 64).await > 0 {
            for event in events.drain(..) {
                match event {
                    Event::Accepted(stream, number) => self.accepted(stream, number)?,
                    Event::Batch(batch) => self.take(&batch),
                }
            }
        }
        Ok(())
    }

    fn accepted(self: &Rc<Self>, stream: StdStream, number: u64) -> io::Result<()> {
        let mut outboxes = self.outboxes.borrow_mut();
        let own = Rc::new(RefCell::new(Outbox::default()));
        let address = (self.number, outboxes.len() as u32);
        outboxes.push(Rc::clone(&own));
        let stream = TcpStream::from_std(stream)?;
        let shape = OnShard(Rc::clone(self));
        tokio::task::spawn_local(Connection::new(shape, stream, number, own, address).run());
        Ok(())
    }
}

/// One thread and one single-threaded runtime a core. Connections are dealt in turn.
pub fn shards(cores: u16) -> io::Result<impl FnMut(StdStream, u64)> {
    let table = Arc::new(Table::new());
    let (senders, mailboxes): (Vec<_>, Vec<_>) = (0..cores).map(|_| mpsc::channel(MAILBOX)).unzip();
    for (number, mailbox) in (0..).zip(mailboxes) {
        let (table, shards) = (Arc::clone(&table), senders.clone());
        std::thread::Builder::new().spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .expect("a runtime needs an epoll and nothing else");
            let shard = Rc::new(Shard {
                number,
                table,
                outboxes: RefCell::new(Vec::new()),
                batches: RefCell::new(shards.iter().map(|_| Batch::default()).collect()),
                shards,
                turn: Notify::new(),
                turn_due: Cell::new(false),
            });
            LocalSet::new()
                .block_on(&runtime, shard.run(mailbox))
                .expect("a socket that was accepted can be watched");
        })?;
    }
    Ok(move |stream, number: u64| {
        let shard = &senders[number as usize % senders.len()];
        shard
            .blocking_send(Event::Accepted(stream, number))
            .unwrap_or_else(|_| panic!("shards outlive the listener"));
    })
}
