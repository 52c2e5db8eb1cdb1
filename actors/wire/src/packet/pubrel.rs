//! PUBREL [3.6]: the sender of a QoS 2 message has forgotten it, the receiver may forget its Packet Identifier.

use super::ack::ack;
use crate::ReasonCode::*;

ack! {
    /// Answers a PUBREC.
    Pubrel,
    allows(reason) matches!(reason, Success | PacketIdentifierNotFound)
}
