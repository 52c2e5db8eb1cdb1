//! `convoy sub -F`: a line per message, made of what the message carries.

use super::client::Received;
use serde::Serialize;
use std::{
    borrow::Cow,
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A format, read once.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Field(char),
}

const FIELDS: &str = "ACDEFIJPRSUXjlmpqrtx";

impl Format {
    pub fn parse(format: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            let mut push = |char: char| text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            match char {
                '%' => match chars.next() {
                    Some('%') => push('%'),
                    Some(field) if FIELDS.contains(field) => {
                        if !text.is_empty() {
                            parts.push(Part::Text(std::mem::take(&mut text)));
                        }
                        parts.push(Part::Field(field));
                    }
                    Some(other) => return Err(format!("-F: there is no %{other}")),
                    None => return Err("-F: a % at the end".to_owned()),
                },
                '\\' => match chars.next() {
                    Some('n') => push('\n'),
                    Some('r') => push('\r'),
                    Some('t') => push('\t'),
                    Some('0') => push('\0'),
                    Some('a') => push('\x07'),
                    Some('e') => push('\x1b'),
                    Some('\\') => push('\\'),
                    Some(other) => return Err(format!("-F: there is no \\{other}")),
                    None => return Err("-F: a \\ at the end".to_owned()),
                },
                char => push(char),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { parts })
    }

    /// Writes `message` as it arrived now.
    pub fn write(&self, message: &Received, out: &mut impl Write) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => out.write_all(text),
            Part::Field(field) => write_field(*field, message, now, out),
        })
    }
}

fn write_field(field: char, message: &Received, now: Duration, out: &mut impl Write) -> io::Result<()> {
    match field {
        'A' => optional(&message.topic_alias, out),
        'C' => optional(&message.content_type, out),
        'D' => out.write_all(message.correlation_data.as_deref().unwrap_or_default()),
        'E' => optional(&message.message_expiry_interval, out),
        'F' => optional(&message.payload_format_indicator, out),
        'I' => out.write_all(iso_8601(now).as_bytes()),
        'J' => match serde_json::from_slice(&message.payload) {
            Ok(value) => write_json(message, now, Payload::Json(value), out),
            Err(error) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("a payload is not JSON: {error}")))
            }
        },
        'j' => write_json(message, now, Payload::Text(String::from_utf8_lossy(&message.payload)), out),
        'P' => {
            let pairs: Vec<_> =
                message.user_properties.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            out.write_all(pairs.join(" ").as_bytes())
        }
        'R' => optional(&message.response_topic, out),
        'S' => {
            let ids: Vec<_> = message.subscription_ids.iter().map(u32::to_string).collect();
            out.write_all(ids.join(" ").as_bytes())
        }
        'U' => write!(out, "{}.{:09}", now.as_secs(), now.subsec_nanos()),
        'X' => message.payload.iter().try_for_each(|byte| write!(out, "{byte:02X}")),
        'x' => message.payload.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        'l' => write!(out, "{}", message.payload.len()),
        'm' => write!(out, "{}", message.packet_id.unwrap_or(0)),
        'p' => out.write_all(&message.payload),
        'q' => write!(out, "{}", message.qos.as_u8()),
        'r' => write!(out, "{}", u8::from(message.retain)),
        't' => out.write_all(message.topic.as_bytes()),
        other => unreachable!("parse lets no %{other} through"),
    }
}

fn optional(value: &Option<impl std::fmt::Display>, out: &mut impl Write) -> io::Result<()> {
    value.as_ref().map_or(Ok(()), |value| write!(out, "{value}"))
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'m> {
    Text(Cow<'m, str>),
    Json(serde_json::Value),
}

/// The order of mosquitto_sub, so that what reads its lines reads ours.
#[derive(Serialize)]
struct Line<'m> {
    tst: String,
    topic: &'m str,
    qos: u8,
    retain: u8,
    payloadlen: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    mid: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Properties<'m>>,
    payload: Payload<'m>,
}

#[derive(Serialize, PartialEq, Default)]
#[serde(rename_all = "kebab-case")]
struct Properties<'m> {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic_alias: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<Cow<'m, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_expiry_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format_indicator: Option<u8>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    subscription_identifiers: &'m [u32],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    user_properties: &'m [(String, String)],
}

fn write_json(
    message: &Received,
    now: Duration,
    payload: Payload<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let properties = Properties {
        topic_alias: message.topic_alias,
        content_type: message.content_type.as_deref(),
        response_topic: message.response_topic.as_deref(),
        correlation_data: message.correlation_data.as_deref().map(String::from_utf8_lossy),
        message_expiry_interval: message.message_expiry_interval,
        payload_format_indicator: message.payload_format_indicator,
        subscription_identifiers: &message.subscription_ids,
        user_properties: &message.user_properties,
    };
    let line = Line {
        tst: iso_8601(now),
        topic: &message.topic,
        qos: message.qos.as_u8(),
        retain: u8::from(message.retain),
        payloadlen: message.payload.len(),
        mid: message.packet_id,
        properties: (properties != Properties::default()).then_some(properties),
        payload,
    };
    serde_json::to_writer(out, &line).map_err(io::Error::from)
}

/// UTC with microseconds. Days become a date by the method of Howard Hinnant's `civil_from_days`, for years from
/// 1970 on.
fn iso_8601(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years here begin in March, so that a leap day is the last day of one; eras have 400 of them.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_micros()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use convoy_wire::QoS;

    fn printed(format: &str, message: &Received) -> String {
        let mut out = Vec::new();
        Format::parse(format).unwrap().write(message, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn message() -> Received {
        Received {
            topic: "doors/1".to_owned(),
            payload: b"open".to_vec(),
            qos: QoS::AtLeastOnce,
            packet_id: Some(7),
            content_type: Some("text/plain".to_owned()),
            user_properties: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())],
            ..Received::default()
        }
    }

    #[test]
    fn fields_and_escapes_are_replaced() {
        assert_eq!(printed("%t|%p|%q%r|%l|m%m|%x|%X", &message()), "doors/1|open|10|4|m7|6f70656e|6F70656E");
        assert_eq!(printed("%C [%P]%R\\t100%%\\n", &message()), "text/plain [a:1 b:2]\t100%\n");
    }

    #[test]
    fn unknown_fields_and_open_ends_are_refused() {
        for format in ["%z", "%", "\\q", "\\"] {
            assert!(Format::parse(format).is_err(), "{format}");
        }
    }

    #[test]
    fn json_has_the_fields_and_their_order() {
        let line = printed("%j", &message());
        assert!(line.starts_with("{\"tst\":\"20"), "{line}");
        let rest = line.split_once(',').unwrap().1;
        assert_eq!(
            rest,
            "\"topic\":\"doors/1\",\"qos\":1,\"retain\":0,\"payloadlen\":4,\"mid\":7,\"properties\":\
             {\"content-type\":\"text/plain\",\"user-properties\":[[\"a\",\"1\"],[\"b\",\"2\"]]},\
             \"payload\":\"open\"}"
        );
        let json = Received { payload: b"{\"a\":[1]}".to_vec(), ..Received::default() };
        assert!(printed("%J", &json).ends_with("\"payload\":{\"a\":[1]}}"));
    }

    #[test]
    fn time_is_written_as_a_date() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(iso_8601(Duration::from_secs(seconds)), date);
        }
    }
}
