//! How a connection ends.

use convoy_storage::record::{BorrowDecode, Encode};

/// What becomes of a Session when its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub enum Farewell {
    /// DISCONNECT with Normal Disconnection: the Will is discarded [MQTT-3.14.4-3].
    Normal,
    /// Everything else: the Will is due, at once or after its delay.
    WithWill,
}
