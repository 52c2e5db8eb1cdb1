//! As much of MQTT 3.1.1 as this takes.

pub const CONNECT: u8 = 1;
pub const CONNACK: u8 = 2;
pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const SUBSCRIBE: u8 = 8;
pub const SUBACK: u8 = 9;
pub const PINGREQ: u8 = 12;
pub const PINGRESP: u8 = 13;

/// Where the body of the first packet begins and where the packet ends. None until all of it is there.
pub fn packet(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut len = 0;
    for at in 1..5 {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte < 0x80 {
            let end = at + 1 + len;
            return (end <= bytes.len()).then_some((at + 1, end));
        }
    }
    None
}

pub fn text(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let len = u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
    bytes.get(at + 2..at + 2 + usize::from(len))
}

pub fn put_packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    put_varint(out, body.len());
    out.extend_from_slice(body);
}

pub fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub fn put_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
