//! What a SUBSCRIBE asks for.

use super::{Place, Subscription};

/// A Topic Filter to subscribe, and the partitions it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub filter: String,
    pub subscription: Subscription,
    pub places: Vec<Place>,
}
