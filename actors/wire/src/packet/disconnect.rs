//! DISCONNECT [3.14]: the last packet. Without it, a Will is due. In 3.x it is the Client's, and says nothing more.

use alloc::vec::Vec;

use super::put_frame;
use crate::ReasonCode::*;
use crate::reader::Reader;
use crate::{DisconnectProperties, EncodeError, Error, PacketType, ProtocolVersion, ReasonCode, Sender};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// In 3.x always Success, which here means normal disconnection.
    pub reason: ReasonCode,
    pub properties: DisconnectProperties<'a>,
}

impl<'a> Disconnect<'a> {
    /// Without properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: DisconnectProperties::default() }
    }

    /// Whether a Server's DISCONNECT may have this Reason Code (MQTT 5.0, 3.14.2.1).
    pub fn server_may_say(reason: ReasonCode) -> bool {
        is_sent_by_server(reason)
    }

    pub(super) fn decode(version: ProtocolVersion, mut reader: Reader<'a>) -> Result<Self, Error> {
        if reader.is_empty() {
            return Ok(Self::new(Success));
        }
        if !version.has_properties() {
            reader.end()?;
        }
        let reason = ReasonCode::read(&mut reader)?;
        if !is_sent_by_client(reason) && !is_sent_by_server(reason) {
            return Err(Error::protocol("[MQTT-3.14.2-1] a DISCONNECT has one of its Reason Codes"));
        }
        if reader.is_empty() {
            return Ok(Self::new(reason));
        }
        let properties = DisconnectProperties::decode(reader.block()?)?;
        reader.end()?;
        Ok(Self { reason, properties })
    }

    pub(super) fn check_sender(&self, sender: Sender) -> Result<(), Error> {
        let may_send = match sender {
            Sender::Client => is_sent_by_client(self.reason),
            Sender::Server => is_sent_by_server(self.reason),
        };
        if !may_send {
            return Err(Error::protocol(
                "[3.14.2.1] a Reason Code of DISCONNECT is sent in its direction only",
            ));
        }
        if sender == Sender::Server && self.properties.session_expiry_interval.is_some() {
            return Err(Error::protocol(
                "[MQTT-3.14.2-2] a Server sends no Session Expiry Interval in DISCONNECT",
            ));
        }
        Ok(())
    }

    /// See [`Packet::encode`](crate::Packet::encode).
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let first = PacketType::Disconnect.first_byte();
        if !version.has_properties() || (self.reason == Success && self.properties.is_empty()) {
            out.extend_from_slice(&[first, 0]);
            return Ok(());
        }
        put_frame(first, out, |out| {
            out.push(self.reason.as_u8());
            if self.properties.is_empty() { Ok(()) } else { self.properties.put(out) }
        })
    }
}

fn is_sent_by_client(reason: ReasonCode) -> bool {
    matches!(
        reason,
        Success
            | DisconnectWithWill
            | UnspecifiedError
            | MalformedPacket
            | ProtocolError
            | ImplementationSpecificError
            | BadAuthenticationMethod
            | TopicNameInvalid
            | ReceiveMaximumExceeded
            | TopicAliasInvalid
            | PacketTooLarge
            | MessageRateTooHigh
            | QuotaExceeded
            | AdministrativeAction
            | PayloadFormatInvalid
    )
}

fn is_sent_by_server(reason: ReasonCode) -> bool {
    match reason {
        DisconnectWithWill => false,
        NotAuthorized
        | ServerBusy
        | ServerShuttingDown
        | KeepAliveTimeout
        | SessionTakenOver
        | TopicFilterInvalid
        | RetainNotSupported
        | QoSNotSupported
        | UseAnotherServer
        | ServerMoved
        | SharedSubscriptionsNotSupported
        | ConnectionRateExceeded
        | MaximumConnectTime
        | SubscriptionIdentifiersNotSupported
        | WildcardSubscriptionsNotSupported => true,
        _ => is_sent_by_client(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::ProtocolVersion::{V5, V311};
    use crate::packet::testing::{accepted, assert_refused};

    #[test]
    fn an_empty_disconnect_is_a_normal_one() {
        let normal = Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
        for body in [&[][..], &[0], &[0, 0]] {
            assert_eq!(accepted(V5, 0xe0, body), normal);
        }
        assert_eq!(accepted(V311, 0xe0, &[]), normal);
        assert_refused(V311, 0xe0, &[0], ReasonCode::MalformedPacket, "bytes follow");
    }

    #[test]
    fn reason_codes_are_sent_in_their_direction() {
        let with_will = Disconnect::new(DisconnectWithWill);
        assert_eq!(with_will.check_sender(Sender::Client), Ok(()));
        assert!(with_will.check_sender(Sender::Server).is_err());
        let taken_over = Disconnect::new(SessionTakenOver);
        assert_eq!(taken_over.check_sender(Sender::Server), Ok(()));
        assert!(taken_over.check_sender(Sender::Client).is_err());
        assert_refused(V5, 0xe0, &[0x10], ReasonCode::ProtocolError, "[MQTT-3.14.2-1]");
    }

    #[test]
    fn a_server_sends_no_session_expiry_interval() {
        let mut disconnect = Disconnect::new(ServerShuttingDown);
        disconnect.properties.session_expiry_interval = Some(0);
        let error = disconnect.check_sender(Sender::Server).unwrap_err();
        assert!(error.rule.starts_with("[MQTT-3.14.2-2]"));
    }
}
