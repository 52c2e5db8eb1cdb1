//! AUTH [3.15]: one step of an authentication that takes several. 5.0 only.

use alloc::vec::Vec;

use super::put_frame;
use crate::ReasonCode::*;
use crate::reader::Reader;
use crate::{AuthProperties, EncodeError, Error, PacketType, ProtocolVersion, ReasonCode, Sender};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success (from the Server), Continue authentication, or Re-authenticate (from the Client).
    pub reason: ReasonCode,
    /// With an Authentication Method, unless the packet is the shortest there is: Success and nothing else.
    pub properties: AuthProperties<'a>,
}

impl<'a> Auth<'a> {
    pub(super) fn decode(version: ProtocolVersion, mut reader: Reader<'a>) -> Result<Self, Error> {
        if !version.has_properties() {
            return Err(Error::malformed("[3.1.1: 2.2.1] packet type 15 is reserved before 5.0"));
        }
        if reader.is_empty() {
            return Ok(Self { reason: Success, properties: AuthProperties::default() });
        }
        let reason = ReasonCode::read(&mut reader)?;
        if !matches!(reason, Success | ContinueAuthentication | ReAuthenticate) {
            return Err(Error::protocol("[MQTT-3.15.2-1] an AUTH has one of the Authenticate Reason Codes"));
        }
        let properties = AuthProperties::decode(reader.block()?)?;
        reader.end()?;
        if properties.authentication_method.is_none() {
            return Err(Error::protocol("[3.15.2.2.2] an AUTH has an Authentication Method"));
        }
        Ok(Self { reason, properties })
    }

    pub(super) fn check_sender(&self, sender: Sender) -> Result<(), Error> {
        match (self.reason, sender) {
            (Success, Sender::Client) | (ReAuthenticate, Sender::Server) => {
                Err(Error::protocol("[MQTT-3.15.2-1] a Reason Code of AUTH is sent in its direction only"))
            }
            _ => Ok(()),
        }
    }

    /// See [`Packet::encode`](crate::Packet::encode).
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !version.has_properties() {
            return Err(EncodeError::NotInVersion);
        }
        put_frame(PacketType::Auth.first_byte(), out, |out| {
            if self.reason == Success && self.properties.is_empty() {
                return Ok(());
            }
            out.push(self.reason.as_u8());
            self.properties.put(out)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::ProtocolVersion::{V5, V311};
    use crate::packet::testing::{accepted, assert_refused};

    #[test]
    fn an_auth_has_a_method_unless_it_is_the_shortest() {
        let shortest = Auth { reason: Success, properties: AuthProperties::default() };
        assert_eq!(accepted(V5, 0xf0, &[]), Packet::Auth(shortest));
        assert_refused(V5, 0xf0, &[0x18, 0], ReasonCode::ProtocolError, "[3.15.2.2.2]");
        accepted(V5, 0xf0, b"\x18\x04\x15\0\x01m");
    }

    #[test]
    fn reason_codes_are_auths_own_and_sent_in_their_direction() {
        assert_refused(V5, 0xf0, &[0x87, 0], ReasonCode::ProtocolError, "[MQTT-3.15.2-1]");
        let step = |reason| Auth { reason, properties: AuthProperties::default() };
        assert!(step(Success).check_sender(Sender::Client).is_err());
        assert!(step(ReAuthenticate).check_sender(Sender::Server).is_err());
        assert_eq!(step(ContinueAuthentication).check_sender(Sender::Client), Ok(()));
    }

    #[test]
    fn there_is_no_auth_before_5_0() {
        let auth = Auth { reason: Success, properties: AuthProperties::default() };
        assert_eq!(auth.encode(V311, &mut Vec::new()), Err(EncodeError::NotInVersion));
    }
}
