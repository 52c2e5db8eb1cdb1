//! Every metric this crate emits, by name and meaning. A name is written here and nowhere else, which
//! `deploy/checks/verify` enforces, so that this list is what an operator can rely on.
//!
//! Handles are taken once and kept by whoever counts; no label is built per message.

use super::usage::Usage;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One line of the list.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub meaning: &'static str,
}

const fn counter(name: &'static str, meaning: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, meaning }
}

const fn gauge(name: &'static str, meaning: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, meaning }
}

const fn histogram(name: &'static str, meaning: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, meaning }
}

pub const BUILD_INFO: &str = "convoy_build_info";
pub const CONNECTIONS_ACCEPTED: &str = "convoy_connections_accepted_total";
pub const CONNECTIONS_REFUSED: &str = "convoy_connections_refused_total";
pub const CONNECTIONS_HALF_OPEN: &str = "convoy_connections_half_open";
pub const CONNECTIONS_LIMIT: &str = "convoy_connections_limit";
pub const LISTENER_CONNECTIONS: &str = "convoy_listener_connections";
pub const API_CONNECTIONS_CLOSED: &str = "convoy_api_connections_closed_total";
pub const HANDSHAKES_FAILED: &str = "convoy_handshakes_failed_total";
pub const TLS_HANDSHAKES: &str = "convoy_tls_handshakes_total";
pub const CERTIFICATE_EXPIRY: &str = "convoy_certificate_expiry_timestamp_seconds";
pub const LISTENER_STOPPED: &str = "convoy_listener_stopped";
pub const CERTIFICATE_RELOADS: &str = "convoy_certificate_reloads_total";
pub const RECEIVED_BYTES: &str = "convoy_received_bytes_total";
pub const SENT_BYTES: &str = "convoy_sent_bytes_total";
pub const PEER_LINKS: &str = "convoy_peer_links";
pub const PEER_UNHEARD_BYTES: &str = "convoy_peer_unheard_bytes_total";
pub const PEER_DATAGRAMS_REFUSED: &str = "convoy_peer_datagrams_refused_total";
pub const MAIL_BYTES: &str = "convoy_mail_bytes";
pub const MAIL_ROOM: &str = "convoy_mail_room_bytes";
pub const MAIL_HELD: &str = "convoy_mail_held_total";
pub const READING_STOPPED: &str = "convoy_reading_stopped_total";
pub const AUTHENTICATIONS: &str = "convoy_authentications_total";
pub const AUTHENTICATION_SECONDS: &str = "convoy_authentication_seconds";
pub const LOG_LINES_LOST: &str = "convoy_log_lines_lost_total";
pub const ACCESS_RELOADS: &str = "convoy_access_reloads_total";
pub const SYNC_SECONDS: &str = "convoy_sync_seconds";
pub const PACKETS_RECEIVED: &str = "convoy_packets_received_total";
pub const MESSAGES_RECEIVED: &str = "convoy_messages_received_total";
pub const MESSAGES_SENT: &str = "convoy_messages_sent_total";
pub const PAYLOAD_RECEIVED: &str = "convoy_payload_received_bytes_total";
pub const PAYLOAD_SENT: &str = "convoy_payload_sent_bytes_total";
pub const CLIENTS_CONNECTED: &str = "convoy_clients_connected";
pub const SESSIONS: &str = "convoy_sessions";
pub const SESSIONS_LASTING: &str = "convoy_sessions_lasting";
pub const SESSIONS_LASTING_LIMIT: &str = "convoy_sessions_lasting_limit";
pub const SESSIONS_EXPIRED: &str = "convoy_sessions_expired_total";
pub const SUBSCRIPTIONS: &str = "convoy_subscriptions";
pub const RETAINED_MESSAGES: &str = "convoy_retained_messages";
pub const RETAINED_BYTES: &str = "convoy_retained_bytes";
pub const STORED_BYTES: &str = "convoy_stored_bytes";
pub const STORED_BYTES_LIMIT: &str = "convoy_stored_bytes_limit";
pub const WILL_BYTES: &str = "convoy_will_bytes";
pub const WILL_BYTES_LIMIT: &str = "convoy_will_bytes_limit";
pub const RETAINED_MESSAGES_LIMIT: &str = "convoy_retained_messages_limit";
pub const RETAINED_BYTES_LIMIT: &str = "convoy_retained_bytes_limit";
pub const SLOTS: &str = "convoy_slots";
pub const SLOTS_LED: &str = "convoy_slots_led";
pub const ACKNOWLEDGE_SECONDS: &str = "convoy_publish_acknowledge_seconds";
pub const TURN_SECONDS: &str = "convoy_turn_seconds";
pub const SLOW_STEPS: &str = "convoy_slow_steps_total";
pub const STORAGE_FREE_BYTES: &str = "convoy_storage_free_bytes";
pub const STORAGE_BUFFER_BYTES: &str = "convoy_storage_buffer_bytes";

