//! Requests to our own API. It answers small bodies on a connection that it closes, so a client of a page spares the tree
//! that a general one would bring.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::admin::Problem;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was asked.
    #[error("no answer from {addr}; is the node running, and is --api its address?")]
    Connect { addr: SocketAddr, source: io::Error },
    /// The connection broke off before the answer was whole.
    #[error("the answer of {addr} broke off")]
    Read { addr: SocketAddr, source: io::Error },
    #[error("{addr} does not speak HTTP as our API does")]
    Foreign { addr: SocketAddr },
    /// Nothing was asked: the node wants its key, and there was none to send.
    #[error(
        "{addr} asks for a key, and none was found; it is in api.key of the node's data folder: name that by --data, a \
         file by --api-key-file, or the key itself by CONVOY_API_KEY"
    )]
    NoKey { addr: SocketAddr },
    /// Nothing was asked: the node wants another key.
    #[error(
        "{addr} does not take the key; it is in api.key of the node's data folder: name that by --data, a file by \
         --api-key-file, or the key itself by CONVOY_API_KEY"
    )]
    Key { addr: SocketAddr },
    #[error("{detail}")]
    Refused { status: u16, detail: String },
}

const TIMEOUT: Duration = Duration::from_secs(15);
/// Far above any page of ours; a foreign server must not fill our memory.
const ANSWER_BYTES_LIMIT: u64 = 64 << 20;

/// A node's API.
#[derive(Clone, Debug)]
pub struct Api {
    pub addr: SocketAddr,
    pub key: Option<String>,
}

impl Api {
    /// The body of `path`.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.request("GET", path, &[])
    }

    pub fn delete(&self, path: &str) -> Result<(), Error> {
        self.request("DELETE", path, &[]).map(|_| ())
    }

    /// Sends a request with a body of JSON, if there is one.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, Error> {
        let addr = self.addr;
        let mut stream =
            TcpStream::connect_timeout(&addr, TIMEOUT).map_err(|source| Error::Connect { addr, source })?;
        let key = self.key.as_ref().map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nAccept-Encoding: identity\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{key}\r\n",
            body.len()
        );
        let mut answer = Vec::new();
        let mut exchange = || {
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            stream.write_all(&[head.as_bytes(), body].concat())?;
            (&mut stream).take(ANSWER_BYTES_LIMIT).read_to_end(&mut answer)
        };
        exchange().map_err(|source| Error::Read { addr, source })?;
        let (status, body) = parse(&answer).ok_or(Error::Foreign { addr })?;
        match status {
            200..=299 => body.ok_or(Error::Read { addr, source: io::ErrorKind::UnexpectedEof.into() }),
            401 if self.key.is_none() => Err(Error::NoKey { addr }),
            401 => Err(Error::Key { addr }),
            status => {
                let problem = body.and_then(|body| serde_json::from_slice::<Problem>(&body).ok());
                let detail = problem.map(|problem| problem.detail);
                let detail = detail.unwrap_or_else(|| format!("{addr} answered {status} to {path}"));
                Err(Error::Refused { status, detail })
            }
        }
    }
}

/// A part of a path or of a query, as it may stand there.
pub fn encode(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Status and body; `None` inside if the body is shorter than it was announced, outside if this is not HTTP.
fn parse(answer: &[u8]) -> Option<(u16, Option<Vec<u8>>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut length = None;
    let mut chunked = false;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>().ok()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let body = match length {
        _ if chunked => joined(body),
        Some(length) => body.get(..length).map(<[u8]>::to_vec),
        None => Some(body.to_vec()),
    };
    Some((status, body))
}

/// The chunks of a body as one; `None` if the last chunk is missing.
fn joined(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&body[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        body = &body[end + 2..];
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(..size)?);
        body = body.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_end_by_length_by_chunks_or_with_the_connection() {
        let answer =
            |head: &str, body: &str| parse(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}").as_bytes());
        let whole = Some((200, Some(b"hello".to_vec())));
        assert_eq!(answer("content-length: 5\r\n", "hello and more"), whole);
        assert_eq!(answer("Transfer-Encoding: chunked\r\n", "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"), whole);
        assert_eq!(answer("Connection: close\r\n", "hello"), whole);
    }

    #[test]
    fn a_body_that_broke_off_is_not_taken_for_whole() {
        let answer =
            |head: &str, body: &str| parse(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}").as_bytes());
        assert_eq!(answer("content-length: 9\r\n", "hello"), Some((200, None)));
        assert_eq!(answer("transfer-encoding: chunked\r\n", "5\r\nhello\r\n"), Some((200, None)));
        assert_eq!(answer("transfer-encoding: chunked\r\n", "9\r\nhello"), Some((200, None)));
    }

    #[test]
    fn what_is_not_http_is_no_answer() {
        for text in ["", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn whatever_a_name_holds_can_stand_in_a_path() {
        assert_eq!(encode("car-7_A.b~"), "car-7_A.b~");
        assert_eq!(encode("a/b c?#%é"), "a%2Fb%20c%3F%23%25%C3%A9");
    }
}
