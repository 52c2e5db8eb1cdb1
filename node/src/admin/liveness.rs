//! Whether the process should go on. Unlike readiness it is lost once and for good: only another start helps.

use std::sync::{Arc, OnceLock};

/// Shared by who watches the node and the API that tells. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<OnceLock<String>>);

impl Liveness {
    /// The first reason stays.
    pub fn lost(&self, reason: String) {
        let _ = self.0.set(reason);
    }

    /// Why only another start helps, if so.
    pub fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}
