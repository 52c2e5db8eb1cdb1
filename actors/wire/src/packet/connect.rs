//! CONNECT [3.1]: the first packet, from somebody nobody knows yet. It names the version that all others are read by.

use alloc::vec::Vec;
use core::fmt;

use super::put_frame;
use crate::reader::Reader;
use crate::{
    ConnectProperties, EncodeError, Error, PacketType, ProtocolVersion, QoS, ReasonCode, TopicName,
    WillProperties, text,
};

const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USERNAME: u8 = 0b1000_0000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    pub version: ProtocolVersion,
    /// In 3.x Clean Session: a new Session, which also ends with its connection.
    pub clean_start: bool,
    /// In seconds; zero is off.
    pub keep_alive: u16,
    /// May be empty: then the Server assigns one. 3.1.1 allows that with Clean Session only, 3.1 never. That 3.1
    /// stops at 23 characters is not enforced, as other Servers do not.
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub will: Option<Will<'a>>,
    pub properties: ConnectProperties<'a>,
}

/// What is published when the connection ends without a DISCONNECT [3.1.2.5].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    pub topic: TopicName<'a>,
    pub payload: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    pub properties: WillProperties<'a>,
}

impl<'a> Connect<'a> {
    /// With a new Session, without Keep Alive, user, Will and properties.
    pub fn new(version: ProtocolVersion, client_id: &'a str) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 0,
            client_id,
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties::default(),
        }
    }

    /// The version that a body asks for, to answer in it when the rest of the CONNECT is refused. `None` if there is
    /// no such version.
    pub fn peek_version(body: &[u8]) -> Option<ProtocolVersion> {
        read_version(&mut Reader::new(body)).ok()
    }

    pub(super) fn decode(first: u8, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let version = read_version(&mut reader)?;
        PacketType::check_connect_flags(first, version)?;
        let flags = Flags::read(version, &mut reader)?;
        let keep_alive = reader.u16()?;
        let properties = match version.has_properties() {
            true => ConnectProperties::decode(reader.block()?)?,
            false => ConnectProperties::default(),
        };
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(Error::protocol(
                "[3.1.2.11.10] Authentication Data comes with an Authentication Method",
            ));
        }
        let client_id = reader.text()?;
        text::check_name(client_id)?;
        let needs_client_id = match version {
            ProtocolVersion::V31 => true,
            ProtocolVersion::V311 => !flags.clean_start,
            ProtocolVersion::V5 => false,
        };
        if client_id.is_empty() && needs_client_id {
            return Err(Error::new(
                ReasonCode::ClientIdentifierNotValid,
                "[3.1.1: MQTT-3.1.3-8] a Client Identifier is not empty, unless with Clean Session in 3.1.1",
            ));
        }
        let will = match flags.will {
            Some((qos, retain)) => Some(Will::decode(version, qos, retain, &mut reader)?),
            None => None,
        };
        // In 3.1 the length goes before the flags: a user name that was announced may be missing.
        let may_be_missing = version == ProtocolVersion::V31;
        let username = match flags.username && !(may_be_missing && reader.is_empty()) {
            true => {
                let username = reader.text()?;
                text::check_name(username)?;
                Some(username)
            }
            false => None,
        };
        let password = match flags.password && !(may_be_missing && reader.is_empty()) {
            true => Some(reader.binary()?),
            false => None,
        };
        reader.end()?;
        Ok(Self {
            version,
            clean_start: flags.clean_start,
            keep_alive,
            client_id,
            username,
            password,
            will,
            properties,
        })
    }

    /// Appends the packet, in its own version. An error leaves `out` as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let version = self.version;
        if self.password.is_some() && self.username.is_none() && version != ProtocolVersion::V5 {
            return Err(EncodeError::NotInVersion);
        }
        put_frame(PacketType::Connect.first_byte(), out, |out| {
            text::put(version.name(), out)?;
            out.push(version.level());
            out.push(self.flags());
            out.extend_from_slice(&self.keep_alive.to_be_bytes());
            if version.has_properties() {
                self.properties.put(out)?;
            }
            text::put(self.client_id, out)?;
            if let Some(will) = &self.will {
                if version.has_properties() {
                    will.properties.put(out)?;
                }
                text::put(will.topic.as_str(), out)?;
                text::put_binary(will.payload, out)?;
            }
            if let Some(username) = self.username {
                text::put(username, out)?;
            }
            match self.password {
                Some(password) => text::put_binary(password, out),
                None => Ok(()),
            }
        })
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | will.qos.as_u8() << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.username.is_some() {
            flags |= USERNAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }
}

