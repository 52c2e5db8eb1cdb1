//! A WebSocket as a Client has it (RFC 6455), written down here on purpose: an oracle that asked the broker's own frames
//! would agree with their mistakes.
//!
//! It makes the broker work for what it reads. Packets are cut anywhere, several share a frame, and some messages come in
//! fragments, since all of that is allowed [MQTT-6.0.0-2].

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::link::Gone;

/// The key of RFC 6455, 1.3, and what a Server has to answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Of the payload; not of a packet.
const FRAME_BYTES: usize = 1400;
const ANSWER_BYTES: usize = 16 << 10;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;

/// Both directions of a connection after its upgrade.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    raw: Vec<u8>,
    frames: u32,
    /// A PONG that waits to be written.
    answer: Vec<u8>,
    /// Inside a message of several frames from the Server.
    fragmented: bool,
}

/// The request of a Client, whole.
pub fn upgrade(path: &str, subprotocol: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
    .into_bytes()
}

/// One frame as Clients send them: masked.
pub fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

impl WebSocket {
    /// Asks for the upgrade and reads the answer.
    pub(super) async fn open(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Self, Gone> {
        stream.write_all(&upgrade("/mqtt", "mqtt")).await?;
        stream.flush().await?;
        let mut raw = Vec::new();
        let length = loop {
            if let Some(at) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if raw.len() > ANSWER_BYTES {
                return Err(Gone::Broken("an answer to the upgrade that does not end".to_owned()));
            }
            if stream.read_buf(&mut raw).await? == 0 {
                return Err(Gone::Closed);
            }
        };
        let head = String::from_utf8_lossy(&raw[..length]).into_owned();
        let mut lines = head.split("\r\n");
        let has = |name: &str, value: &str| {
            head.split("\r\n")
                .filter_map(|line| line.split_once(':'))
                .any(|(key, said)| key.eq_ignore_ascii_case(name) && said.trim() == value)
        };
        let upgraded = lines.next().is_some_and(|line| line.starts_with("HTTP/1.1 101 "));
        if !upgraded || !has("Sec-WebSocket-Accept", ACCEPT) || !has("Sec-WebSocket-Protocol", "mqtt") {
            return Err(Gone::Broken(format!("an upgrade answered with {head:?}")));
        }
        raw.drain(..length);
        Ok(Self { raw, ..Self::default() })
    }

    /// `payload`, in frames.
    pub(super) fn wrap(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.answer);
        let mut pieces = payload.chunks(FRAME_BYTES).peekable();
        let fragmented = payload.len() > FRAME_BYTES && self.frames % 2 == 1;
        let mut opcode = BINARY;
        while let Some(piece) = pieces.next() {
            self.frames = self.frames.wrapping_add(1);
            let fin = if fragmented && pieces.peek().is_some() { 0 } else { FIN };
            bytes.extend(frame(fin | opcode, piece, self.frames.wrapping_mul(0x9e37_79b9).to_be_bytes()));
            opcode = if fragmented { CONTINUATION } else { BINARY };
        }
        bytes
    }

    pub(super) fn has_answer(&self) -> bool {
        !self.answer.is_empty()
    }

    pub(super) fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    /// Moves what whole frames carry to `inbox`.
    pub(super) fn unwrap(&mut self, inbox: &mut Vec<u8>) -> Result<(), Gone> {
        let broken = |why: &str| Err(Gone::Broken(why.to_owned()));
        let mut taken = 0;
        while let Some((first, head, length)) = self.head(taken)? {
            let Some(payload) = self.raw.get(taken + head..taken + head + length) else { break };
            let (fin, opcode) = (first & FIN != 0, first & 0x0f);
            match opcode {
                CLOSE => return Err(Gone::Closed),
                PING => self.answer.extend(frame(FIN | PONG, payload, [1, 2, 3, 4])),
                PONG => {}
                BINARY if !self.fragmented => inbox.extend_from_slice(payload),
                CONTINUATION if self.fragmented => inbox.extend_from_slice(payload),
                _ => return broken("a frame that is not binary, or out of place"),
            }
            if opcode < CLOSE {
                self.fragmented = !fin;
            }
            taken += head + length;
        }
        self.raw.drain(..taken);
        Ok(())
    }

    /// First byte, length of the head and length of the payload; `None` while the head is not whole.
    fn head(&self, at: usize) -> Result<Option<(u8, usize, usize)>, Gone> {
        let raw = &self.raw[at..];
        let &[first, second, ..] = raw else { return Ok(None) };
        if second & 0x80 != 0 || first & 0x70 != 0 {
            return Err(Gone::Broken("a Server's frame that is masked or has reserved bits".to_owned()));
        }
        Ok(match second {
            126 => raw.get(2..4).map(|two| {
                (first, 4, usize::from(u16::from_be_bytes(two.try_into().expect("two bytes were asked for"))))
            }),
            127 => raw.get(2..10).map(|eight| {
                let length = u64::from_be_bytes(eight.try_into().expect("eight bytes were asked for"));
                (first, 10, length as usize)
            }),
            short => Some((first, 2, usize::from(short))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Server would see: the payload of each frame, unmasked, and its first byte.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let [first, second, rest @ ..] = bytes {
            assert!(second & 0x80 != 0, "Clients mask");
            let (length, rest) = match second & 0x7f {
                126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
                short => (usize::from(short), rest),
            };
            let mask = &rest[..4];
            let payload = rest[4..4 + length].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
            frames.push((*first, payload.collect()));
            bytes = &rest[4 + length..];
        }
        frames
    }

    #[test]
    fn long_writes_go_as_several_messages_and_then_as_fragments() {
        let mut socket = WebSocket::default();
        let payload: Vec<u8> = (0..3000_u32).map(|at| at as u8).collect();
        for firsts in [[FIN | BINARY; 3], [BINARY, CONTINUATION, FIN | CONTINUATION]] {
            let frames = frames(&socket.wrap(&payload));
            assert_eq!(frames.iter().map(|(first, _)| *first).collect::<Vec<_>>(), firsts);
            assert_eq!(frames.into_iter().flat_map(|(_, payload)| payload).collect::<Vec<_>>(), payload);
        }
    }

    #[test]
    fn frames_of_a_server_are_joined_pings_answered_and_mistakes_seen() {
        let mut socket = WebSocket::default();
        let mut inbox = Vec::new();
        for byte in [FIN | BINARY, 2, b'a', b'b', FIN | PING, 1, b'!', BINARY, 1, b'c', FIN, 1, b'd'] {
            socket.raw().push(byte);
            socket.unwrap(&mut inbox).expect("all of it is right");
        }
        assert_eq!(inbox, b"abcd");
        assert_eq!(frames(&socket.wrap(b"")), [(FIN | PONG, b"!".to_vec())]);
        for wrong in [[FIN | 1, 0], [FIN | CONTINUATION, 0], [FIN | BINARY, 0x80]] {
            let mut socket = WebSocket::default();
            socket.raw().extend(wrong);
            assert!(matches!(socket.unwrap(&mut inbox), Err(Gone::Broken(_))), "{wrong:?}");
        }
        let mut socket = WebSocket::default();
        socket.raw().extend([FIN | CLOSE, 2, 3, 0xe9]);
        assert_eq!(socket.unwrap(&mut inbox), Err(Gone::Closed));
    }
}
