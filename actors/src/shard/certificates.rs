//! Certificates that were revoked while their Clients are connected. A handshake looks at the lists; whoever came before
//! a list did ends here, and so does who was on the way from the handshake to the shard.

use std::collections::BTreeSet;
use std::sync::Arc;

use convoy_wire::ReasonCode;

use super::Shard;
use crate::clock::Now;
use crate::connection::{CertificateId, Peer, Stage};
use crate::metric;

/// By listener, what its lists name since they were last read again.
#[derive(Default)]
pub struct Revoked(Vec<(String, Arc<BTreeSet<CertificateId>>)>);

impl Revoked {
    fn set(&mut self, listener: String, ids: Arc<BTreeSet<CertificateId>>) {
        match self.0.iter_mut().find(|(name, _)| *name == listener) {
            Some((_, known)) => *known = ids,
            None => self.0.push((listener, ids)),
        }
    }

    fn names(&self, peer: &Peer) -> bool {
        let Some(certificate) = &peer.certificate else { return false };
        let listed = self.0.iter().find(|(name, _)| *name == peer.listener.name);
        listed.is_some_and(|(_, ids)| certificate.ids.iter().any(|id| ids.contains(id)))
    }
}

impl Shard {
    /// Other certificates than before are revoked at this listener: their connections end. Clients are told why where they
    /// can be [MQTT-4.13.1-1].
    pub fn revoke_certificates(&mut self, now: Now, listener: String, ids: Arc<BTreeSet<CertificateId>>) {
        self.outlet.edge.now = now.monotonic;
        self.revoked.set(listener, ids);
        let connections = self.outlet.edge.connections.iter();
        let revoked = connections.filter(|(_, connection)| {
            !matches!(connection.stage, Stage::Closing | Stage::Gone) && self.revoked.names(&connection.peer)
        });
        let revoked: Vec<u32> = revoked.map(|(key, _)| key as u32).collect();
        for key in revoked {
            match self.outlet.edge.connections[key as usize].stage {
                // Of which version it is is not known.
                Stage::New => self.refuse_revoked(key),
                _ => {
                    metrics::counter!(metric::REVOKED).increment(1);
                    self.outlet.edge.close(key, ReasonCode::NotAuthorized);
                }
            }
        }
        self.settle(now);
    }

    /// A connection that has just come is refused if it is one of those.
    pub(super) fn refuse_revoked(&mut self, key: u32) {
        let connection = &mut self.outlet.edge.connections[key as usize];
        if self.revoked.names(&connection.peer) {
            metrics::counter!(metric::REVOKED).increment(1);
            connection.drop_silently();
            self.outlet.edge.mark(key);
        }
    }
}
