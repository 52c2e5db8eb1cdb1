//! What connections asked of slots is answered: CONNACK, the acknowledgements of publishers, SUBACK and UNSUBACK.

use bytes::Bytes;
use convoy_wire::{
    Connack, PacketId, ProtocolVersion, Pubcomp, Pubrel, QoS, ReasonCode, RetainHandling, Suback, Unsuback,
};

use super::retrying::RETRY;
use super::{Edge, find};
use crate::call::{Answer, ReplyTo, SessionCall, token};
use crate::connection::{Ask, AskKind, Barrier, Connection, Greeting, Outbound, Stage, Step, UNTOLD, said};
use crate::metric;
use crate::options::Limits;
use crate::retained::Everywhere;
use crate::session::{Grant, Place};
use crate::tally::Waits;
use crate::topic::{SHARED, group_of};

/// Milliseconds that a Client of 3.x, to whom a refusal cannot be said, stays connected after one.
const REFUSED_GRACE: u64 = 5_000;

impl Edge {
    /// The outcome of what a connection asked.
    pub fn answer(&mut self, to: ReplyTo, answer: Answer) {
        let Some(connection) = find(&mut self.connections, &to.home) else {
            match answer {
                Answer::Granted(grant) => self.give_back(&grant),
                answer => self.operators.hear(&to.home, to.token, &answer),
            }
            return;
        };
        match to.token & token::KIND {
            token::CONNECT => return self.on_connected(to.home.key, answer),
            token::ASK => return self.on_asked(to, answer),
            token::HEARD => return self.on_heard(to, &answer),
            // The next leader is told anew.
            token::LEAVE if answer == Answer::Unknown => return,
            token::LEAVE => connection.drop_silently(),
            token::OPENED => connection.credit.hear(),
            token::ADOPT => return self.on_adopted(to.home.key, &answer),
            token::KEPT => match answer {
                Answer::Full => connection.credit.tighten(),
                _ => {
                    connection.credit.leave_log((to.token & !token::KIND) as usize);
                    connection.credit.loosen(connection.inbound.waiting_bytes());
                }
            },
            _ if connection.stage != Stage::Open => return,
            token::UNKNOWN => {
                let packet_id = PacketId::new(to.token as u16).expect("the token was made of an identifier");
                release_unknown(connection, packet_id);
            }
            token::BREAK => {
                let Answer::Refused(reason) = answer else { return };
                connection.close(reason);
            }
            token::RELEASE => return self.on_released(to, &answer),
            _ => return self.on_published(to, answer),
        }
        self.mark(to.home.key);
    }

    /// What became of a message, or of a part of it.
    fn on_published(&mut self, to: ReplyTo, answer: Answer) {
        let (now, is_alone) = (self.now, self.is_alone);
        let Self { connections, tally, .. } = self;
        let Some(connection) = find(connections, &to.home) else { return };
        match answer {
            Answer::Begun(begun) => connection.inbound.parts_begun(to.token, begun),
            Answer::Done => connection.inbound.part_done(to.token),
            Answer::Refused(reason) => {
                metrics::counter!(metric::REFUSED).increment(1);
                if connection.inbound.is_perhaps_taken(to.token) {
                    connection.close(ReasonCode::ServerBusy);
                }
                connection.inbound.refuse(to.token, reason, !is_alone);
            }
            Answer::Full => connection.credit.tighten(),
            Answer::Unknown => {
                if connection.inbound.is_open(to.token) {
                    self.begin_retry(to.home.key, RETRY);
                }
                return;
            }
            Answer::Subscribed { .. }
            | Answer::Granting(_)
            | Answer::Registered(_)
            | Answer::RootsRegistered { .. }
            | Answer::Granted(_) => {}
        }
        acknowledge(connection, &mut tally.acknowledged, now);
        if connection.barrier.is_some() {
            self.step(to.home.key);
        }
        self.mark(to.home.key);
    }

    /// A PUBREL is on record, or will not be.
    fn on_released(&mut self, to: ReplyTo, answer: &Answer) {
        let now = self.now;
        let Some(connection) = find(&mut self.connections, &to.home) else { return };
        let packet_id = PacketId::new(to.token as u16).expect("the token was made of an identifier");
        if token::split_attempt(to.token).1 != connection.inbound.retried_in() {
            return;
        }
        if *answer == Answer::Unknown {
            return self.begin_retry(to.home.key, RETRY);
        }
        connection.releases.end(packet_id, now);
        if let Answer::Refused(reason) = answer
            && *reason != ReasonCode::Success
        {
            connection.close(*reason);
        } else {
            let (version, out) = (connection.version, connection.output.tail());
            let pubcomp = Pubcomp::new(packet_id, ReasonCode::Success);
            pubcomp.encode(version, out).expect("a PUBCOMP without properties can be written");
        }
        self.mark(to.home.key);
    }

