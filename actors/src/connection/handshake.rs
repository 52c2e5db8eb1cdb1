//! CONNECT: what of it is refused before any Session is touched, and what is asked of the Session's slot.

use convoy_wire::{self as wire, Connect, ProtocolVersion, ReasonCode};

use super::{Aliases, Connection, Greeting, Rate};
use crate::author::Author;
use crate::budget::User;
use crate::clock::Millis;
use crate::message::Message;
use crate::metric;
use crate::options::{Limits, Options};
use crate::reserved::reserved;
use crate::session::{Place, SessionNumber, Will, name_of};
use crate::tenant::TENANT;

/// CONNECT is refused with this Reason Code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub ReasonCode);

/// What is asked of the slot.
#[derive(Debug)]
pub struct Accepted {
    pub name: Vec<u8>,
    pub clean_start: bool,
    pub expiry_seconds: u32,
    pub will: Option<Box<Will>>,
}

/// Takes up what CONNECT says. `assigned` names a Client that gave no Client Identifier.
pub fn accept(
    connection: &mut Connection,
    connect: &Connect<'_>,
    options: &Options,
    assigned: impl FnOnce() -> String,
    now: Millis,
) -> Result<Accepted, Refusal> {
    let limits = &options.limits;
    connection.version = connect.version;
    let is_5 = connect.version.has_properties();
    let mut greeting = Greeting::default();

    let client_id = client_id_of(connect, limits, assigned, &mut greeting)?;
    connection.client_id = client_id.into();
    let client_id = &connection.client_id;
    greeting.response_information = limits.features.response_information(connect, client_id);

    let wanted_expiry = match (is_5, connect.clean_start) {
        (true, _) => connect.properties.session_expiry_interval.unwrap_or(0),
        (false, true) => 0,
        (false, false) => limits.session_expiry_default,
    };
    let expiry_seconds = wanted_expiry.min(limits.session_expiry_maximum);
    greeting.session_expiry = (is_5 && expiry_seconds != wanted_expiry).then_some(expiry_seconds);

    let keep_alive = keep_alive_of(connect, limits, &mut greeting);
    connection.keep_alive.set(keep_alive);

    connection.receive_maximum = match connect.properties.receive_maximum {
        Some(maximum) => maximum.get().min(limits.inflight_maximum),
        None => limits.inflight_default,
    };
    if let Some(maximum) = connect.properties.maximum_packet_size {
        connection.packet_bytes_limit = maximum.get();
    }

    if !limits.publish.is_unlimited() {
        connection.rate = Some(Box::new(Rate::new(&limits.publish, connection.last_seen)));
    }
    let aliases = connect.properties.topic_alias_maximum.unwrap_or(0).min(limits.topic_alias_maximum);
    connection.aliases = (aliases > 0).then(|| Box::new(Aliases::new(aliases)));

    let will = connect.will.as_ref().map(|will| will_of(will, connection, options, now)).transpose()?;
    connection.greeting = Some(Box::new(greeting));
    connection.expiry_seconds = expiry_seconds;
    // 3.1 and 3.1.1: Clean Session is Clean Start and an expiry of 0 in one.
    let clean_start = connect.clean_start;
    Ok(Accepted { name: name_of(TENANT, &connection.client_id), clean_start, expiry_seconds, will })
}

fn client_id_of(
    connect: &Connect<'_>,
    limits: &Limits,
    assigned: impl FnOnce() -> String,
    greeting: &mut Greeting,
) -> Result<String, Refusal> {
    let is_5 = connect.version.has_properties();
    // [MQTT-3.1.3-6]; 3.1.1 lets a Client without an identifier in only with Clean Session [MQTT-3.1.3-8 of 3.1.1].
    Ok(match connect.client_id {
        "" if connect.version == ProtocolVersion::V31 || (!is_5 && !connect.clean_start) => {
            return Err(Refusal(ReasonCode::ClientIdentifierNotValid));
        }
        "" => {
            let id = assigned();
            greeting.assigned_client_id = is_5.then(|| id.clone());
            id
        }
        id if id.len() > usize::from(limits.client_id_bytes) => {
            metric::met("client_id_bytes");
            return Err(Refusal(ReasonCode::ClientIdentifierNotValid));
        }
        id => id.to_owned(),
    })
}

fn keep_alive_of(connect: &Connect<'_>, limits: &Limits, greeting: &mut Greeting) -> u16 {
    let is_5 = connect.version.has_properties();
    let mut keep_alive = connect.keep_alive;
    if limits.keep_alive_maximum > 0 && (keep_alive == 0 || keep_alive > limits.keep_alive_maximum) {
        if is_5 {
            keep_alive = limits.keep_alive_maximum;
            greeting.server_keep_alive = Some(keep_alive);
        } else if keep_alive == 0 {
            keep_alive = limits.keep_alive_maximum;
        }
    }
    keep_alive
}

fn will_of(
    will: &wire::Will<'_>,
    connection: &Connection,
    options: &Options,
    now: Millis,
) -> Result<Box<Will>, Refusal> {
    let limits = &options.limits;
    let topic = will.topic;
    if !limits.allow_topic(topic.as_str()) || reserved(topic.as_str()).is_some() {
        return Err(Refusal(ReasonCode::TopicNameInvalid));
    }
    limits.features.check_will(will).map_err(Refusal)?;
    let (partition, slot) = options.partitioning.locate(TENANT, topic.as_str(), options.slots);
    let mut properties = Vec::new();
    let publish = will.properties.to_publish();
    if publish.put_forwardable(&mut properties).is_err() {
        return Err(Refusal(ReasonCode::PacketTooLarge));
    }
    let (mut message, author) = (Vec::new(), Author::of(&connection.who()));
    Message {
        topic: topic.as_str(),
        properties: &properties,
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        published_at: now,
        expires_at: None,
        publisher: SessionNumber(0),
        user: User::of(connection.principal.owner()),
        author: &author.to_bytes(),
    }
    .encode_into(&mut message);
    Ok(Box::new(Will {
        place: Place { slot: slot.0, partition: partition.0 },
        message,
        expiry_seconds: publish.message_expiry_interval,
        author,
        delay_seconds: will.properties.will_delay_interval.unwrap_or(0),
    }))
}
