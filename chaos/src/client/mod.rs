//! A Client as a vehicle would be one: it keeps its half of the Session on its own, resends what the specification tells it
//! to, and writes down everything that it asks and hears.
//!
//! The owner drives it: nothing is read while nobody waits. Every operation ends ok, refused or unknown; the connection
//! that goes in the middle leaves what was open unknown until a later one answers for it.

pub mod bytes;
mod link;
mod place;
mod state;
#[cfg(test)]
mod tests;
mod web_socket;

use std::collections::HashMap;
use std::time::Duration;

use convoy_wire::{
    Connect, Disconnect, List, Packet, PacketId, ProtocolVersion, Puback, Pubcomp, Publish,
    PublishProperties, Pubrec, Pubrel, ReasonCode, Subscribe, Subscription, SubscriptionOptions, TopicFilter,
    TopicName, Unsubscribe, Will as WireWill,
};
use tokio::time::Instant;

pub use link::{Gone, Incoming, PATIENCE, Pipe, Stream, connect};
pub use place::{Place, Transport};
pub use state::{Outbound, Stage, State};
pub use web_socket::{frame, upgrade};

use crate::oracle::{Closer, History, Link, Message, Name, Qos, Retain, Terms, What};
use link::to_wire;

/// Unfinished PUBLISHes that one Client allows itself.
pub const WINDOW: usize = 16;
/// SUBSCRIBE and UNSUBSCRIBE wait for their answer one at a time, under an identifier that no PUBLISH takes.
const REQUEST_ID: u16 = 60_000;

/// Why a CONNECT did not lead to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Nobody listens: the Server has seen nothing.
    Unreachable,
    /// A CONNACK that refuses.
    Rejected(u8),
    /// The CONNECT may have taken effect or not.
    Unknown(Gone),
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConnectError::Unreachable => f.write_str("nobody listens"),
            ConnectError::Rejected(reason) => write!(f, "refused with {reason:#04x}"),
            ConnectError::Unknown(gone) => write!(f, "no CONNACK: {gone}"),
        }
    }
}

impl std::error::Error for ConnectError {}

pub struct Client {
    name: Name,
    version: ProtocolVersion,
    server: Place,
    history: History,
    state: State,
    /// Sequence numbers outlive Sessions: a payload is never written twice.
    sequences: HashMap<(Name, Qos), u64>,
    payload_bytes: usize,
    open: Option<Open>,
    /// What was delivered since the owner last asked.
    delivered: Vec<(Message, bool)>,
    delivered_count: u64,
    answer: Option<Vec<u8>>,
    pong: bool,
}

/// A connection that has its CONNACK.
struct Open {
    link: Link,
    pipe: Pipe,
    window: usize,
}

impl Client {
    pub fn new(name: &str, version: ProtocolVersion, server: impl Into<Place>, history: &History) -> Self {
        Self {
            name: name.into(),
            version,
            server: server.into(),
            history: history.clone(),
            state: State::default(),
            sequences: HashMap::new(),
            payload_bytes: 64,
            open: None,
            delivered: Vec::new(),
            delivered_count: 0,
            answer: None,
            pong: false,
        }
    }

    /// Connects there from now on.
    pub fn go_to(&mut self, server: impl Into<Place>) {
        self.server = server.into();
    }

    pub fn with_payload_bytes(mut self, bytes: usize) -> Self {
        self.payload_bytes = bytes;
        self
    }

    pub fn name(&self) -> &Name {
        &self.name
    }

    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    pub fn is_connected(&self) -> bool {
        self.open.is_some()
    }

    /// PUBLISHes without an end yet.
    pub fn in_flight(&self) -> usize {
        self.state.in_flight()
    }

    pub fn can_publish(&self) -> bool {
        self.open.as_ref().is_some_and(|open| self.state.in_flight() < open.window)
    }

    pub fn take_delivered(&mut self) -> Vec<(Message, bool)> {
        std::mem::take(&mut self.delivered)
    }

    /// Messages handed to the application since the Client was made.
    pub fn delivered_count(&self) -> u64 {
        self.delivered_count
    }

    /// Connects and sends again what is unfinished. Returns Session Present.
    ///
    /// In 3.1.1 Clean Session is one bit: `terms` either start clean and end with the connection, or do neither.
    pub async fn connect(&mut self, terms: Terms) -> Result<bool, ConnectError> {
        self.drop_link();
        self.connect_again(terms).await
    }