    /// Takes the next step of what waits at a barrier, if nothing is under way before it any more.
    pub(crate) fn step(&mut self, key: u32) {
        let connection = &mut self.connections[key as usize];
        if connection.retry_at().is_some() {
            // What came before it is to be sent again first.
            return;
        }
        let Some(barrier) = &mut connection.barrier else { return };
        match barrier.step(&connection.inbound) {
            None => {}
            Some(Step::Call(call)) => self.calls.push_back(*call),
            Some(Step::Admit { packet_id, bytes, place, message }) => {
                self.accept_inbound(key, packet_id, bytes, place, message, true);
            }
            Some(Step::Lift) => {
                self.lift_barrier(key);
            }
            Some(Step::Release(packet_id)) => {
                self.lift_barrier(key);
                self.release_inbound(key, packet_id);
            }
        }
    }

    /// Packets are taken again.
    fn lift_barrier(&mut self, key: u32) -> Option<Barrier> {
        self.connections[key as usize].barrier.take()
    }

    fn on_heard(&mut self, to: ReplyTo, answer: &Answer) {
        let connection = &mut self.connections[to.home.key as usize];
        let awaited = |ask: &&mut Box<Ask>| ask.token & !token::KIND == to.token & !token::KIND;
        if connection.stage == Stage::Open
            && let Some(Barrier::Ask(ask)) = &mut connection.barrier
            && awaited(&ask)
        {
            ask.unheard += match answer {
                Answer::Begun(begun) => begun.parts as i32 - UNTOLD,
                _ => -1,
            };
            self.step(to.home.key);
        }
    }

    /// A QoS 2 message goes to the log of the Session's slot; `asks`: see [`SessionCall::Accept`].
    pub(crate) fn accept_inbound(
        &mut self,
        key: u32,
        packet_id: PacketId,
        bytes: usize,
        place: Place,
        message: Vec<u8>,
        asks: bool,
    ) {
        let connection = &mut self.connections[key as usize];
        let token = connection.inbound.begin(packet_id, QoS::ExactlyOnce, 1, bytes, self.now);
        connection.inbound.went_by_log = true;
        if !self.is_alone {
            connection.inbound.keep(place, Bytes::from(message.clone()));
        }
        let reply = ReplyTo { home: connection.home, token };
        let (session, epoch) = (connection.session, connection.epoch);
        self.calls.push_back(SessionCall::Accept { session, epoch, packet_id, place, message, asks, reply });
    }

    /// PUBREL came, and no PUBLISH of its identifier waits.
    pub(crate) fn release_inbound(&mut self, key: u32, packet_id: PacketId) {
        let connection = &mut self.connections[key as usize];
        let known = connection.inbound.release(packet_id);
        if known && connection.lasting {
            // PUBCOMP waits until the log has forgotten the identifier: else its next use is taken for this one.
            connection.releases.begin(packet_id, self.now);
            let call = connection.releases_on_record(packet_id);
            self.calls.push_back(call);
            return;
        }
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        let version = connection.version;
        let written = Pubcomp::new(packet_id, reason).encode(version, connection.output.tail());
        written.expect("a PUBCOMP without properties can be written");
        self.mark(key);
    }

    /// A Session was granted to a connection that is gone.
    pub fn give_back(&mut self, grant: &Grant) {
        self.calls.push_back(SessionCall::Disconnect {
            session: grant.session,
            epoch: grant.epoch,
            farewell: crate::call::Farewell::WithWill,
            expiry_seconds: None,
            reply: None,
        });
    }

