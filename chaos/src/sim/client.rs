//! A Client of the simulation: bytes in, bytes out, its half of the Session State kept as the specification asks, and
//! all that it says and hears written down for the oracle.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use convoy_wire::{
    Connect, Cut, Disconnect, Limits, List, Packet, PacketId, ProtocolVersion, Puback, Pubcomp, Publish,
    PublishProperties, Pubrec, Pubrel, QoS, ReasonCode, Sender, Subscribe, Subscription, SubscriptionOptions,
    TopicFilter, TopicName, Unsubscribe, Will as WireWill, cut, decode_from,
};

use super::clock::{MILLISECOND, Micros};
use super::seed::Stream;
use crate::client::{Stage, State};
use crate::oracle::{Closer, Event, Link, Message, Name, Qos, Retain, Terms, What, Will};

/// Unfinished PUBLISHes that a Client allows itself.
const WINDOW: usize = 8;

/// How long a reader waits for a Retained Message before it takes the silence for an answer.
const SILENCE: Duration = Duration::from_millis(1_500);

/// How often Clients unsubscribe: one in so many of their acts.
const WAVERS: u64 = 40;

/// How long the Session of a Client is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Starts clean and ends with the connection.
    Clean,
    Lasting,
    /// Ends so many seconds after its connection; 5.0 alone can say so.
    Seconds(u64),
    /// Sometimes clean, sometimes not; 5.0 alone.
    Moody,
}

/// What a Client is, and what it does all day.
#[derive(Clone, Debug)]
pub struct Character {
    pub name: String,
    pub version: ProtocolVersion,
    pub stay: Stay,
    pub receive_maximum: Option<u16>,
    pub filters: Vec<(String, Qos)>,
    pub topics: Vec<String>,
    /// Topics of its own whose Retained Message it sets and deletes.
    pub retains: Vec<String>,
    /// Topics whose Retained Message it looks up, on a connection for each look.
    pub reads: Vec<String>,
    /// Seconds of delay of the Will that each of its connections has.
    pub will: Option<u64>,
    /// Gives some of its messages a Message Expiry Interval of seconds; 5.0 alone can say so.
    pub hasty: bool,
    /// Member of a Shared Subscription: judged by what the group gets.
    pub shared: bool,
    /// Publishes in one write with its SUBSCRIBEs and UNSUBSCRIBEs, before them and behind them.
    pub hurried: bool,
    /// Says on the topic of its Will that it is there, first of all.
    pub greets: bool,
    /// One in so many of its acts unsubscribes something, if it is restless or this is not the standard.
    pub wavers: u64,
    /// One in so many of its acts ends its connection one way or another; 0 for none.
    pub restless: u64,
    /// Between two of its acts.
    pub pause: (Micros, Micros),
    /// How long it stays away.
    pub away: (Micros, Micros),
}

impl Character {
    pub fn new(name: &str, version: ProtocolVersion, stay: Stay) -> Self {
        Self {
            name: name.into(),
            version,
            stay,
            receive_maximum: None,
            filters: Vec::new(),
            topics: Vec::new(),
            retains: Vec::new(),
            reads: Vec::new(),
            will: None,
            hasty: false,
            shared: false,
            hurried: false,
            greets: false,
            wavers: WAVERS,
            restless: 0,
            pause: (MILLISECOND, 40 * MILLISECOND),
            away: (MILLISECOND, 300 * MILLISECOND),
        }
    }

    pub fn filters(mut self, filters: &[(&str, Qos)]) -> Self {
        self.filters = filters.iter().map(|(filter, qos)| ((*filter).into(), *qos)).collect();
        self
    }

    pub fn topics(mut self, topics: &[&str]) -> Self {
        self.topics = topics.iter().map(|topic| (*topic).into()).collect();
        self
    }

    pub fn restless(mut self, one_in: u64) -> Self {
        self.restless = one_in;
        self
    }
}

/// The history of a run, in simulated time.
#[derive(Debug, Default)]
pub struct Log {
    /// The time of what is written next.
    pub at: Duration,
    pub events: Vec<Event>,
    pub connections: u32,
    /// Rules of the protocol that the node broke towards one Client.
    pub findings: Vec<String>,
    /// What members of the Shared Subscription got, with the place in the history.
    pub shared: Vec<(usize, Name, Message)>,
    /// Since when each member has had its Subscription.
    pub members: BTreeMap<Name, usize>,
}

