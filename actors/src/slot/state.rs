//! The applied state of a shard's slots that is on its way to the engine.
//!
//! What a record changes and its applied index go into one batch; until that batch is written, reads of the rows it
//! touches are answered from here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::rows::{self, Key};
use super::stored::{self, Stored};
use crate::budget::User;
use crate::clock::Millis;
use crate::message::Message;
use crate::retained;
use crate::session::{Delivery, Seq, SessionNumber};
use crate::unread::Unread;
use convoy_ids::SlotId;
use convoy_storage::engine::{Batch, Engine, Error, Family, Mark, Record};
use convoy_storage::record::{self, BorrowDecode, Encode};
use convoy_storage::replica::Driver;
use rustc_hash::FxHashMap;

pub struct State {
    engine: Arc<dyn Engine>,
    batch: Batch,
    frozen: bool,
    /// Rows of the family `session` in the batch; `None` for a deleted one.
    unwritten: BTreeMap<Key, Option<Vec<u8>>>,
    /// Where in the batch the rows of its messages are.
    queued: FxHashMap<(SessionNumber, Seq), Mark>,
    /// Retained Messages in the batch, by slot, partition and topic; `None` for a deleted one.
    retained: FxHashMap<(SlotId, u64, Box<str>), Option<Kept>>,
    /// Where values are encoded and read to.
    value: Vec<u8>,
    /// The message in a row of its own that was read last: its Sessions ask for it one after the other.
    body: RefCell<Option<(SlotId, u64, Bytes)>>,
    unread: Unread,
}

/// What must be known of a Retained Message before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub bytes: u32,
    pub expires_at: Option<Millis>,
    /// Who published it.
    pub user: User,
}

impl Kept {
    pub fn of(bytes: &[u8], message: &Message<'_>) -> Self {
        Self { bytes: bytes.len() as u32, expires_at: message.expires_at, user: message.user }
    }
}

impl State {
    /// Messages that are read and shared count in `unread`.
    pub fn new(engine: Arc<dyn Engine>, unread: Unread) -> Self {
        Self {
            engine,
            batch: Batch::new(),
            frozen: false,
            unwritten: BTreeMap::new(),
            queued: FxHashMap::default(),
            retained: FxHashMap::default(),
            value: Vec::new(),
            body: RefCell::default(),
            unread,
        }
    }

    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// For rows of the other families, which are never read before they are written.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Nothing is written any more. What is in the engine can still be read; what is on its way there comes out of the
    /// log at the next start.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// The rows of a slot are others from now on. Nothing of it is on its way to the engine.
    pub fn replaced(&mut self, slot: SlotId) {
        self.body.get_mut().take_if(|(of, ..)| *of == slot);
    }

    /// Whether the rows of queues and of Retained Messages can be read as they are in the engine.
    pub fn is_readable(&self) -> bool {
        self.frozen || self.batch.is_empty()
    }

    /// Bytes on their way to the engine.
    pub fn size_bytes(&self) -> usize {
        self.batch.size_bytes()
    }

    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Makes the changes visible to the engine, by the driver of the slots' replicas. After an error they are still here:
    /// call again.
    pub fn write(&mut self, driver: &mut Driver) -> Result<(), Error> {
        if !self.batch.is_empty() {
            driver.write_applied(&mut self.batch)?;
            self.unwritten.clear();
            self.queued.clear();
            self.retained.clear();
        }
        Ok(())
    }

    /// Puts a message into a queue.
    pub fn put_queued(&mut self, session: SessionNumber, seq: Seq, stored: &Stored<'_>) {
        stored::seal(stored, &mut self.value);
        let mark = self.batch.mark();
        self.batch.put(Family::Queue, &rows::queued(session, seq), &self.value);
        self.queued.insert((session, seq), mark);
    }

    /// A queued message, and how it is to be delivered.
    pub fn queued_message(&mut self, session: SessionNumber, seq: Seq) -> Result<(Delivery, Vec<u8>), Error> {
        let key = rows::queued(session, seq);
        let stored = match self.queued.get(&(session, seq)).and_then(|mark| self.batch.record_at(*mark)) {
            Some(Record::Put { value, .. }) => stored::open(&key, value)?,
            _ => {
                self.read_queued(&key)?;
                stored::open(&key, &self.value)?
            }
        };
        let delivery = stored.delivery;
        match stored.body {
            Some(body) => Ok((delivery, self.queued_message(rows::nobody(session.slot()), body.number)?.1)),
            None => Ok((delivery, stored.message.to_vec())),
        }
    }

    /// A message on disk that many queues hold.
    pub fn body(&self, slot: SlotId, number: u64) -> Result<Bytes, Error> {
        let mut last = self.body.borrow_mut();
        if let Some((of, found, bytes)) = &*last
            && (*of, *found) == (slot, number)
        {
            return Ok(bytes.clone());
        }
        let (key, mut value) = (rows::queued(rows::nobody(slot), number), Vec::new());
        if !self.engine.get(Family::Queue, &key, &mut value)? {
            return Err(missing(&key));
        }
        let at = value.len() - stored::open(&key, &value)?.message.len();
        let bytes = self.unread.share(value).slice(at..);
        *last = Some((slot, number, bytes.clone()));
        Ok(bytes)
    }

