//! SUBSCRIBE and UNSUBSCRIBE: what of them is refused by itself, and what the Session's slot is asked for.

use convoy_wire::{ReasonCode, Subscribe, Unsubscribe};

use super::Shard;
use super::mail::Letter;
use super::packets::Outcome;
use crate::call::{Answer, ReplyTo, SessionCall, token};
use crate::connection::{Ask, AskKind, Barrier, UNTOLD};
use crate::edge::acknowledge_ask;
use crate::metric;
use crate::options::Without;
use crate::session::{Subscription, Wanted};
use crate::slot::Effects;

impl Shard {
    pub(super) fn on_subscribe(&mut self, key: u32, subscribe: &Subscribe<'_>) -> Outcome {
        let (limits, layout) = (&self.options.limits, self.layout());
        let connection = &self.outlet.edge.connections[key as usize];
        let (version, permits) = (connection.version, connection.permits.as_deref());
        let identifier = subscribe.properties.subscription_id.map_or(0, |identifier| identifier.get());
        let (mut reasons, mut wanted, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for subscription in &subscribe.subscriptions {
            let filter = subscription.filter;
            let options = subscription.options;
            // Over the limits: refused by itself, the others stand.
            if let Some(limit) = limits.exceeded_by(filter) {
                metric::met(limit);
                reasons.push(ReasonCode::TopicFilterInvalid);
                continue;
            }
            let granted = limits.features.check_subscription(version, &subscription, identifier > 0)?;
            if granted.is_error() {
                reasons.push(granted);
                continue;
            }
            // Of a Shared Subscription it is the filter within that opens topics.
            let plain = filter.shared().map_or(filter.as_str(), |shared| shared.filter.as_str());
            if permits.is_some_and(|permits| !permits.may_subscribe(plain, options.qos as u8)) {
                metric::denied("subscribe");
                reasons.push(ReasonCode::NotAuthorized);
                continue;
            }
            asked.push(reasons.len());
            reasons.push(granted);
            wanted.push((
                Wanted {
                    filter: filter.as_str().to_owned(),
                    subscription: Subscription {
                        qos: options.qos.min(limits.features.maximum_qos) as u8,
                        no_local: options.no_local,
                        retain_as_published: options.retain_as_published,
                        identifier,
                    },
                    places: layout.places_of_filter(plain),
                },
                // [MQTT-4.8.2]: a Shared Subscription gets no Retained Messages.
                if filter.is_shared() { convoy_wire::RetainHandling::Never } else { options.retain_handling },
            ));
        }
        self.ask(key, AskKind::Subscribe, subscribe.packet_id, reasons, wanted, asked, Vec::new());
        Ok(())
    }

    pub(super) fn on_unsubscribe(&mut self, key: u32, unsubscribe: &Unsubscribe<'_>) -> Outcome {
        let filters: Vec<String> =
            unsubscribe.filters.iter().map(|filter| filter.as_str().to_owned()).collect();
        let reasons = vec![ReasonCode::Success; filters.len()];
        let asked = (0..filters.len()).collect();
        self.ask(key, AskKind::Unsubscribe, unsubscribe.packet_id, reasons, Vec::new(), asked, filters);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what SUBSCRIBE and UNSUBSCRIBE have in common")]
    fn ask(
        &mut self,
        key: u32,
        kind: AskKind,
        packet_id: convoy_wire::PacketId,
        reasons: Vec<ReasonCode>,
        wanted: Vec<(Wanted, convoy_wire::RetainHandling)>,
        asked: Vec<usize>,
        filters: Vec<String>,
    ) {
        let number = self.asks << token::ENTRY.count_ones() & !token::KIND;
        self.asks += 1;
        let (token, since) = (token::ASK | number, self.outlet.edge.now);
        let mut ask = Ask {
            token,
            packet_id,
            kind,
            since,
            parts: UNTOLD,
            reasons,
            wanted,
            asked,
            filters: Vec::new(),
            registered: Vec::new(),
            unheard: 0,
            call: None,
        };
        if ask.asked.is_empty() {
            acknowledge_ask(&mut self.outlet.edge.connections[key as usize], &ask);
            self.outlet.edge.mark(key);
            return;
        }
        ask.unheard = self.ask_who_was_sent_to(key, number);
        let connection = &mut self.outlet.edge.connections[key as usize];
        let reply = ReplyTo { home: connection.home, token };
        let (session, epoch) = (connection.session, connection.epoch);
        let wanted = ask.wanted.iter().map(|(wanted, _)| wanted.clone()).collect();
        ask.call = Some(match kind {
            AskKind::Subscribe => SessionCall::Subscribe { session, epoch, wanted, reply },
            AskKind::Unsubscribe => {
                ask.filters.clone_from(&filters);
                SessionCall::Unsubscribe { session, epoch, filters, reply }
            }
        });
        connection.barrier = Some(Barrier::Ask(Box::new(ask)));
        self.outlet.edge.step(key);
    }

    /// Asks the shards that the connection has sent messages to, of which nobody would tell, whether they have taken
    /// them: what goes from one shard to another keeps its order. How many will answer.
    fn ask_who_was_sent_to(&mut self, key: u32, number: u64) -> u32 {
        let connection = &mut self.outlet.edge.connections[key as usize];
        let went_away = std::mem::take(&mut connection.inbound.went_away);
        let went_by_log = std::mem::take(&mut connection.inbound.went_by_log);
        if self.options.without == Without::Hearing {
            return 0;
        }
        let reply = ReplyTo { home: connection.home, token: token::HEARD | number };
        let by = self.outlet.post.shard_of(connection.session.slot());
        let (here, shards) = (self.outlet.post.here(), self.outlet.post.shards());
        let mut unheard = 0;
        if went_away {
            for shard in (0..shards).filter(|shard| *shard != here) {
                self.outlet.post.send(shard, Letter::Hear { reply, passes_on: false });
            }
            unheard += u32::from(shards) - 1;
        }
        if went_by_log {
            unheard += u32::from(shards);
            if by == here {
                // Where this shard has answered already, nobody waited yet.
                unheard -= u32::from(self.hear(reply, true));
            } else {
                self.outlet.post.send(by, Letter::Hear { reply, passes_on: true });
            }
        }
        unheard
    }

    /// What was sent before this is taken, or waits for its topic: then this is answered later. Where it went on from here by
    /// the log, the other shards are asked too. Whether it is answered.
    pub(super) fn hear(&mut self, reply: ReplyTo, passes_on: bool) -> bool {
        let (here, shards) = (self.outlet.post.here(), self.outlet.post.shards());
        for shard in (0..shards).filter(|shard| *shard != here && passes_on) {
            self.outlet.post.send(shard, Letter::Hear { reply, passes_on: false });
        }
        let waits = self.outlet.casts.ask(reply);
        if !waits {
            self.outlet.answer(reply, Answer::Done);
        }
        !waits
    }
}
