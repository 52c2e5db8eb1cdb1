//! CONNECT: its bytes are judged, then who the Client is, and only then is its Session asked for.

use convoy_wire::{Connect, Packet, ReasonCode};

use super::Shard;
use super::packets::Outcome;
use crate::access::{Admission, ClientIdOwner, Permits, Verdict as Proven};
use crate::author::Who;
use crate::budget::User;
use crate::call::{ReplyTo, SessionCall, token};
use crate::clock::Now;
use crate::connection::{self, Refusal, Stage};
use crate::edge::welcome;
use crate::metric;
use crate::options::SecondConnection;
use crate::slot::client_of;

/// No CONNACK that accepts a Client is larger.
const CONNACK_BYTES: u32 = 1 << 10;

impl Shard {
    /// The CONNECT with which a connection begins.
    pub(super) fn on_first(&mut self, now: Now, key: u32, first: u8, body: &[u8]) -> Outcome {
        let connection = &mut self.outlet.edge.connections[key as usize];
        if let Some(version) = Connect::peek_version(body) {
            connection.version = version;
        }
        let connect = match convoy_wire::decode(connection.version, first, body) {
            Ok(Packet::Connect(connect)) => connect,
            Ok(_) => return Err(ReasonCode::ProtocolError),
            Err(error) => {
                // 3.x has no return code for bytes that are no CONNECT: the connection is closed without a word.
                let said = error.reason == ReasonCode::UnsupportedProtocolVersion
                    || error.reason == ReasonCode::ClientIdentifierNotValid
                    || connection.version.has_properties();
                if !said {
                    connection.drop_silently();
                    self.outlet.edge.mark(key);
                    return Ok(());
                }
                return Err(self.broken(key, &error));
            }
        };
        if self.has_others && !self.outlet.post.knows_all() {
            return Err(ReasonCode::ServerBusy);
        }
        if connect.properties.authentication_method.is_some() {
            // No exchange of AUTH packets is known here (MQTT 5.0, 4.12).
            return Err(ReasonCode::BadAuthenticationMethod);
        }
        // Before anything is looked up for it. A ban on a user has to wait until its name is proven.
        let address = connection.peer.address.ip();
        let who = Who {
            client_id: connect.client_id,
            user: None,
            address,
            listener: &connection.peer.listener.name,
        };
        if self.bans.hit(&who, now.wall) {
            metric::denied("ban");
            return Err(ReasonCode::Banned);
        }
        if !connection.peer.may_be_called(connect.client_id) {
            metric::denied("connect");
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        match self.access.admit(&connect, &connection.peer) {
            Admission::Asks => {
                connection.unproven = Some(body.into());
                self.ask_for_proof(key, &connect);
                Ok(())
            }
            Admission::Decided(Proven::Refused(reason)) => {
                metric::denied("connect");
                Err(reason)
            }
            Admission::Decided(Proven::Granted(principal)) => {
                connection.principal = principal;
                self.open_session(now, key, &connect)
            }
        }
    }

    /// The Client is who it says: its Session is asked for.
    pub(super) fn open_session(&mut self, now: Now, key: u32, connect: &Connect<'_>) -> Outcome {
        let connection = &mut self.outlet.edge.connections[key as usize];
        let assigned = || self.chance.client_id();
        let accepted = connection::accept(connection, connect, &self.options, assigned, now.wall);
        let accepted = accepted.map_err(|Refusal(reason)| reason)?;
        let who = connection.who();
        if self.bans.hit(&who, now.wall) {
            metric::denied("ban");
            return Err(ReasonCode::Banned);
        }
        if !self.access.may_connect(&who) {
            metric::denied("connect");
            return Err(ReasonCode::NotAuthorized);
        }
        let permits = Permits::of(&self.access, &who);
        if let (Some(permits), Some(will)) = (&permits, &connect.will)
            && !permits.may_publish(will.topic.as_str(), will.qos as u8, will.retain)
        {
            metric::denied("will");
            return Err(ReasonCode::NotAuthorized);
        }
        connection.permits = permits;
        connection.user = User::of(connection.principal.owner());
        if connection.packet_bytes_limit < CONNACK_BYTES {
            // A Client that does not take our CONNACK is told nothing at all [MQTT-3.1.2-24].
            let mut connack = Vec::new();
            let greeting = connection.greeting.as_deref().cloned().unwrap_or_default();
            welcome(&greeting, &self.options.limits, true, connection.version, &mut connack);
            if connack.len() > connection.packet_bytes_limit as usize {
                connection.drop_silently();
                self.outlet.edge.mark(key);
                return Ok(());
            }
        }
        connection.stage = Stage::Connecting;
        connection.asks_for_session = true;
        connection.doomed_at = Some(now.monotonic + self.options.limits.connect_timeout + 1);
        connection.connected_at = now.wall;
        connection.clean_start = connect.clean_start;
        connection.client = client_of(&accepted.name);
        let reply = ReplyTo { home: connection.home, token: token::CONNECT };
        self.outlet.edge.calls.push_back(SessionCall::Connect {
            name: accepted.name,
            clean_start: accepted.clean_start,
            owner: connection.principal.owner().to_owned(),
            binds: self.access.policy.client_id_owner == ClientIdOwner::Bind,
            expiry_seconds: accepted.expiry_seconds,
            limits: self.options.limits.queue,
            will: accepted.will,
            yields: self.options.limits.second_connection == SecondConnection::IsRefused,
            reply,
        });
        Ok(())
    }
}