impl Log {
    pub fn record(&mut self, what: What) -> usize {
        self.events.push(Event { at: self.at, what });
        self.events.len() - 1
    }

    fn link(&mut self, client: &Name) -> Link {
        self.connections += 1;
        Link { client: client.clone(), connection: self.connections }
    }
}

/// What a Client wants of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Nothing,
    /// A new connection: CONNECT is in the outbox.
    Open,
    /// As `Open`, while the old connection is still there.
    TakeOver,
    /// The connection ends without a word.
    Cut,
}

#[derive(Debug)]
enum Phase {
    Away,
    Connecting(Link, Terms),
    Open(Link),
    /// DISCONNECT is sent.
    Leaving(Link),
}

#[derive(Debug)]
struct Request {
    packet_id: PacketId,
    filter: Name,
    subscribe: bool,
}

#[derive(Debug)]
struct Reading {
    topic: Name,
    since: usize,
    answered_at: Option<Duration>,
}

#[derive(Debug)]
pub struct Client {
    pub character: Character,
    name: Name,
    phase: Phase,
    state: State,
    /// The Session of this connection ends with it.
    fleeting: bool,
    /// It wished for a new Session and was not answered. The Session that is there may be the one before, or the new one,
    /// which knows nothing of what was under way: nothing can be resumed, and it wishes again [MQTT-3.1.2-4].
    begins_anew: bool,
    /// Sequence numbers outlive Sessions: a payload is never written twice.
    sequences: HashMap<(Name, Qos), u64>,
    /// Retained topics whose last value is not answered yet.
    unanswered: HashMap<Name, Message>,
    pub outbox: Vec<u8>,
    inbox: Vec<u8>,
    /// Acknowledgements it takes its time with, in their order.
    held: VecDeque<Ack>,
    request: Option<Request>,
    requests: u16,
    subscribed: BTreeSet<String>,
    reading: Option<Reading>,
    /// Messages by the Packet Identifier they came under in this Session.
    seen: BTreeMap<u16, Message>,
    /// Packet Identifiers of the node that this Client has not acknowledged.
    owed: BTreeSet<u16>,
    delivered: u64,
    /// It publishes nothing more and stays.
    pub resting: bool,
}

#[derive(Clone, Copy, Debug)]
enum Ack {
    Puback(PacketId),
    Pubrec(PacketId),
    Pubcomp(PacketId),
}

impl Client {
    pub fn new(character: Character) -> Self {
        Self {
            name: character.name.as_str().into(),
            character,
            phase: Phase::Away,
            state: State::default(),
            fleeting: false,
            begins_anew: false,
            sequences: HashMap::new(),
            unanswered: HashMap::new(),
            outbox: Vec::new(),
            inbox: Vec::new(),
            held: VecDeque::new(),
            request: None,
            requests: 0,
            subscribed: BTreeSet::new(),
            reading: None,
            seen: BTreeMap::new(),
            owed: BTreeSet::new(),
            delivered: 0,
            resting: false,
        }
    }