impl<'a> Will<'a> {
    fn decode(
        version: ProtocolVersion,
        qos: QoS,
        retain: bool,
        reader: &mut Reader<'a>,
    ) -> Result<Self, Error> {
        let properties = match version.has_properties() {
            true => WillProperties::decode(reader.block()?)?,
            false => WillProperties::default(),
        };
        let topic = TopicName::new(reader.text()?)?;
        let payload = reader.binary()?;
        Ok(Self { topic, payload, qos, retain, properties })
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<ProtocolVersion, Error> {
    let name = reader.binary()?;
    let unsupported = Error::new(
        ReasonCode::UnsupportedProtocolVersion,
        "[MQTT-3.1.2-2] a CONNECT is MQIsdp 3, MQTT 4 or MQTT 5",
    );
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(Error::malformed(
            "[MQTT-3.1.2-1] the protocol name of a CONNECT is MQTT, or MQIsdp in 3.1",
        ));
    }
    ProtocolVersion::from_level(reader.u8()?)
        .filter(|version| version.name().as_bytes() == name)
        .ok_or(unsupported)
}

/// The Connect Flags [3.1.2.3].
struct Flags {
    clean_start: bool,
    /// QoS and RETAIN of the Will Message.
    will: Option<(QoS, bool)>,
    username: bool,
    password: bool,
}

impl Flags {
    fn read(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, Error> {
        let byte = reader.u8()?;
        let has = |flag| byte & flag != 0;
        // 3.1 calls the lowest bit unused, and says nothing of Will QoS without a Will.
        let lenient = version == ProtocolVersion::V31;
        if has(1) && !lenient {
            return Err(Error::malformed("[MQTT-3.1.2-3] the reserved flag of a CONNECT is 0"));
        }
        let will_qos = byte >> WILL_QOS_SHIFT & 0b11;
        let will = if has(WILL) {
            let qos = QoS::from_u8(will_qos).ok_or(Error::malformed("[MQTT-3.1.2-12] Will QoS is not 3"))?;
            Some((qos, has(WILL_RETAIN)))
        } else if (will_qos != 0 || has(WILL_RETAIN)) && !lenient {
            return Err(Error::malformed(
                "[MQTT-3.1.2-11, MQTT-3.1.2-13] Will QoS and Will Retain are 0 without a Will",
            ));
        } else {
            None
        };
        if has(PASSWORD) && !has(USERNAME) && version != ProtocolVersion::V5 {
            return Err(Error::malformed("[3.1.1: MQTT-3.1.2-22] a password comes with a user name"));
        }
        Ok(Self { clean_start: has(CLEAN_START), will, username: has(USERNAME), password: has(PASSWORD) })
    }
}

/// Passwords and what authenticates must not reach a log.
impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.map(|_| "***"))
            .field("will", &self.will)
            .field("authentication_method", &self.properties.authentication_method)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::ProtocolVersion::{V5, V31, V311};
    use crate::packet::testing::{accepted, assert_refused};
    use crate::{Packet, ReasonCode};

    const CONNECT: u8 = 0x10;

    /// Of 3.1.1, with these flags and what follows the Keep Alive.
    fn v311(flags: u8, rest: &[u8]) -> Vec<u8> {
        body(b"\0\x04MQTT\x04", flags, rest)
    }

    fn body(name_and_level: &[u8], flags: u8, rest: &[u8]) -> Vec<u8> {
        let mut body = name_and_level.to_vec();
        body.extend_from_slice(&[flags, 0, 60]);
        body.extend_from_slice(rest);
        body
    }