    fn on_connected(&mut self, key: u32, answer: Answer) {
        // Who may not be connected any more is told so by CONNACK.
        self.judge(key);
        let limits = &self.limits;
        let connection = &mut self.connections[key as usize];
        let grant = match answer {
            Answer::Granted(grant) => grant,
            Answer::Refused(reason) => {
                connection.asks_for_session = false;
                connection.close(reason);
                return self.mark(key);
            }
            Answer::Unknown => {
                // It may be connected yet, and then its Will is due: nothing is said that would deny it.
                connection.drop_silently();
                return self.mark(key);
            }
            Answer::Begun(_)
            | Answer::Done
            | Answer::Full
            | Answer::Subscribed { .. }
            | Answer::Granting(_)
            | Answer::Registered(_)
            | Answer::RootsRegistered { .. } => return,
        };
        if connection.stage != Stage::Connecting {
            return self.give_back(&grant);
        }
        let greeting = connection.greeting.take().unwrap_or_default();
        welcome(&greeting, limits, grant.present, connection.version, connection.output.tail());
        connection.stage = Stage::Open;
        connection.asks_for_session = false;
        connection.doomed_at = None;
        connection.session = grant.session;
        connection.epoch = grant.epoch;
        connection.owns_session = true;
        connection.lasting = grant.has_queue;
        connection.inbound.resume(&grant.unreleased);
        if connection.lasting {
            if !self.is_alone {
                connection.succession_mut().sent = Some(Default::default());
            }
            self.calls.push_back(SessionCall::Ready {
                session: grant.session,
                epoch: grant.epoch,
                home: connection.home,
                receive_maximum: connection.receive_maximum,
                is_plain: grant.present && !connection.version.has_properties(),
            });
        } else {
            connection.outbound = Some(Box::new(Outbound::new(connection.receive_maximum)));
        }
        self.join_groups(key, grant.groups);
        self.mark(key);
    }

    fn on_asked(&mut self, to: ReplyTo, answer: Answer) {
        let connection = &mut self.connections[to.home.key as usize];
        // Nothing follows a DISCONNECT, of either side [MQTT-3.14.4-1].
        if connection.stage != Stage::Open {
            return;
        }
        let Some(Barrier::Ask(ask)) = &mut connection.barrier else { return };
        if ask.token != to.token & !token::ENTRY {
            return;
        }
        match answer {
            Answer::Begun(begun) => ask.parts += begun.parts as i32 - UNTOLD,
            Answer::Done => ask.parts -= 1,
            Answer::Granting(granted) => ask.keep(&granted),
            Answer::Registered(place) => {
                ask.parts -= 1;
                ask.registered.push(((to.token & token::ENTRY) as usize, place));
            }
            Answer::RootsRegistered { slot, until } => {
                ask.parts -= 1;
                ask.roots_registered.push((slot, until));
            }
            Answer::Subscribed { more, existed } => {
                ask.parts += more as i32 - UNTOLD;
                for ((place, existed), wanted) in ask.asked.iter().zip(&existed).zip(0..) {
                    match ask.kind {
                        AskKind::Unsubscribe if !existed => {
                            ask.reasons[*place] = ReasonCode::NoSubscriptionExisted;
                        }
                        AskKind::Unsubscribe => {}
                        AskKind::Subscribe => {
                            let (_, handling) = &mut ask.wanted[wanted];
                            // What a first attempt has subscribed is new.
                            let existed = *existed && !ask.is_retried;
                            if existed && *handling == RetainHandling::OnNewSubscription {
                                *handling = RetainHandling::Never;
                            }
                        }
                    }
                }
            }
            // An attempt before may have been carried out: it would not be true that nothing was changed.
            Answer::Refused(_) if ask.is_retried => return self.close(to.home.key, ReasonCode::ServerBusy),
            Answer::Refused(reason) => {
                for &place in &ask.asked {
                    ask.reasons[place] = reason;
                }
                ask.wanted.clear();
                ask.parts = 0;
            }
            Answer::Unknown => return self.begin_retry(to.home.key, RETRY),
            Answer::Granted(_) | Answer::Full => {}
        }
        if ask.parts > 0 {
            return;
        }
        let Some(Barrier::Ask(mut ask)) = self.lift_barrier(to.home.key) else { return };
        ask.answer_repeated();
        let connection = &mut self.connections[to.home.key as usize];
        if ask.rest.is_none() {
            acknowledge_ask(connection, &ask);
        }
        read_for(connection, &mut ask, self.slots);
        if connection.readings.as_ref().is_some_and(|readings| readings.is_hungry()) {
            self.hungry.push(connection.home);
        }
        let shared = ask.wanted.iter().filter(|(wanted, _)| wanted.filter.starts_with(SHARED));
        let groups = shared.map(|(wanted, _)| group_of(&wanted.filter)).collect();
        self.join_groups(to.home.key, groups);
        match ask.rest {
            Some(_) => self.ask_on(to.home.key, ask),
            None => self.weigh_unfinished(to.home.key),
        }
        self.mark(to.home.key);
    }

    /// The slot is to be asked for the next piece when others have had their turn.
    pub(crate) fn ask_on(&mut self, key: u32, ask: Box<Ask>) {
        let connection = &mut self.connections[key as usize];
        connection.barrier = Some(Barrier::Ask(ask));
        self.asking.push_back(connection.home);
    }
}

