//! What is left of a Client on a connection that it has forgotten: it goes on publishing, and whoever answers it believes in
//! an owner that is none any more.

use convoy_wire::{Cut, Limits, Packet, ProtocolVersion, Publish, QoS, Sender, cut, decode_from};

use super::{Log, id};
use crate::oracle::{Link, Message, Name, Qos, Retain, What};

/// PUBLISHes that it leaves without an answer before it falls silent: enough for the time that a node needs to lead again.
const WINDOW: usize = 60;

#[derive(Debug)]
pub struct Ghost {
    link: Link,
    version: ProtocolVersion,
    /// Of this connection alone: nothing that another one says is to be in order with it.
    topic: Name,
    published: u16,
    /// By Packet Identifier.
    unanswered: Vec<(u16, Message)>,
    inbox: Vec<u8>,
}

impl Ghost {
    /// The first Packet Identifier, apart from those of its Client.
    const FIRST: u16 = 40_000;

    /// On a connection of which the Client has read all but a piece of a packet.
    pub fn new(link: Link, version: ProtocolVersion, inbox: Vec<u8>) -> Self {
        let topic = format!("ghost/{}/{}", link.client, link.connection).as_str().into();
        Self { link, version, topic, published: 0, unanswered: Vec::new(), inbox }
    }

    /// The bytes of one more PUBLISH, unless too many have no answer.
    pub fn publish(&mut self, log: &mut Log) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.unanswered.len() >= WINDOW {
            return bytes;
        }
        self.published += 1;
        let message = Message::new(&self.link.client, &self.topic, Qos::AtLeastOnce, self.published.into());
        let packet_id = Self::FIRST + self.published;
        let (link, retain) = (self.link.clone(), Retain::No);
        log.record(What::Publish { link, message: message.clone(), retain, expiry: None });
        let publish = Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: &self.topic,
            packet_id: Some(id(packet_id)),
            properties: Default::default(),
            payload: &message.payload(0),
        });
        publish.encode(self.version, &mut bytes).expect("what the simulation builds can be written");
        self.unanswered.push((packet_id, message));
        bytes
    }

    /// Bytes of the node, of which only acknowledgements are looked at.
    pub fn receive(&mut self, bytes: &[u8], log: &mut Log) {
        self.inbox.extend_from_slice(bytes);
        let (inbox, mut at) = (std::mem::take(&mut self.inbox), 0);
        while let Ok(Cut::Whole { first, body, length }) = cut(&inbox[at..], Limits::NONE) {
            at += length;
            let Ok(Packet::Puback(ack)) = decode_from(Sender::Server, self.version, first, body) else {
                continue;
            };
            let place = self.unanswered.iter().position(|(packet_id, _)| *packet_id == ack.packet_id.get());
            if let Some((_, message)) = place.map(|place| self.unanswered.remove(place)) {
                let (link, reason) = (self.link.clone(), ack.reason);
                log.record(match reason.is_error() {
                    true => What::Refused { link, message, reason: reason.as_u8() },
                    false => What::Accepted { link, message },
                });
            }
        }
        self.inbox = inbox[at..].to_vec();
    }
}
