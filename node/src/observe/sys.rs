//! What the node tells under `$SYS`, by the names that users of mosquitto know; what is this node's alone stands under
//! `$SYS/convoy/`.

use super::usage::Usage;
use convoy_actors::{Observation, SysTopics};
use std::time::{Duration, Instant};

/// Minutes over which loads are averaged.
const MINUTES: [u64; 3] = [1, 5, 15];

/// Makes the values, and keeps what they need of earlier ones.
pub struct Sys {
    node: String,
    interval: Duration,
    began: Instant,
    clients_maximum: u64,
    loads: Vec<Load>,
    is_first: bool,
}

/// Events a minute, averaged over the last minutes as mosquitto does it: old ones count less and less.
struct Load {
    name: &'static str,
    last: u64,
    averages: [f64; MINUTES.len()],
}

impl Load {
    fn update(&mut self, total: u64, interval: Duration) {
        let seconds = interval.as_secs_f64();
        let a_minute = total.saturating_sub(self.last) as f64 * 60.0 / seconds;
        self.last = total;
        for (average, minutes) in self.averages.iter_mut().zip(MINUTES) {
            let kept = (-seconds / (60.0 * minutes as f64)).exp();
            *average = a_minute + kept * (*average - a_minute);
        }
    }
}

impl Sys {
    pub fn new(node: String, interval: Duration) -> Self {
        let names = [
            "messages/received",
            "messages/sent",
            "publish/received",
            "publish/sent",
            "publish/dropped",
            "bytes/received",
            "bytes/sent",
            "connections",
        ];
        let loads = names.map(|name| Load { name, last: 0, averages: [0.0; MINUTES.len()] });
        Self {
            node,
            interval,
            began: Instant::now(),
            clients_maximum: 0,
            loads: loads.into(),
            is_first: true,
        }
    }

    /// The values of this moment.
    pub fn topics(&mut self, totals: &Observation) -> SysTopics {
        let tally = &totals.tally;
        let connected = totals.sessions_connected;
        let away = totals.sessions.saturating_sub(connected);
        self.clients_maximum = self.clients_maximum.max(connected);
        let published: u64 = tally.published.iter().sum();
        let connects = tally.packets().find(|(name, _)| *name == "connect").map_or(0, |(_, count)| count);
        let resident = Usage::read().map_or(0, |usage| usage.resident_bytes);
        let uptime = format!("{} seconds", self.began.elapsed().as_secs());

        let mut topics = SysTopics::new();
        let mut broker = |name: &str, value: String| topics.insert(format!("$SYS/broker/{name}"), value);
        broker("version", format!("convoy version {}", env!("CARGO_PKG_VERSION")));
        broker("uptime", uptime.clone());
        for (name, value) in [
            ("clients/connected", connected),
            ("clients/active", connected),
            ("clients/disconnected", away),
            ("clients/inactive", away),
            ("clients/total", totals.sessions.max(connected)),
            ("clients/maximum", self.clients_maximum),
            ("clients/expired", totals.sessions_expired),
            ("messages/received", tally.packets_received()),
            ("messages/sent", tally.packets_sent()),
            ("publish/messages/received", published),
            ("publish/messages/sent", tally.traffic.messages_sent),
            ("publish/messages/dropped", totals.messages_dropped),
            ("publish/bytes/received", tally.published_bytes),
            ("publish/bytes/sent", tally.traffic.payload_bytes_sent),
            ("bytes/received", tally.traffic.bytes_received),
            ("bytes/sent", tally.traffic.bytes_sent),
            ("subscriptions/count", totals.subscriptions),
            ("shared_subscriptions/count", totals.shared_subscriptions),
            ("retained messages/count", totals.retained_messages),
            ("heap/current", resident),
        ] {
            broker(name, value.to_string());
        }
        let counts = [
            tally.packets_received(),
            tally.packets_sent(),
            published,
            tally.traffic.messages_sent,
            totals.messages_dropped,
            tally.traffic.bytes_received,
            tally.traffic.bytes_sent,
            connects,
        ];
        for (load, total) in self.loads.iter_mut().zip(counts) {
            match self.is_first {
                true => load.last = total,
                false => load.update(total, self.interval),
            }
            for (average, minutes) in load.averages.iter().zip(MINUTES) {
                broker(&format!("load/{}/{minutes}min", load.name), format!("{average:.2}"));
            }
        }
        self.is_first = false;

        let node = &self.node;
        let mut of_node =
            |name: &str, value: String| topics.insert(format!("$SYS/convoy/{node}/{name}"), value);
        of_node("uptime", uptime);
        of_node("connections", totals.connections.to_string());
        of_node("slots", totals.slots.to_string());
        of_node("slots/led", totals.slots_led.to_string());
        of_node("retained/bytes", totals.retained_bytes.to_string());
        topics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_names_that_users_of_mosquitto_know() {
        let mut sys = Sys::new("n1".to_owned(), Duration::from_secs(10));
        let totals = |connected| Observation {
            sessions: 5,
            sessions_connected: connected,
            slots_led: 64,
            ..Observation::default()
        };
        sys.topics(&totals(3));
        let topics = sys.topics(&totals(2));
        for (topic, value) in [
            ("$SYS/broker/clients/connected", "2"),
            ("$SYS/broker/clients/disconnected", "3"),
            ("$SYS/broker/clients/total", "5"),
            ("$SYS/broker/clients/maximum", "3"),
            ("$SYS/broker/uptime", "0 seconds"),
            ("$SYS/broker/retained messages/count", "0"),
            ("$SYS/broker/load/bytes/sent/15min", "0.00"),
            ("$SYS/convoy/n1/slots/led", "64"),
        ] {
            assert_eq!(topics.get(topic).map(String::as_str), Some(value), "{topic}");
        }
        assert!(topics.keys().all(|topic| convoy_wire::TopicName::new(topic).is_ok()));
    }

    #[test]
    fn a_load_that_stays_becomes_its_average_and_an_old_one_is_forgotten() {
        let mut load = Load { name: "x", last: 0, averages: [0.0; 3] };
        let (interval, mut total) = (Duration::from_secs(10), 0);
        for _ in 0..6 {
            total += 100;
            load.update(total, interval);
        }
        // After a minute the average of one has two thirds of the way behind it.
        assert!((load.averages[0] - 600.0 * (1.0 - (-1.0f64).exp())).abs() < 0.01, "{:?}", load.averages);
        assert!(load.averages[0] > load.averages[1] && load.averages[1] > load.averages[2]);
        for _ in 0..60 {
            load.update(total, interval);
        }
        assert!(load.averages[0] < 1.0, "{:?}", load.averages);
    }
}
