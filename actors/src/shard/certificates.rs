//! Certificates that were revoked while their Clients are connected. A handshake looks at the lists; whoever came before
//! a list did ends here, and so does who was on the way from the handshake to the shard.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Shard;
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
