//! Clients who have to prove who they are, and what becomes of all others when users or rules change. Whoever waits for a
//! verdict has touched nothing: no Session is looked up, taken over or ended for somebody who is not known (mosquitto
//! 3553).

use convoy_wire::{Connect, PacketType};

use super::Shard;
use crate::access::{Access, Bans, Credentials, Verdict};
use crate::clock::Now;
use crate::connection::Stage;
use crate::edge::cost_of;
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

    /// How many of those who are connected would have to go if these rules held, or these bans: of the connections from place
    /// `from` on, as far as a piece of work goes, and from where to ask on.
    pub fn would_cut(
        &self,
        now: Now,
        access: Option<&Access>,
        bans: &Bans,
        from: usize,
    ) -> (u64, Option<usize>) {
        let connections = &self.outlet.edge.connections;
        let rules = access.map_or(0, Access::size) + bans.size();
        let piece = self.outlet.edge.changes.piece / cost_of(rules);
        let to = connections.capacity().min(from.saturating_add(piece.max(1)));
        let connected = (from..to).filter_map(|key| connections.get(key));
        let connected = connected.filter(|of| matches!(of.stage, Stage::Connecting | Stage::Open));
        let cut = connected.filter(|connection| {
            let who = connection.who();
            access.is_some_and(|access| !access.may_connect(&who)) || bans.hit(&who, now.wall)
        });
        (cut.count() as u64, (to < connections.capacity()).then_some(to))
    }
}
