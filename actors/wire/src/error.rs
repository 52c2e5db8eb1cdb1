//! What is wrong with bytes that were received, and what cannot be written.

use core::fmt;

use crate::ReasonCode;

/// The bytes break a rule. Nothing was changed; the Network Connection cannot be used any further [4.13].
///
/// `reason` is what a DISCONNECT or CONNACK of 5.0 says about it; Clients of 3.x see the connection close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    pub reason: ReasonCode,
    /// The rule by its number or section in the specification of 5.0 (unless it says 3.1 or 3.1.1), and in words.
    pub rule: &'static str,
}

impl Error {
    pub(crate) const fn new(reason: ReasonCode, rule: &'static str) -> Self {
        Self { reason, rule }
    }

    pub(crate) const fn malformed(rule: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, rule)
    }

    pub(crate) const fn protocol(rule: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, rule)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.rule)
    }
}

impl core::error::Error for Error {}

/// The packet has no form on the wire. The buffer is as it was before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A text, binary data, a list or the whole packet is longer than its length field can say.
    TooLong,
    /// The protocol version knows no such packet, or no such combination of fields (AUTH in 3.x, a password without
    /// a user name in 3.x, a Reason Code that a CONNACK of 3.x has no return code for).
    NotInVersion,
    /// A PUBLISH above QoS 0 needs a Packet Identifier, and has none.
    NoPacketId,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "longer than its length field can say",
            Self::NotInVersion => "the protocol version has no form for this packet",
            Self::NoPacketId => "a publish above QoS 0 needs a packet identifier",
        })
    }
}

impl core::error::Error for EncodeError {}