    /// Reads the row of a queued message to `value`.
    fn read_queued(&mut self, key: &[u8]) -> Result<(), Error> {
        self.value.clear();
        match self.engine.get(Family::Queue, key, &mut self.value)? {
            true => Ok(()),
            false => Err(missing(key)),
        }
    }

    /// Sets, with its number and what is to be known of it, or deletes the Retained Message of a topic.
    pub fn put_retained(
        &mut self,
        slot: SlotId,
        partition: u64,
        topic: &str,
        number: u64,
        message: Option<(&[u8], Kept)>,
    ) {
        match message {
            Some((message, _)) => retained::put(&mut self.batch, slot, partition, topic, number, message),
            None => retained::remove(&mut self.batch, slot, partition, topic),
        }
        let kept = message.map(|(_, kept)| kept);
        self.retained.insert((slot, partition, topic.into()), kept);
    }

    /// The Retained Message of a topic, if it has one.
    pub fn retained(&mut self, slot: SlotId, partition: u64, topic: &str) -> Result<Option<Kept>, Error> {
        if !self.retained.is_empty()
            && let Some(kept) = self.retained.get(&(slot, partition, Box::from(topic)))
        {
            return Ok(*kept);
        }
        self.value.clear();
        if !retained::get(&*self.engine, slot, partition, topic, &mut self.value)? {
            return Ok(None);
        }
        // One that cannot be read expires never, and may be replaced.
        let message = Message::decode(&self.value).ok();
        let kept = message.map(|message| Kept::of(&self.value, &message));
        let unread = Kept { bytes: self.value.len() as u32, expires_at: None, user: User::NOBODY };
        Ok(Some(kept.unwrap_or(unread)))
    }

    pub fn put_bytes(&mut self, key: Key, value: &[u8]) {
        self.batch.put(Family::Session, &key, value);
        self.unwritten.insert(key, Some(value.to_vec()));
    }

    pub fn put<T: Encode>(&mut self, key: Key, value: &T) {
        self.value.clear();
        record::encode_into(value, &mut self.value);
        self.batch.put(Family::Session, &key, &self.value);
        self.unwritten.insert(key, Some(self.value.clone()));
    }

    pub fn delete(&mut self, key: Key) {
        self.batch.delete(Family::Session, &key);
        self.unwritten.insert(key, None);
    }

    pub fn get_bytes(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some(value) = self.unwritten.get(key) {
            return Ok(value.clone());
        }
        let mut value = Vec::new();
        Ok(self.engine.get(Family::Session, key, &mut value)?.then_some(value))
    }

    pub fn get<T: for<'de> BorrowDecode<'de, ()>>(&mut self, key: &[u8]) -> Result<Option<T>, Error> {
        self.get_bytes(key)?.map(|value| decode(key, &value)).transpose()
    }

    pub fn contains(&mut self, key: &[u8]) -> Result<bool, Error> {
        match self.unwritten.get(key) {
            Some(value) => Ok(value.is_some()),
            None => {
                self.value.clear();
                self.engine.get(Family::Session, key, &mut self.value)
            }
        }
    }

    /// All rows in `[from, to)`, in the order of their keys.
    pub fn scan(&mut self, from: &[u8], to: &[u8]) -> Result<Vec<(Key, Vec<u8>)>, Error> {
        self.scan_some(from, to, usize::MAX)
    }

    /// The first of them, up to so many.
    pub fn scan_some(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Vec<u8>)>, Error> {
        let mut rows = Vec::new();
        self.engine.scan(Family::Session, from, to, &mut |key, value| {
            if !self.unwritten.contains_key(key) {
                rows.push((key.to_vec(), value.to_vec()));
            }
            if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let unwritten = self.unwritten.range(from.to_vec()..to.to_vec());
        let unwritten = unwritten.filter_map(|(key, value)| Some((key, value.as_ref()?)));
        rows.extend(unwritten.take(limit).map(|(key, value)| (key.clone(), value.clone())));
        rows.sort();
        rows.truncate(limit);
        Ok(rows)
    }
}

fn missing(key: &[u8]) -> Error {
    let place = format!("row {}", key.escape_ascii());
    Error::Damaged { place, reason: "a queued message is missing".into() }
}

/// Decodes the value of a row. One that cannot be decoded is named and not served.
pub fn decode<'de, T: BorrowDecode<'de, ()>>(key: &[u8], value: &'de [u8]) -> Result<T, Error> {
    record::decode(value).map_err(|error| Error::Damaged {
        place: format!("row {}", key.escape_ascii()),
        reason: error.to_string(),
    })
}
