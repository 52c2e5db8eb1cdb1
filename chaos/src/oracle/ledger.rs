//! The history, sorted into what the invariants ask for: messages, connections, and the lives of Sessions.
//!
//! A *life* is a Session from its first CONNACK until something its Client declared ends it: Clean Start, an interval of
//! zero when the connection closed, or an interval that has passed. A Server that forgets a Session does not end its life:
//! that is how forgetting becomes a loss. Where an answer is missing and two truths are possible, the ledger says so
//! ([`Present::Either`], [`Life::doubtful`]) and the checkers stay silent about it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::clocks::Clocks;
use super::disturbance::Disturbances;
use super::history::{Closer, Event, Fault, Link, Retain, Terms, What};
use super::message::{Message, Name, Qos};
use super::topic::{matches, shared};

pub struct Ledger {
    pub events: Vec<Event>,
    /// In the order of their first PUBLISH.
    pub sent: Vec<Sent>,
    /// In the order of their CONNECT.
    pub connections: Vec<Connection>,
    pub lives: Vec<Life>,
    by_topic: HashMap<Name, Vec<usize>>,
    by_message: HashMap<Message, usize>,
    wills: HashSet<Message>,
    disturbances: Disturbances,
    clocks: Clocks,
}

/// A message and what became of it, as its publisher saw it. Neither accepted nor refused: unknown.
#[derive(Clone, Debug)]
pub struct Sent {
    pub message: Message,
    pub retain: Retain,
    pub expiry: Option<Duration>,
    pub first: usize,
    /// Where it was sent again for the last time; `first` if it was not.
    pub last: usize,
    pub accepted: Option<usize>,
    pub refused: Option<usize>,
    pub completed: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Connection {
    pub link: Link,
    pub terms: Terms,
    pub connect: usize,
    /// Index and Session Present.
    pub connack: Option<(usize, bool)>,
    /// And nothing came of it: where leaders changed meanwhile, it is as if there was no answer.
    pub rejected: bool,
    /// A DISCONNECT that discards the Will.
    pub disconnect: Option<usize>,
    /// A DISCONNECT of either kind: the Server may have known of the end from here on, long before the Client sees that it
    /// closes.
    pub leaves: Option<usize>,
    pub closed: Option<(usize, Closer)>,
    /// The CONNECT of the next connection of its Client.
    pub next: Option<usize>,
    pub present: Present,
}

impl Connection {
    /// The event from which its Client reads it no more: it has said DISCONNECT, whenever the Server gets round to close, or
    /// has begun another connection. `None` if it reads it to the end.
    pub fn read_until(&self) -> Option<usize> {
        let closed = self.closed.map(|(closed, _)| closed);
        [self.leaves, closed, self.next].into_iter().flatten().min()
    }
}

/// What Session Present has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    Must(bool),
    Either,
}

#[derive(Clone, Debug)]
pub struct Life {
    pub client: Name,
    pub begins: usize,
    /// Messages still on their way at this event are not promised any more.
    pub ends: Option<usize>,
    /// It may be the continuation of an earlier life: an unanswered CONNECT left both possible.
    pub doubtful: bool,
    pub spans: Vec<Span>,
    pub deliveries: Vec<Delivery>,
}

/// One Subscription of a life.
#[derive(Clone, Debug)]
pub struct Span {
    pub filter: Name,
    pub asked: usize,
    pub sure_from: Option<usize>,
    pub granted: Option<Qos>,
    /// An UNSUBSCRIBE was sent, or a SUBSCRIBE that lowers the QoS.
    pub doubt_from: Option<usize>,
    pub over: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Delivery {
    pub index: usize,
    pub message: Message,
    /// It came with RETAIN: an answer to a SUBSCRIBE, not the message on its way.
    pub retained: bool,
}

impl Span {
    /// By itself or for its group.
    pub fn takes(&self, topic: &str) -> bool {
        matches(shared(&self.filter).map_or(&*self.filter, |(_, filter)| filter), topic)
    }

    pub fn is_shared(&self) -> bool {
        shared(&self.filter).is_some()
    }

