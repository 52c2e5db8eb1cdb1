//! The relay, whatever it runs on: what both ways to run it share, and what they do differently.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream as StdStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use super::Failure;
use super::mqtt::{PUBLISH, put_varint};

/// Deliveries that went to another shard.
pub static CROSSED: AtomicU64 = AtomicU64::new(0);

/// What the two ways to run the relay do differently.
pub trait Shape {
    /// A connection's output, as its own task holds it.
    type Own: Own;
    /// A connection, as a subscription names it.
    type Address: Clone;

    fn table(&self) -> &Table<Self::Address>;

    /// Puts a message into each receiver's output. Whose task is to be woken goes to `wakes`.
    fn deliver(&self, message: &Message<'_>, to: &[(Self::Address, u8)], wakes: &mut Vec<Waker>);

    /// Everything that one read brought has been delivered.
    fn delivered(&self);
}

pub trait Own {
    fn with<R>(&self, change: impl FnOnce(&mut Outbox) -> R) -> R;
}

/// Output for one connection. There is a waker while its task sleeps, so it is woken once. The window of the generator is
/// what bounds it.
#[derive(Default)]
pub struct Outbox {
    pub bytes: Vec<u8>,
    pub waker: Option<Waker>,
    last_packet_id: u16,
}

impl Outbox {
    pub fn put(&mut self, message: &Message<'_>, qos: u8) -> Option<Waker> {
        let at = self.bytes.len();
        let Message { frame, body_at, packet_id_at, .. } = *message;
        if qos == message.qos {
            self.bytes.extend_from_slice(frame);
            if qos > 0 {
                self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
                let packet_id_at = at + packet_id_at;
                self.bytes[packet_id_at..packet_id_at + 2]
                    .copy_from_slice(&self.last_packet_id.to_be_bytes());
            }
        } else {
            self.bytes.push(PUBLISH << 4);
            put_varint(&mut self.bytes, frame.len() - body_at - 2);
            self.bytes.extend_from_slice(&frame[body_at..packet_id_at]);
            self.bytes.extend_from_slice(&frame[packet_id_at + 2..]);
        }
        self.waker.take()
    }
}

/// A PUBLISH packet as it came.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub frame: &'a [u8],
    pub body_at: usize,
    pub packet_id_at: usize,
    pub qos: u8,
}

pub struct Subscription<A> {
    pub connection: u64,
    /// With the `#` taken off, of a prefix.
    pub filter: Vec<u8>,
    pub is_prefix: bool,
    pub address: A,
    pub qos: u8,
}

/// All subscriptions. Connections keep the routes they have looked up until the version changes.
pub struct Table<A> {
    pub version: AtomicU64,
    subscriptions: Mutex<Vec<Subscription<A>>>,
}

impl<A: Clone> Table<A> {
    pub fn new() -> Self {
        Self { version: AtomicU64::new(0), subscriptions: Mutex::new(Vec::new()) }
    }

    pub fn change(&self, change: impl FnOnce(&mut Vec<Subscription<A>>)) {
        change(&mut self.subscriptions.lock().expect("nobody panics with the table in hand"));
        self.version.fetch_add(1, Ordering::Release);
    }

    pub fn receivers(&self, topic: &[u8]) -> Vec<(A, u8)> {
        let all = self.subscriptions.lock().expect("nobody panics with the table in hand");
        let hits = all.iter().filter(|one| match one.is_prefix {
            true => topic.starts_with(&one.filter),
            false => topic == one.filter,
        });
        hits.map(|one| (one.address.clone(), one.qos)).collect()
    }
}

/// Accepts on a thread of its own until standard input ends, then says how much crossed.
pub fn relay(mut admit: impl FnMut(StdStream, u64) + Send + 'static) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { continue };
            let ready = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
            if ready.is_ok() {
                admit(stream, number as u64);
            }
        }
    });
    io::stdin().read_to_end(&mut Vec::new())?;
    println!("{}", CROSSED.load(Ordering::Relaxed));
    Ok(())
}