/// What is to be read for what was subscribed, and what is not any more for what was unsubscribed.
fn read_for(connection: &mut Connection, ask: &mut Ask, slots: u16) {
    let mut readings = connection.readings.take().unwrap_or_default();
    if ask.kind == AskKind::Unsubscribe && !ask.is_refused() {
        ask.filters.iter().for_each(|filter| readings.end(filter));
    }
    ask.registered.sort_by_key(|(entry, _)| *entry);
    let mut everywhere = Everywhere::nobody_has_told(slots);
    for (slot, until) in ask.roots_registered.drain(..) {
        everywhere.told(slot, until);
    }
    let everywhere = everywhere.into();
    for (at, (wanted, handling)) in ask.wanted.iter().enumerate() {
        if *handling != RetainHandling::Never {
            let from = ask.registered.partition_point(|(entry, _)| *entry < at);
            let of_this = ask.registered[from..].iter().take_while(|(entry, _)| *entry == at);
            let places: Vec<_> = of_this.map(|(_, place)| *place).collect();
            readings.begin(wanted, &places, &everywhere);
        }
    }
    connection.readings = Some(readings).filter(|readings| !readings.is_empty());
}

/// Writes the PUBREL that answers a PUBREC of nothing (MQTT 5.0, 3.6.2.1).
pub fn release_unknown(connection: &mut Connection, packet_id: PacketId) {
    let pubrel = Pubrel::new(packet_id, ReasonCode::PacketIdentifierNotFound);
    let written = pubrel.encode(connection.version, connection.output.tail());
    written.expect("a PUBREL without properties can be written");
}

/// Writes the acknowledgements of a publisher that are due, and counts how long it waited for them.
pub fn acknowledge(connection: &mut Connection, waits: &mut Waits, now: u64) {
    let (since, waiting) = (connection.inbound.waiting_since(), connection.inbound.waiting());
    if connection.inbound.acknowledge(connection.version, now, connection.output.tail()) {
        connection.doomed_at.get_or_insert(now + REFUSED_GRACE);
    }
    // What leaves together is counted by the oldest.
    let acknowledged = waiting - connection.inbound.waiting();
    if let Some(since) = since.filter(|_| acknowledged > 0) {
        connection.credit.loosen(connection.inbound.waiting_bytes());
        waits.add(now.saturating_sub(since), acknowledged as u64);
    }
}

/// Writes the CONNACK that accepts a Client.
pub fn welcome(
    greeting: &Greeting,
    limits: &Limits,
    session_present: bool,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let mut connack = Connack::refused(ReasonCode::Success);
    connack.session_present = session_present;
    if version.has_properties() {
        let properties = &mut connack.properties;
        properties.session_expiry_interval = greeting.session_expiry;
        properties.assigned_client_identifier = greeting.assigned_client_id.as_deref();
        properties.server_keep_alive = greeting.server_keep_alive;
        properties.receive_maximum = std::num::NonZeroU16::new(limits.receive_maximum);
        properties.maximum_packet_size = std::num::NonZeroU32::new(limits.packet_bytes);
        properties.topic_alias_maximum = Some(limits.topic_alias_maximum);
        properties.response_information = greeting.response_information.as_deref();
        limits.features.announce(properties);
    }
    connack.encode(version, out).expect("a CONNACK that accepts can be written in every version");
}

/// Writes SUBACK or UNSUBACK. A Client that has asked for more than its Maximum Packet Size lets it be told is told
/// nothing but that, and is closed [MQTT-3.1.2-24].
pub fn acknowledge_ask(connection: &mut Connection, ask: &Ask) {
    let (version, limit) = (connection.version, connection.packet_bytes_limit as usize);
    let refused = ask.reasons.iter().find(|reason| reason.is_error());
    if let Some(reason) = refused.filter(|_| ask.kind == AskKind::Unsubscribe && !version.has_properties()) {
        // UNSUBACK of 3.x would say that it was done.
        return connection.close(*reason);
    }
    let output = connection.output.tail();
    let start = output.len();
    let (packet_id, properties) = (ask.packet_id, Default::default());
    let may_say = match ask.kind {
        AskKind::Subscribe => Suback::may_say,
        AskKind::Unsubscribe => Unsuback::may_say,
    };
    let reasons: Vec<_> = ask.reasons.iter().map(|reason| said(*reason, may_say)).collect();
    let reasons = reasons.as_slice().into();
    let written = match ask.kind {
        AskKind::Subscribe => Suback { packet_id, properties, reasons }.encode(version, output),
        AskKind::Unsubscribe => Unsuback { packet_id, properties, reasons }.encode(version, output),
    };
    written.expect("it has no more Reason Codes than the packet it answers had Topic Filters");
    if output.len() - start > limit {
        output.truncate(start);
        connection.close(ReasonCode::PacketTooLarge);
    }
}
