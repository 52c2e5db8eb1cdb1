//! The promises, one file each: a checker reads the ledger of a run and names what broke them.
//!
//! A checker stays silent where the history leaves two truths possible and never where it leaves one. Each has tests on
//! histories written by hand, above all on wrong ones: a checker that passes a wrong history is broken.

pub mod ban;
pub mod bounds;
pub mod census;
pub mod exactly_once;
pub mod in_order;
pub mod liveness;
pub mod message_expiry;
pub mod no_acknowledged_loss;
pub mod no_return;
pub mod order;
pub mod overflow;
pub mod power_loss;
pub mod racing;
pub mod retained;
pub mod session_present;
pub mod shared;
pub mod strange;
pub mod takeover;
pub mod will;

use std::fmt;

use crate::oracle::{Ledger, Qos};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    /// The event that broke it, or the last one before it was broken.
    pub at: usize,
    pub said: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (event {}): {}", self.invariant, self.at, self.said)
    }
}

/// Every promise that a history alone can break. Liveness and bounds need limits of their own and are asked apart.
pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let checks = [
        no_acknowledged_loss::check,
        exactly_once::check,
        order::check,
        in_order::check,
        overflow::check,
        takeover::check,
        session_present::check,
        retained::check,
        racing::check,
        will::check,
        shared::check,
        message_expiry::check,
        no_return::check,
        ban::check,
        strange::check,
    ];
    checks.iter().flat_map(|check| check(ledger)).collect()
}

/// What a run did: a run that did nothing proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub accepted: [usize; 3],
    pub refused: usize,
    pub unknown: usize,
    pub delivered: usize,
    pub connected: usize,
    pub resumed: usize,
    pub reads: usize,
    pub wills: usize,
    /// Deliveries by Shared Subscriptions.
    pub shared: usize,
    /// Messages with an interval that were never delivered.
    pub expired: usize,
    /// Acknowledged messages that gave way in a full queue, once for each Session.
    pub overflowed: usize,
    pub crashes: usize,
    pub bans: usize,
}

impl Tally {
    pub fn of(ledger: &Ledger) -> Self {
        let mut tally = Self::default();
        for sent in &ledger.sent {
            match (sent.accepted, sent.refused) {
                (Some(_), _) => tally.accepted[usize::from(sent.message.qos.level())] += 1,
                (None, Some(_)) => tally.refused += 1,
                (None, None) if sent.message.qos != Qos::AtMostOnce => tally.unknown += 1,
                (None, None) => {}
            }
        }
        for connection in &ledger.connections {
            tally.connected += usize::from(connection.connack.is_some());
            tally.resumed += usize::from(matches!(connection.connack, Some((_, true))));
            tally.wills += usize::from(connection.terms.will.is_some());
        }
        for life in &ledger.lives {
            let groups: Vec<_> = life.spans.iter().filter(|span| span.is_shared()).collect();
            let shared = |topic: &str| groups.iter().any(|span| span.takes(topic));
            tally.shared += life.deliveries.iter().filter(|one| shared(&one.message.topic)).count();
        }
        let delivered: std::collections::HashSet<_> =
            ledger.lives.iter().flat_map(|life| &life.deliveries).map(|delivery| &delivery.message).collect();
        let expired =
            |sent: &&crate::oracle::Sent| sent.expiry.is_some() && !delivered.contains(&sent.message);
        tally.expired = ledger.sent.iter().filter(expired).count();
        tally.overflowed = overflow::lost(ledger);
        tally.delivered = ledger.lives.iter().map(|life| life.deliveries.len()).sum();
        tally.reads =
            ledger.events.iter().filter(|e| matches!(e.what, crate::oracle::What::Read { .. })).count();
        tally.crashes = ledger
            .faults()
            .filter(|(_, fault)| {
                matches!(fault, crate::oracle::Fault::Killed | crate::oracle::Fault::PowerCut)
            })
            .count();
        let is_ban = |fault: &crate::oracle::Fault| matches!(fault, crate::oracle::Fault::Banned(_));
        tally.bans = ledger.faults().filter(|(_, fault)| is_ban(fault)).count();
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted QoS 1 {} QoS 2 {}, refused {}, unknown {}, delivered {}, connections {} ({} resumed, {} with a Will), \
             retained reads {}, by Shared Subscriptions {}, expired {}, overflowed {}, crashes {}, bans {}",
            self.accepted[1],
            self.accepted[2],
            self.refused,
            self.unknown,
            self.delivered,
            self.connected,
            self.resumed,
            self.wills,
            self.reads,
            self.shared,
            self.expired,
            self.overflowed,
            self.crashes,
            self.bans
        )
    }
}

