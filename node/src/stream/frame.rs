//! Frames of WebSocket (RFC 6455, 5) as a machine without I/O. MQTT does not care where messages begin and end, so
//! nothing is gathered: what comes of a data frame goes on at once, and a connection keeps where it is in its frame.
//! A message may therefore be of any length; what bounds it is the limit on MQTT's packets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Continuation = 0,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Status codes of a Close frame (RFC 6455, 7.4.1).
pub mod code {
    pub const NORMAL: u16 = 1000;
    pub const GOING_AWAY: u16 = 1001;
    pub const PROTOCOL_ERROR: u16 = 1002;
    pub const UNSUPPORTED_DATA: u16 = 1003;
    pub const INVALID_PAYLOAD: u16 = 1007;
}

/// A rule was broken: the connection is to be closed with this status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Fault {
    pub code: u16,
    pub why: &'static str,
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// Bytes of a binary message, unmasked.
    Data(&'b [u8]),
    /// To be answered by a Pong with the same bytes.
    Ping(Vec<u8>),
    Pong,
    /// With its status code, where there is one.
    Close(Option<u16>),
}

/// Whose frames are read: a Client masks what it sends, a Server does not (RFC 6455, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

/// What is appended to a Client's key (RFC 6455, 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a Server answers to a Client's key, by which it shows that it speaks WebSocket.
pub fn accept_of(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize())
}

/// Payload of a control frame at most (RFC 6455, 5.5).
const CONTROL_BYTES: usize = 125;

#[derive(Debug)]
pub struct Decoder {
    from: From,
    /// The first bytes of a frame, while they are not all there.
    header: [u8; 14],
    header_len: u8,
    /// Of the frame whose payload is being read.
    opcode: Option<Opcode>,
    mask: [u8; 4],
    /// Bytes of its payload that are still to come.
    left: u64,
    /// A message has begun, so that its next frame is a continuation.
    in_message: bool,
    control: Vec<u8>,
}

impl Decoder {
    pub fn new(from: From) -> Self {
        Self {
            from,
            header: [0; 14],
            header_len: 0,
            opcode: None,
            mask: [0; 4],
            left: 0,
            in_message: false,
            control: Vec::new(),
        }
    }

