//! One encoding for all receivers of a message who get it alike: per protocol version, QoS and RETAIN flag. What
//! differs, the Packet Identifier, is patched into each copy. What is large, properties or payload, is there once for all of
//! them, in queues and in mail too, however their packets begin.

use bytes::Bytes;
use convoy_wire::{Delivery as Packet, Forwardable, PacketId, Placed, ProtocolVersion, QoS, SubscriptionId};

use super::alias::{Aliases, Naming};
use super::output::{Output, SHARED_FROM};
use crate::clock::Millis;
use crate::message::Message;
use crate::session::Delivery;
use crate::unread::Unread;

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
}

/// Bytes of a packet that was appended to an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Zero if none was.
    pub bytes: usize,
    /// Of these, what the output does not share with others.
    pub copied: usize,
}

impl Written {
    const NOTHING: Self = Self { bytes: 0, copied: 0 };
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
#[derive(Debug)]
pub struct Encoded {
    /// Packets of `entries`, without their end if that is shared.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How the first packet was written: into the output of its receiver, for mostly there is no second.
    first: Option<Form>,
    /// The message as [`Message::decode`] reads it, once somebody had to keep it.
    whole: Option<Bytes>,
    /// Somebody keeps it, and `whole` is not it: of a small message the first to ask gets bytes of its own, for mostly
    /// there is no second.
    is_kept: bool,
    number: u64,
    /// Where what is kept counts.
    unread: Unread,
}

/// Memory for encodings that is kept from message to message.
const KEPT_BYTES: usize = 256 << 10;

impl Encoded {
    pub fn new(unread: Unread) -> Self {
        let (bytes, entries) = (Vec::new(), Vec::new());
        Self { bytes, entries, first: None, whole: None, is_kept: false, number: 0, unread }
    }

    /// Begins another message.
    #[inline]
    pub fn begin(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.first = None;
        self.number += 1;
        self.is_kept = false;
        if self.whole.is_some() || self.bytes.capacity() > KEPT_BYTES {
            self.let_go();
        }
    }

    /// What a large or a kept message has left.
    #[inline(never)]
    fn let_go(&mut self) {
        self.whole = None;
        self.bytes.shrink_to(KEPT_BYTES);
    }

    /// Begins a message that lies in these bytes, which others may hold as well.
    #[inline]
    pub fn begin_with(&mut self, whole: &Bytes) {
        if whole.len() < SHARED_FROM {
            // To hold it costs more than to write it again.
            self.begin();
        } else if !self.is_of(whole) {
            self.begin();
            self.whole = Some(whole.clone());
        }
    }

    /// Begins a message, and holds on to the bytes it lies in if those are held already.
    #[inline(always)] // As `begin`, where nothing is held.
    pub fn begin_of(&mut self, message: &Message<'_>) {
        match self.whole.is_some() {
            true => self.begin_beside(message),
            false => self.begin(),
        }
    }

    #[inline(never)]
    fn begin_beside(&mut self, message: &Message<'_>) {
        let whole = self.whole.take().filter(|whole| message.lies_in(whole));
        self.begin();
        self.whole = whole;
    }

    /// Tells messages apart: another one since the last time has another number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether the message of these very bytes is being passed on.
    fn is_of(&self, whole: &Bytes) -> bool {
        // What is held here cannot have made room for something else in its place.
        self.whole.as_ref().is_some_and(|held| held.as_ptr() == whole.as_ptr() && held.len() == whole.len())
    }

    /// The message as [`Message::decode`] reads it, to be kept: the same bytes for all who ask.
    #[inline(never)]
    pub fn whole(&mut self, message: &Message<'_>) -> Bytes {
        if let Some(whole) = &self.whole {
            debug_assert!(whole.ends_with(message.payload), "another message was not begun");
            return whole.clone();
        }
        let mut bytes = Vec::with_capacity(message.encoded_len());
        message.encode_into(&mut bytes);
        let whole = self.unread.share(bytes);
        if is_large(message) || std::mem::replace(&mut self.is_kept, true) {
            self.whole = Some(whole.clone());
        }
        whole
    }

    /// The last bytes of [`Encoded::whole`]: what packets of the message end with.
    #[inline(never)]
    fn end(&mut self, message: &Message<'_>, bytes: usize) -> Bytes {
        let mut whole = self.whole(message);
        whole.split_off(whole.len() - bytes)
    }