    async fn connect_again(&mut self, terms: Terms) -> Result<bool, ConnectError> {
        if !self.version.has_properties() {
            assert_eq!(terms.clean_start, terms.expiry.is_zero(), "3.x cannot say that");
        }
        let mut pipe =
            Pipe::open(self.server.clone(), self.version).await.map_err(|_| ConnectError::Unreachable)?;
        let link = self.history.link(&self.name);
        self.history.record(What::Connect { link: link.clone(), terms: terms.clone() });
        self.put_connect(&mut pipe, &terms);
        let answer = match pipe.answer().await {
            Ok(Incoming::Connack { session_present, reason: 0, receive_maximum }) => {
                Ok((session_present, receive_maximum))
            }
            Ok(Incoming::Connack { reason, .. }) => {
                self.history.record(What::Rejected { link: link.clone(), reason });
                self.history.record(What::Closed { link, by: Closer::Server });
                return Err(ConnectError::Rejected(reason));
            }
            Ok(other) => Err(Gone::Broken(format!("{other:?} before CONNACK"))),
            Err(gone) => Err(gone),
        };
        let (session_present, receive_maximum) = match answer {
            Ok(answer) => answer,
            Err(gone) => {
                self.history.record(What::Closed { link, by: closer(&gone) });
                if terms.clean_start {
                    self.state.forget();
                }
                return Err(ConnectError::Unknown(gone));
            }
        };
        self.history.record(What::Connack { link: link.clone(), session_present });
        if !session_present {
            self.state.forget();
        }
        let window = WINDOW.min(usize::from(receive_maximum));
        let mut open = Open { link, pipe, window };
        self.resend(&mut open);
        self.open = Some(open);
        Ok(session_present)
    }

    fn put_connect(&self, pipe: &mut Pipe, terms: &Terms) {
        let mut connect = Connect::new(self.version, &self.name);
        connect.clean_start = terms.clean_start;
        if self.version.has_properties() && !terms.expiry.is_zero() {
            connect.properties.session_expiry_interval = Some(terms.expiry.as_secs() as u32);
        }
        let payload = terms.will.as_ref().map(|will| will.message.payload(self.payload_bytes));
        if let (Some(will), Some(payload)) = (&terms.will, &payload) {
            let mut wire = WireWill {
                topic: TopicName::new(&will.message.topic).expect("the suite writes valid Topic Names"),
                payload,
                qos: to_wire(will.message.qos),
                retain: false,
                properties: Default::default(),
            };
            if self.version.has_properties() && !will.delay.is_zero() {
                wire.properties.will_delay_interval = Some(will.delay.as_secs() as u32);
            }
            connect.will = Some(wire);
        }
        pipe.put(&Packet::Connect(connect));
    }

    /// [MQTT-4.4.0-1]: unacknowledged PUBLISHes with DUP and PUBRELs, under their own Packet Identifiers, in order.
    fn resend(&self, open: &mut Open) {
        for outbound in self.state.outbound() {
            match outbound.stage {
                Stage::Published => self.put_publish(open, outbound, true),
                Stage::Released => {
                    open.pipe.put(&Packet::Pubrel(Pubrel::new(id(outbound.packet_id), ReasonCode::Success)))
                }
            }
        }
    }

    fn put_publish(&self, open: &mut Open, outbound: &Outbound, dup: bool) {
        let Outbound { packet_id, message, retain, expiry, .. } = outbound;
        self.history.record(What::Publish {
            link: open.link.clone(),
            message: message.clone(),
            retain: *retain,
            expiry: *expiry,
        });
        let payload = match retain {
            Retain::Delete => Vec::new(),
            _ => message.payload(self.payload_bytes),
        };
        let properties = PublishProperties {
            message_expiry_interval: expiry.map(|interval| interval.as_secs() as u32),
            ..Default::default()
        };
        open.pipe.put(&Packet::Publish(Publish {
            dup,
            qos: to_wire(message.qos),
            retain: *retain != Retain::No,
            topic: &message.topic,
            packet_id: (message.qos != Qos::AtMostOnce).then(|| id(*packet_id)),
            properties,
            payload: &payload,
        }));
    }

    /// Sends the next message of (topic, QoS). Waits for the window first, and not for the acknowledgement.
    pub async fn publish(&mut self, topic: &str, qos: Qos, retain: Retain) -> Result<Message, Gone> {
        self.publish_for(topic, qos, retain, None).await
    }

