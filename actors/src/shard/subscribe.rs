//! SUBSCRIBE and UNSUBSCRIBE: what of them is refused by itself, and what the Session's slot is asked for.

use convoy_wire::{self as wire, List, ReasonCode, Subscribe, TopicFilter, Unsubscribe};

use super::Shard;
use super::mail::{Letter, Where};
use super::packets::Outcome;
use crate::call::{Answer, ReplyTo, SessionCall, token};
use crate::connection::{Ask, AskKind, Barrier, Connection, Repeats, Rest, Stage, UNTOLD};
use crate::edge::acknowledge_ask;
use crate::metric;
use crate::options::Without;
use crate::session::{Home, Subscription, Wanted};
use crate::slot::Effects;

/// Topic Filters that a Session's slot is asked for at once, and their bytes. Those of a packet that has more go in pieces.
const PIECE: usize = 256;
const PIECE_BYTES: usize = 32 << 10;

/// What a Topic Filter that is asked for holds beside its name.
const ASKED_BYTES: usize = 128;

/// Why a Topic Filter is refused by itself; the others stand.
enum Refused {
    Limit(&'static str),
    Feature(ReasonCode),
    Denied,
}

impl Refused {
    /// Counts it, and says it to the Client.
    fn tell(self) -> ReasonCode {
        match self {
            Self::Limit(limit) => {
                metric::met(limit);
                ReasonCode::TopicFilterInvalid
            }
            Self::Feature(reason) => reason,
            Self::Denied => {
                metric::denied("subscribe");
                ReasonCode::NotAuthorized
            }
        }
    }
}

/// What messages are matched with: of a Shared Subscription it is the filter within that opens topics.
fn plain(filter: TopicFilter<'_>) -> &str {
    filter.shared().map_or(filter.as_str(), |shared| shared.filter.as_str())
}

impl Shard {
    pub(super) fn on_subscribe(&mut self, key: u32, subscribe: &Subscribe<'_>) -> Outcome {
        let identifier = subscribe.properties.subscription_id.map_or(0, |identifier| identifier.get());
        let list = subscribe.subscriptions;
        let connection = &self.outlet.edge.connections[key as usize];
        // What ends the connection does so before anything is subscribed.
        for subscription in list {
            let features = &self.options.limits.features;
            features.check_subscription(connection.version, &subscription, identifier > 0)?;
        }
        let mut ask = Ask::new(AskKind::Subscribe, subscribe.packet_id, self.outlet.edge.now);
        if list.len() > 1 {
            let named = list.iter().enumerate().filter_map(|(at, subscription)| {
                self.judge(connection, &subscription, identifier).ok()?;
                Some((at, subscription.filter.as_str(), subscription.options))
            });
            ask.repeats = Repeats::of(named, self.options.secret.of_tables());
        }
        let piece = list.fit(PIECE, PIECE_BYTES);
        if piece < list.len() {
            let subscriptions = list.keep(piece).expect("it was received");
            ask.rest = Some(Rest::Subscribe { subscriptions, identifier });
        }
        self.want(key, list.first(piece), identifier, &mut ask);
        self.ask(key, Box::new(ask));
        Ok(())
    }

    pub(super) fn on_unsubscribe(&mut self, key: u32, unsubscribe: &Unsubscribe<'_>) -> Outcome {
        let list = unsubscribe.filters;
        let mut ask = Ask::new(AskKind::Unsubscribe, unsubscribe.packet_id, self.outlet.edge.now);
        if list.len() > 1 {
            let named = list.iter().enumerate().map(|(at, filter)| (at, filter.as_str(), Default::default()));
            ask.repeats = Repeats::of(named, self.options.secret.of_tables());
        }
        let piece = list.fit(PIECE, PIECE_BYTES);
        if piece < list.len() {
            ask.rest = Some(Rest::Unsubscribe { filters: list.keep(piece).expect("it was received") });
        }
        self.unwant(list.first(piece), &mut ask);
        self.ask(key, Box::new(ask));
        Ok(())
    }

