//! Sessions are activated from storage by the first operation that needs them and passivated when nothing does, so
//! that offline Sessions cost disk and not memory.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use convoy_storage::engine::{Engine, Error, Family};

use super::counted::Counted;
use super::state::State;
use super::stored::{Stored, damaged};
use super::{rows, stored};
use crate::call::ReplyTo;
use crate::clock::Millis;
use crate::session::{
    Behind, Delivery, Head, Home, Inflight, Progress, Queue, Seq, SessionNumber, SessionRow,
};

/// An active Session.
#[derive(Debug)]
pub struct Active {
    /// Tenant and Client Identifier.
    pub name: Box<[u8]>,
    pub row: SessionRow,
    /// Bytes of its Topic Filters, once somebody has asked; of the leader alone.
    pub filter_bytes: Option<u64>,
    /// What was counted of it.
    pub counted: Counted,
    /// Set for a Session that outlives its connection.
    pub queue: Option<Box<Queue>>,
    /// The connection that messages are delivered to; of the leader alone.
    pub link: Option<Box<Link>>,
    /// How it came to a leader that has begun after it; of the leader alone.
    pub adoption: Adoption,
    /// Set where more waited than may.
    pub overflow: Option<Box<Overflow>>,
}

impl Active {
    pub fn new(name: &[u8], row: SessionRow, queue: Option<Box<Queue>>) -> Self {
        let counted = Counted::of(&row, queue.as_deref());
        Self {
            name: name.into(),
            row,
            filter_bytes: None,
            counted,
            queue,
            link: None,
            adoption: Adoption::default(),
            overflow: None,
        }
    }
}

/// Delivery from a Session's queue to its connection.
#[derive(Debug)]
pub struct Link {
    pub home: Home,
    pub inflight: Inflight,
    /// The next message of the queue to be sent.
    pub cursor: Seq,
    /// Messages before this one were sent on an earlier connection.
    pub sent_until: Seq,
    /// Messages before this one were, or may have been.
    pub dup_until: Seq,
    /// Finished by the Client and not yet on record.
    pub finished: Vec<(Seq, u32)>,
    /// PUBREC came, and this is not yet on record.
    pub received: Vec<Seq>,
    /// A record is on its way that takes the Session from it: see `pause`.
    pub is_paused: bool,
    /// A record is on its way that it has ended, and nothing makes it go on.
    pub is_over: bool,
    /// While messages of the queue wait for room, what of QoS 0 has to wait for them.
    pub behind: Option<Box<Behind>>,
}

/// How a connection of before has come to this leader.
#[derive(Debug, Default)]
pub enum Adoption {
    /// It has not.
    #[default]
    None,
    /// It goes on from there when the rows of its queue can be read, and hears of it then: what its Client acknowledges
    /// before would be taken for nothing.
    Waits(ReplyTo, Box<Progress>),
    Done,
}

impl Adoption {
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Of a Session whose queue was full, while it is in memory; of the leader alone.
#[derive(Debug, Default)]
pub struct Overflow {
    /// Messages that are proposed to go, ascending: none of them is sent any more.
    pub going: Vec<Seq>,
    /// Bytes that came while the Sessions of its user held more than they may: as many go.
    pub owed: u64,
    /// In the list of Sessions whose queues are to be looked at.
    pub is_listed: bool,
    /// The next message to be looked at for its expiry, and the soonest expiry of those before it.
    pub at: Seq,
    pub soonest: Option<Millis>,
    /// No message that waits expires before this.
    pub expires: Millis,
}

impl Overflow {
    pub fn is_going(&self, seq: Seq) -> bool {
        self.going.binary_search(&seq).is_ok()
    }

    /// Nothing is proposed.
    pub fn is_idle(&self) -> bool {
        self.going.is_empty() && !self.is_listed
    }

    /// A message has come that expires then.
    pub fn comes(&mut self, expires_at: Option<Millis>) {
        self.expires = self.expires.min(expires_at.unwrap_or(Millis::MAX));
    }
}

/// Reads a Session's queue state from its rows.
pub fn queue(state: &mut State, session: SessionNumber) -> Result<Queue, Error> {
    let head: Head = state.get(&rows::head(session))?.unwrap_or_default();
    let last = end_of_queue(&**state.engine(), session, head.floor)?;
    let (from, to) = rows::all_received(session);
    let received: BTreeSet<Seq> =
        state.scan(&from, &to)?.iter().filter_map(|(key, _)| rows::seq_of_received(key)).collect();
    Ok(Queue::recover(head, last, received))
}

/// Number and running total of the last message of a queue.
pub fn end_of_queue(
    engine: &dyn Engine,
    session: SessionNumber,
    floor: Seq,
) -> Result<Option<(Seq, u64)>, Error> {
    let (from, to) = (rows::queued(session, floor), rows::queued(session, Seq::MAX));
    let last = engine.last(Family::Queue, &from, &to)?;
    last.map(|(key, value)| end_of(&key, &value)).transpose()
}

/// The number of the message in a row of a queue, and the running total that stands there.
pub fn end_of(key: &[u8], value: &[u8]) -> Result<(Seq, u64), Error> {
    let seq = rows::seq_of_queued(key).ok_or_else(|| damaged(key, "key"))?;
    Ok((seq, stored::open(key, value)?.came))
}

/// Activates a Session by its row.
pub fn activate(state: &mut State, name: &[u8], row: SessionRow) -> Result<Active, Error> {
    let queue = match row.has_queue {
        true => Some(Box::new(queue(state, row.number)?)),
        false => None,
    };
    Ok(Active::new(name, row, queue))
}

/// The name and the row of a Session; `None` if it has ended.
pub fn load(state: &mut State, session: SessionNumber) -> Result<Option<(Vec<u8>, SessionRow)>, Error> {
    let Some(name) = state.get_bytes(&rows::name(session))? else { return Ok(None) };
    let row: Option<SessionRow> = state.get(&rows::client(session.slot(), &name))?;
    Ok(row.filter(|row| row.number == session).map(|row| (name, row)))
}

/// A message of a queue.
pub struct Row<'a> {
    pub delivery: Delivery,
    pub message: &'a [u8],
    /// The same, if other queues hold it too.
    pub shared: Option<&'a Bytes>,
}

/// Visits messages of a queue from `from` on, with their numbers, until `visit` breaks.
pub fn read_queue(
    state: &State,
    session: SessionNumber,
    from: Seq,
    visit: &mut dyn FnMut(Seq, Row<'_>) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    let (from, to) = (rows::queued(session, from), rows::queued(session, Seq::MAX));
    state.engine().scan(Family::Queue, &from, &to, &mut |key, value| match (
        rows::seq_of_queued(key),
        stored::open(key, value),
    ) {
        (Some(seq), Ok(Stored { delivery, message, body: None, .. })) => {
            visit(seq, Row { delivery, message, shared: None })
        }
        (Some(seq), Ok(Stored { delivery, body: Some(body), .. })) => {
            match state.body(session.slot(), body.number) {
                Ok(bytes) => visit(seq, Row { delivery, message: &bytes, shared: Some(&bytes) }),
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            }
        }
        (_, Err(error)) => {
            outcome = Err(error);
            ControlFlow::Break(())
        }
        (None, _) => {
            outcome = Err(damaged(key, "key"));
            ControlFlow::Break(())
        }
    })?;
    outcome
}
