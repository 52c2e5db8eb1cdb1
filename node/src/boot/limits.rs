//! The configuration's limits as the actors take them.

use convoy_actors::{Allowance, Features, Limits, QueueLimits, RateLimits, Unread};
use std::time::Duration;

use crate::config::LimitsOptions;
use crate::observe::metrics::{
    RETAINED_BYTES_LIMIT, RETAINED_MESSAGES_LIMIT, SESSIONS_LASTING_LIMIT, STORED_BYTES_LIMIT,
    WILL_BYTES_LIMIT,
};

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Shows them beside what is used of them.
pub fn tell(options: &LimitsOptions) {
    metrics::gauge!(SESSIONS_LASTING_LIMIT).set(options.sessions as f64);
    metrics::gauge!(STORED_BYTES_LIMIT).set(options.stored_bytes as f64);
    metrics::gauge!(WILL_BYTES_LIMIT).set(options.will_bytes as f64);
    metrics::gauge!(RETAINED_MESSAGES_LIMIT).set(options.retained_messages as f64);
    metrics::gauge!(RETAINED_BYTES_LIMIT).set(options.retained_bytes as f64);
}

/// Those of each of so many shards.
pub fn of(options: &LimitsOptions, features: &Features, shards: u16) -> Limits {
    Limits {
        connect_timeout: millis(options.connect_timeout),
        connect_packet_bytes: options.connect_packet_bytes,
        client_id_bytes: options.client_id_bytes,
        packet_bytes: options.packet_bytes,
        receive_maximum: options.receive_maximum,
        inflight_default: options.inflight_default,
        inflight_maximum: options.inflight_maximum,
        topic_alias_maximum: options.topic_alias_maximum,
        session_expiry_default: seconds(options.session_expiry_default),
        session_expiry_maximum: seconds(options.session_expiry_maximum),
        keep_alive_maximum: seconds(options.keep_alive_maximum).min(u32::from(u16::MAX)) as u16,
        queue: QueueLimits {
            messages: options.queue_messages,
            bytes: options.queue_bytes,
            age: millis(options.queue_age),
        },
        output_bytes: options.output_bytes,
        answer_bytes: options.answer_bytes,
        underway_bytes: options.underway_bytes,
        unread_timeout: millis(options.unread_timeout),
        unread: Unread::new(options.unread_bytes),
        // A share holds one packet at least.
        unfinished_bytes: (options.unfinished_bytes / usize::from(shards))
            .max(2 * options.packet_bytes as usize),
        subscriptions_per_session: options.subscriptions_per_session,
        filter_bytes_per_session: options.filter_bytes_per_session,
        stored: Allowance { node: options.of_node(), user: options.user },
        topic_levels: options.topic_levels,
        wildcard_levels: options.wildcard_levels,
        topic_bytes: options.topic_bytes,
        publish: RateLimits {
            messages_per_second: options.publish_messages_per_second,
            bytes_per_second: options.publish_bytes_per_second,
            excess: options.publish_excess,
        },
        features: features.clone(),
        second_connection: options.second_connection,
        acknowledge_timeout: millis(options.acknowledge_timeout),
    }
}