    /// Asks for the next piece of a packet that has many.
    pub(super) fn ask_on(&mut self, home: Home) {
        let now = self.outlet.edge.now;
        let Some(connection) = self.outlet.edge.find(&home).filter(|found| found.stage == Stage::Open) else {
            return;
        };
        let Some(Barrier::Ask(mut ask)) = connection.barrier.take() else { return };
        ask.next_piece(now);
        match ask.rest.take() {
            Some(Rest::Subscribe { mut subscriptions, identifier }) => {
                self.want(home.key, subscriptions.take(PIECE, PIECE_BYTES), identifier, &mut ask);
                ask.rest =
                    (!subscriptions.is_empty()).then_some(Rest::Subscribe { subscriptions, identifier });
            }
            Some(Rest::Unsubscribe { mut filters }) => {
                self.unwant(filters.take(PIECE, PIECE_BYTES), &mut ask);
                ask.rest = (!filters.is_empty()).then_some(Rest::Unsubscribe { filters });
            }
            None => {}
        }
        self.ask(home.key, ask);
        self.outlet.edge.weigh_unfinished(home.key);
    }

    /// What of these is refused by itself, and what the slot is to be asked for.
    fn want(
        &mut self,
        key: u32,
        subscriptions: List<'_, wire::Subscription<'_>>,
        identifier: u32,
        ask: &mut Ask,
    ) {
        self.work += subscriptions.len() as u64;
        let layout = self.layout();
        let connection = &self.outlet.edge.connections[key as usize];
        for subscription in subscriptions {
            let (filter, options) = (subscription.filter, subscription.options);
            let granted = match self.judge(connection, &subscription, identifier) {
                Ok(granted) => granted,
                Err(refused) => {
                    ask.reasons.push(refused.tell());
                    continue;
                }
            };
            let place = ask.reasons.len();
            ask.reasons.push(granted);
            let options = match ask.repeats.get(filter.as_str()) {
                Some(repeat) if repeat.first as usize != place => {
                    ask.repeated.push((place as u32, repeat.first));
                    continue;
                }
                Some(repeat) => repeat.options,
                None => options,
            };
            ask.asked.push(place);
            ask.piece_bytes += 2 * (filter.as_str().len() + ASKED_BYTES);
            ask.wanted.push((
                Wanted {
                    filter: filter.as_str().to_owned(),
                    subscription: Subscription {
                        qos: options.qos.min(self.options.limits.features.maximum_qos) as u8,
                        no_local: options.no_local,
                        retain_as_published: options.retain_as_published,
                        identifier,
                    },
                    places: layout.places_of_filter(plain(filter)),
                },
                // [MQTT-4.8.2]: a Shared Subscription gets no Retained Messages.
                if filter.is_shared() { wire::RetainHandling::Never } else { options.retain_handling },
            ));
        }
    }

    /// What of a Subscription is known here: the QoS that it would be granted, or why it is refused by itself.
    fn judge(
        &self,
        connection: &Connection,
        subscription: &wire::Subscription<'_>,
        identifier: u32,
    ) -> Result<ReasonCode, Refused> {
        let (limits, filter) = (&self.options.limits, subscription.filter);
        if let Some(limit) = limits.exceeded_by(filter) {
            return Err(Refused::Limit(limit));
        }
        match limits.features.check_subscription(connection.version, subscription, identifier > 0) {
            Ok(granted) if !granted.is_error() => {
                let qos = subscription.options.qos as u8;
                let permits = connection.permits.as_deref();
                match permits.is_none_or(|permits| permits.may_subscribe(plain(filter), qos)) {
                    true => Ok(granted),
                    false => Err(Refused::Denied),
                }
            }
            Ok(refused) | Err(refused) => Err(Refused::Feature(refused)),
        }
    }