    /// Reads from the front of `input` to the next event; data is unmasked into `room`, which must not be empty.
    pub fn next<'b>(&mut self, input: &mut &[u8], room: &'b mut [u8]) -> Result<Option<Event<'b>>, Fault> {
        loop {
            let Some(opcode) = self.opcode else {
                if !self.read_header(input)? {
                    return Ok(None);
                }
                continue;
            };
            if self.left == 0 {
                self.opcode = None;
                if let Some(event) = self.end_of(opcode)? {
                    return Ok(Some(event));
                }
                continue;
            }
            if input.is_empty() {
                return Ok(None);
            }
            let count = self.left.min(input.len().min(room.len()) as u64) as usize;
            let (bytes, rest) = input.split_at(count);
            *input = rest;
            unmask(bytes, self.mask, &mut room[..count]);
            self.mask.rotate_left(count % 4);
            self.left -= count as u64;
            match opcode {
                Opcode::Binary | Opcode::Continuation => return Ok(Some(Event::Data(&room[..count]))),
                _ => self.control.extend_from_slice(&room[..count]),
            }
        }
    }

    /// False while the header is not whole.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        loop {
            let have = usize::from(self.header_len);
            let needed = match have {
                0 | 1 => 2,
                _ => self.header_bytes()?,
            };
            if have >= needed && have >= 2 {
                break;
            }
            let count = (needed - have).min(input.len());
            if count == 0 {
                return Ok(false);
            }
            let (bytes, rest) = input.split_at(count);
            *input = rest;
            self.header[have..have + count].copy_from_slice(bytes);
            self.header_len += count as u8;
        }
        self.begin_frame()?;
        self.header_len = 0;
        Ok(true)
    }

    /// Bytes of the header, from its first two. What these forbid is refused before the rest has come.
    fn header_bytes(&self) -> Result<usize, Fault> {
        let [first, second, ..] = self.header;
        if first & 0x70 != 0 {
            return Err(broken("a reserved bit is set"));
        }
        let is_final = first & 0x80 != 0;
        match first & 0x0F {
            0 if !self.in_message => return Err(broken("a continuation of nothing")),
            1 => return Err(Fault { code: code::UNSUPPORTED_DATA, why: "a text frame: MQTT is binary" }),
            2 if self.in_message => return Err(broken("a message within another")),
            0 | 2 => {}
            8..=10 if !is_final => return Err(broken("a control frame in fragments")),
            8..=10 if usize::from(second & 0x7F) > CONTROL_BYTES => {
                return Err(broken("a control frame too long"));
            }
            8..=10 => {}
            _ => return Err(broken("a reserved opcode")),
        }
        if (second & 0x80 != 0) != (self.from == From::Client) {
            return Err(broken(match self.from {
                From::Client => "a frame of a Client that is not masked",
                From::Server => "a frame of a Server that is masked",
            }));
        }
        let length = match second & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        Ok(2 + length + if self.from == From::Client { 4 } else { 0 })
    }

    fn begin_frame(&mut self) -> Result<(), Fault> {
        let [first, second, ..] = self.header;
        let length_at = |bytes: usize| {
            self.header[2..2 + bytes].iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte))
        };
        let (bytes, length) = match second & 0x7F {
            126 => (2, length_at(2)),
            127 => (8, length_at(8)),
            short => (0, u64::from(short)),
        };
        if (bytes == 2 && length < 126) || (bytes == 8 && length <= 0xFFFF) || length >> 63 != 0 {
            return Err(broken("a length that is not written as it must be"));
        }
        self.left = length;
        if self.from == From::Client {
            self.mask.copy_from_slice(&self.header[2 + bytes..6 + bytes]);
        }
        let opcode = match first & 0x0F {
            0 => Opcode::Continuation,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            _ => Opcode::Pong,
        };
        if matches!(opcode, Opcode::Continuation | Opcode::Binary) {
            self.in_message = first & 0x80 == 0;
        }
        self.opcode = Some(opcode);
        Ok(())
    }

    fn end_of<'b>(&mut self, opcode: Opcode) -> Result<Option<Event<'b>>, Fault> {
        let control = std::mem::take(&mut self.control);
        match opcode {
            Opcode::Binary | Opcode::Continuation => Ok(None),
            Opcode::Ping => Ok(Some(Event::Ping(control))),
            Opcode::Pong => Ok(Some(Event::Pong)),
            Opcode::Close => match control[..] {
                [] => Ok(Some(Event::Close(None))),
                [_] => Err(broken("half a status code")),
                [high, low, ref reason @ ..] => {
                    let status = u16::from_be_bytes([high, low]);
                    if !matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                        return Err(broken("a status code that nobody may send"));
                    }
                    if std::str::from_utf8(reason).is_err() {
                        return Err(Fault { code: code::INVALID_PAYLOAD, why: "a reason that is not text" });
                    }
                    Ok(Some(Event::Close(Some(status))))
                }
            },
        }
    }
}

fn broken(why: &'static str) -> Fault {
    Fault { code: code::PROTOCOL_ERROR, why }
}

/// `into` has the length of `bytes`. The mask begins with the first of them.
pub fn unmask(bytes: &[u8], mask: [u8; 4], into: &mut [u8]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let whole = bytes.len() & !7;
    for (from, to) in bytes[..whole].chunks_exact(8).zip(into[..whole].chunks_exact_mut(8)) {
        let value = u64::from_ne_bytes(from.try_into().expect("a chunk has eight bytes"));
        to.copy_from_slice(&(value ^ word).to_ne_bytes());
    }
    for (at, (from, to)) in bytes[whole..].iter().zip(&mut into[whole..]).enumerate() {
        *to = from ^ mask[at & 3];
    }
}

/// The header of a frame that is a message by itself.
pub struct Header {
    bytes: [u8; 14],
    len: u8,
}

impl Header {
    pub fn new(opcode: Opcode, payload_bytes: usize, mask: Option<[u8; 4]>) -> Self {
        let mut bytes = [0; 14];
        bytes[0] = 0x80 | opcode as u8;
        let mut len = match payload_bytes {
            0..126 => {
                bytes[1] = payload_bytes as u8;
                2
            }
            126..=0xFFFF => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
                10
            }
        };
        if let Some(mask) = mask {
            bytes[1] |= 0x80;
            bytes[len..len + 4].copy_from_slice(&mask);
            len += 4;
        }
        Self { bytes, len: len as u8 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A control frame of a Server. `payload` has at most 125 bytes.
pub fn control(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= CONTROL_BYTES);
    let header = Header::new(opcode, payload.len(), None);
    [header.bytes(), payload].concat()
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