/// Histories written by hand.
#[cfg(test)]
pub(crate) mod by_hand {
    use std::time::Duration;

    use crate::oracle::{Closer, Event, Fault, Ledger, Link, Message, Name, Qos, Retain, Terms, What};

    /// Writes events a millisecond apart, unless told to wait.
    #[derive(Default)]
    pub(crate) struct Tale {
        events: Vec<Event>,
        now: Duration,
        connections: u32,
    }

    pub(crate) fn message(publisher: &str, topic: &str, qos: u8, seq: u64) -> Message {
        Message::new(&publisher.into(), &topic.into(), Qos::from_level(qos).expect("0, 1 or 2"), seq)
    }

    impl Tale {
        pub(crate) fn push(&mut self, what: What) -> usize {
            self.now += Duration::from_millis(1);
            self.events.push(Event { at: self.now, what });
            self.events.len() - 1
        }

        pub(crate) fn wait(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        pub(crate) fn ledger(&self) -> Ledger {
            Ledger::of(self.events.clone())
        }

        pub(crate) fn sent_connect(&mut self, client: &str, terms: Terms) -> Link {
            self.connections += 1;
            let link = Link { client: client.into(), connection: self.connections };
            self.push(What::Connect { link: link.clone(), terms });
            link
        }

        pub(crate) fn connect(&mut self, client: &str, terms: Terms, session_present: bool) -> Link {
            let link = self.sent_connect(client, terms);
            self.push(What::Connack { link: link.clone(), session_present });
            link
        }

        pub(crate) fn close(&mut self, link: &Link, by: Closer) {
            self.push(What::Closed { link: link.clone(), by });
        }

        pub(crate) fn disconnect(&mut self, link: &Link) {
            self.leave(link, false);
            self.close(link, Closer::Server);
        }

        /// DISCONNECT, whose connection the Server has yet to close.
        pub(crate) fn leave(&mut self, link: &Link, with_will: bool) {
            self.push(What::Disconnect { link: link.clone(), with_will });
        }

        pub(crate) fn subscribe(&mut self, link: &Link, filter: &str, qos: u8) -> usize {
            let filter: Name = filter.into();
            let qos = Qos::from_level(qos).expect("0, 1 or 2");
            let asked = self.push(What::Subscribe { link: link.clone(), filter: filter.clone(), qos });
            self.push(What::Suback { link: link.clone(), filter, granted: Some(qos) });
            asked
        }

        pub(crate) fn unsubscribe(&mut self, link: &Link, filter: &str) {
            let filter: Name = filter.into();
            self.push(What::Unsubscribe { link: link.clone(), filter: filter.clone() });
            self.push(What::Unsuback { link: link.clone(), filter });
        }

        pub(crate) fn send(&mut self, link: &Link, message: &Message) {
            self.push(What::Publish {
                link: link.clone(),
                message: message.clone(),
                retain: Retain::No,
                expiry: None,
            });
        }

        pub(crate) fn send_for(&mut self, link: &Link, message: &Message, interval: Duration) {
            let (link, message) = (link.clone(), message.clone());
            self.push(What::Publish { link, message, retain: Retain::No, expiry: Some(interval) });
        }

        pub(crate) fn accept(&mut self, link: &Link, message: &Message) {
            self.push(What::Accepted { link: link.clone(), message: message.clone() });
        }

        pub(crate) fn publish(&mut self, link: &Link, message: &Message) {
            self.send(link, message);
            self.accept(link, message);
        }

        pub(crate) fn deliver(&mut self, link: &Link, message: &Message) {
            self.push(What::Delivered { link: link.clone(), message: message.clone(), retained: false });
        }

        pub(crate) fn fault(&mut self, fault: Fault) {
            self.push(What::Fault(fault));
        }
    }
}