    /// Messages sent after this index are promised, at `granted`.
    pub fn promises_at_least_once(&self) -> Option<usize> {
        (self.granted >= Some(Qos::AtLeastOnce) && self.doubt_from.is_none())
            .then_some(self.sure_from)
            .flatten()
    }
}

impl Life {
    pub fn spans_for<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Span> {
        self.spans.iter().filter(move |span| span.takes(topic))
    }
}

impl Ledger {
    pub fn of(events: Vec<Event>) -> Self {
        let mut ledger = Self {
            events,
            sent: Vec::new(),
            connections: Vec::new(),
            lives: Vec::new(),
            by_topic: HashMap::new(),
            by_message: HashMap::new(),
            wills: HashSet::new(),
            disturbances: Disturbances::default(),
            clocks: Clocks::default(),
        };
        ledger.disturbances = Disturbances::of(&ledger.events);
        ledger.clocks = Clocks::of(&ledger.events);
        ledger.sort_messages();
        ledger.sort_connections();
        Walk::over(&mut ledger);
        ledger
    }

    pub fn sent_to<'a>(&'a self, topic: &str) -> impl Iterator<Item = &'a Sent> {
        self.by_topic.get(topic).into_iter().flatten().map(|&at| &self.sent[at])
    }

    /// The whole history, one event a line, to look into what was found.
    pub fn write_to(&self, file: &Path) -> io::Result<()> {
        let mut out = io::BufWriter::new(File::create(file)?);
        for (index, event) in self.events.iter().enumerate() {
            writeln!(out, "{index} {:.6} {:?}", event.at.as_secs_f64(), event.what)?;
        }
        out.flush()
    }

    pub fn sent_of(&self, message: &Message) -> Option<&Sent> {
        self.by_message.get(message).map(|&at| &self.sent[at])
    }

    pub fn is_will(&self, message: &Message) -> bool {
        self.wills.contains(message)
    }

    pub fn topics(&self) -> impl Iterator<Item = &Name> {
        self.by_topic.keys()
    }

    pub fn at(&self, index: usize) -> Duration {
        self.events[index].at
    }

    pub fn end(&self) -> Duration {
        self.events.last().map_or(Duration::ZERO, |event| event.at)
    }

    pub fn faults(&self) -> impl Iterator<Item = (usize, &Fault)> {
        self.events.iter().enumerate().filter_map(|(index, event)| match &event.what {
            What::Fault(fault) => Some((index, fault)),
            _ => None,
        })
    }

    pub fn disturbances(&self) -> &Disturbances {
        &self.disturbances
    }

    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// By how much the time that a leader waits for between two events may be wrong.
    pub fn wait_may_be_wrong_by(&self, from: usize, to: usize) -> Duration {
        self.clocks.apart_for_leaders(from, to, &self.disturbances)
    }

    /// The last event that is not behind this time.
    pub fn last_until(&self, time: Duration) -> usize {
        self.events.partition_point(|event| event.at <= time).saturating_sub(1)
    }

    /// Whether the Server's process died between two events, or another node began to lead.
    pub fn crashed_between(&self, from: usize, to: usize) -> bool {
        self.disturbances.lost_between(from, to)
    }

    /// When a connection may have ended for the Server, of one that its Client saw closed at `closed`. Who begins to lead
    /// ends those of other nodes, of which their Clients may not know yet.
    pub fn may_have_ended(&self, connection: &Connection, closed: usize) -> Duration {
        let seen = connection.leaves.map_or(closed, |leaves| leaves.min(closed));
        self.at(self.disturbances.led_between(connection.connect, seen).unwrap_or(seen))
    }

    /// Whether the Server died between two events while `client` was connected, or was about to be, or had just left: so
    /// that its end was not on record.
    pub fn died_with_connection_of(&self, client: &Name, from: usize, to: usize) -> bool {
        let of_client = || self.connections.iter().filter(|connection| connection.link.client == *client);
        self.disturbances.losses_between(from, to).any(|crash| {
            of_client().any(|connection| {
                let recorded = |closed| self.disturbances.calm_after(self.at(closed), ON_RECORD);
                connection.connect < crash
                    && connection.closed.is_none_or(|(closed, _)| recorded(closed) > self.at(crash))
            })
        })
    }

    /// Whether a connection of `client` was open, or may have been, at some moment of that time.
    pub fn was_connected(&self, client: &Name, from: Duration, to: Duration) -> bool {
        self.connections.iter().filter(|connection| connection.link.client == *client).any(|connection| {
            let closed = connection.closed.map_or(Duration::MAX, |(closed, _)| self.at(closed));
            self.at(connection.connect) <= to && closed >= from
        })
    }

    fn sort_messages(&mut self) {
        let mut known: HashMap<Message, usize> = HashMap::new();
        for (index, event) in self.events.iter().enumerate() {
            match &event.what {
                What::Publish { message, retain, expiry, .. } => {
                    let at = *known.entry(message.clone()).or_insert_with(|| {
                        self.sent.push(Sent {
                            message: message.clone(),
                            retain: *retain,
                            expiry: *expiry,
                            first: index,
                            last: index,
                            accepted: None,
                            refused: None,
                            completed: None,
                        });
                        self.sent.len() - 1
                    });
                    self.sent[at].last = index;
                }
                What::Accepted { message, .. } => {
                    if let Some(&at) = known.get(message) {
                        self.sent[at].accepted.get_or_insert(index);
                    }
                }
                What::Refused { message, .. } => {
                    if let Some(&at) = known.get(message) {
                        self.sent[at].refused.get_or_insert(index);
                    }
                }
                What::Completed { message, .. } => {
                    if let Some(&at) = known.get(message) {
                        self.sent[at].completed.get_or_insert(index);
                    }
                }
                _ => {}
            }
        }
        for (at, sent) in self.sent.iter().enumerate() {
            self.by_topic.entry(sent.message.topic.clone()).or_default().push(at);
        }
        self.by_message = known;
    }

    fn sort_connections(&mut self) {
        let mut known: HashMap<u32, usize> = HashMap::new();
        let mut last_of: HashMap<Name, usize> = HashMap::new();
        for (index, event) in self.events.iter().enumerate() {
            if let What::Connect { link, terms } = &event.what {
                known.insert(link.connection, self.connections.len());
                if let Some(last) = last_of.insert(link.client.clone(), self.connections.len()) {
                    self.connections[last].next = Some(index);
                }
                self.wills.extend(terms.will.as_ref().map(|will| will.message.clone()));
                self.connections.push(Connection {
                    link: link.clone(),
                    terms: terms.clone(),
                    connect: index,
                    connack: None,
                    rejected: false,
                    disconnect: None,
                    leaves: None,
                    closed: None,
                    next: None,
                    present: Present::Either,
                });
                continue;
            }
            let Some(&at) = event.what.link().and_then(|link| known.get(&link.connection)) else { continue };
            let connection = &mut self.connections[at];
            match &event.what {
                What::Connack { session_present, .. } => connection.connack = Some((index, *session_present)),
                What::Rejected { .. } => {
                    let asked = self.events[connection.connect].at;
                    connection.rejected = !self.disturbances.is_disturbed(asked, event.at);
                }
                What::Disconnect { with_will, .. } => {
                    connection.leaves = Some(index);
                    if !with_will {
                        connection.disconnect = Some(index);
                    }
                }
                What::Closed { by, .. } => {
                    connection.closed.get_or_insert((index, *by));
                }
                _ => {}
            }
        }
    }
}

