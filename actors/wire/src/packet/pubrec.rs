//! PUBREC [3.5]: the receiver of a QoS 2 message has it, and will know it when it comes again.

use super::ack::ack;
use crate::ReasonCode::*;

ack! {
    /// Answers a PUBLISH of QoS 2. A Reason Code of 0x80 or above ends the exchange here.
    Pubrec,
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
