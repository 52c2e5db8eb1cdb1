//! The form of what nodes tell each other of their lives. It is read whole or refused: the other end has the key of the fleet,
//! and may be of another release all the same.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use convoy_ids::NodeId;
use foca::{Header, Member, Message, State};

use super::process::{ADDRESS_LIMIT, Process};

/// What a datagram begins with.
const VERSION: u8 = 1;

/// Why a datagram is refused, or cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is of version {0} and this node reads {VERSION}")]
    Version(u8),
    #[error("it ends too early")]
    Short,
    /// A kind of message, a state, a node, or an address that is no text.
    #[error("unknown {0}")]
    Unknown(&'static str),
    #[error("it does not fit a datagram")]
    Full,
}

pub(super) struct Codec;

impl foca::Codec<Process> for Codec {
    type Error = Malformed;

    fn encode_header(&mut self, header: &Header<Process>, mut buf: impl BufMut) -> Result<(), Malformed> {
        let length = 1 + len_of(&header.src) + 2 + len_of(&header.dst) + len_of_message(&header.message);
        if buf.remaining_mut() < length {
            return Err(Malformed::Full);
        }
        buf.put_u8(VERSION);
        put(&mut buf, &header.src);
        buf.put_u16(header.src_incarnation);
        put(&mut buf, &header.dst);
        put_message(&mut buf, &header.message);
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Process>, Malformed> {
        match buf.try_get_u8().map_err(short)? {
            VERSION => {}
            other => return Err(Malformed::Version(other)),
        }
        let src = get(&mut buf)?;
        let src_incarnation = buf.try_get_u16().map_err(short)?;
        Ok(Header { src, src_incarnation, dst: get(&mut buf)?, message: get_message(&mut buf)? })
    }

    fn encode_member(&mut self, member: &Member<Process>, mut buf: impl BufMut) -> Result<(), Malformed> {
        if buf.remaining_mut() < len_of(member.id()) + 3 {
            return Err(Malformed::Full);
        }
        put(&mut buf, member.id());
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Process>, Malformed> {
        let process = get(&mut buf)?;
        let incarnation = buf.try_get_u16().map_err(short)?;
        let state = match buf.try_get_u8().map_err(short)? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(Malformed::Unknown("state")),
        };
        Ok(Member::new(process, incarnation, state))
    }
}

fn short(_: bytes::TryGetError) -> Malformed {
    Malformed::Short
}

fn len_of(process: &Process) -> usize {
    8 + 4 + 4 + 1 + process.address.len().min(ADDRESS_LIMIT)
}

fn put(buf: &mut impl BufMut, process: &Process) {
    let address = &process.address.as_bytes()[..process.address.len().min(ADDRESS_LIMIT)];
    buf.put_u64(process.node.get());
    buf.put_u32(process.start);
    buf.put_u32(process.returns);
    buf.put_u8(address.len() as u8);
    buf.put_slice(address);
}

fn get(buf: &mut impl Buf) -> Result<Process, Malformed> {
    let node = NodeId::new(buf.try_get_u64().map_err(short)?).ok_or(Malformed::Unknown("node"))?;
    let start = buf.try_get_u32().map_err(short)?;
    let returns = buf.try_get_u32().map_err(short)?;
    let length = usize::from(buf.try_get_u8().map_err(short)?);
    let mut address = [0; ADDRESS_LIMIT];
    let address = &mut address[..length];
    buf.try_copy_to_slice(address).map_err(short)?;
    let address = std::str::from_utf8(address).map_err(|_| Malformed::Unknown("address"))?;
    Ok(Process { node, start, returns, address: Arc::from(address) })
}

fn len_of_message(message: &Message<Process>) -> usize {
    1 + match message {
        Message::Ping(_) | Message::Ack(_) => 1,
        Message::PingReq { target: of, .. }
        | Message::IndirectPing { origin: of, .. }
        | Message::IndirectAck { target: of, .. }
        | Message::ForwardedAck { origin: of, .. } => 1 + len_of(of),
        Message::Announce | Message::Feed | Message::Gossip | Message::Broadcast | Message::TurnUndead => 0,
    }
}

fn put_message(buf: &mut impl BufMut, message: &Message<Process>) {
    let (kind, number, of) = match message {
        Message::Ping(number) => (0, Some(number), None),
        Message::Ack(number) => (1, Some(number), None),
        Message::PingReq { target, probe_number } => (2, Some(probe_number), Some(target)),
        Message::IndirectPing { origin, probe_number } => (3, Some(probe_number), Some(origin)),
        Message::IndirectAck { target, probe_number } => (4, Some(probe_number), Some(target)),
        Message::ForwardedAck { origin, probe_number } => (5, Some(probe_number), Some(origin)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        Message::Gossip => (8, None, None),
        Message::Broadcast => (9, None, None),
        Message::TurnUndead => (10, None, None),
    };
    buf.put_u8(kind);
    number.into_iter().for_each(|number| buf.put_u8(*number));
    of.into_iter().for_each(|of| put(buf, of));
}

fn get_message(buf: &mut impl Buf) -> Result<Message<Process>, Malformed> {
    let kind = buf.try_get_u8().map_err(short)?;
    Ok(match kind {
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        10 => Message::TurnUndead,
        0..6 => {
            let probe_number = buf.try_get_u8().map_err(short)?;
            match kind {
                0 => Message::Ping(probe_number),
                1 => Message::Ack(probe_number),
                2 => Message::PingReq { target: get(buf)?, probe_number },
                3 => Message::IndirectPing { origin: get(buf)?, probe_number },
                4 => Message::IndirectAck { target: get(buf)?, probe_number },
                _ => Message::ForwardedAck { origin: get(buf)?, probe_number },
            }
        }
        _ => return Err(Malformed::Unknown("message")),
    })
}

#[cfg(test)]
mod tests {
    use foca::Codec as _;

    use super::*;

    fn process(node: u64) -> Process {
        Process { returns: 2, ..Process::new(NodeId::new(node).unwrap(), 7, "node-1.example:1884") }
    }

    fn messages() -> Vec<Message<Process>> {
        let (of, probe_number) = (process(3), 9);
        vec![
            Message::Ping(4),
            Message::Ack(5),
            Message::PingReq { target: of.clone(), probe_number },
            Message::IndirectPing { origin: of.clone(), probe_number },
            Message::IndirectAck { target: of.clone(), probe_number },
            Message::ForwardedAck { origin: of, probe_number },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::Broadcast,
            Message::TurnUndead,
        ]
    }

    #[test]
    fn what_is_written_is_read_and_what_is_cut_short_is_refused() {
        for message in messages() {
            let header = Header { src: process(1), src_incarnation: 3, dst: process(2), message };
            let mut bytes = Vec::new();
            Codec.encode_header(&header, &mut bytes).unwrap();
            assert_eq!(Codec.decode_header(&bytes[..]), Ok(header.clone()));
            for length in 0..bytes.len() {
                assert_eq!(Codec.decode_header(&bytes[..length]), Err(Malformed::Short), "{header:?}");
                let mut room = Vec::new().limit(length);
                assert_eq!(Codec.encode_header(&header, &mut room), Err(Malformed::Full), "{header:?}");
            }
        }
        for state in [State::Alive, State::Suspect, State::Down] {
            let (member, mut bytes) = (Member::new(process(1), 8, state), Vec::new());
            Codec.encode_member(&member, &mut bytes).unwrap();
            assert_eq!(Codec.decode_member(&bytes[..]), Ok(member.clone()));
            for length in 0..bytes.len() {
                assert_eq!(Codec.decode_member(&bytes[..length]), Err(Malformed::Short));
            }
        }
    }

    #[test]
    fn the_form_of_a_released_version_does_not_change() {
        let of = Process::new(NodeId::new(3).unwrap(), 1, "b");
        let message = Message::PingReq { target: of, probe_number: 9 };
        let (src, dst) = (process(1), Process::new(NodeId::new(2).unwrap(), 4, "a:1"));
        let mut bytes = Vec::new();
        Codec.encode_header(&Header { src, src_incarnation: 3, dst, message }, &mut bytes).unwrap();
        let expected = b"\x01\0\0\0\0\0\0\0\x01\0\0\0\x07\0\0\0\x02\x13node-1.example:1884\0\x03\
            \0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0\0\x03a:1\
            \x02\x09\0\0\0\0\0\0\0\x03\0\0\0\x01\0\0\0\0\x01b";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_no_node_of_this_version_says_is_refused() {
        let mut bytes = Vec::new();
        let header =
            Header { src: process(1), src_incarnation: 3, dst: process(2), message: Message::Gossip };
        Codec.encode_header(&header, &mut bytes).unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            Codec.decode_header(&bytes[..]).unwrap_err()
        };
        assert_eq!(with(0, 2), Malformed::Version(2));
        assert_eq!(with(8, 0), Malformed::Unknown("node"));
        assert_eq!(with(20, 0xff), Malformed::Unknown("address"));
        assert_eq!(with(bytes.len() - 1, 11), Malformed::Unknown("message"));
        let mut member = Vec::new();
        Codec.encode_member(&Member::alive(process(1)), &mut member).unwrap();
        *member.last_mut().unwrap() = 3;
        assert_eq!(Codec.decode_member(&member[..]), Err(Malformed::Unknown("state")));
    }
}