/// The end of a connection is on record so long after its Client has seen it: as long as a slow disk is waited for.
const ON_RECORD: Duration = Duration::from_millis(1_500);

/// How much later than the Client the Server may notice that a connection is gone, or that an interval has passed.
pub(crate) const SLACK: Duration = Duration::from_secs(2);

/// Goes over the events once and keeps, per Client, the life that its Session is in.
struct Walk {
    clients: HashMap<Name, Walked>,
    life_of_connection: HashMap<u32, usize>,
}

#[derive(Default)]
struct Walked {
    life: Option<usize>,
    /// The last connection whose CONNECT reached the Server for sure, by its place in the ledger.
    last: Option<usize>,
    /// A CONNECT was sent since and got no answer, and it may have changed what exists.
    unanswered: bool,
}

impl Walk {
    fn over(ledger: &mut Ledger) {
        let mut walk = Self { clients: HashMap::new(), life_of_connection: HashMap::new() };
        let place: HashMap<u32, usize> =
            ledger.connections.iter().enumerate().map(|(at, c)| (c.link.connection, at)).collect();
        for index in 0..ledger.events.len() {
            let what = ledger.events[index].what.clone();
            let Some(link) = what.link() else { continue };
            let Some(&at) = place.get(&link.connection) else { continue };
            match &what {
                What::Connect { .. } => walk.connect(ledger, at),
                What::Connack { session_present, .. } => walk.connack(ledger, at, index, *session_present),
                What::Closed { .. } => walk.closed(ledger, at, index),
                _ => walk.within(ledger, link, index, &what),
            }
        }
    }

