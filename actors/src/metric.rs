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
    /// QoS 0 messages dropped because their receiver reads too slowly, or acknowledges too slowly what is before them.
    OUTPUT_DROPPED = "convoy_messages_dropped_slow_receiver_total",
    /// Messages dropped because more waited for a Session than it may keep, oldest first.
    QUEUE_DROPPED = "convoy_messages_dropped_queue_full_total",
    /// Messages of Shared Subscriptions that a member left unacknowledged, dispatched again to another one.
    REDISPATCHED = "convoy_messages_redispatched_total",
    /// Messages of Shared Subscriptions dropped because a member left them and nobody else could take them.
    SHARED_DROPPED = "convoy_messages_dropped_no_member_total",
    /// How often Clients met a limit, by the key of [limits] that sets it: the label `limit`.
    LIMIT_MET = "convoy_limit_met_total",
    /// Connections that are not read from because as much of what they sent is under way as may be: it waits for a slot.
    HELD_BACK = "convoy_connections_held_back",
    /// Connections that have ended and whose Wills wait until fewer are on their way.
    WILLS_WAITING = "convoy_wills_waiting",
    /// Bytes of what Clients sent that wait for records of slots or in mail between shards; about a second old.
    UNDERWAY_BYTES = "convoy_underway_bytes",
    /// Messages for very many that are being passed on in pieces, and those of their topics that wait behind them.
    CASTS = "convoy_casts",
    /// Bytes of them and of the lists of their receivers. Beyond 16 MiB a shard opens no mail of others.
    CASTS_BYTES = "convoy_casts_bytes",
    /// Messages of QoS 0 dropped because they came behind others of their topic, which waited for the log of a slot that
    /// was full.
    BEHIND_DROPPED = "convoy_messages_dropped_slot_full_total",
    /// How often this node led a slot no longer.
    SLOTS_LOST = "convoy_slots_lost_total",
    /// How often a shard of another node was not heard any more: what rested on it here has ended.
    CHANNELS_LOST = "convoy_channels_lost_total",
    /// How often so much waited for a shard of another node that everything between the two began anew.
    CHANNELS_FULL = "convoy_channels_full_total",
    /// What shards of other nodes sent and was refused: damaged, impossible, or of another version.
    FRAMES_REFUSED = "convoy_frames_refused_total",
    /// Messages that came by the log and were given to connections again, by a slot that has begun to lead.
    GIVEN_AGAIN = "convoy_messages_given_again_total",
    /// How often a slot led here could not reach a node for so long that connections there are owed nothing any more: those
    /// of Sessions that end with them are closed.
    NODES_GIVEN_UP = "convoy_nodes_given_up_total",
    /// Connections that were closed with Server Busy because of a change of leaders, by the label `reason`: `unled`, nobody led
    /// the slot of the Session for 5 seconds; `missed`, a message may have been missed; `unfinished`, what the Client has asked
    /// for cannot be asked of the next leader; `minority`, this node does not reach a majority.
    FAILED_OVER = "convoy_connections_failed_over_total",
    /// Messages of replicas on other nodes that were refused: of a node that is none of the slot's, damaged, or of a slot that
    /// is not here.
    REPLICA_MESSAGES_REFUSED = "convoy_replica_messages_refused_total",
    /// Replicas of slots that were made on this node while it ran.
    REPLICAS_OPENED = "convoy_replicas_opened_total",
    /// Replicas of slots that were no members of their groups any more, and were ended with all their rows.
    REPLICAS_CLOSED = "convoy_replicas_closed_total",
    /// Changes of the members of slots' groups that this node began, as their leader.
    GROUPS_CHANGED = "convoy_groups_changed_total",
    /// How often a replica on another node was found so far behind that the log does not reach back to it.
    SNAPSHOTS_WANTED = "convoy_snapshots_wanted_total",
    /// Copies of a slot's state that are in force on another node.
    SNAPSHOTS_SENT = "convoy_snapshots_sent_total",
    /// Copies of a slot's state that another node sent and that are in force here.
    SNAPSHOTS_RECEIVED = "convoy_snapshots_received_total",
    /// Copies of a slot's state that were begun and given up by whoever sent them, or could not be put in force.
    SNAPSHOTS_FAILED = "convoy_snapshots_failed_total",
    /// Bytes of pieces of such copies that were sent, those sent again included.
    SNAPSHOT_BYTES_SENT = "convoy_snapshot_sent_bytes_total",
    /// Bytes of pieces of such copies that were taken.
    SNAPSHOT_BYTES_RECEIVED = "convoy_snapshot_received_bytes_total",
    /// Messages about such copies that were refused: damaged, or of a node that does not lead the slot.
    SNAPSHOT_MESSAGES_REFUSED = "convoy_snapshot_messages_refused_total",
    /// How often a slot was so full that those who publish to it stood in line.
    SHORTAGES = "convoy_slot_shortages_total",
    /// Publications refused because their record could not be written.
    REFUSED = "convoy_publications_refused_total",
    /// Publications that go by a log, and SUBSCRIBE packets, refused because too much waits for a slot that they have to reach.
    OUTBOX_FULL = "convoy_refused_outbox_full_total",
    /// Connections that were closed with Quota Exceeded because too many Subscriptions of Sessions without a queue wait in one
    /// slot until messages from before them are with all nodes.
    WAITING_FULL = "convoy_subscriptions_waiting_full_total",
    /// What Clients were denied by rules, by the label `action`: connect, publish, subscribe, receive, will; retained for what its publisher may not publish any more; by bans, by `ban`; and the
    /// Sessions of others that they asked for: session.
    DENIED = "convoy_access_denied_total",
    /// CONNECT packets that were answered before the Will of the connection before them was published: it took more than
    /// 2 seconds.
    WILLS_OVERTAKEN = "convoy_wills_overtaken_total",
    /// Connections that were closed because their user is not known any more, or their certificate was revoked.
    REVOKED = "convoy_connections_revoked_total",
    /// CONNECT packets that were refused, by the label `reason`, a Reason Code.
    CONNECTS_REFUSED = "convoy_connects_refused_total",
    /// Bytes of packets that have not come whole, or whose CONNECT is not judged yet.
    UNFINISHED_BYTES = "convoy_unfinished_bytes",
    /// Bytes in memory that wait until Clients read them, of the node: what counts against limits.unread_bytes.
    UNREAD_BYTES = "convoy_unread_bytes",
    /// Connections that are open.
    CONNECTIONS = "convoy_connections",
    /// Records committed by slots led here.
    RECORDS = "convoy_records_committed_total",
    /// How often a shard wrote nothing for a while, because the disk was behind with what had been written and memory held it.
    STORAGE_BEHIND = "convoy_storage_behind_total",
    /// Rounds written and synced.
    ROUNDS = "convoy_rounds_synced_total",
}

/// A Client has met the limit that this key of the configuration sets.
pub fn met(limit: &'static str) {
    metrics::counter!(LIMIT_MET, "limit" => limit).increment(1);
}

/// A connection does not outlive a change of leaders.
pub fn failed_over(reason: &'static str) {
    metrics::counter!(FAILED_OVER, "reason" => reason).increment(1);
}

/// A Client was not let in.
pub fn refused(reason: convoy_wire::ReasonCode) {
    metrics::counter!(CONNECTS_REFUSED, "reason" => reason.to_string()).increment(1);
}

/// A rule has denied a Client something.
pub fn denied(action: &'static str) {
    metrics::counter!(DENIED, "action" => action).increment(1);
}
