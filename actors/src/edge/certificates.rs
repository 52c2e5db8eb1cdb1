//! The connection of a Client whose certificate is revoked ends.

use std::collections::BTreeSet;

use convoy_wire::ReasonCode;

use super::Edge;
use crate::connection::Stage;
use crate::metric;
use crate::peer::{CertificateId, Peer};

impl Edge {
    /// Ends the connection of a Client whose certificate is revoked.
    pub(crate) fn end_revoked(&mut self, key: u32) {
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
    pub(crate) fn has_certificate_of(&self, listener: &str, ids: &BTreeSet<CertificateId>) -> bool {
        self.listener.name == listener
            && self.certificate.as_ref().is_some_and(|own| own.ids.iter().any(|id| ids.contains(id)))
    }
}
