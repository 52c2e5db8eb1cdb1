//! Reason Codes [2.4]: one enum for all packets, for a code means the same wherever it may stand.
//!
//! 3.x speaks in return codes of CONNACK and SUBACK alone; what a Reason Code becomes there is said here.

use core::fmt;

use crate::list::Element;
use crate::reader::Reader;
use crate::{Error, ProtocolVersion, QoS};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReasonCode {
    /// Also Normal disconnection and Granted QoS 0.
    Success = 0x00,
    GrantedQoS1 = 0x01,
    GrantedQoS2 = 0x02,
    /// The Client wishes its Will Message to be published all the same.
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    /// In a SUBACK of 3.1.1 the one way to say failure.
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8a,
    ServerShuttingDown = 0x8b,
    BadAuthenticationMethod = 0x8c,
    KeepAliveTimeout = 0x8d,
    SessionTakenOver = 0x8e,
    TopicFilterInvalid = 0x8f,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9a,
    QoSNotSupported = 0x9b,
    UseAnotherServer = 0x9c,
    ServerMoved = 0x9d,
    SharedSubscriptionsNotSupported = 0x9e,
    ConnectionRateExceeded = 0x9f,
    MaximumConnectTime = 0xa0,
    SubscriptionIdentifiersNotSupported = 0xa1,
    WildcardSubscriptionsNotSupported = 0xa2,
}

impl ReasonCode {
    /// Every code, in ascending order.
    pub const ALL: [Self; 43] = [
        Self::Success,
        Self::GrantedQoS1,
        Self::GrantedQoS2,
        Self::DisconnectWithWill,
        Self::NoMatchingSubscribers,
        Self::NoSubscriptionExisted,
        Self::ContinueAuthentication,
        Self::ReAuthenticate,
        Self::UnspecifiedError,
        Self::MalformedPacket,
        Self::ProtocolError,
        Self::ImplementationSpecificError,
        Self::UnsupportedProtocolVersion,
        Self::ClientIdentifierNotValid,
        Self::BadUserNameOrPassword,
        Self::NotAuthorized,
        Self::ServerUnavailable,
        Self::ServerBusy,
        Self::Banned,
        Self::ServerShuttingDown,
        Self::BadAuthenticationMethod,
        Self::KeepAliveTimeout,
        Self::SessionTakenOver,
        Self::TopicFilterInvalid,
        Self::TopicNameInvalid,
        Self::PacketIdentifierInUse,
        Self::PacketIdentifierNotFound,
        Self::ReceiveMaximumExceeded,
        Self::TopicAliasInvalid,
        Self::PacketTooLarge,
        Self::MessageRateTooHigh,
        Self::QuotaExceeded,
        Self::AdministrativeAction,
        Self::PayloadFormatInvalid,
        Self::RetainNotSupported,
        Self::QoSNotSupported,
        Self::UseAnotherServer,
        Self::ServerMoved,
        Self::SharedSubscriptionsNotSupported,
        Self::ConnectionRateExceeded,
        Self::MaximumConnectTime,
        Self::SubscriptionIdentifiersNotSupported,
        Self::WildcardSubscriptionsNotSupported,
    ];

    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    pub const GRANTED_QOS_0: Self = Self::Success;

    #[inline]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// `None` for a byte the specification gives no meaning.
    #[inline]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0x00 => Self::Success,
            0x01 => Self::GrantedQoS1,
            0x02 => Self::GrantedQoS2,
            0x04 => Self::DisconnectWithWill,
            0x10 => Self::NoMatchingSubscribers,
            0x11 => Self::NoSubscriptionExisted,
            0x18 => Self::ContinueAuthentication,
            0x19 => Self::ReAuthenticate,
            0x80 => Self::UnspecifiedError,
            0x81 => Self::MalformedPacket,
            0x82 => Self::ProtocolError,
            0x83 => Self::ImplementationSpecificError,
            0x84 => Self::UnsupportedProtocolVersion,
            0x85 => Self::ClientIdentifierNotValid,
            0x86 => Self::BadUserNameOrPassword,
            0x87 => Self::NotAuthorized,
            0x88 => Self::ServerUnavailable,
            0x89 => Self::ServerBusy,
            0x8a => Self::Banned,
            0x8b => Self::ServerShuttingDown,
            0x8c => Self::BadAuthenticationMethod,
            0x8d => Self::KeepAliveTimeout,
            0x8e => Self::SessionTakenOver,
            0x8f => Self::TopicFilterInvalid,
            0x90 => Self::TopicNameInvalid,
            0x91 => Self::PacketIdentifierInUse,
            0x92 => Self::PacketIdentifierNotFound,
            0x93 => Self::ReceiveMaximumExceeded,
            0x94 => Self::TopicAliasInvalid,
            0x95 => Self::PacketTooLarge,
            0x96 => Self::MessageRateTooHigh,
            0x97 => Self::QuotaExceeded,
            0x98 => Self::AdministrativeAction,
            0x99 => Self::PayloadFormatInvalid,
            0x9a => Self::RetainNotSupported,
            0x9b => Self::QoSNotSupported,
            0x9c => Self::UseAnotherServer,
            0x9d => Self::ServerMoved,
            0x9e => Self::SharedSubscriptionsNotSupported,
            0x9f => Self::ConnectionRateExceeded,
            0xa0 => Self::MaximumConnectTime,
            0xa1 => Self::SubscriptionIdentifiersNotSupported,
            0xa2 => Self::WildcardSubscriptionsNotSupported,
            _ => return None,
        })
    }

    /// Codes of 0x80 and above say that the operation failed [2.4].
    #[inline]
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The SUBACK code that grants `qos`.
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::Success,
            QoS::AtLeastOnce => Self::GrantedQoS1,
            QoS::ExactlyOnce => Self::GrantedQoS2,
        }
    }

    /// The return code of a CONNACK of 3.1 and 3.1.1; `None` if they have none, and the Network Connection is to be
    /// closed without a CONNACK [3.1.1: 3.2.2.3].
    pub const fn connect_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => Some(5),
            _ => None,
        }
    }

    /// What a return code in a CONNACK of 3.1 and 3.1.1 means; `None` for the codes they reserve.
    pub const fn from_connect_return_code(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Success,
            1 => Self::UnsupportedProtocolVersion,
            2 => Self::ClientIdentifierNotValid,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }

    /// The return code of a SUBACK of 3.1 and 3.1.1: the granted QoS, or 0x80 for failure. 3.1 knows no failure; its
    /// Clients read the low bits and see QoS 0, which is the least that can be claimed.
    pub const fn subscribe_return_code(self) -> u8 {
        match self {
            Self::Success | Self::GrantedQoS1 | Self::GrantedQoS2 => self.as_u8(),
            _ => 0x80,
        }
    }

    /// The byte in a SUBACK of `version`.
    pub(crate) const fn in_suback(self, version: ProtocolVersion) -> u8 {
        match version {
            ProtocolVersion::V5 => self.as_u8(),
            ProtocolVersion::V31 | ProtocolVersion::V311 => self.subscribe_return_code(),
        }
    }

    #[inline]
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Self::from_u8(reader.u8()?)
            .ok_or(Error::malformed("[2.4] a Reason Code is one of the specification's"))
    }
}

