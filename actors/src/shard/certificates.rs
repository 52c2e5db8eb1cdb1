//! Certificates that were revoked while their Clients are connected. A handshake looks at the lists; whoever came before
//! a list did ends here, and so does who was on the way from the handshake to the shard.

use std::collections::BTreeSet;
use std::sync::Arc;

use convoy_wire::ReasonCode;

use super::Shard;
use super::edge::Edge;
use crate::connection::Stage;
use crate::metric;
use crate::peer::{CertificateId, Peer};

/// By listener, what its lists name since they were last read again.
#[derive(Default)]
pub struct Revoked(Vec<(String, Arc<BTreeSet<CertificateId>>)>);

impl Revoked {
    pub(super) fn set(&mut self, listener: String, ids: Arc<BTreeSet<CertificateId>>) {
        match self.0.iter_mut().find(|(name, _)| *name == listener) {
            Some((_, known)) => *known = ids,
            None => self.0.push((listener, ids)),
        }
    }

    fn names(&self, peer: &Peer) -> bool {
        self.0.iter().any(|(listener, ids)| peer.has_certificate_of(listener, ids))
    }
}

impl Shard {
    /// A connection that has just come is refused if it is one of those.
    pub(super) fn refuse_revoked(&mut self, key: u32) {
        if self.revoked.names(&self.outlet.edge.connections[key as usize].peer) {
            self.outlet.edge.end_revoked(key);
        }
    }
}

impl Edge {
    /// Ends the connection of a Client whose certificate is revoked.
    pub(super) fn end_revoked(&mut self, key: u32) {
        metrics::counter!(metric::REVOKED).increment(1);
        let connection = &mut self.connections[key as usize];
        match connection.stage {
            // Of which version it is is not known.
            Stage::New => {
                connection.drop_silently();
                self.mark(key);
            }
            _ => self.close(key, ReasonCode::NotAuthorized),
        }
    }
}

impl Peer {
    /// Whether it came in by this listener with one of these certificates.
    pub(super) fn has_certificate_of(&self, listener: &str, ids: &BTreeSet<CertificateId>) -> bool {
        self.listener.name == listener
            && self.certificate.as_ref().is_some_and(|own| own.ids.iter().any(|id| ids.contains(id)))
    }
}