pub const ALL: &[Metric] = &[
    gauge(BUILD_INFO, "always 1; the label version says what runs"),
    counter(CONNECTIONS_ACCEPTED, "network connections accepted, by listener"),
    counter(
        CONNECTIONS_REFUSED,
        "network connections closed as soon as they came, by listener and reason: too_many, too_fast, half_open, the \
         same three of one address, stranger, no_proxy, no_certificate",
    ),
    gauge(
        CONNECTIONS_HALF_OPEN,
        "network connections whose client is not connected by mqtt yet: they shake hands, or connack has not left",
    ),
    gauge(
        CONNECTIONS_LIMIT,
        "network connections that there is room for: limits.connections, or what the limit of open files leaves",
    ),
    gauge(LISTENER_CONNECTIONS, "network connections that are open or shake hands, by listener"),
    counter(
        API_CONNECTIONS_CLOSED,
        "connections of the api that were closed early, by reason: full, displaced by another one, slow, too_long, unread (no byte of an answer is taken)",
    ),
    counter(
        HANDSHAKES_FAILED,
        "handshakes of tls, websocket and proxy protocol that came to nothing, by listener and reason",
    ),
    counter(
        TLS_HANDSHAKES,
        "tls handshakes that succeeded, by listener, version and whether a session was resumed",
    ),
    gauge(
        CERTIFICATE_EXPIRY,
        "when a certificate or a list of revoked ones expires, in seconds since 1970, by listener and file",
    ),
    gauge(LISTENER_STOPPED, "1 while a listener accepts nobody because its certificates are out of date"),
    counter(CERTIFICATE_RELOADS, "changed certificates that were taken or refused, by outcome"),
    counter(
        AUTHENTICATIONS,
        "clients that gave a user name, by outcome: granted, refused, the same again from memory, busy (no room to wait), slowed (too many failures)",
    ),
    histogram(
        AUTHENTICATION_SECONDS,
        "time from a client's credentials to the verdict, where one was not remembered",
    ),
    counter(ACCESS_RELOADS, "changed users files and configurations that were taken or refused, by outcome"),
    counter(LOG_LINES_LOST, "lines of the log that could not be written"),
    counter(RECEIVED_BYTES, "bytes read from clients"),
    counter(SENT_BYTES, "bytes written to clients"),
    gauge(PEER_LINKS, "1 while the link to another node is up, by node and lane"),
    counter(
        PEER_UNHEARD_BYTES,
        "bytes from other nodes that were dropped because too much waited for a shard, by lane",
    ),
    counter(
        PEER_DATAGRAMS_REFUSED,
        "datagrams to the peer port that were refused, by reason: forged, a stranger, replayed, of an older process",
    ),
    gauge(
        MAIL_BYTES,
        "bytes of mail from other shards that wait to be opened, by shard; a tenth of a second old",
    ),
    gauge(
        MAIL_ROOM,
        "bytes of mail that may wait, by shard: what is opened in a tenth of a second, and 16 MiB at most",
    ),
    counter(
        MAIL_HELD,
        "batches of mail that found the mailbox of their shard full: until they go nothing is read from clients",
    ),
    counter(
        READING_STOPPED,
        "how often a shard stopped to read from all of its clients, by reason: mail (the mailbox of another shard was full), \
         log (32 MiB waited for it, or for the subscribers of one message)",
    ),
    histogram(SYNC_SECONDS, "time of one synced write"),
    counter(PACKETS_RECEIVED, "packets of clients, by type"),
    counter(MESSAGES_RECEIVED, "messages published by clients, by qos"),
    counter(MESSAGES_SENT, "messages written to clients; about a second old"),
    counter(PAYLOAD_RECEIVED, "bytes of payloads published by clients"),
    counter(PAYLOAD_SENT, "bytes of payloads written to clients; about a second old"),
    gauge(CLIENTS_CONNECTED, "connected clients, by listener, transport and protocol version"),
    gauge(SESSIONS, "sessions of the slots led here, by state: connected, offline"),
    gauge(SESSIONS_LASTING, "sessions that outlive their connections: what counts against limits.sessions"),
    gauge(SESSIONS_LASTING_LIMIT, "limits.sessions"),
    counter(SESSIONS_EXPIRED, "sessions that have expired"),
    gauge(SUBSCRIPTIONS, "subscriptions of these sessions, by kind: own, shared"),
    gauge(RETAINED_MESSAGES, "retained messages"),
    gauge(RETAINED_BYTES, "bytes of retained messages"),
    gauge(
        STORED_BYTES,
        "bytes that wait for sessions on disk, of their wills, and on their way from slot to slot: what counts against \
         limits.stored_bytes",
    ),
    gauge(STORED_BYTES_LIMIT, "limits.stored_bytes"),
    gauge(WILL_BYTES, "bytes of the wills of sessions: what counts against limits.will_bytes"),
    gauge(WILL_BYTES_LIMIT, "limits.will_bytes"),
    gauge(RETAINED_MESSAGES_LIMIT, "limits.retained_messages"),
    gauge(RETAINED_BYTES_LIMIT, "limits.retained_bytes"),
    gauge(SLOTS, "slots of which there is a replica here, the meta group included"),
    gauge(SLOTS_LED, "of them, slots that are led here"),
    histogram(ACKNOWLEDGE_SECONDS, "time from a publish of qos 1 or 2 to its acknowledgement"),
    counter(SLOW_STEPS, "things that held a shard up for 100 ms or more, by what it was doing"),
    histogram(TURN_SECONDS, "time of one turn of a shard, in which everybody who was ready was served"),
    gauge(STORAGE_FREE_BYTES, "free bytes of the file system that holds the data folder"),
    gauge(
        STORAGE_BUFFER_BYTES,
        "memory for what was written and is not in tables yet; above storage.write_buffer_bytes and a quarter more shards \
         write nothing until the disk has caught up",
    ),
];

