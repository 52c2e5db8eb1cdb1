//! How often a run gave each promise the chance to be broken: a check that met nothing to judge has shown nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::{racing, will};
use crate::oracle::{Ledger, Message, Name, Present, Qos, Retain, What};

/// Cases by the promise that they were judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<&'static str, u64>);

impl Census {
    pub fn of(ledger: &Ledger) -> Self {
        let mut census = Self::default();
        census.count_messages(ledger);
        census.count_sessions(ledger);
        census.count_lookups(ledger);
        census
    }

    pub fn add(&mut self, promise: &'static str, cases: usize) {
        *self.0.entry(promise).or_default() += cases as u64;
    }

    /// Those of another run too.
    pub fn merge(&mut self, other: &Self) {
        for (promise, cases) in &other.0 {
            *self.0.entry(promise).or_default() += cases;
        }
    }

    /// Promises that nothing was judged by.
    pub fn idle(&self) -> Vec<&'static str> {
        self.0.iter().filter(|(_, cases)| **cases == 0).map(|(promise, _)| *promise).collect()
    }

    fn count_messages(&mut self, ledger: &Ledger) {
        let accepted = |sent: &&crate::oracle::Sent| sent.accepted.is_some() && sent.retain != Retain::Delete;
        let (mut owed, mut exact, mut ordered, mut brief) = (0, 0, 0, 0);
        for life in &ledger.lives {
            for span in life.spans.iter().filter(|_| life.ends.is_none()) {
                let Some(since) = span.promises_at_least_once() else { continue };
                let takes = |sent: &&crate::oracle::Sent| {
                    sent.first > since
                        && sent.message.qos > Qos::AtMostOnce
                        && span.takes(&sent.message.topic)
                };
                owed += ledger.sent.iter().filter(accepted).filter(takes).count();
            }
            let mut seen: HashSet<(&Name, &Name, Qos)> = HashSet::new();
            for delivery in life.deliveries.iter().filter(|delivery| !delivery.retained) {
                let Message { publisher, topic, qos, .. } = &delivery.message;
                exact += usize::from(*qos == Qos::ExactlyOnce);
                ordered += usize::from(!seen.insert((publisher, topic, *qos)));
                brief +=
                    usize::from(ledger.sent_of(&delivery.message).is_some_and(|sent| sent.expiry.is_some()));
            }
        }
        self.add("1 acknowledged messages owed to a Session", owed);
        self.add("1 deliveries of messages that expire", brief);
        self.add("2 deliveries of QoS 2", exact);
        self.add("3 deliveries behind another of the same order", ordered);
    }

    fn count_sessions(&mut self, ledger: &Ledger) {
        let (mut there, mut gone, mut taken) = (0, 0, 0);
        let mut last: HashMap<&Name, usize> = HashMap::new();
        for (place, connection) in ledger.connections.iter().enumerate() {
            let Some((connack, _)) = connection.connack else { continue };
            there += usize::from(connection.present == Present::Must(true));
            gone += usize::from(connection.present == Present::Must(false));
            let before = last.insert(&connection.link.client, place);
            taken += usize::from(before.is_some_and(|before| {
                ledger.connections[before].closed.is_none_or(|(closed, _)| closed > connack)
            }));
        }
        let [due, never] = will::judged(ledger);
        let ended = ledger.lives.iter().filter(|life| life.ends.is_some()).count();
        let unsubscribed = ledger.events.iter().filter(|event| matches!(event.what, What::Unsuback { .. }));
        self.add("4 connections that were taken over", taken);
        self.add("5 Sessions that had to be there", there);
        self.add("5 Sessions that could not be there", gone);
        self.add("7 Wills that were due", due);
        self.add("7 Wills that were not to be published", never);
        self.add("9 Sessions that ended", ended);
        self.add("9 Subscriptions that ended", unsubscribed.count());
    }

    fn count_lookups(&mut self, ledger: &Ledger) {
        let reads = ledger.events.iter().filter(|event| matches!(event.what, What::Read { .. }));
        self.add("6 Retained Messages looked up", reads.count());
        self.add("6 Subscriptions that met a value on its way", racing::races(ledger));
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(promise, cases)| writeln!(f, "    {cases:>10}  {promise}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::*;
    use crate::oracle::{Closer, Terms};

    #[test]
    fn what_was_judged_is_counted_and_what_was_not_is_named() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 1);
        let desk = tale.connect("desk", Terms::lasting(), false);
        for seq in [1, 2] {
            let stop = message("desk", "cmd/stop", 1, seq);
            tale.publish(&desk, &stop);
            tale.deliver(&van, &stop);
        }
        tale.close(&van, Closer::Client);
        tale.connect("van", Terms::lasting(), true);
        let mut census = Census::of(&tale.ledger());
        let cases = |census: &Census, promise: &str| {
            census.0.iter().find(|(of, _)| of.starts_with(promise)).map(|(_, cases)| *cases)
        };
        assert_eq!(cases(&census, "1 acknowledged"), Some(2));
        assert_eq!(cases(&census, "3 deliveries"), Some(1));
        assert_eq!(cases(&census, "5 Sessions that had"), Some(1));
        assert!(census.idle().contains(&"2 deliveries of QoS 2"));
        census.merge(&census.clone());
        assert_eq!(cases(&census, "1 acknowledged"), Some(4));
    }
}