    #[track_caller]
    fn connect(body: &[u8]) -> Connect<'_> {
        // The version given from outside is not looked at.
        match accepted(V31, CONNECT, body) {
            Packet::Connect(connect) => connect,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_version_stands_in_the_packet() {
        assert_eq!(connect(&v311(2, b"\0\x01c")).version, V311);
        assert_eq!(connect(&body(b"\0\x06MQIsdp\x03", 2, b"\0\x01c")).version, V31);
        let bytes = body(b"\0\x04MQTT\x05", 2, b"\0\0\x01c");
        assert_eq!(connect(&bytes).version, V5);
        assert_eq!(Connect::peek_version(&bytes[..7]), Some(V5));
    }

    #[test]
    fn other_versions_are_unsupported() {
        for name in [&b"\0\x04MQTT\x06"[..], b"\0\x04MQTT\x03", b"\0\x06MQIsdp\x04", b"\0\x06MQIsdp\x05"] {
            let bytes = body(name, 2, b"\0\x01c");
            assert_refused(V5, CONNECT, &bytes, ReasonCode::UnsupportedProtocolVersion, "[MQTT-3.1.2-2]");
            assert_eq!(Connect::peek_version(&bytes), None);
        }
        for name in [&b"\0\x04mqtt\x04"[..], b"\0\x05MQTTT\x05", b"\0\0\x05"] {
            let bytes = body(name, 2, b"\0\x01c");
            assert_refused(V5, CONNECT, &bytes, ReasonCode::MalformedPacket, "[MQTT-3.1.2-1]");
            assert_eq!(Connect::peek_version(&bytes), None);
        }
    }

    #[test]
    fn the_reserved_flag_and_the_fixed_header_are_zero() {
        assert_refused(V5, CONNECT, &v311(3, b"\0\x01c"), ReasonCode::MalformedPacket, "[MQTT-3.1.2-3]");
        assert_refused(V5, 0x11, &v311(2, b"\0\x01c"), ReasonCode::MalformedPacket, "[MQTT-2.1.3-1]");
        connect(&body(b"\0\x06MQIsdp\x03", 3, b"\0\x01c"));
    }

    #[test]
    fn will_flags_agree_with_each_other() {
        let with_will = b"\0\x01c\0\x01w\0\0";
        assert_refused(
            V5,
            CONNECT,
            &v311(0b0001_1110, with_will),
            ReasonCode::MalformedPacket,
            "[MQTT-3.1.2-12]",
        );
        for flags in [0b0000_1010, 0b0001_0010, 0b0010_0010] {
            assert_refused(
                V5,
                CONNECT,
                &v311(flags, b"\0\x01c"),
                ReasonCode::MalformedPacket,
                "MQTT-3.1.2-11",
            );
        }
        let bytes = v311(0b0011_0110, with_will);
        let will = connect(&bytes).will.unwrap();
        assert_eq!((will.topic.as_str(), will.qos, will.retain), ("w", QoS::ExactlyOnce, true));
        let wildcard = v311(0b0000_0110, b"\0\x01c\0\x01#\0\0");
        assert_refused(V5, CONNECT, &wildcard, ReasonCode::MalformedPacket, "[MQTT-3.3.2-2]");
    }

    #[test]
    fn a_password_comes_with_a_user_name_before_5_0() {
        let password = v311(0b0100_0010, b"\0\x01c\0\x01p");
        assert_refused(V5, CONNECT, &password, ReasonCode::MalformedPacket, "MQTT-3.1.2-22");
        let bytes = body(b"\0\x04MQTT\x05", 0b0100_0010, b"\0\0\x01c\0\x01p");
        assert_eq!(connect(&bytes).password, Some(&b"p"[..]));
        let unsayable = Connect { password: Some(b"p"), ..Connect::new(V311, "c") };
        assert_eq!(unsayable.encode(&mut Vec::new()), Err(EncodeError::NotInVersion));
    }

    #[test]
    fn in_3_1_a_user_name_that_was_announced_may_be_missing() {
        let bytes = body(b"\0\x06MQIsdp\x03", 0b1100_0010, b"\0\x01c");
        assert_eq!((connect(&bytes).username, connect(&bytes).password), (None, None));
        let missing = v311(0b1100_0010, b"\0\x01c");
        assert_refused(V5, CONNECT, &missing, ReasonCode::MalformedPacket, "ends after");
    }

    #[test]
    fn an_empty_client_identifier_needs_clean_session_in_3_1_1() {
        assert_eq!(connect(&v311(2, b"\0\0")).client_id, "");
        let refused = ReasonCode::ClientIdentifierNotValid;
        assert_refused(V5, CONNECT, &v311(0, b"\0\0"), refused, "MQTT-3.1.3-8");
        assert_refused(V5, CONNECT, &body(b"\0\x06MQIsdp\x03", 2, b"\0\0"), refused, "MQTT-3.1.3-8");
        connect(&body(b"\0\x04MQTT\x05", 0, b"\0\0\0"));
    }

    #[test]
    fn nothing_follows_the_payload() {
        assert_refused(V5, CONNECT, &v311(2, b"\0\x01cx"), ReasonCode::MalformedPacket, "bytes follow");
    }

    #[test]
    fn authentication_data_comes_with_a_method() {
        let bytes = body(b"\0\x04MQTT\x05", 2, b"\x04\x16\0\x01d\0\x01c");
        assert_refused(V5, CONNECT, &bytes, ReasonCode::ProtocolError, "[3.1.2.11.10]");
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Connect { password: Some(b"hunter2"), ..Connect::new(V5, "c") });
        assert!(shown.contains("***") && !shown.contains("104"), "{shown}");
    }
}
