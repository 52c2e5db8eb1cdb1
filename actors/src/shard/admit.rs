//! Clients who have to prove who they are, and what becomes of all others when users or rules change. Whoever waits for a
//! verdict has touched nothing: no Session is looked up, taken over or ended for somebody who is not known (mosquitto
//! 3553).

use std::collections::BTreeSet;
use std::sync::Arc;

use convoy_wire::{Connect, PacketType, ReasonCode};

use super::Shard;
use crate::access::{Access, Bans, Credentials, Permits, Proof, Verdict};
use crate::clock::Now;
use crate::connection::Stage;
use crate::metric;
use crate::session::Home;

impl Shard {
    /// Nothing is read from the Client until [`Shard::proven`] tells the verdict.
    pub(super) fn ask_for_proof(&mut self, key: u32, connect: &Connect<'_>) {
        let connection = &mut self.outlet.edge.connections[key as usize];
        connection.stage = Stage::Authenticating;
        connection.doomed_at = Some(self.outlet.edge.now + self.options.limits.connect_timeout + 1);
        self.outlet.edge.unproven.push(Credentials {
            home: connection.home,
            user: connect.username.unwrap_or_default().to_owned(),
            password: connect.password.unwrap_or_default().to_owned(),
            client_id: connect.client_id.to_owned(),
            address: connection.peer.address.ip(),
        });
    }

    /// Clients whose credentials are to be looked up. Each is told the verdict by [`Shard::proven`].
    pub fn take_unproven(&mut self) -> Vec<Credentials> {
        std::mem::take(&mut self.outlet.edge.unproven)
    }

    /// The verdict on a Client's credentials. It may have gone meanwhile.
    pub fn proven(&mut self, now: Now, home: Home, verdict: Verdict) {
        self.outlet.edge.now = now.monotonic;
        let Some(connection) = self.outlet.edge.connections.get_mut(home.key as usize) else { return };
        if connection.home.serial != home.serial || connection.stage != Stage::Authenticating {
            return;
        }
        let Some(body) = connection.unproven.take() else { return };
        let outcome = match verdict {
            Verdict::Refused(reason) => Err(reason),
            Verdict::Granted(principal) => {
                connection.principal = principal;
                let first = (PacketType::Connect as u8) << 4;
                match convoy_wire::decode(connection.version, first, &body) {
                    Ok(convoy_wire::Packet::Connect(connect)) => self.open_session(now, home.key, &connect),
                    _ => unreachable!("it was a CONNECT when it came"),
                }
            }
        };
        if let Err(reason) = outcome {
            self.outlet.edge.close(home.key, reason);
        }
        self.outlet.edge.weigh_unfinished(home.key);
        self.settle(now);
    }

    /// Other rules hold from now on, for those who are connected too.
    pub fn set_access(&mut self, now: Now, access: Arc<Access>) {
        self.outlet.edge.now = now.monotonic;
        self.access = access;
        self.presence.set_access(&self.access);
        let mut refused = Vec::new();
        for (key, connection) in &mut self.outlet.edge.connections {
            if !matches!(connection.stage, Stage::Connecting | Stage::Open) {
                continue;
            }
            let who = connection.who();
            let may_stay = self.access.may_connect(&who);
            let permits = Permits::of(&self.access, &who);
            connection.permits = permits;
            if !may_stay {
                refused.push(key as u32);
            }
        }
        for key in refused {
            metric::denied("connect");
            self.outlet.edge.close(key, ReasonCode::NotAuthorized);
        }
        self.settle(now);
    }

    /// Other bans hold from now on. Who is connected and hit by one of `added` is disconnected with Administrative action:
    /// DISCONNECT knows no Banned (MQTT 5.0, 3.14.2.1).
    pub fn set_bans(&mut self, now: Now, bans: Arc<Bans>, added: &Bans) {
        self.outlet.edge.now = now.monotonic;
        self.bans = bans;
        let connections = self.outlet.edge.connections.iter();
        let banned = connections.filter(|(_, connection)| {
            matches!(connection.stage, Stage::Connecting | Stage::Open)
                && added.hit(&connection.who(), now.wall)
        });
        let banned: Vec<u32> = banned.map(|(key, _)| key as u32).collect();
        for key in banned {
            metric::denied("ban");
            let reason = match self.outlet.edge.connections[key as usize].stage {
                Stage::Connecting => ReasonCode::Banned,
                _ => ReasonCode::AdministrativeAction,
            };
            self.outlet.edge.close(key, reason);
        }
        self.settle(now);
    }

    /// How many of those who are connected would have to go if these rules held, or these bans.
    pub fn would_cut(&self, now: Now, access: Option<&Access>, bans: &Bans) -> u64 {
        let connections = self.outlet.edge.connections.iter();
        let connected = connections.filter(|(_, of)| matches!(of.stage, Stage::Connecting | Stage::Open));
        let cut = connected.filter(|(_, connection)| {
            let who = connection.who();
            access.is_some_and(|access| !access.may_connect(&who)) || bans.hit(&who, now.wall)
        });
        cut.count() as u64
    }

    /// These users are gone or have another password: their connections end. They are told why where they can be
    /// [MQTT-4.13.1-1].
    pub fn revoke(&mut self, now: Now, users: &BTreeSet<String>) {
        self.outlet.edge.now = now.monotonic;
        let is_revoked = |connection: &crate::connection::Connection| {
            connection.principal.proof == Proof::Password
                && connection.principal.user.as_deref().is_some_and(|user| users.contains(user))
        };
        let connections = self.outlet.edge.connections.iter();
        let revoked = connections.filter(|(_, connection)| is_revoked(connection));
        let revoked: Vec<u32> = revoked.map(|(key, _)| key as u32).collect();
        for key in revoked {
            metrics::counter!(metric::REVOKED).increment(1);
            self.outlet.edge.close(key, ReasonCode::NotAuthorized);
        }
        self.settle(now);
    }
}