    /// The same with a Message Expiry Interval in whole seconds, which 5.0 has.
    pub async fn publish_for(
        &mut self,
        topic: &str,
        qos: Qos,
        retain: Retain,
        expiry: Option<Duration>,
    ) -> Result<Message, Gone> {
        assert!(expiry.is_none() || self.version.has_properties(), "3.x cannot say that");
        let waited = Instant::now() + PATIENCE;
        while qos != Qos::AtMostOnce && !self.can_publish() {
            if !self.step(waited).await? && !self.can_publish() {
                return Err(self.lost(Gone::Silent));
            }
        }
        let Some(mut open) = self.open.take() else { return Err(Gone::Closed) };
        let topic: Name = topic.into();
        let sequence = self.sequences.entry((topic.clone(), qos)).or_default();
        *sequence += 1;
        let message = Message::new(&self.name, &topic, qos, *sequence);
        let packet_id = match qos {
            Qos::AtMostOnce => 0,
            _ => self.state.publish(message.clone(), retain, expiry),
        };
        let outbound =
            Outbound { packet_id, message: message.clone(), retain, expiry, stage: Stage::Published };
        self.put_publish(&mut open, &outbound, false);
        let flushed = open.pipe.flush().await;
        self.open = Some(open);
        flushed.map_err(|gone| self.lost(gone))?;
        Ok(message)
    }

    /// Returns the QoS granted, `None` if refused.
    pub async fn subscribe(&mut self, filter: &str, qos: Qos) -> Result<Option<Qos>, Gone> {
        let Some(open) = &mut self.open else { return Err(Gone::Closed) };
        let link = open.link.clone();
        self.history.record(What::Subscribe { link: link.clone(), filter: filter.into(), qos });
        let subscription = Subscription {
            filter: TopicFilter::new(filter).expect("the suite writes valid Topic Filters"),
            options: SubscriptionOptions::new(to_wire(qos)),
        };
        open.pipe.put(&Packet::Subscribe(Subscribe {
            packet_id: id(REQUEST_ID),
            properties: Default::default(),
            subscriptions: List::new(&[subscription]),
        }));
        let reasons = self.await_answer().await?;
        let granted = reasons.first().and_then(|&reason| Qos::from_level(reason));
        self.history.record(What::Suback { link, filter: filter.into(), granted });
        Ok(granted)
    }

    pub async fn unsubscribe(&mut self, filter: &str) -> Result<(), Gone> {
        let Some(open) = &mut self.open else { return Err(Gone::Closed) };
        let link = open.link.clone();
        self.history.record(What::Unsubscribe { link: link.clone(), filter: filter.into() });
        let filters = [TopicFilter::new(filter).expect("the suite writes valid Topic Filters")];
        open.pipe.put(&Packet::Unsubscribe(Unsubscribe {
            packet_id: id(REQUEST_ID),
            properties: Default::default(),
            filters: List::new(&filters),
        }));
        self.await_answer().await?;
        self.history.record(What::Unsuback { link, filter: filter.into() });
        Ok(())
    }

    async fn await_answer(&mut self) -> Result<Vec<u8>, Gone> {
        self.answer = None;
        let until = Instant::now() + PATIENCE;
        while self.answer.is_none() {
            if !self.step(until).await? {
                return Err(self.lost(Gone::Silent));
            }
        }
        Ok(self.answer.take().unwrap_or_default())
    }

    /// Takes one packet and answers it; `false` if none came until `until`.
    pub async fn step(&mut self, until: Instant) -> Result<bool, Gone> {
        let Some(open) = &mut self.open else { return Err(Gone::Closed) };
        match open.pipe.next(until).await {
            Ok(None) => Ok(false),
            Ok(Some(packet)) => match self.take(packet) {
                Ok(()) => Ok(true),
                Err(gone) => Err(self.lost(gone)),
            },
            Err(gone) => Err(self.lost(gone)),
        }
    }

    /// Takes packets until `until`.
    pub async fn pump(&mut self, until: Instant) -> Result<(), Gone> {
        while self.step(until).await? {}
        Ok(())
    }