    fn unwant(&mut self, filters: List<'_, TopicFilter<'_>>, ask: &mut Ask) {
        self.work += filters.len() as u64;
        for filter in filters {
            let place = ask.reasons.len();
            ask.reasons.push(ReasonCode::Success);
            match ask.repeats.get(filter.as_str()) {
                Some(repeat) if repeat.first as usize != place => {
                    ask.repeated.push((place as u32, repeat.first));
                }
                _ => {
                    ask.asked.push(place);
                    ask.piece_bytes += 2 * (filter.as_str().len() + ASKED_BYTES);
                    ask.filters.push(filter.as_str().to_owned());
                }
            }
        }
    }

    /// Asks the slot for a piece, if there is anything in it to be asked for.
    pub(super) fn ask(&mut self, key: u32, mut ask: Box<Ask>) {
        if ask.asked.is_empty() {
            ask.answer_repeated();
            let edge = &mut self.outlet.edge;
            if ask.rest.is_some() {
                return edge.ask_on(key, ask);
            }
            acknowledge_ask(&mut edge.connections[key as usize], &ask);
            return edge.mark(key);
        }
        let number = self.asks << token::ENTRY.count_ones() & !token::KIND;
        self.asks += 1;
        ask.token = token::ASK | number;
        ask.unheard = self.ask_who_was_sent_to(key, number);
        let edge = &mut self.outlet.edge;
        let connection = &mut edge.connections[key as usize];
        let reply = ReplyTo { home: connection.home, token: ask.token };
        let (session, epoch) = (connection.session, connection.epoch);
        ask.call = Some(match ask.kind {
            AskKind::Subscribe => {
                connection.subscribes = true;
                let wanted = ask.wanted.iter().map(|(wanted, _)| wanted.clone()).collect();
                SessionCall::Subscribe { session, epoch, wanted, reply }
            }
            AskKind::Unsubscribe => {
                SessionCall::Unsubscribe { session, epoch, filters: ask.filters.clone(), reply }
            }
        });
        connection.barrier = Some(Barrier::Ask(ask));
        edge.step(key);
    }

    /// Asks the shards that the connection has sent messages to, of which nobody would tell, whether they have taken
    /// them: what goes from one shard to another keeps its order. How many will answer.
    fn ask_who_was_sent_to(&mut self, key: u32, number: u64) -> i32 {
        let connection = &mut self.outlet.edge.connections[key as usize];
        let went_away = std::mem::take(&mut connection.inbound.went_away);
        let went_by_log = std::mem::take(&mut connection.inbound.went_by_log);
        if self.options.without == Without::Hearing {
            return 0;
        }
        let reply = ReplyTo { home: connection.home, token: token::HEARD | number };
        let by = self.outlet.post.where_is(connection.session.slot());
        let mut unheard = 0;
        if went_away {
            for dest in self.outlet.post.others() {
                self.outlet.post.send(dest, Letter::Hear { reply, passes_on: false });
                unheard += 1;
            }
        }
        if went_by_log {
            match by {
                Where::Here => {
                    // Where this shard has answered already, nobody waited yet.
                    unheard += 1 + self.outlet.post.others().count() as i32;
                    unheard -= i32::from(self.hear(reply, true));
                }
                Where::There(dest) => {
                    // Whom it asks in its turn it tells.
                    unheard += 1 + UNTOLD;
                    self.outlet.post.send(dest, Letter::Hear { reply, passes_on: true });
                }
                Where::Nowhere => {}
            }
        }
        unheard
    }

    /// What was sent before this is taken, or waits for its topic: then this is answered later. Where it went on from here by
    /// the log, the other shards are asked too. Whether it is answered.
    pub(super) fn hear(&mut self, reply: ReplyTo, passes_on: bool) -> bool {
        if passes_on {
            for dest in self.outlet.post.others() {
                self.outlet.post.send(dest, Letter::Hear { reply, passes_on: false });
            }
        }
        let waits = self.outlet.casts.ask(reply);
        if !waits {
            self.outlet.answer(reply, Answer::Done);
        }
        !waits
    }
}
