//! What shards have counted, as lines of `/metrics`. They count in plain numbers of their own; what an operator reads is
//! made of them when it is asked for, by the names of the list.

use super::metrics::{self, Kind, Metric};
use convoy_actors::{Observation, Waits};
use std::fmt::{Display, Write};
use std::time::Duration;

/// How long the turns of a shard took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    counts: [u64; Turns::MICROS.len() + 1],
    micros: u64,
}

impl Turns {
    const MICROS: [u64; 10] = [25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000];

    pub fn add(&mut self, took: Duration) {
        let micros = took.as_micros() as u64;
        let place = Self::MICROS.iter().position(|bound| micros <= *bound).unwrap_or(Self::MICROS.len());
        self.counts[place] += 1;
        self.micros += micros;
    }

    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.micros += other.micros;
    }
}

/// The lines of one scrape.
pub fn render(totals: &Observation, turns: &Turns) -> String {
    let mut lines = Lines(String::new());
    let tally = &totals.tally;
    let offline = totals.sessions.saturating_sub(totals.sessions_connected);
    let own = totals.subscriptions.saturating_sub(totals.shared_subscriptions);

    lines.by(metrics::PACKETS_RECEIVED, tally.packets().map(|(kind, count)| (label("type", kind), count)));
    let by_qos = ["0", "1", "2"].into_iter().zip(tally.published);
    lines.by(metrics::MESSAGES_RECEIVED, by_qos.map(|(qos, count)| (label("qos", qos), count)));
    lines.one(metrics::MESSAGES_SENT, tally.traffic.messages_sent);
    lines.one(metrics::PAYLOAD_RECEIVED, tally.published_bytes);
    lines.one(metrics::PAYLOAD_SENT, tally.traffic.payload_bytes_sent);
    let connected = tally.connections.iter().map(|kind| {
        let labels = [
            label("listener", &kind.listener.name),
            label("transport", kind.listener.transport.as_str()),
            label("version", crate::admin::version(kind.version)),
        ];
        (labels.join(","), kind.connections)
    });
    lines.by(metrics::CLIENTS_CONNECTED, connected);
    let sessions = [("connected", totals.sessions_connected), ("offline", offline)];
    lines.by(metrics::SESSIONS, sessions.map(|(state, count)| (label("state", state), count)));
    lines.one(metrics::SESSIONS_LASTING, totals.stored.sessions);
    lines.one(metrics::STORED_BYTES, totals.stored.stored_bytes);
    lines.one(metrics::WILL_BYTES, totals.stored.will_bytes);
    lines.one(metrics::SESSIONS_EXPIRED, totals.sessions_expired);
    let subscriptions = [("own", own), ("shared", totals.shared_subscriptions)];
    lines.by(metrics::SUBSCRIPTIONS, subscriptions.map(|(kind, count)| (label("kind", kind), count)));
    lines.one(metrics::RETAINED_MESSAGES, totals.retained_messages);
    lines.one(metrics::RETAINED_BYTES, totals.retained_bytes);
    lines.one(metrics::SLOTS, totals.slots);
    lines.one(metrics::SLOTS_LED, totals.slots_led);
    let waits = &tally.acknowledged;
    let bounds = Waits::MILLIS.map(|millis| millis as f64 / 1e3);
    lines.histogram(metrics::ACKNOWLEDGE_SECONDS, &bounds, &waits.counts, waits.millis as f64 / 1e3);
    let bounds = Turns::MICROS.map(|micros| micros as f64 / 1e6);
    lines.histogram(metrics::TURN_SECONDS, &bounds, &turns.counts, turns.micros as f64 / 1e6);
    lines.0
}

/// Names of listeners are an operator's, and may hold anything.
fn label(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("writing to a string cannot fail");
    }

    fn begin(&mut self, name: &str) {
        let listed = metrics::ALL.iter().find(|metric| metric.name == name);
        let Metric { kind, meaning, .. } = listed.expect("what is rendered is in the list");
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {meaning}\n# TYPE {name} {kind}"));
    }

    fn one(&mut self, name: &str, value: u64) {
        self.begin(name);
        self.line(format_args!("{name} {value}\n"));
    }

    fn by(&mut self, name: &str, values: impl IntoIterator<Item = (String, u64)>) {
        self.begin(name);
        for (labels, value) in values {
            self.line(format_args!("{name}{{{labels}}} {value}"));
        }
        self.line("");
    }

    fn histogram(&mut self, name: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        self.begin(name);
        let mut all = 0;
        for (bound, count) in bounds.iter().zip(counts) {
            all += count;
            self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {all}"));
        }
        let all: u64 = counts.iter().sum();
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {sum}\n{name}_count {all}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_rendered_by_its_labels() {
        let mut totals = Observation { sessions: 5, sessions_connected: 2, ..Observation::default() };
        totals.tally.published = [7, 8, 9];
        totals.tally.acknowledged.add(3, 2);
        let mut turns = Turns::default();
        turns.add(Duration::from_micros(60));
        turns.add(Duration::from_secs(1));
        let text = render(&totals, &turns);
        for line in [
            "# TYPE convoy_messages_received_total counter",
            "convoy_messages_received_total{qos=\"1\"} 8",
            "convoy_sessions{state=\"offline\"} 3",
            "convoy_packets_received_total{type=\"pingreq\"} 0",
            "convoy_publish_acknowledge_seconds_bucket{le=\"0.002\"} 0",
            "convoy_publish_acknowledge_seconds_bucket{le=\"0.005\"} 2",
            "convoy_publish_acknowledge_seconds_sum 0.006",
            "convoy_turn_seconds_bucket{le=\"0.25\"} 1",
            "convoy_turn_seconds_bucket{le=\"+Inf\"} 2",
            "convoy_turn_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert_eq!(label("listener", "a\"b\\"), "listener=\"a\\\"b\\\\\"");
    }
}