    /// Takes packets until nothing is in flight; `false` if that was not reached by `until`.
    pub async fn settle(&mut self, until: Instant) -> Result<bool, Gone> {
        while self.state.in_flight() > 0 {
            if !self.step(until).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The sequence number that the next message of (topic, QoS) will have.
    pub fn next_sequence(&self, topic: &Name, qos: Qos) -> u64 {
        self.sequences.get(&(topic.clone(), qos)).copied().unwrap_or(0) + 1
    }

    /// PINGREQ, and how long PINGRESP took.
    pub async fn ping(&mut self) -> Result<Duration, Gone> {
        let Some(open) = &mut self.open else { return Err(Gone::Closed) };
        open.pipe.put(&Packet::Pingreq);
        self.pong = false;
        let began = Instant::now();
        while !self.pong {
            if !self.step(began + PATIENCE).await? {
                return Err(self.lost(Gone::Silent));
            }
        }
        Ok(began.elapsed())
    }

    /// Subscribes to a topic to learn its Retained Message. For a Client made for this.
    ///
    /// That there is none shows only in silence: `quiet` long, with a Server that was awake throughout and at its end. One
    /// that was stopped in between is listened to once more. What is published meanwhile may come in place of what was kept, and
    /// then nothing is learned: that one of the two comes is for the invariant of such races to say.
    pub async fn read_retained(&mut self, topic: &str, quiet: Duration) -> Result<Option<Message>, Gone> {
        let since = self.history.len();
        self.take_delivered();
        self.subscribe(topic, Qos::AtLeastOnce).await?;
        let (mut from, mut until) = (since, Instant::now() + quiet);
        let value = loop {
            let found = self.take_delivered().into_iter().find(|(message, _)| *message.topic == *topic);
            match found {
                Some((message, true)) => break Some(message),
                Some((_, false)) => return Ok(None),
                None => {}
            }
            if self.step(until).await? {
                continue;
            }
            let awake = self.ping().await? < quiet / 4 && !self.history.was_paused_since(from);
            if awake && self.delivered.is_empty() {
                break None;
            }
            (from, until) = (self.history.len(), Instant::now() + quiet);
        };
        let link = self.open.as_ref().map(|open| open.link.clone()).ok_or(Gone::Closed)?;
        self.history.record(What::Read { link, topic: topic.into(), since, value: value.clone() });
        Ok(value)
    }

    fn take(&mut self, packet: Incoming) -> Result<(), Gone> {
        let Some(open) = &mut self.open else { return Err(Gone::Closed) };
        match packet {
            Incoming::Publish { topic, payload, qos, retain, packet_id, .. } => {
                let fresh = qos != Qos::ExactlyOnce || self.state.receive(packet_id);
                if fresh {
                    let link = open.link.clone();
                    match Message::parse(&payload) {
                        Some(message) if *message.topic == *topic => {
                            self.history.record(What::Delivered {
                                link,
                                message: message.clone(),
                                retained: retain,
                            });
                            self.delivered.push((message, retain));
                            self.delivered_count += 1;
                        }
                        // A delete of a Retained Message says nothing and is nobody's.
                        _ if payload.is_empty() => {}
                        _ => {
                            self.history.record(What::Strange {
                                link,
                                topic: topic.into(),
                                bytes: payload.len(),
                            });
                        }
                    }
                }
                match qos {
                    Qos::AtMostOnce => {}
                    Qos::AtLeastOnce => {
                        open.pipe.put(&Packet::Puback(Puback::new(id(packet_id), ReasonCode::Success)))
                    }
                    Qos::ExactlyOnce => {
                        open.pipe.put(&Packet::Pubrec(Pubrec::new(id(packet_id), ReasonCode::Success)))
                    }
                }
            }
            Incoming::Pubrel { packet_id } => {
                self.state.released(packet_id);
                open.pipe.put(&Packet::Pubcomp(Pubcomp::new(id(packet_id), ReasonCode::Success)));
            }
            Incoming::Puback { packet_id, reason } => {
                if let Some(outbound) = self.state.finish(packet_id, Qos::AtLeastOnce) {
                    self.history.record(answered(open.link.clone(), outbound.message, reason));
                }
            }
            Incoming::Pubrec { packet_id, reason } if reason >= 0x80 => {
                if let Some(outbound) = self.state.finish(packet_id, Qos::ExactlyOnce) {
                    self.history.record(answered(open.link.clone(), outbound.message, reason));
                }
            }
            Incoming::Pubrec { packet_id, reason } => match self.state.release(packet_id) {
                Some(outbound) => {
                    self.history.record(answered(open.link.clone(), outbound.message.clone(), reason));
                    open.pipe.put(&Packet::Pubrel(Pubrel::new(id(packet_id), ReasonCode::Success)));
                }
                None => {
                    open.pipe.put(&Packet::Pubrel(Pubrel::new(
                        id(packet_id),
                        ReasonCode::PacketIdentifierNotFound,
                    )));
                }
            },
            Incoming::Pubcomp { packet_id } => {
                if let Some(outbound) = self.state.complete(packet_id) {
                    self.history
                        .record(What::Completed { link: open.link.clone(), message: outbound.message });
                }
            }
            Incoming::Suback { packet_id: REQUEST_ID, reasons } => self.answer = Some(reasons),
            Incoming::Unsuback { packet_id: REQUEST_ID } => self.answer = Some(Vec::new()),
            Incoming::Pingresp => self.pong = true,
            Incoming::Disconnect { reason } => return Err(Gone::Disconnected(reason)),
            other => return Err(Gone::Broken(format!("unexpected {other:?}"))),
        }
        Ok(())
    }

    /// A DISCONNECT that discards the Will; waits for the Server to close, which shows that it was read.
    pub async fn disconnect(&mut self) {
        self.disconnect_with(ReasonCode::Success).await;
    }

    /// A DISCONNECT that asks for the Will, which 5.0 has.
    pub async fn disconnect_with_will(&mut self) {
        assert!(self.version.has_properties(), "3.x cannot say that");
        self.disconnect_with(ReasonCode::DisconnectWithWill).await;
    }

    async fn disconnect_with(&mut self, reason: ReasonCode) {
        let Some(mut open) = self.open.take() else { return };
        let with_will = reason == ReasonCode::DisconnectWithWill;
        self.history.record(What::Disconnect { link: open.link.clone(), with_will });
        open.pipe.put(&Packet::Disconnect(Disconnect::new(reason)));
        let closed = open.pipe.flush().await.is_ok() && open.pipe.closed_within(Duration::from_secs(3)).await;
        let by = if closed { Closer::Server } else { Closer::Client };
        self.history.record(What::Closed { link: open.link, by });
    }

    /// Drops the socket without a word.
    pub fn drop_link(&mut self) {
        if let Some(open) = self.open.take() {
            self.history.record(What::Closed { link: open.link.clone(), by: Closer::Client });
        }
    }

    /// Opens a second connection under the same Client Identifier while the first is open, and gives the first away.
    pub async fn take_over(&mut self, terms: Terms) -> (Option<Ousted>, Result<bool, ConnectError>) {
        // Whoever gives up waiting for the new connection drops the old one too, and that is recorded.
        let ousted = self.open.take().map(|open| Ousted {
            link: open.link,
            pipe: open.pipe,
            history: self.history.clone(),
            payload_bytes: self.payload_bytes,
            closed: false,
        });
        let outcome = self.connect_again(terms).await;
        (ousted, outcome)
    }

    fn lost(&mut self, gone: Gone) -> Gone {
        if let Some(open) = self.open.take() {
            self.history.record(What::Closed { link: open.link, by: closer(&gone) });
        }
        gone
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.drop_link();
    }
}

/// A connection that another has taken over, and that does not know it yet.
pub struct Ousted {
    link: Link,
    pipe: Pipe,
    history: History,
    payload_bytes: usize,
    closed: bool,
}

impl Ousted {
    /// Publishes on the old connection and waits for what the Server makes of it: it should close.
    pub async fn probe(mut self, topic: String, seq: u64) {
        let link = self.link.clone();
        let message = Message::new(&link.client, &topic.as_str().into(), Qos::AtLeastOnce, seq);
        self.history.record(What::Publish {
            link: link.clone(),
            message: message.clone(),
            retain: Retain::No,
            expiry: None,
        });
        self.pipe.put(&Packet::Publish(Publish {
            dup: false,
            qos: to_wire(Qos::AtLeastOnce),
            retain: false,
            topic: &topic,
            packet_id: Some(id(REQUEST_ID)),
            properties: Default::default(),
            payload: &message.payload(self.payload_bytes),
        }));
        let until = Instant::now() + PATIENCE;
        let by = loop {
            match self.pipe.next(until).await {
                Ok(Some(Incoming::Puback { packet_id: REQUEST_ID, reason })) => {
                    self.history.record(answered(link.clone(), message.clone(), reason));
                }
                Ok(Some(Incoming::Disconnect { .. })) | Err(_) => break Closer::Server,
                Ok(Some(_)) => {}
                Ok(None) => break Closer::Client,
            }
        };
        self.closed = true;
        self.history.record(What::Closed { link, by });
    }
}

impl Drop for Ousted {
    fn drop(&mut self) {
        if !self.closed {
            self.history.record(What::Closed { link: self.link.clone(), by: Closer::Client });
        }
    }
}

fn answered(link: Link, message: Message, reason: u8) -> What {
    match reason {
        0x80.. => What::Refused { link, message, reason },
        _ => What::Accepted { link, message },
    }
}

fn closer(gone: &Gone) -> Closer {
    match gone {
        Gone::Closed | Gone::Disconnected(_) => Closer::Server,
        Gone::Broken(_) | Gone::Silent => Closer::Client,
    }
}

fn id(packet_id: u16) -> PacketId {
    PacketId::new(packet_id).expect("Packet Identifiers are not zero")
}
