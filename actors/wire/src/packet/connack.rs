//! CONNACK [3.2]: the Server's answer to a CONNECT.

use alloc::vec::Vec;

use super::put_frame;
use crate::ReasonCode::*;
use crate::reader::Reader;
use crate::{ConnackProperties, EncodeError, Error, PacketType, ProtocolVersion, ReasonCode};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Unknown to 3.1, where it reads as `false`.
    pub session_present: bool,
    /// In 3.x the return code that stands for it, if there is one: [`ReasonCode::connect_return_code`].
    pub reason: ReasonCode,
    pub properties: ConnackProperties<'a>,
}

impl<'a> Connack<'a> {
    /// A refusal, without properties.
    pub fn refused(reason: ReasonCode) -> Self {
        Self { session_present: false, reason, properties: ConnackProperties::default() }
    }

    /// Whether a CONNACK may have this Reason Code [MQTT-3.2.2-8].
    pub fn may_say(reason: ReasonCode) -> bool {
        allows(reason)
    }

    pub(super) fn decode(version: ProtocolVersion, mut reader: Reader<'a>) -> Result<Self, Error> {
        let flags = reader.u8()?;
        if flags > 1 && version != ProtocolVersion::V31 {
            return Err(Error::malformed(
                "[MQTT-3.2.2-1] the reserved bits of Connect Acknowledge Flags are 0",
            ));
        }
        let session_present = flags & 1 != 0 && version != ProtocolVersion::V31;
        let (reason, properties) = if version.has_properties() {
            let reason = ReasonCode::read(&mut reader)?;
            if !allows(reason) {
                return Err(Error::protocol("[MQTT-3.2.2-8] a CONNACK has one of the Connect Reason Codes"));
            }
            (reason, ConnackProperties::decode(reader.block()?)?)
        } else {
            let reason = ReasonCode::from_connect_return_code(reader.u8()?)
                .ok_or(Error::malformed("[3.1.1: 3.2.2.3] a CONNACK has one of six return codes"))?;
            (reason, ConnackProperties::default())
        };
        reader.end()?;
        if session_present && reason != Success {
            return Err(Error::protocol("[MQTT-3.2.2-6] a refused CONNECT has no Session Present"));
        }
        Ok(Self { session_present, reason, properties })
    }

    /// See [`Packet::encode`](crate::Packet::encode).
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let reason = match version.has_properties() {
            true => self.reason.as_u8(),
            false => self.reason.connect_return_code().ok_or(EncodeError::NotInVersion)?,
        };
        let flags = u8::from(self.session_present && version != ProtocolVersion::V31);
        put_frame(PacketType::Connack.first_byte(), out, |out| {
            out.extend_from_slice(&[flags, reason]);
            if version.has_properties() { self.properties.put(out) } else { Ok(()) }
        })
    }
}

/// The Connect Reason Codes [3.2.2.2].
fn allows(reason: ReasonCode) -> bool {
    matches!(
        reason,
        Success
            | UnspecifiedError
            | MalformedPacket
            | ProtocolError
            | ImplementationSpecificError
            | UnsupportedProtocolVersion
            | ClientIdentifierNotValid
            | BadUserNameOrPassword
            | NotAuthorized
            | ServerUnavailable
            | ServerBusy
            | Banned
            | BadAuthenticationMethod
            | TopicNameInvalid
            | PacketTooLarge
            | QuotaExceeded
            | PayloadFormatInvalid
            | RetainNotSupported
            | QoSNotSupported
            | UseAnotherServer
            | ServerMoved
            | ConnectionRateExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::ProtocolVersion::{V5, V31, V311};
    use crate::packet::testing::{accepted, assert_refused};

    #[test]
    fn a_refusal_has_no_session_present() {
        assert_refused(V5, 0x20, &[1, 0x87, 0], ReasonCode::ProtocolError, "[MQTT-3.2.2-6]");
        assert_refused(V311, 0x20, &[1, 5], ReasonCode::ProtocolError, "[MQTT-3.2.2-6]");
        assert_refused(V5, 0x20, &[2, 0, 0], ReasonCode::MalformedPacket, "[MQTT-3.2.2-1]");
    }

    #[test]
    fn before_5_0_a_refusal_is_one_of_five_return_codes() {
        let refused = Packet::Connack(Connack::refused(NotAuthorized));
        assert_eq!(accepted(V311, 0x20, &[0, 5]), refused);
        assert_refused(V311, 0x20, &[0, 6], ReasonCode::MalformedPacket, "3.2.2.3");
        let mut out = Vec::new();
        Connack::refused(Banned).encode(V311, &mut out).unwrap();
        assert_eq!(out, [0x20, 2, 0, 5]);
        let unsayable = Connack::refused(ReasonCode::MalformedPacket);
        assert_eq!(unsayable.encode(V311, &mut out), Err(EncodeError::NotInVersion));
    }

    #[test]
    fn session_present_is_unknown_to_3_1() {
        let mut out = Vec::new();
        let connack = Connack { session_present: true, ..Connack::refused(Success) };
        connack.encode(V31, &mut out).unwrap();
        assert_eq!(out, [0x20, 2, 0, 0]);
        assert_eq!(accepted(V31, 0x20, &[1, 0]), Packet::Connack(Connack::refused(Success)));
    }

    #[test]
    fn a_reason_code_of_another_packet_is_refused() {
        assert_refused(V5, 0x20, &[0, 0x8e, 0], ReasonCode::ProtocolError, "[MQTT-3.2.2-8]");
    }
}
