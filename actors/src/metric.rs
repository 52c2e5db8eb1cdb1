//! Every metric of the actors, with its meaning. `node` describes them to the recorder.

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $text;)+

        /// Name and meaning of each.
        pub const ALL: &[(&str, &str)] = &[$(($text, concat!($($doc),+)),)+];
    };
}

metrics! {
    /// Messages published by Clients.
    PUBLISHED = "convoy_messages_published_total",
    /// Messages written towards Clients.
    DELIVERED = "convoy_messages_delivered_total",
    /// QoS 0 messages dropped because their receiver reads too slowly.
    OUTPUT_DROPPED = "convoy_messages_dropped_slow_receiver_total",
    /// Messages dropped because more waited for a Session than it may keep, oldest first.
    QUEUE_DROPPED = "convoy_messages_dropped_queue_full_total",
    /// Messages of Shared Subscriptions that a member left unacknowledged, dispatched again to another one.
    REDISPATCHED = "convoy_messages_redispatched_total",
    /// Messages of Clients that published faster than they may, for which their connections were not read for a while.
    THROTTLED = "convoy_publications_throttled_total",
    /// Messages refused because their Client published faster than it may.
    RATE_REFUSED = "convoy_publications_refused_rate_total",
    /// Publications refused because their record could not be written.
    REFUSED = "convoy_publications_refused_total",
    /// Connections that are open.
    CONNECTIONS = "convoy_connections",
    /// Records committed by slots led here.
    RECORDS = "convoy_records_committed_total",
    /// Rounds written and synced.
    ROUNDS = "convoy_rounds_synced_total",
}