    fn connect(&mut self, ledger: &mut Ledger, at: usize) {
        let connection = ledger.connections[at].clone();
        if connection.rejected {
            return;
        }
        let walked = self.clients.entry(connection.link.client.clone()).or_default();
        if connection.terms.clean_start {
            if let Some(life) = walked.life.take() {
                ledger.lives[life].ends.get_or_insert(connection.connect);
            }
            ledger.connections[at].present = Present::Must(false);
        } else {
            let present = match walked.life {
                _ if walked.unanswered => Present::Either,
                None => match walked.last {
                    Some(last) if just_closed(ledger, last, at) => Present::Either,
                    _ => Present::Must(false),
                },
                Some(_) => match walked.last {
                    Some(last) => still_there(ledger, last, at),
                    None => Present::Either,
                },
            };
            if present != Present::Must(true)
                && let Some(life) = walked.life.take()
            {
                ledger.lives[life].ends.get_or_insert(connection.connect);
            }
            ledger.connections[at].present = present;
        }
        match connection.connack {
            Some(_) => walked.last = Some(at),
            None => {
                // A resume on the same lasting terms: whether it was heard or not, the Session is as it was.
                let as_before =
                    |last: usize| ledger.connections[last].terms.expiry == connection.terms.expiry;
                let changes_nothing = !connection.terms.clean_start
                    && connection.terms.expiry >= Terms::LASTING
                    && walked.last.is_some_and(as_before)
                    && ledger.connections[at].present == Present::Must(true);
                walked.unanswered |= !changes_nothing;
                if !changes_nothing && let Some(life) = walked.life.take() {
                    ledger.lives[life].ends.get_or_insert(connection.connect);
                }
            }
        }
    }

    fn connack(&mut self, ledger: &mut Ledger, at: usize, index: usize, session_present: bool) {
        let connection = &ledger.connections[at];
        let client = connection.link.client.clone();
        let present = connection.present;
        let number = connection.link.connection;
        let walked = self.clients.entry(client.clone()).or_default();
        walked.unanswered = false;
        let life = match walked.life {
            Some(life) if session_present => life,
            _ => {
                ledger.lives.push(Life {
                    client,
                    begins: index,
                    ends: None,
                    doubtful: session_present && present == Present::Either,
                    spans: Vec::new(),
                    deliveries: Vec::new(),
                });
                ledger.lives.len() - 1
            }
        };
        walked.life = Some(life);
        self.life_of_connection.insert(number, life);
    }

    fn closed(&mut self, ledger: &mut Ledger, at: usize, index: usize) {
        let connection = &ledger.connections[at];
        if connection.terms.expiry > Duration::ZERO {
            return;
        }
        let Some(&life) = self.life_of_connection.get(&connection.link.connection) else { return };
        ledger.lives[life].ends.get_or_insert(index);
        let client = connection.link.client.clone();
        if let Some(walked) = self.clients.get_mut(&client)
            && walked.life == Some(life)
        {
            walked.life = None;
        }
    }

