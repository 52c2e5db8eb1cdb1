//! What a partition's log says of its subscribers.

use convoy_storage::record::{BorrowDecode, Encode};

use crate::session::{Home, SessionNumber, Subscription};

/// A subscriber as its partition knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub struct RouteRow {
    pub subscription: Subscription,
    /// Set where the Session ends with its connection: messages go there, and not to the Session's slot.
    pub home: Option<Home>,
}

/// A message of a Shared Subscription that a member has left, on its way to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Again {
    /// See [`super::group_of`].
    pub group: u64,
    /// Who left it.
    pub not: SessionNumber,
    /// The Session of who left it has ended: it cannot take the message back where there is nobody else.
    pub ended: bool,
}
