//! PUBCOMP [3.7]: the Packet Identifier of a QoS 2 message is free again.

use super::ack::ack;
use crate::ReasonCode::*;

ack! {
    /// Answers a PUBREL.
    Pubcomp,
    allows(reason) matches!(reason, Success | PacketIdentifierNotFound)
}