/// Renders what was counted. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    prometheus: PrometheusHandle,
}

impl Recorder {
    /// Makes this the recorder of the process; before it, what is counted is lost. Fails when called twice.
    ///
    /// `rooms` are the lists of other crates, by name and meaning.
    pub fn install(rooms: &[&[(&'static str, &'static str)]]) -> Result<Self, BuildError> {
        let prometheus = builder()?.install_recorder()?;
        describe();
        for (name, meaning) in rooms.iter().copied().flatten() {
            // A comment begins with the space behind its slashes.
            let meaning = meaning.trim();
            match name.ends_with("_total") {
                true => metrics::describe_counter!(*name, meaning),
                false => metrics::describe_gauge!(*name, meaning),
            }
        }
        metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Self { prometheus })
    }

    /// A recorder that nothing counts into, for tests of what is built upon one.
    #[cfg(test)]
    pub fn detached() -> Self {
        Self { prometheus: PrometheusBuilder::new().build_recorder().handle() }
    }

    /// The text of one scrape; what the machine spent on us is read now.
    pub fn render(&self) -> String {
        let mut text = self.prometheus.render();
        match Usage::read() {
            Ok(usage) => write!(text, "{usage}").expect("writing to a string cannot fail"),
            Err(error) => tracing::warn!(%error, "process usage cannot be read"),
        }
        text
    }

    /// Folds samples of histograms together. Called now and then, else they pile up between scrapes.
    pub fn upkeep(&self) {
        self.prometheus.run_upkeep();
    }
}

/// A synced write takes from tens of microseconds to, on a bad day, seconds.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0,
];

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
}

fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.meaning),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.meaning),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.meaning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_follow_prometheus() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(metric.name.starts_with("convoy_"), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        }
    }

    #[test]
    fn what_is_counted_is_rendered_with_its_meaning() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!(RECEIVED_BYTES).increment(7);
            metrics::histogram!(SYNC_SECONDS).record(0.002);
        });
        let text = Recorder { prometheus: handle }.render();
        assert!(text.contains("# HELP convoy_received_bytes_total bytes read from clients"), "{text}");
        assert!(text.contains("\nconvoy_received_bytes_total 7\n"), "{text}");
        assert!(text.contains("convoy_sync_seconds_bucket{le=\"0.0025\"} 1\n"), "{text}");
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    }
}
