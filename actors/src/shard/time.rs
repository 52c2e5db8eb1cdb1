//! What time alone does to connections, and the end of all of them.

use convoy_wire::ReasonCode;

use super::edge::Edge;
use crate::clock::Now;
use crate::connection::Stage;
use crate::metric;

/// Milliseconds that a Client which said DISCONNECT waits for its record at most.
const LEAVING: u64 = 5_000;

/// Milliseconds that a Client has to take what is said to it at the end, from when that is first noticed.
const CLOSING: u64 = 2_000;

impl Edge {
    /// Nothing more is read from a Client until then.
    pub fn pause(&mut self, key: u32, until: u64) {
        let connection = &mut self.connections[key as usize];
        connection.paused_until = until;
        self.paused.push(connection.home);
    }

    /// Reads on from those who have waited long enough.
    pub fn unpause(&mut self, now: u64) {
        for home in std::mem::take(&mut self.paused) {
            let Some(connection) = self.find(&home) else { continue };
            if connection.paused_until > now {
                self.paused.push(home);
                continue;
            }
            connection.paused_until = 0;
            self.mark(home.key);
        }
    }

    /// What time alone does to connections: looked at about once a second.
    pub fn tick(&mut self, now: Now) {
        self.now = now.monotonic;
        let limits = &self.limits;
        let mut ended = Vec::new();
        for (key, connection) in &mut self.connections {
            if connection.stage == Stage::Closing {
                // One tick to be told, and then no more.
                if connection.doomed_at.is_some_and(|at| at <= now.monotonic) {
                    connection.stage = Stage::Gone;
                    ended.push(key as u32);
                }
                connection.doomed_at = Some(connection.doomed_at.unwrap_or(now.monotonic + CLOSING));
                continue;
            }
            let unread_since = connection.unread_since.unwrap_or(now.monotonic);
            if connection.stage == Stage::Open && now.monotonic > unread_since + limits.unread_timeout {
                // There is no way to tell it.
                metric::met("unread_timeout");
                connection.stage = Stage::Gone;
                ended.push(key as u32);
                continue;
            }
            let silent = now.monotonic.saturating_sub(connection.last_seen);
            let reason = match connection.stage {
                Stage::New | Stage::Authenticating if silent > limits.connect_timeout => None,
                Stage::Leaving if silent > LEAVING => None,
                // Nobody listens at a barrier, so nobody is silent there.
                Stage::Open
                    if connection.keep_alive > 0
                        && silent > connection.keep_alive
                        && connection.barrier.is_none() =>
                {
                    Some(ReasonCode::KeepAliveTimeout)
                }
                Stage::Open if connection.doomed_at.is_some_and(|at| at <= now.monotonic) => {
                    Some(ReasonCode::QuotaExceeded)
                }
                Stage::Open
                    if connection
                        .waiting_since()
                        .is_some_and(|since| now.monotonic > since + limits.acknowledge_timeout) =>
                {
                    Some(ReasonCode::ServerBusy)
                }
                _ => continue,
            };
            match reason {
                Some(reason) => connection.close(reason),
                None => connection.drop_silently(),
            }
            ended.push(key as u32);
        }
        for key in ended {
            self.mark(key);
        }
    }

    /// Ends every connection because the Server goes [MQTT-4.13.1-1]; 5.0 Clients hear where to go instead, if that is
    /// known.
    pub fn send_away(&mut self, elsewhere: Option<&str>) {
        let keys: Vec<u32> = self.connections.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            if let Some(server) = elsewhere
                && let Some(connection) = self.connections.get_mut(key as usize)
                && connection.send_elsewhere(server)
            {
                self.mark(key);
                continue;
            }
            match self.connections.get_mut(key as usize) {
                // Nothing is said to who has said nothing [MQTT-3.14.0-1].
                Some(connection) if connection.stage == Stage::New => {
                    connection.drop_silently();
                    self.mark(key);
                }
                _ => self.close(key, ReasonCode::ServerShuttingDown),
            }
        }
    }
}
