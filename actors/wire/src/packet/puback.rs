//! PUBACK [3.4]: the receiver of a QoS 1 message has it.

use super::ack::ack;
use crate::ReasonCode::*;

ack! {
    /// Answers a PUBLISH of QoS 1.
    Puback,
    allows(reason) matches!(
        reason,
        Success
            | NoMatchingSubscribers
            | UnspecifiedError
            | ImplementationSpecificError
            | NotAuthorized
            | TopicNameInvalid
            | PacketIdentifierInUse
            | QuotaExceeded
            | PayloadFormatInvalid
    )
}