    pub fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Away => None,
            Phase::Connecting(link, _) | Phase::Open(link) | Phase::Leaving(link) => Some(link),
        }
    }

    pub fn is_away(&self) -> bool {
        matches!(self.phase, Phase::Away)
    }

    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// It is connected where it should be, and waits for nothing.
    pub fn is_settled(&self) -> bool {
        if !self.character.reads.is_empty() {
            return self.is_away();
        }
        matches!(self.phase, Phase::Open(_))
            && self.state.in_flight() == 0
            && self.held.is_empty()
            && self.request.is_none()
            && self.owed.is_empty()
    }

    /// The next thing it does. `can_connect`: somebody listens.
    pub fn act(&mut self, can_connect: bool, chance: &mut Stream, log: &mut Log) -> Act {
        match &self.phase {
            Phase::Away if !can_connect || (self.resting && !self.character.reads.is_empty()) => Act::Nothing,
            Phase::Away => self.connect(chance, log),
            Phase::Connecting(..) | Phase::Leaving(_) => Act::Nothing,
            Phase::Open(link) => {
                let link = link.clone();
                self.release_held(if self.resting { usize::MAX } else { chance.below(6) as usize });
                self.act_open(link, can_connect, chance, log)
            }
        }
    }

    fn act_open(&mut self, link: Link, can_connect: bool, chance: &mut Stream, log: &mut Log) -> Act {
        if !self.character.reads.is_empty() {
            return self.act_reader(link, chance, log);
        }
        if !self.resting && self.character.restless > 0 && chance.one_in(self.character.restless) {
            return match chance.below(4) {
                0 => {
                    self.leave(link, log);
                    Act::Nothing
                }
                1 if can_connect => {
                    let _ = self.connect(chance, log);
                    Act::TakeOver
                }
                _ => Act::Cut,
            };
        }
        if self.request.is_none() {
            let next = self.character.filters.iter().find(|(filter, _)| !self.subscribed.contains(filter));
            if let Some((filter, qos)) = next.cloned() {
                if self.character.hurried && !self.resting && self.state.in_flight() < WINDOW {
                    let topic: Name = chance.pick(&self.character.topics).as_str().into();
                    self.publish(&link, topic, *chance.pick(&Qos::ALL), Retain::No, chance, log);
                }
                self.subscribe(&link, &filter, qos, log);
                if !self.character.hurried {
                    return Act::Nothing;
                }
            }
            let wavers =
                (self.character.restless > 0 || self.character.wavers != WAVERS) && !self.character.shared;
            let may_waver = !self.resting && wavers && self.request.is_none() && !self.subscribed.is_empty();
            if may_waver && chance.one_in(self.character.wavers) {
                let filter = self.subscribed.pop_first().expect("it is not empty");
                self.unsubscribe(&link, &filter, log);
                if !self.character.hurried {
                    return Act::Nothing;
                }
            }
        }
        if self.resting {
            return Act::Nothing;
        }
        if !self.character.retains.is_empty() && chance.one_in(3) {
            let topic: Name = chance.pick(&self.character.retains).as_str().into();
            if !self.unanswered.contains_key(&topic) && self.state.in_flight() < WINDOW {
                let retain = if chance.one_in(4) { Retain::Delete } else { Retain::Set };
                let qos = if chance.one_in(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
                let message = self.publish(&link, topic.clone(), qos, retain, chance, log);
                self.unanswered.insert(topic, message);
            }
        }
        for _ in 0..chance.below(4) {
            if self.character.topics.is_empty() || self.state.in_flight() >= WINDOW {
                break;
            }
            let topic: Name = chance.pick(&self.character.topics).as_str().into();
            let qos = *chance.pick(&Qos::ALL);
            self.publish(&link, topic, qos, Retain::No, chance, log);
        }
        if chance.one_in(30) {
            self.put(&Packet::Pingreq);
        }
        Act::Nothing
    }

    fn act_reader(&mut self, link: Link, chance: &mut Stream, log: &mut Log) -> Act {
        match &self.reading {
            None => {
                let topic = chance.pick(&self.character.reads).clone();
                let since = log.events.len();
                self.reading = Some(Reading { topic: topic.as_str().into(), since, answered_at: None });
                self.subscribe(&link, &topic, Qos::AtLeastOnce, log);
            }
            Some(Reading { topic, since, answered_at: Some(at) }) if log.at > *at + SILENCE => {
                let (topic, since) = (topic.clone(), *since);
                log.record(What::Read { link: link.clone(), topic, since, value: None });
                self.leave(link, log);
            }
            Some(_) => {}
        }
        Act::Nothing
    }

    fn terms(&mut self, chance: &mut Stream) -> Terms {
        let mut terms = match self.character.stay {
            Stay::Clean => Terms::clean(),
            Stay::Lasting => Terms::lasting(),
            Stay::Seconds(seconds) => Terms { expiry: Duration::from_secs(seconds), ..Terms::lasting() },
            Stay::Moody => Terms {
                clean_start: chance.one_in(4),
                expiry: if chance.one_in(4) { Duration::ZERO } else { Terms::LASTING },
                will: None,
            },
        };
        terms.clean_start |= self.begins_anew;
        if let Some(delay) = self.character.will {
            let message = self.next_message(&format!("will/{}", self.name).as_str().into(), Qos::ExactlyOnce);
            terms.will = Some(Will { message, delay: Duration::from_secs(delay) });
        }
        terms
    }

    fn connect(&mut self, chance: &mut Stream, log: &mut Log) -> Act {
        let terms = self.terms(chance);
        let link = log.link(&self.name);
        log.record(What::Connect { link: link.clone(), terms: terms.clone() });
        self.outbox.clear();
        self.forget_connection();
        let name = self.name.clone();
        let mut connect = Connect::new(self.character.version, &name);
        connect.clean_start = terms.clean_start;
        let is_5 = self.character.version.has_properties();
        if is_5 && !terms.expiry.is_zero() {
            connect.properties.session_expiry_interval = Some(terms.expiry.as_secs() as u32);
        }
        if is_5 {
            connect.properties.receive_maximum = self.character.receive_maximum.and_then(NonZeroU16::new);
        }
        let payload = terms.will.as_ref().map(|will| will.message.payload(0));
        if let (Some(will), Some(payload)) = (&terms.will, &payload) {
            let mut wire = WireWill {
                topic: TopicName::new(&will.message.topic).expect("the simulation writes valid Topic Names"),
                payload,
                qos: to_wire(will.message.qos),
                retain: false,
                properties: Default::default(),
            };
            if is_5 && !will.delay.is_zero() {
                wire.properties.will_delay_interval = Some(will.delay.as_secs() as u32);
            }
            connect.will = Some(wire);
        }
        self.put(&Packet::Connect(connect));
        // A CONNECT without an answer may not have come: until CONNACK the Client keeps what it may need, unless it wished
        // for a new Session.
        self.phase = Phase::Connecting(link, terms);
        Act::Open
    }

    /// The connection is gone, as the Client has noticed now or has wished. `died`: and the node with it, so that nobody
    /// knows whether a DISCONNECT was read.
    pub fn on_closed(&mut self, by: Closer, died: bool, log: &mut Log) {
        let by = if died && matches!(self.phase, Phase::Leaving(_)) { Closer::Client } else { by };
        if let Some(link) = self.link().cloned() {
            log.record(What::Closed { link, by });
        }
        self.begins_anew |= matches!(&self.phase, Phase::Connecting(_, terms) if terms.clean_start);
        self.phase = Phase::Away;
        self.outbox.clear();
        self.forget_connection();
        if std::mem::take(&mut self.fleeting) || self.begins_anew {
            self.forget_session();
        }
    }

    fn forget_connection(&mut self) {
        self.inbox.clear();
        self.held.clear();
        self.owed.clear();
        self.request = None;
        self.reading = None;
    }

    fn forget_session(&mut self) {
        self.state.forget();
        self.subscribed.clear();
        self.seen.clear();
        // A value that was under way is never sent again: its outcome stays unknown.
        self.unanswered.clear();
    }

    fn leave(&mut self, link: Link, log: &mut Log) {
        log.record(What::Disconnect { link: link.clone(), with_will: false });
        self.put(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        self.phase = Phase::Leaving(link);
    }

    fn next_request(&mut self) -> PacketId {
        // Apart from the identifiers of PUBLISHes.
        self.requests = self.requests % 1_000 + 1;
        id(60_000 + self.requests)
    }

    fn subscribe(&mut self, link: &Link, filter: &str, qos: Qos, log: &mut Log) {
        let packet_id = self.next_request();
        if !self.character.shared {
            log.record(What::Subscribe { link: link.clone(), filter: filter.into(), qos });
        }
        let subscription = Subscription {
            filter: TopicFilter::new(filter).expect("the simulation writes valid Topic Filters"),
            options: SubscriptionOptions::new(to_wire(qos)),
        };
        self.put(&Packet::Subscribe(Subscribe {
            packet_id,
            properties: Default::default(),
            subscriptions: List::new(&[subscription]),
        }));
        self.request = Some(Request { packet_id, filter: filter.into(), subscribe: true });
    }

    fn unsubscribe(&mut self, link: &Link, filter: &str, log: &mut Log) {
        let packet_id = self.next_request();
        if !self.character.shared {
            log.record(What::Unsubscribe { link: link.clone(), filter: filter.into() });
        }
        let filters = [TopicFilter::new(filter).expect("the simulation writes valid Topic Filters")];
        self.put(&Packet::Unsubscribe(Unsubscribe {
            packet_id,
            properties: Default::default(),
            filters: List::new(&filters),
        }));
        self.request = Some(Request { packet_id, filter: filter.into(), subscribe: false });
    }

    fn next_message(&mut self, topic: &Name, qos: Qos) -> Message {
        let sequence = self.sequences.entry((topic.clone(), qos)).or_default();
        *sequence += 1;
        Message::new(&self.name, topic, qos, *sequence)
    }

    fn publish(
        &mut self,
        link: &Link,
        topic: Name,
        qos: Qos,
        retain: Retain,
        chance: &mut Stream,
        log: &mut Log,
    ) -> Message {
        let message = self.next_message(&topic, qos);
        let expiry = (self.character.hasty && retain == Retain::No && chance.one_in(2))
            .then(|| Duration::from_secs(chance.between(1, 3)));
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            _ => Some(self.state.publish(message.clone(), retain, expiry)),
        };
        let bytes = if chance.one_in(40) { 6_000 } else { 0 };
        self.put_publish(link, packet_id, &message, (retain, expiry), false, bytes, log);
        message
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of PUBLISH")]
    fn put_publish(
        &mut self,
        link: &Link,
        packet_id: Option<u16>,
        message: &Message,
        (retain, expiry): (Retain, Option<Duration>),
        dup: bool,
        bytes: usize,
        log: &mut Log,
    ) {
        log.record(What::Publish { link: link.clone(), message: message.clone(), retain, expiry });
        let payload = match retain {
            Retain::Delete => Vec::new(),
            _ => message.payload(bytes),
        };
        self.put(&Packet::Publish(Publish {
            dup,
            qos: to_wire(message.qos),
            retain: retain != Retain::No,
            topic: &message.topic,
            packet_id: packet_id.map(id),
            properties: PublishProperties {
                message_expiry_interval: expiry.map(|interval| interval.as_secs() as u32),
                ..Default::default()
            },
            payload: &payload,
        }));
    }

    fn put(&mut self, packet: &Packet<'_>) {
        packet
            .encode(self.character.version, &mut self.outbox)
            .expect("what the simulation builds can be written");
    }

    /// Bytes of the node.
    pub fn receive(&mut self, bytes: &[u8], chance: &mut Stream, log: &mut Log) {
        self.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        while !matches!(self.phase, Phase::Away) {
            let (first, body) = match cut(&inbox[at..], Limits::NONE) {
                Ok(Cut::Partial { .. }) => break,
                Ok(Cut::Whole { first, body, length }) => {
                    at += length;
                    (first, body)
                }
                Err(error) => {
                    self.find(log, format!("bytes that are no packet: {error}"));
                    return;
                }
            };
            match decode_from(Sender::Server, self.character.version, first, body) {
                Ok(packet) => self.on_packet(&packet, chance, log),
                Err(error) => {
                    self.find(log, format!("a packet that breaks a rule: {error}"));
                    return;
                }
            }
        }
        self.inbox = inbox[at..].to_vec();
    }

    fn find(&self, log: &mut Log, said: String) {
        log.findings.push(format!("event {}: {} got {said}", log.events.len(), self.name));
    }

    fn on_packet(&mut self, packet: &Packet<'_>, chance: &mut Stream, log: &mut Log) {
        let link = match (&self.phase, packet) {
            (Phase::Connecting(link, terms), Packet::Connack(connack)) => {
                let (link, terms) = (link.clone(), terms.clone());
                self.on_connack(link.clone(), &terms, connack.session_present, connack.reason, log);
                return self.greet(&link, chance, log);
            }
            (Phase::Open(link), _) => link.clone(),
            // What still comes after DISCONNECT is not looked at.
            (Phase::Leaving(_), _) => return,
            (_, packet) => return self.find(log, format!("{:?} before CONNACK", packet.packet_type())),
        };
        match packet {
            Packet::Publish(publish) => self.on_publish(&link, publish, chance, log),
            Packet::Puback(ack) => match self.state.finish(ack.packet_id.get(), Qos::AtLeastOnce) {
                Some(outbound) => self.answered(&link, outbound.message, ack.reason, log),
                None => self.find(log, format!("PUBACK {} for nothing", ack.packet_id.get())),
            },
            Packet::Pubrec(ack) if ack.reason.is_error() => {
                match self.state.finish(ack.packet_id.get(), Qos::ExactlyOnce) {
                    Some(outbound) => self.answered(&link, outbound.message, ack.reason, log),
                    None => self.find(log, format!("PUBREC {} for nothing", ack.packet_id.get())),
                }
            }
            Packet::Pubrec(ack) => match self.state.release(ack.packet_id.get()) {
                Some(outbound) => {
                    let message = outbound.message.clone();
                    self.answered(&link, message, ack.reason, log);
                    self.put(&Packet::Pubrel(Pubrel::new(ack.packet_id, ReasonCode::Success)));
                }
                None => self.find(log, format!("PUBREC {} for nothing", ack.packet_id.get())),
            },
            Packet::Pubrel(ack) => {
                self.state.released(ack.packet_id.get());
                self.acknowledge(Ack::Pubcomp(ack.packet_id), chance);
            }
            Packet::Pubcomp(ack) => {
                if let Some(outbound) = self.state.complete(ack.packet_id.get()) {
                    log.record(What::Completed { link, message: outbound.message });
                } else {
                    self.find(log, format!("PUBCOMP {} for nothing", ack.packet_id.get()));
                }
            }
            Packet::Suback(suback) => {
                let reason = suback.reasons.iter().next().map_or(0x80, |reason| reason.as_u8());
                self.on_asked(&link, suback.packet_id, true, reason, log);
            }
            Packet::Unsuback(unsuback) => {
                let reason = unsuback.reasons.iter().next().map_or(0, |reason| reason.as_u8());
                self.on_asked(&link, unsuback.packet_id, false, reason, log);
            }
            Packet::Pingresp => {}
            // The connection ends next.
            Packet::Disconnect(_) => {}
            other => self.find(log, format!("an unexpected {:?}", other.packet_type())),
        }
    }

    fn on_connack(
        &mut self,
        link: Link,
        terms: &Terms,
        session_present: bool,
        reason: ReasonCode,
        log: &mut Log,
    ) {
        if reason.is_error() {
            log.record(What::Rejected { link: link.clone(), reason: reason.as_u8() });
            return;
        }
        log.record(What::Connack { link: link.clone(), session_present });
        if !session_present {
            self.forget_session();
        } else if terms.clean_start {
            self.find(log, "Session Present for a Clean Start".into());
        }
        self.begins_anew = false;
        self.fleeting = terms.expiry.is_zero();
        self.phase = Phase::Open(link.clone());
        // [MQTT-4.4.0-1]: in the order of the original PUBLISHes.
        let unfinished: Vec<_> = self.state.outbound().cloned().collect();
        for outbound in unfinished {
            match outbound.stage {
                Stage::Published => {
                    let packet_id = Some(outbound.packet_id);
                    let terms = (outbound.retain, outbound.expiry);
                    self.put_publish(&link, packet_id, &outbound.message, terms, true, 0, log);
                }
                Stage::Released => {
                    self.put(&Packet::Pubrel(Pubrel::new(id(outbound.packet_id), ReasonCode::Success)));
                }
            }
        }
    }

    /// Says that it is there, if it is one of those who do.
    fn greet(&mut self, link: &Link, chance: &mut Stream, log: &mut Log) {
        if self.character.greets && !self.resting && matches!(self.phase, Phase::Open(_)) {
            let topic = format!("will/{}", self.name).as_str().into();
            // Its Will has QoS 2, and a sequence of its own.
            let qos = if chance.one_in(2) { Qos::AtMostOnce } else { Qos::AtLeastOnce };
            self.publish(link, topic, qos, Retain::No, chance, log);
        }
    }

    fn answered(&mut self, link: &Link, message: Message, reason: ReasonCode, log: &mut Log) {
        if self.unanswered.get(&message.topic) == Some(&message) {
            self.unanswered.remove(&message.topic);
        }
        log.record(match reason.is_error() {
            true => What::Refused { link: link.clone(), message, reason: reason.as_u8() },
            false => What::Accepted { link: link.clone(), message },
        });
    }

    fn on_asked(&mut self, link: &Link, packet_id: PacketId, subscribe: bool, reason: u8, log: &mut Log) {
        let awaited =
            |request: &mut Request| request.packet_id == packet_id && request.subscribe == subscribe;
        let Some(request) = self.request.take_if(awaited) else {
            return self.find(log, "an answer to no SUBSCRIBE or UNSUBSCRIBE".into());
        };
        let (link, filter) = (link.clone(), request.filter);
        if !subscribe {
            if reason >= 0x80 {
                // It is refused, and the Subscription stays.
                self.subscribed.insert(filter.to_string());
            } else if !self.character.shared {
                log.record(What::Unsuback { link, filter });
            }
            return;
        }
        let granted = Qos::from_level(reason);
        if granted.is_some() {
            self.subscribed.insert(filter.to_string());
        }
        if self.character.shared {
            log.members.entry(self.name.clone()).or_insert(log.events.len());
        } else {
            log.record(What::Suback { link, filter, granted });
        }
        if let Some(reading) = &mut self.reading {
            reading.answered_at = Some(log.at);
        }
    }

    fn on_publish(&mut self, link: &Link, publish: &Publish<'_>, chance: &mut Stream, log: &mut Log) {
        let qos = Qos::from_level(publish.qos.as_u8()).expect("both know three levels");
        let parsed = Message::parse(publish.payload).filter(|message| *message.topic == *publish.topic);
        if let Some(packet_id) = publish.packet_id {
            self.owed.insert(packet_id.get());
            if self.owed.len() > usize::from(self.character.receive_maximum.unwrap_or(u16::MAX)) {
                self.find(log, format!("{} messages beyond its Receive Maximum", self.owed.len()));
            }
            if let Some(message) = &parsed {
                let before = self.seen.insert(packet_id.get(), message.clone());
                if before.as_ref() == Some(message) && !publish.dup {
                    self.find(log, format!("{message} a second time without DUP"));
                }
            }
        }
        let fresh = match publish.packet_id {
            Some(packet_id) if qos == Qos::ExactlyOnce => self.state.receive(packet_id.get()),
            _ => true,
        };
        if fresh {
            match parsed {
                Some(message) if self.character.shared => {
                    log.shared.push((log.events.len(), self.name.clone(), message));
                }
                Some(message) => {
                    self.delivered += 1;
                    log.record(What::Delivered {
                        link: link.clone(),
                        message: message.clone(),
                        retained: publish.retain,
                    });
                    self.on_read(link, message, log);
                }
                // A delete of a Retained Message says nothing and is nobody's.
                None if publish.payload.is_empty() => {}
                None => {
                    let (topic, bytes) = (publish.topic.into(), publish.payload.len());
                    log.record(What::Strange { link: link.clone(), topic, bytes });
                }
            }
        }
        match (qos, publish.packet_id) {
            (Qos::AtLeastOnce, Some(packet_id)) => self.acknowledge(Ack::Puback(packet_id), chance),
            (Qos::ExactlyOnce, Some(packet_id)) => self.acknowledge(Ack::Pubrec(packet_id), chance),
            _ => {}
        }
    }

    /// A reader has learnt what it came for, as it was kept or as it came.
    fn on_read(&mut self, link: &Link, message: Message, log: &mut Log) {
        let Some(reading) = self.reading.take_if(|reading| reading.topic == message.topic) else { return };
        let (topic, since) = (reading.topic, reading.since);
        log.record(What::Read { link: link.clone(), topic, since, value: Some(message) });
        self.leave(link.clone(), log);
    }

    /// Sends an acknowledgement, now or when it gets round to it.
    fn acknowledge(&mut self, ack: Ack, chance: &mut Stream) {
        self.held.push_back(ack);
        if self.resting || chance.one_in(2) {
            self.release_held(usize::MAX);
        }
    }

    fn release_held(&mut self, most: usize) {
        for _ in 0..most {
            let Some(ack) = self.held.pop_front() else { return };
            match ack {
                Ack::Puback(packet_id) => {
                    self.owed.remove(&packet_id.get());
                    self.put(&Packet::Puback(Puback::new(packet_id, ReasonCode::Success)));
                }
                Ack::Pubrec(packet_id) => {
                    self.put(&Packet::Pubrec(Pubrec::new(packet_id, ReasonCode::Success)))
                }
                Ack::Pubcomp(packet_id) => {
                    self.owed.remove(&packet_id.get());
                    self.put(&Packet::Pubcomp(Pubcomp::new(packet_id, ReasonCode::Success)));
                }
            }
        }
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("the simulation uses no identifier zero")
}

fn to_wire(qos: Qos) -> QoS {
    QoS::from_u8(qos.level()).expect("both know three levels")
}
