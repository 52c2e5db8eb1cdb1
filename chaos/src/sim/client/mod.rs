//! A Client of the simulation: bytes in, bytes out, its half of the Session State kept as the specification asks, and
//! all that it says and hears written down for the oracle.

mod character;
mod ghost;
mod hear;
mod log;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use convoy_wire::{
    Connect, Disconnect, List, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, Subscribe,
    Subscription, SubscriptionOptions, TopicFilter, TopicName, Unsubscribe, Will as WireWill,
};

pub use character::{Character, Stay};
pub use ghost::Ghost;
pub use log::Log;

use super::seed::Stream;
use crate::client::State;
use crate::oracle::{Closer, Link, Message, Name, Qos, Retain, Terms, What, Will};
use character::WAVERS;

/// Unfinished PUBLISHes that a Client allows itself.
const WINDOW: usize = 8;

/// How long a reader waits for a Retained Message before it takes the silence for an answer.
const SILENCE: Duration = Duration::from_millis(1_500);

/// What a Client wants of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Nothing,
    /// A new connection: CONNECT is in the outbox.
    Open,
    /// It wants to [take over](Client::take_over) from itself.
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
    /// A CONNECT was not answered. It may have made a Session where the one before had expired: that one would be present, and
    /// not be the one that this Client knows.
    is_unsure: bool,
    /// When its last connection ended.
    left_at: Duration,
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
    /// Since when it has waited for its node; none while it waits for nothing.
    waits_since: Option<Duration>,
    /// Its node did not serve it: it tries another one next, and soon.
    pub moves_on: bool,
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
            is_unsure: false,
            left_at: Duration::ZERO,
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
            waits_since: None,
            moves_on: false,
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

    /// Whether it has waited for its node for too long.
    fn is_out_of_patience(&mut self, now: Duration) -> bool {
        let waits = match &self.phase {
            Phase::Away => false,
            Phase::Connecting(..) | Phase::Leaving(_) => true,
            Phase::Open(_) => self.state.in_flight() > 0 || self.request.is_some(),
        };
        if !waits {
            self.waits_since = None;
            return false;
        }
        let since = *self.waits_since.get_or_insert(now);
        self.character.patience.is_some_and(|patience| now > since + Duration::from_micros(patience))
    }

    /// The next thing it does. `can_connect`: somebody listens.
    pub fn act(&mut self, can_connect: bool, chance: &mut Stream, log: &mut Log) -> Act {
        if self.is_out_of_patience(log.at) {
            self.moves_on = true;
            return Act::Cut;
        }
        match &self.phase {
            Phase::Away if !can_connect || (self.resting && !self.character.reads.is_empty()) => Act::Nothing,
            Phase::Away => {
                self.connect(chance, log);
                Act::Open
            }
            Phase::Connecting(..) | Phase::Leaving(_) => Act::Nothing,
            Phase::Open(link) => {
                let link = link.clone();
                self.release_held(if self.resting { usize::MAX } else { chance.below(6) as usize });
                self.act_open(link, can_connect, chance, log)
            }
        }
    }

    /// It connects anew, as if it knew nothing of the connection that it has. What is left of that one haunts it.
    pub fn take_over(&mut self, chance: &mut Stream, log: &mut Log) -> Option<Ghost> {
        let Phase::Open(link) = &self.phase else { return None };
        let ghost = Ghost::new(link.clone(), self.character.version, std::mem::take(&mut self.inbox));
        self.connect(chance, log);
        Some(ghost)
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
                1 if can_connect => Act::TakeOver,
                _ => Act::Cut,
            };
        }
        if self.request.is_none() {
            let next = self.character.filters.iter().find(|(filter, _)| !self.subscribed.contains(filter));
            let hesitates = self.character.hesitates;
            let asks = |chance: &mut Stream| hesitates == 1 || self.resting || chance.one_in(hesitates);
            if let Some((filter, qos)) = next.cloned().filter(|_| asks(chance)) {
                if self.character.hurried && !self.resting && self.state.in_flight() < WINDOW {
                    let topic: Name = chance.pick(&self.character.topics).as_str().into();
                    self.publish(&link, topic, *chance.pick(&self.character.levels), Retain::No, chance, log);
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
            let qos = *chance.pick(&self.character.levels);
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

    fn terms(&mut self, now: Duration, chance: &mut Stream) -> Terms {
        let mut terms = match self.character.stay {
            Stay::Clean => Terms::clean(),
            Stay::Lasting => Terms::lasting(),
            Stay::Seconds(seconds) => {
                let (expiry, away) = (Duration::from_secs(seconds), now.saturating_sub(self.left_at));
                // Clocks may differ.
                Terms { clean_start: self.is_unsure && away * 2 >= expiry, expiry, will: None }
            }
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

    fn connect(&mut self, chance: &mut Stream, log: &mut Log) {
        let terms = self.terms(log.at, chance);
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
    }

    /// The connection is gone, as the Client has noticed now or has wished. `died`: and the node with it, so that nobody
    /// knows whether a DISCONNECT was read.
    pub fn on_closed(&mut self, by: Closer, died: bool, log: &mut Log) {
        let by = if died && matches!(self.phase, Phase::Leaving(_)) { Closer::Client } else { by };
        if let Some(link) = self.link().cloned() {
            log.record(What::Closed { link, by });
        }
        self.moves_on |= by == Closer::Server && !matches!(self.phase, Phase::Leaving(_));
        self.begins_anew |= matches!(&self.phase, Phase::Connecting(_, terms) if terms.clean_start);
        match self.phase {
            Phase::Connecting(..) => self.is_unsure = true,
            Phase::Open(_) | Phase::Leaving(_) => self.left_at = log.at,
            Phase::Away => {}
        }
        self.phase = Phase::Away;
        self.outbox.clear();
        self.forget_connection();
        if std::mem::take(&mut self.fleeting) || self.begins_anew {
            self.forget_session();
        }
    }

    fn forget_connection(&mut self) {
        self.waits_since = None;
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
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("the simulation uses no identifier zero")
}

fn to_wire(qos: Qos) -> QoS {
    QoS::from_u8(qos.level()).expect("both know three levels")
}