    /// Appends the PUBLISH to `output`. Nothing is written if it is larger than the Client takes [MQTT-3.1.2-24] or has
    /// expired [MQTT-3.3.2-5]; sent again it does not expire [MQTT-4.3.3-7].
    #[inline]
    pub fn write(
        &mut self,
        message: &Message<'_>,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
        dup: bool,
        receiver: &mut Receiver<'_>,
        now: Millis,
    ) -> Written {
        let Receiver { version, packet_bytes_limit, ref mut aliases, ref mut output } = *receiver;
        let form = Form { properties: version.has_properties(), qos: delivery.qos, retain: delivery.retain };
        let shared = shared_bytes(message, version);
        // A large message is shared whatever its topic is called.
        let naming = match aliases {
            Some(aliases) if shared == 0 => aliases.naming(message.topic),
            _ => Naming::Name,
        };
        if form.properties && !delivery.identifiers().is_empty() || naming != Naming::Name {
            let written = self.write_alone(message, delivery, naming, packet_id, dup, receiver, now);
            if written.bytes > 0
                && let (Naming::Both(alias), Some(aliases)) = (naming, &mut receiver.aliases)
            {
                aliases.learn(message.topic, alias);
            }
            return written;
        }
        if shared == 0 && self.first.is_none() {
            self.first = Some(form);
            let Some(left) = left_for(message, dup, now) else { return Written::NOTHING };
            let packet = Packet { packet_id, dup, ..packet(message, form, &[], left) };
            let bytes = append_within(&packet, version, packet_bytes_limit, output.tail());
            return Written { bytes, copied: bytes };
        }
        let entry = match self.entries.iter().position(|entry| entry.form == form) {
            Some(at) => &self.entries[at],
            None => {
                let Some(left) = left_for(message, dup, now) else { return Written::NOTHING };
                let from = self.bytes.len();
                let packet = packet(message, form, &[], left);
                let appended = match shared {
                    0 => packet.append(version, &mut self.bytes),
                    _ => packet.append_head(version, &mut self.bytes),
                };
                let Ok(placed) = appended else { return Written::NOTHING };
                self.entries.push(Entry { form, from, to: self.bytes.len(), placed });
                self.entries.last().expect("one was pushed")
            }
        };
        let copied = entry.to - entry.from;
        if copied + shared > packet_bytes_limit as usize {
            return Written::NOTHING;
        }
        let mut placed = entry.placed;
        let shift = |at: usize, by: usize| at - entry.from + by;
        let start = output.tail().len();
        output.tail().extend_from_slice(&self.bytes[entry.from..entry.to]);
        placed.packet_id_at = placed.packet_id_at.map(|at| shift(at, start));
        placed.start = start;
        if let Some(packet_id) = packet_id {
            placed.set_packet_id(output.tail(), packet_id);
            if dup {
                placed.set_dup(output.tail());
            }
        }
        if shared > 0 {
            output.share(self.end(message, shared));
        }
        Written { bytes: copied + shared, copied }
    }

    /// A delivery that no other receiver shares: it carries Subscription Identifiers or a Topic Alias.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "as for those that are shared, and how the topic is named")]
    fn write_alone(
        &mut self,
        message: &Message<'_>,
        delivery: &Delivery,
        naming: Naming,
        packet_id: Option<PacketId>,
        dup: bool,
        receiver: &mut Receiver<'_>,
        now: Millis,
    ) -> Written {
        let Receiver { version, packet_bytes_limit, ref mut output, .. } = *receiver;
        let Some(left) = left_for(message, dup, now) else { return Written::NOTHING };
        let mut identifiers = [SubscriptionId::new(1).expect("1 is one"); Delivery::IDENTIFIERS];
        let mut used = 0;
        for identifier in
            delivery.identifiers().iter().filter_map(|&identifier| SubscriptionId::new(identifier))
        {
            identifiers[used] = identifier;
            used += 1;
        }
        let form = Form { properties: true, qos: delivery.qos, retain: delivery.retain };
        let mut packet = packet(message, form, &identifiers[..used], left);
        packet.packet_id = packet_id;
        packet.dup = dup;
        match naming {
            Naming::Alias(alias) => (packet.topic, packet.topic_alias) = ("", Some(alias)),
            Naming::Both(alias) => packet.topic_alias = Some(alias),
            Naming::Name => {}
        }
        let shared = shared_bytes(message, version);
        if shared == 0 {
            let bytes = append_within(&packet, version, packet_bytes_limit, output.tail());
            return Written { bytes, copied: bytes };
        }
        let Some(most) = packet_bytes_limit.checked_sub(shared as u32) else { return Written::NOTHING };
        let start = output.tail().len();
        let appended = packet.append_head(version, output.tail());
        let copied = appended.map_or(0, |_| output.tail().len() - start);
        if copied == 0 || copied > most as usize {
            output.tail().truncate(start);
            return Written::NOTHING;
        }
        output.share(self.end(message, shared));
        Written { bytes: copied + shared, copied }
    }
}

/// Appends a packet, unless it is larger than the Client takes. Returns its length, or zero.
#[inline]
fn append_within(packet: &Packet<'_>, version: ProtocolVersion, limit: u32, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let written = packet.append(version, out).map_or(0, |_| out.len() - start);
    if written > limit as usize {
        out.truncate(start);
        return 0;
    }
    written
}

/// Whether the message is there once for all who keep it, or carry it to others.
#[inline]
pub fn is_large(message: &Message<'_>) -> bool {
    message.body_len() >= SHARED_FROM
}

/// Bytes at the end of a packet that all receivers share, if those are worth it.
#[inline]
fn shared_bytes(message: &Message<'_>, version: ProtocolVersion) -> usize {
    match message.properties.len() + message.payload.len() < SHARED_FROM {
        true => 0,
        false => end_of_large(message, version),
    }
}

#[inline(never)]
fn end_of_large(message: &Message<'_>, version: ProtocolVersion) -> usize {
    let properties = Forwardable::from_put(message.properties);
    let end = Packet { properties, payload: message.payload, ..Packet::default() }.end_bytes(version);
    if end < SHARED_FROM { 0 } else { end }
}

/// What is left of the Message Expiry Interval, at least one second for a message that is sent again. One of an interval
/// of zero has not waited: whoever keeps messages for later asks before they come here.
fn left_for(message: &Message<'_>, dup: bool, now: Millis) -> Option<Option<u32>> {
    let least = if message.is_momentary() { 0 } else { 1 };
    message.remaining(now).or((dup || least == 0).then_some(Some(least)))
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
