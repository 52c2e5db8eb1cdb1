//! The PROXY protocol, versions 1 and 2: a proxy says in front of everything else whom it speaks for
//! (haproxy, `doc/proxy-protocol.txt`). Exactly the header is taken from the socket, so that what follows is read by
//! whoever comes next; a header that goes on for ever is refused early.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The shortest header of version 1 has 15 bytes, so that this many can be read of either version.
const FIRST_BYTES: usize = 13;
const V1_BYTES: usize = 107;
/// Before addresses and what else a proxy has to say of a connection, version 2.
const V2_HEADER: usize = 16;
/// Of those at most: the addresses have 216 bytes, certificates may follow.
const V2_BYTES: usize = 4096;

/// Why there is no header that could be used.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no PROXY header: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// Takes the header off the socket. None if the proxy speaks for itself, as it does to see whether we are there, or does
/// not know for whom.
pub async fn read(socket: &mut TcpStream) -> Result<Option<SocketAddr>, Failure> {
    let mut header = vec![0; FIRST_BYTES];
    socket.read_exact(&mut header).await?;
    if header.starts_with(&SIGNATURE) {
        header.resize(V2_HEADER, 0);
        socket.read_exact(&mut header[FIRST_BYTES..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > V2_BYTES {
            return Err(Failure::Malformed("it is too long"));
        }
        let mut rest = vec![0; length];
        socket.read_exact(&mut rest).await?;
        return version_2(header[12], header[13], &rest);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(Failure::Malformed("it begins with something else"));
    }
    let mut waiting = [0; V1_BYTES];
    loop {
        let room = V1_BYTES - header.len();
        let seen = socket.peek(&mut waiting[..room]).await?;
        if seen == 0 {
            return Err(Failure::Socket(io::ErrorKind::UnexpectedEof.into()));
        }
        let end = waiting[..seen].iter().position(|byte| *byte == b'\n');
        let at = header.len();
        header.resize(at + end.map_or(seen, |end| end + 1), 0);
        socket.read_exact(&mut header[at..]).await?;
        if end.is_some() {
            return version_1(&header);
        }
        if header.len() >= V1_BYTES {
            return Err(Failure::Malformed("its line does not end"));
        }
    }
}

fn version_1(line: &[u8]) -> Result<Option<SocketAddr>, Failure> {
    let malformed = || Failure::Malformed("its line is not one of version 1");
    let line =
        std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix("\r\n")).ok_or_else(malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let mut next = || words.next().ok_or_else(malformed);
    let (source, destination, port, destination_port) = (next()?, next()?, next()?, next()?);
    let address = |text: &str| -> Result<IpAddr, Failure> {
        match family {
            Some("TCP4") => text.parse().map(IpAddr::V4).map_err(|_| malformed()),
            Some("TCP6") => text.parse().map(IpAddr::V6).map_err(|_| malformed()),
            _ => Err(malformed()),
        }
    };
    // A proxy that writes nonsense into what we do not need is not believed in the rest.
    address(destination)?;
    port_of(destination_port).ok_or_else(malformed)?;
    let (ip, port) = (address(source)?, port_of(port).ok_or_else(malformed)?);
    match words.next() {
        None => Ok(Some(SocketAddr::new(ip, port))),
        Some(_) => Err(malformed()),
    }
}

/// A port as version 1 writes it: digits alone, up to 65535.
fn port_of(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Bytes of the addresses of a family.
fn address_bytes(family: u8) -> Option<usize> {
    match family {
        0x00 => Some(0),
        0x11 | 0x12 => Some(12),
        0x21 | 0x22 => Some(36),
        0x31 | 0x32 => Some(216),
        _ => None,
    }
}

fn version_2(command: u8, family: u8, rest: &[u8]) -> Result<Option<SocketAddr>, Failure> {
    match command {
        // LOCAL: whatever stands in the rest.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(Failure::Malformed("its version or command is not known")),
    }
    let expected = address_bytes(family).ok_or(Failure::Malformed("its family is not known"))?;
    let short = || Failure::Malformed("its addresses are cut off");
    if rest.len() < expected {
        return Err(short());
    }
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    match family {
        0x11 => {
            let (source, _) = rest.split_first_chunk::<12>().ok_or_else(short)?;
            let ip = Ipv4Addr::new(source[0], source[1], source[2], source[3]);
            Ok(Some(SocketAddr::new(ip.into(), port(8))))
        }
        0x21 => {
            let (source, _) = rest.split_first_chunk::<36>().ok_or_else(short)?;
            let (ip, _) = source.split_first_chunk::<16>().ok_or_else(short)?;
            Ok(Some(SocketAddr::new(Ipv6Addr::from(*ip).into(), port(32))))
        }
        // Unspecified, datagrams, UNIX sockets: there is no address that would say something here.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    /// What is read of `header` when it comes in pieces, and what is left behind it.
    async fn outcome(header: &[u8], piece: usize) -> Result<(Option<String>, Vec<u8>), String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a socket");
        let (mut server, _) = listener.accept().await.expect("a connection");
        let bytes = [header, b"after"].concat();
        let writer = tokio::spawn(async move {
            for piece in bytes.chunks(piece) {
                if client.write_all(piece).await.is_err() {
                    break;
                }
                if bytes.len() > piece.len() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
        let address = read(&mut server).await.map_err(|error| error.to_string())?;
        writer.await.expect("a writer");
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.expect("the rest");
        Ok((address.map(|address| address.to_string()), rest))
    }

    #[tokio::test]
    async fn the_client_is_named_and_nothing_behind_the_header_is_taken() {
        let v4 = [&[203, 0, 113, 7, 10, 0, 0, 1][..], &[0xC0, 0x01, 0x07, 0x5B]].concat();
        let mut v6 = vec![0; 32];
        (v6[15], v6[31]) = (1, 2);
        v6.extend([0x10, 0x00, 0x07, 0x5B]);
        let with_more = [&v4[..], &[0x20, 0, 4, 1, 2, 3, 4]].concat();
        let unix = vec![0; 216];
        let cases = [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 49153 1883\r\n".to_vec(), Some("203.0.113.7:49153")),
            (b"PROXY TCP6 2001:db8::7 ::1 4096 1883\r\n".to_vec(), Some("[2001:db8::7]:4096")),
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 65535 65535\r\n".to_vec(), Some("203.0.113.7:65535")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), Some("203.0.113.7:49153")),
            (v2(0x21, 0x11, &with_more), Some("203.0.113.7:49153")),
            (v2(0x21, 0x21, &v6), Some("[::1]:4096")),
            (v2(0x21, 0x31, &unix), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x20, 0x00, &[]), None),
        ];
        for (header, expected) in cases {
            for piece in [1, 7, 1000] {
                let (address, rest) = outcome(&header, piece).await.expect("a header");
                assert_eq!(address.as_deref(), expected, "{header:?}");
                assert_eq!(rest, b"after", "{header:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        let cases = [
            &b"\x10\x1F\0\x04MQTT\x04\x02\0\x3C\0\x13convoy-1234567890ab"[..],
            b"PROXY TCP4 203.0.113.7 10.0.0.1 49153\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 99999 1883\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 1883\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 49153 65536\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 +4915 1883\r\n",
            b"PROXY TCP4 203.0.113.7 nowhere 49153 1883\r\n",
            b"PROXY TCP4 203.0.113.7 ::1 49153 1883\r\n",
            &v2(0x21, 0x31, &[0; 12]),
            &v2(0x21, 0x12, &[0; 11]),
            &v2(0x21, 0x22, &[0; 35]),
            b"PROXY TCP4 2001:db8::7 ::1 4096 1883\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 49153 1883 more\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 49153 1883\n",
            &endless,
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x41, &[0; 36]),
            &v2(0x21, 0x11, &[0; 5000]),
        ];
        for header in cases {
            let error = outcome(header, 4096).await.expect_err("no header");
            assert!(error.starts_with("no PROXY header"), "{error}");
        }
    }
}
