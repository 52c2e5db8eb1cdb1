//! One encoding for all receivers of a message who get it alike: per protocol version, QoS and RETAIN flag. What
//! differs, the Packet Identifier, is patched into each copy.

use bytes::Bytes;
use convoy_wire::{Delivery as Packet, Forwardable, PacketId, Placed, ProtocolVersion, QoS, SubscriptionId};

use super::alias::{Aliases, Naming};
use super::output::{Output, SHARED_FROM};
use crate::clock::Millis;
use crate::message::Message;
use crate::slot::Delivery;

/// How a packet is written, apart from its Packet Identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    properties: bool,
    qos: QoS,
    retain: bool,
}

#[derive(Debug)]
struct Entry {
    form: Form,
    from: usize,
    to: usize,
    placed: Placed,
    /// The bytes behind the Packet Identifier, of a large packet.
    shared: Option<Bytes>,
}

/// Who a message is written for.
#[derive(Debug)]
pub struct Receiver<'a> {
    pub version: ProtocolVersion,
    /// Largest packet that the Client takes.
    pub packet_bytes_limit: u32,
    pub aliases: Option<&'a mut Aliases>,
    pub output: &'a mut Output,
}

/// Encodings of the message that is being passed on; kept and used again for the next one.
#[derive(Debug, Default)]
pub struct Encoded {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Encoded {
    /// Begins another message.
    pub fn begin(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Appends the PUBLISH to `output`, and returns its length. Zero, and nothing appended, if it is larger than the
    /// Client takes [MQTT-3.1.2-24] or has expired [MQTT-3.3.2-5]; sent again it does not expire [MQTT-4.3.3-7].
    pub fn write(
        &mut self,
        message: &Message<'_>,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
        dup: bool,
        receiver: &mut Receiver<'_>,
        now: Millis,
    ) -> usize {
        let Receiver { version, packet_bytes_limit, ref mut aliases, ref mut output } = *receiver;
        let form = Form { properties: version.has_properties(), qos: delivery.qos, retain: delivery.retain };
        // A large message is shared whatever its topic is called.
        let naming = match aliases {
            Some(aliases) if message.payload.len() < SHARED_FROM => aliases.naming(message.topic),
            _ => Naming::Name,
        };
        if form.properties && !delivery.identifiers().is_empty() || naming != Naming::Name {
            let written = write_alone(message, delivery, naming, packet_id, dup, receiver, now);
            if written > 0
                && let (Naming::Both(alias), Some(aliases)) = (naming, &mut receiver.aliases)
            {
                aliases.learn(message.topic, alias);
            }
            return written;
        }
        let entry = match self.entries.iter().position(|entry| entry.form == form) {
            Some(at) => &mut self.entries[at],
            None => {
                let Some(left) = left_for(message, dup, now) else { return 0 };
                let from = self.bytes.len();
                let Ok(placed) = packet(message, form, &[], left).append(version, &mut self.bytes) else {
                    return 0;
                };
                self.entries.push(Entry { form, from, to: self.bytes.len(), placed, shared: None });
                self.entries.last_mut().expect("one was pushed")
            }
        };
        let len = entry.to - entry.from;
        if len > packet_bytes_limit as usize {
            return 0;
        }
        let mut placed = entry.placed;
        let shift = |at: usize, by: usize| at - entry.from + by;
        let start = output.tail().len();
        if len < SHARED_FROM {
            output.tail().extend_from_slice(&self.bytes[entry.from..entry.to]);
        } else {
            let head = entry.placed.packet_id_at.map_or(entry.from, |at| at + 2);
            output.tail().extend_from_slice(&self.bytes[entry.from..head]);
            entry.shared.get_or_insert_with(|| Bytes::copy_from_slice(&self.bytes[head..entry.to]));
        }
        placed.packet_id_at = placed.packet_id_at.map(|at| shift(at, start));
        placed.start = start;
        if let Some(packet_id) = packet_id {
            placed.set_packet_id(output.tail(), packet_id);
            if dup {
                placed.set_dup(output.tail());
            }
        }
        if let Some(shared) = entry.shared.as_ref().filter(|_| len >= SHARED_FROM) {
            output.share(shared.clone());
        }
        len
    }
}

/// A delivery that no other receiver shares: it carries Subscription Identifiers or a Topic Alias.
fn write_alone(
    message: &Message<'_>,
    delivery: &Delivery,
    naming: Naming,
    packet_id: Option<PacketId>,
    dup: bool,
    receiver: &mut Receiver<'_>,
    now: Millis,
) -> usize {
    let Receiver { version, packet_bytes_limit, ref mut output, .. } = *receiver;
    let Some(left) = left_for(message, dup, now) else { return 0 };
    let mut identifiers = [SubscriptionId::new(1).expect("1 is one"); Delivery::IDENTIFIERS];
    let mut used = 0;
    for identifier in delivery.identifiers().iter().filter_map(|&identifier| SubscriptionId::new(identifier))
    {
        identifiers[used] = identifier;
        used += 1;
    }
    let form = Form { properties: true, qos: delivery.qos, retain: delivery.retain };
    let start = output.tail().len();
    let mut packet = packet(message, form, &identifiers[..used], left);
    packet.packet_id = packet_id;
    packet.dup = dup;
    match naming {
        Naming::Alias(alias) => (packet.topic, packet.topic_alias) = ("", Some(alias)),
        Naming::Both(alias) => packet.topic_alias = Some(alias),
        Naming::Name => {}
    }
    match packet.append(version, output.tail()) {
        Ok(_) if output.tail().len() - start <= packet_bytes_limit as usize => output.tail().len() - start,
        _ => {
            output.tail().truncate(start);
            0
        }
    }
}

/// What is left of the Message Expiry Interval, at least one second for a message that is sent again.
fn left_for(message: &Message<'_>, dup: bool, now: Millis) -> Option<Option<u32>> {
    message.remaining(now).or(dup.then_some(Some(1)))
}

fn packet<'a>(
    message: &Message<'a>,
    form: Form,
    subscription_ids: &'a [SubscriptionId],
    message_expiry_left: Option<u32>,
) -> Packet<'a> {
    Packet {
        qos: form.qos,
        retain: form.retain,
        topic: message.topic,
        properties: Forwardable::from_put(message.properties),
        message_expiry_left,
        subscription_ids,
        payload: message.payload,
        ..Packet::default()
    }
}