    fn within(&mut self, ledger: &mut Ledger, link: &Link, index: usize, what: &What) {
        let Some(&life) = self.life_of_connection.get(&link.connection) else { return };
        let life = &mut ledger.lives[life];
        match what {
            What::Subscribe { filter, .. } => life.spans.push(Span {
                filter: filter.clone(),
                asked: index,
                sure_from: None,
                granted: None,
                doubt_from: None,
                over: None,
            }),
            What::Suback { filter, granted, .. } => life.grant(filter, *granted, index),
            What::Unsubscribe { filter, .. } => {
                for span in life.open_spans(filter) {
                    span.doubt_from.get_or_insert(index);
                }
            }
            What::Unsuback { filter, .. } => {
                for span in life.open_spans(filter) {
                    if span.doubt_from.is_some() {
                        span.over = Some(index);
                    }
                }
            }
            What::Delivered { message, retained, .. } => {
                life.deliveries.push(Delivery { index, message: message.clone(), retained: *retained });
            }
            _ => {}
        }
    }
}

impl Life {
    fn open_spans<'a>(&'a mut self, filter: &'a Name) -> impl Iterator<Item = &'a mut Span> {
        self.spans.iter_mut().filter(move |span| span.filter == *filter && span.over.is_none())
    }

    /// A second SUBSCRIBE to the same filter replaces the first Subscription without a gap.
    fn grant(&mut self, filter: &Name, granted: Option<Qos>, index: usize) {
        let Some(fresh) =
            self.spans.iter().rposition(|span| span.filter == *filter && span.sure_from.is_none())
        else {
            return;
        };
        let asked = self.spans[fresh].asked;
        let Some(qos) = granted else {
            self.spans[fresh].over = Some(index);
            return;
        };
        self.spans[fresh].sure_from = Some(index);
        self.spans[fresh].granted = Some(qos);
        let older = self.spans.iter().position(|span| span.filter == *filter && span.over.is_none());
        let Some(older) = older.filter(|&at| at != fresh) else { return };
        let replaced = &mut self.spans[older];
        replaced.over = Some(index);
        if replaced.granted == Some(qos) && replaced.doubt_from.is_none() {
            // It holds on: what was promised since is promised still.
            let (began, since) = (replaced.asked, replaced.sure_from);
            self.spans[fresh].asked = began;
            self.spans[fresh].sure_from = since;
        } else {
            replaced.doubt_from.get_or_insert(asked);
        }
    }
}

/// Whether the Session of connection `last` has to be there for connection `at`.
fn still_there(ledger: &Ledger, last: usize, at: usize) -> Present {
    let (last, next) = (&ledger.connections[last], &ledger.connections[at]);
    let Some((closed, _)) = last.closed.filter(|(closed, _)| *closed < next.connect) else {
        // A takeover: the Session is in use this very moment, and one that would end with its connection ends now.
        return if last.terms.expiry > Duration::ZERO { Present::Must(true) } else { Present::Either };
    };
    let Some((answered, _)) = next.connack else { return Present::Must(true) };
    let wrong_by = ledger.wait_may_be_wrong_by(last.connect, answered);
    let longest = ledger.at(answered).saturating_sub(ledger.may_have_ended(last, closed)) + wrong_by;
    let expired = ledger.disturbances.calm_after(ledger.at(closed), last.terms.expiry + SLACK + wrong_by);
    if longest < last.terms.expiry.mul_f64(0.8) {
        Present::Must(true)
    } else if ledger.at(next.connect) > expired && !ledger.crashed_between(last.connect, next.connect) {
        Present::Must(false)
    } else {
        Present::Either
    }
}

/// A Session that ends with its connection may be met once more by a CONNECT that overtakes the end of the connection.
fn just_closed(ledger: &Ledger, last: usize, at: usize) -> bool {
    let (last, next) = (&ledger.connections[last], &ledger.connections[at]);
    let closed = last.closed.map_or(next.connect, |(closed, _)| closed.min(next.connect));
    ledger.at(next.connect) < ledger.disturbances.calm_after(ledger.at(closed), SLACK)
}
