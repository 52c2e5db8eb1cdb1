//! The metrics of this crate. Those of a lane have the label `lane`.

pub const DROPPED_BYTES: &str = "convoy_peer_dropped_bytes_total";
pub const SENT_BYTES: &str = "convoy_peer_sent_bytes_total";
pub const RECEIVED_BYTES: &str = "convoy_peer_received_bytes_total";

/// Name and meaning of each.
pub const ALL: &[(&str, &str)] = &[
    (
        DROPPED_BYTES,
        "Bytes for other nodes that were dropped, by lane and reason: down, there is no link; full, too much waits for it. \
         They are sent again.",
    ),
    (SENT_BYTES, "Bytes that were written to links to other nodes, by lane."),
    (RECEIVED_BYTES, "Bytes that links from other nodes have brought, by lane."),
];
