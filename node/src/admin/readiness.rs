//! A node is ready when every named condition is met. Whoever can break a promise owns a condition and says why
//! it is not met, so that an operator reads a reason and not a symptom.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Why the node is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Reason {
    pub condition: String,
    pub reason: String,
}

/// Shared by those who meet conditions and the API that tells. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// Unmet conditions with their reason.
    unmet: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// Not ready until each of `conditions` is met.
    pub fn waiting_for(conditions: &[&'static str]) -> Self {
        let readiness = Self::default();
        for condition in conditions {
            readiness.unmet(condition, "starting");
        }
        readiness
    }

    pub fn met(&self, condition: &'static str) {
        self.lock().remove(condition);
    }

    /// `reason` replaces the one given before.
    pub fn unmet(&self, condition: &'static str, reason: impl Into<String>) {
        self.lock().insert(condition, reason.into());
    }

    #[cfg(test)]
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    /// In the order of the conditions' names; empty when ready.
    pub fn reasons(&self) -> Vec<Reason> {
        self.lock()
            .iter()
            .map(|(condition, reason)| Reason { condition: (*condition).to_owned(), reason: reason.clone() })
            .collect()
    }

    /// A map of texts stays whole whatever panicked beside it.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.unmet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_must_be_met_and_may_be_lost_again() {
        let readiness = Readiness::waiting_for(&["storage", "listeners"]);
        readiness.met("listeners");
        assert!(!readiness.is_ready());
        readiness.met("storage");
        assert!(readiness.is_ready());

        readiness.unmet("storage", "disk full");
        let reason = Reason { condition: "storage".to_owned(), reason: "disk full".to_owned() };
        assert_eq!(readiness.reasons(), [reason]);
    }
}
