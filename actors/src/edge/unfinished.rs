//! Bytes of packets that are not whole, or wait until it is known who sent them: each connection may hold one packet, and
//! there are many connections. A shard has a share for all of them. Strangers get a quarter of it and go first: a Client
//! that is connected has proven something. Of these, those who hold most go first.

use std::collections::BTreeSet;

use convoy_wire::ReasonCode;
use metrics::Gauge;

use super::Edge;
use crate::connection::{Barrier, Stage, Unfinished};
use crate::metric;

/// Of the share, one part is for Clients that are not connected.
const HALF_OPEN_PART: usize = 4;

/// What all connections of a shard hold.
pub struct Total {
    bytes: usize,
    half_open_bytes: usize,
    /// Who holds those.
    strangers: BTreeSet<u32>,
    gauge: Gauge,
}

impl Default for Total {
    fn default() -> Self {
        let strangers = BTreeSet::new();
        Self { bytes: 0, half_open_bytes: 0, strangers, gauge: metrics::gauge!(metric::UNFINISHED_BYTES) }
    }
}

impl Total {
    fn change(&mut self, key: u32, before: Unfinished, now: Unfinished) {
        if now.is_half_open && now.bytes > 0 {
            self.strangers.insert(key);
        } else if before.is_half_open {
            self.strangers.remove(&key);
        }
        self.bytes = self.bytes + now.bytes - before.bytes;
        self.half_open_bytes -= if before.is_half_open { before.bytes } else { 0 };
        self.half_open_bytes += if now.is_half_open { now.bytes } else { 0 };
        if now.bytes != before.bytes {
            self.gauge.increment(now.bytes as f64 - before.bytes as f64);
        }
    }
}

impl Edge {
    /// Counts what a connection holds after something came or went. One that holds too much of the share is closed.
    pub(crate) fn weigh_unfinished(&mut self, key: u32) {
        let limit = self.limits.unfinished_bytes;
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        let (before, now) = (connection.unfinished, connection.weigh_unfinished());
        if now == before {
            return;
        }
        connection.unfinished = now;
        self.unfinished.change(key, before, now);
        if now.bytes <= before.bytes {
            return;
        }
        if now.is_half_open && self.unfinished.half_open_bytes > limit / HALF_OPEN_PART {
            self.let_go(key);
        } else if self.unfinished.bytes > limit {
            self.make_room(key, limit);
        }
    }

    /// What a connection held that is gone.
    pub(super) fn forget_unfinished(&mut self, key: u32, unfinished: Unfinished) {
        self.unfinished.change(key, unfinished, Unfinished::default());
    }

    /// The share is used up: as many strangers go as it takes, and if that is not enough those who hold most, this
    /// connection before others that hold as much.
    fn make_room(&mut self, key: u32, limit: usize) {
        let last = key as usize;
        while self.unfinished.bytes > limit
            && let Some(&stranger) = self.unfinished.strangers.first()
        {
            let Some(connection) = self.connections.get_mut(stranger as usize) else { break };
            let (before, now) = (connection.unfinished, connection.weigh_unfinished());
            if now.is_half_open {
                self.let_go(stranger);
            } else {
                // It has been let in meanwhile.
                connection.unfinished = now;
                self.unfinished.change(stranger, before, now);
            }
        }
        // Not whoever comes with a little, when others have filled it. To look at all of them is rare: each time somebody
        // has sent as much as is given back.
        while self.unfinished.bytes > limit {
            let holds = self.connections.iter().map(|(key, held)| (held.unfinished.bytes, key == last, key));
            let Some((.., most)) = holds.max() else { return };
            self.let_go(most as u32);
        }
    }

    /// Closes a connection, and holds nothing for it from now on.
    fn let_go(&mut self, key: u32) {
        metric::met("unfinished_bytes");
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        match connection.stage {
            // Of which version it is may not be known.
            Stage::New => connection.drop_silently(),
            _ => self.close(key, ReasonCode::ServerBusy),
        }
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        (connection.input, connection.unproven) = (Vec::new(), None);
        if matches!(connection.barrier, Some(Barrier::Ask(_))) {
            connection.barrier = None;
        }
        let before = std::mem::take(&mut connection.unfinished);
        self.unfinished.change(key, before, Unfinished::default());
        self.mark(key);
    }
}