impl<'a> Element<'a> for ReasonCode {
    type Of<'b> = Self;

    fn next(reader: &mut Reader<'a>) -> Option<Self> {
        Self::from_u8(reader.u8().ok()?)
    }
}

impl fmt::Display for ReasonCode {
    /// The name in the specification, and the code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), self.as_u8())
    }
}

impl ReasonCode {
    /// The name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::GrantedQoS1 => "Granted QoS 1",
            Self::GrantedQoS2 => "Granted QoS 2",
            Self::DisconnectWithWill => "Disconnect with will",
            Self::NoMatchingSubscribers => "No matching subscribers",
            Self::NoSubscriptionExisted => "No subscription existed",
            Self::ContinueAuthentication => "Continue authentication",
            Self::ReAuthenticate => "Re-authenticate",
            Self::UnspecifiedError => "Unspecified error",
            Self::MalformedPacket => "Malformed packet",
            Self::ProtocolError => "Protocol error",
            Self::ImplementationSpecificError => "Implementation specific error",
            Self::UnsupportedProtocolVersion => "Unsupported protocol version",
            Self::ClientIdentifierNotValid => "Client identifier not valid",
            Self::BadUserNameOrPassword => "Bad user name or password",
            Self::NotAuthorized => "Not authorized",
            Self::ServerUnavailable => "Server unavailable",
            Self::ServerBusy => "Server busy",
            Self::Banned => "Banned",
            Self::ServerShuttingDown => "Server shutting down",
            Self::BadAuthenticationMethod => "Bad authentication method",
            Self::KeepAliveTimeout => "Keep alive timeout",
            Self::SessionTakenOver => "Session taken over",
            Self::TopicFilterInvalid => "Topic filter invalid",
            Self::TopicNameInvalid => "Topic name invalid",
            Self::PacketIdentifierInUse => "Packet identifier in use",
            Self::PacketIdentifierNotFound => "Packet identifier not found",
            Self::ReceiveMaximumExceeded => "Receive maximum exceeded",
            Self::TopicAliasInvalid => "Topic alias invalid",
            Self::PacketTooLarge => "Packet too large",
            Self::MessageRateTooHigh => "Message rate too high",
            Self::QuotaExceeded => "Quota exceeded",
            Self::AdministrativeAction => "Administrative action",
            Self::PayloadFormatInvalid => "Payload format invalid",
            Self::RetainNotSupported => "Retain not supported",
            Self::QoSNotSupported => "QoS not supported",
            Self::UseAnotherServer => "Use another server",
            Self::ServerMoved => "Server moved",
            Self::SharedSubscriptionsNotSupported => "Shared subscriptions not supported",
            Self::ConnectionRateExceeded => "Connection rate exceeded",
            Self::MaximumConnectTime => "Maximum connect time",
            Self::SubscriptionIdentifiersNotSupported => "Subscription identifiers not supported",
            Self::WildcardSubscriptionsNotSupported => "Wildcard subscriptions not supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_byte_that_names_it() {
        let known = (0..=u8::MAX).filter_map(ReasonCode::from_u8);
        assert!(known.clone().eq(ReasonCode::ALL));
        for byte in 0..=u8::MAX {
            assert!(ReasonCode::from_u8(byte).is_none_or(|code| code.as_u8() == byte));
        }
    }

    #[test]
    fn return_codes_of_3_x_survive_the_way_through_a_reason_code() {
        for byte in 0..=u8::MAX {
            if let Some(code) = ReasonCode::from_connect_return_code(byte) {
                assert_eq!(code.connect_return_code(), Some(byte));
            }
        }
        assert_eq!(ReasonCode::MalformedPacket.connect_return_code(), None);
        assert_eq!(ReasonCode::NotAuthorized.subscribe_return_code(), 0x80);
        assert_eq!(ReasonCode::granted(QoS::ExactlyOnce).subscribe_return_code(), 2);
    }
}
