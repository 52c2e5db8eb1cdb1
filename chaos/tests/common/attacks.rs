//! Bytes that are no handshake of TLS, no upgrade to a WebSocket, or no frame of one.

use convoy_chaos::client::{frame, upgrade};
use convoy_wire::ProtocolVersion;

use super::bytes::connect;

const BINARY: u8 = 0x82;
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a TLS listener is sent instead of a handshake.
pub fn no_handshakes() -> Vec<(&'static str, Vec<u8>)> {
    let record = |kind: u8, length: u16, body: &[u8]| {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let long_hello = [&[1, 0xff, 0xff, 0xff, 3, 3][..], &[0; 16_378]].concat();
    vec![
        ("MQTT without TLS", connect(ProtocolVersion::V5, "plain")),
        ("HTTP", b"GET /mqtt HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec()),
        ("a record longer than records are", record(0x16, 0xffff, &[0; 70_000])),
        ("a ClientHello of 16 MB", record(0x16, 16_384, &long_hello).repeat(64)),
        ("records without content", record(0x16, 0, &[]).repeat(10_000)),
        ("data before the handshake", record(0x17, 5, b"hello")),
        ("alerts", record(0x15, 2, &[1, 0]).repeat(1000)),
        ("changes of cipher", record(0x14, 1, &[1]).repeat(10_000)),
        ("SSL 2", [0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10].repeat(5)),
        ("zeros", vec![0; 100_000]),
    ]
}

/// HTTP that asks for no WebSocket that there is.
pub fn no_upgrades() -> Vec<(&'static str, Vec<u8>)> {
    let good = String::from_utf8(upgrade("/mqtt", "mqtt")).expect("it is text");
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "the request has {from}");
        good.replace(from, to).into_bytes()
    };
    let header = |line: &str| with("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    vec![
        ("MQTT without a WebSocket", connect(ProtocolVersion::V5, "plain")),
        ("another path", upgrade("/other", "mqtt")),
        ("another subprotocol", upgrade("/mqtt", "chat")),
        ("no subprotocol", with("Sec-WebSocket-Protocol: mqtt\r\n", "")),
        ("no key", with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "")),
        ("a key that is none", with("dGhlIHNhbXBsZSBub25jZQ==", "x")),
        ("two keys", header("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
        ("an old version", with("Version: 13", "Version: 8")),
        ("POST", with("GET ", "POST ")),
        ("HTTP/1.0", with("HTTP/1.1", "HTTP/1.0")),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a header that never ends", [b"GET /mqtt HTTP/1.1\r\nX: ", &[b'x'; 200_000][..]].concat()),
        ("a thousand headers", header(&["X: y"; 1000].join("\r\n"))),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
    ]
}

/// Frames that a Client may not send, each behind a good CONNECT.
pub fn no_frames() -> Vec<(&'static str, Vec<u8>)> {
    let masked = |first: u8, payload: &[u8]| frame(first, payload, MASK);
    vec![
        ("an unmasked frame", vec![BINARY, 2, 0xc0, 0]),
        ("text [MQTT-6.0.0-1]", masked(0x81, &[0xc0, 0])),
        ("reserved bits", masked(0xc2, &[0xc0, 0])),
        ("a reserved opcode", masked(0x83, &[0xc0, 0])),
        ("a reserved control opcode", masked(0x8b, &[])),
        ("a continuation of nothing", masked(0x80, &[0xc0, 0])),
        ("a message within another", [masked(0x02, &[0xc0]), masked(BINARY, &[0])].concat()),
        ("PING in fragments", masked(0x09, b"ping")),
        ("PING of 126 bytes", masked(0x89, &[b'p'; 126])),
        ("CLOSE of one byte", masked(0x88, &[3])),
        ("CLOSE", masked(0x88, &1000_u16.to_be_bytes())),
        ("a length with its highest bit", [&[BINARY, 0xff, 0x80][..], &[0; 7], &MASK].concat()),
        ("a packet above the maximum", {
            let mut bytes = vec![0x30, 0xff, 0xff, 0xff, 0x7f];
            bytes.extend_from_slice(&[b'x'; 4096]);
            masked(BINARY, &bytes)
        }),
        ("a malformed packet", masked(BINARY, &[0, 0])),
        (
            "an empty topic across frames",
            [masked(BINARY, &[0x30, 4, 0]), masked(BINARY, &[0, 0, b'x'])].concat(),
        ),
    ]
}
