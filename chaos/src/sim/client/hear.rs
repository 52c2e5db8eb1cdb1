//! What a Client does with what comes from its node.

use convoy_wire::{
    Cut, Limits, Packet, PacketId, Puback, Pubcomp, Publish, Pubrec, Pubrel, ReasonCode, Sender, cut,
    decode_from,
};

use super::{Ack, Client, Log, Phase, Request, id};
use crate::client::Stage;
use crate::oracle::{Link, Message, Qos, Retain, Terms, What};
use crate::sim::seed::Stream;

impl Client {
    /// Bytes of the node.
    pub fn receive(&mut self, bytes: &[u8], chance: &mut Stream, log: &mut Log) {
        self.waits_since = None;
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
            self.moves_on = true;
            return;
        }
        log.record(What::Connack { link: link.clone(), session_present });
        if !session_present {
            self.forget_session();
        } else if terms.clean_start {
            self.find(log, "Session Present for a Clean Start".into());
        }
        (self.begins_anew, self.is_unsure) = (false, false);
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
            // Whoever was refused is no member: nothing is owed to the group yet.
            if granted.is_some() {
                log.members.entry(self.name.clone()).or_insert(log.events.len());
            }
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
                    let said = format!("{message} a second time without DUP");
                    log.of_one_session.push((log.events.len(), self.name.clone(), said));
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

    pub(super) fn release_held(&mut self, most: usize) {
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

#[cfg(test)]
mod tests {
    use convoy_wire::{Connack, ProtocolVersion, Suback};

    use super::super::{Act, Character, Stay};
    use super::*;
    use crate::sim::seed::Seed;

    fn hear(client: &mut Client, packet: &Packet<'_>, chance: &mut Stream, log: &mut Log) {
        let mut bytes = Vec::new();
        packet.encode(ProtocolVersion::V5, &mut bytes).expect("the test builds what can be written");
        client.receive(&bytes, chance, log);
    }

    #[test]
    fn whose_shared_subscription_is_refused_is_no_member() {
        for (reason, members) in [(ReasonCode::QuotaExceeded, 0), (ReasonCode::GrantedQoS2, 1)] {
            let mut character = Character::new("ant", ProtocolVersion::V5, Stay::Lasting)
                .filters(&[("$share/farm/job/#", Qos::ExactlyOnce)]);
            (character.shared, character.restless) = (true, 0);
            let (mut client, mut chance, mut log) =
                (Client::new(character), Seed(1).stream("ant"), Log::default());
            assert_eq!(client.act(true, &mut chance, &mut log), Act::Open);
            hear(&mut client, &Packet::Connack(Connack::refused(ReasonCode::Success)), &mut chance, &mut log);
            client.act(true, &mut chance, &mut log);
            let packet_id = client.request.as_ref().expect("it has nothing else to do").packet_id;
            let reasons = [reason];
            let suback =
                Suback { packet_id, properties: Default::default(), reasons: reasons.as_slice().into() };
            hear(&mut client, &Packet::Suback(suback), &mut chance, &mut log);
            assert_eq!(log.members.len(), members, "{reason:?}");
            assert!(log.findings.is_empty(), "{:?}", log.findings);
        }
    }
}
