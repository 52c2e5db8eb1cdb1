//! What of an answer people see in a table; `--json` has all of it.

use super::list::Row;
use crate::admin::{Client, Holding, ListenerState, Retained, Slot, Subscription, Topic};

fn text<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map(T::to_string).unwrap_or_default()
}

impl Row for Client {
    const HEADING: &'static [&'static str] =
        &["CLIENT", "USER", "ADDRESS", "VIA", "VERSION", "SUBS", "QUEUE", "INFLIGHT", "IN", "OUT", "SINCE"];

    fn row(&self) -> Vec<String> {
        let since = self
            .connected_since
            .clone()
            .or_else(|| self.disconnected_since.as_ref().map(|since| format!("away {since}")));
        vec![
            self.client_id.clone(),
            text(&self.user),
            text(&self.address),
            text(&self.transport),
            text(&self.protocol_version),
            self.subscriptions.to_string(),
            self.queue_messages.to_string(),
            self.inflight.to_string(),
            self.messages_received.to_string(),
            self.messages_sent.to_string(),
            since.unwrap_or_default(),
        ]
    }
}

impl Row for Subscription {
    const HEADING: &'static [&'static str] = &["CLIENT", "FILTER", "QOS", "IDENTIFIER", "OPTIONS"];

    fn row(&self) -> Vec<String> {
        let options = [(self.no_local, "no local"), (self.retain_as_published, "retain as published")];
        let options: Vec<_> = options.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
        vec![
            self.client_id.clone(),
            self.filter.clone(),
            self.qos.to_string(),
            text(&self.identifier),
            options.join(", "),
        ]
    }
}

impl Row for Topic {
    const HEADING: &'static [&'static str] = &["FILTER", "SUBSCRIBERS", "SHARES", "SLOT"];

    fn row(&self) -> Vec<String> {
        let shares: Vec<_> =
            self.shares.iter().map(|share| format!("{} ({})", share.name, share.members)).collect();
        let slot = if self.slot == u16::MAX { "meta".to_owned() } else { self.slot.to_string() };
        vec![self.filter.clone(), self.subscribers.to_string(), shares.join(", "), slot]
    }
}

impl Row for Retained {
    const HEADING: &'static [&'static str] = &["TOPIC", "BYTES", "QOS", "PUBLISHED", "EXPIRES"];

    fn row(&self) -> Vec<String> {
        let bytes = self.payload_bytes.to_string();
        vec![self.topic.clone(), bytes, self.qos.to_string(), self.published.clone(), text(&self.expires)]
    }
}

impl Row for Slot {
    const HEADING: &'static [&'static str] =
        &["SLOT", "SHARD", "LEADER", "REPLICAS", "TERM", "LAST", "APPLIED", "RETAINED", "FAILURE"];

    fn row(&self) -> Vec<String> {
        vec![
            self.slot.clone(),
            self.shard.to_string(),
            if self.leading { self.node.clone() } else { String::new() },
            if self.leading { format!("{} of {}", self.current, self.voters) } else { String::new() },
            self.term.to_string(),
            self.last.to_string(),
            self.applied.to_string(),
            self.retained_messages.to_string(),
            text(&self.failure),
        ]
    }
}

impl Row for ListenerState {
    const HEADING: &'static [&'static str] = &["NAME", "KIND", "ADDRESS", "CLIENTS"];

    fn row(&self) -> Vec<String> {
        vec![self.name.clone(), self.kind.clone(), self.addr.to_string(), self.clients.to_string()]
    }
}

pub const OF_HOLDING: &[&str] = &["WHAT", "USED", "LIMIT"];

/// What a user holds, a row for each limit of the configuration.
pub fn holding(holding: &Holding) -> Vec<Vec<String>> {
    let (used, limit) = (&holding.stored.used, &holding.stored.limit);
    let rows = [
        ("sessions", used.sessions, limit.sessions),
        ("stored_bytes", used.stored_bytes, limit.stored_bytes),
        ("will_bytes", used.will_bytes, limit.will_bytes),
        ("retained_messages", used.retained_messages, limit.retained_messages),
        ("retained_bytes", used.retained_bytes, limit.retained_bytes),
    ];
    rows.map(|(what, used, limit)| vec![what.to_owned(), used.to_string(), limit.to_string()]).into()
}
