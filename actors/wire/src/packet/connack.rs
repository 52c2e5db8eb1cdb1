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
