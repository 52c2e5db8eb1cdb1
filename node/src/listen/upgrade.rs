//! From an HTTP request to a WebSocket that carries MQTT (RFC 6455, 4.2; MQTT 5.0, 6). One request is read, of a bounded
//! length, and whoever asks for something else is told by an HTTP status what was wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::IpAddr;

use crate::config::WebOptions;
use crate::stream::Stream;
use crate::stream::frame::accept_of;

/// Bytes of the request at most: cookies of a page may be long, and strangers wait here.
const REQUEST_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;

thread_local! {
    /// Where all handshakes of a thread are read: strangers that wait here are many.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 32 << 10]);
}

/// Subprotocols that mean MQTT, the better one first [MQTT-6.0.0-3, MQTT-6.0.0-4].
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The Client was told by this status.
    #[error("HTTP {status}: {why}")]
    Refused { status: u16, why: &'static str },
    #[error(transparent)]
    Socket(#[from] io::Error),
}

fn refused(status: u16, why: &'static str) -> Failure {
    Failure::Refused { status, why }
}

/// Answers the request. What came behind it belongs to the WebSocket.
pub async fn accept(stream: &mut impl Stream, options: &WebOptions) -> Result<Vec<u8>, Failure> {
    let mut request = Vec::with_capacity(1024);
    let outcome = loop {
        let more = poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                stream.poll_read(context, scratch, &mut |bytes| request.extend_from_slice(bytes))
            })
        })
        .await?;
        match answer(&request, options) {
            Ok(None) if !more => break Err(Failure::Socket(io::ErrorKind::UnexpectedEof.into())),
            Ok(None) if request.len() > REQUEST_BYTES => break Err(refused(431, "the request is too long")),
            Ok(None) => {}
            Ok(Some(answer)) => break Ok(answer),
            Err(failure) => break Err(failure),
        }
    };
    let (response, rest) = match outcome {
        Ok(Answer { length, response }) => (response, Ok(request.split_off(length))),
        Err(Failure::Refused { status, why }) => (refusal(status, why), Err(refused(status, why))),
        Err(failure) => return Err(failure),
    };
    let mut left = &response[..];
    while !left.is_empty() {
        let written = poll_fn(|context| stream.poll_write(context, &[IoSlice::new(left)])).await?;
        left = &left[written..];
    }
    poll_fn(|context| stream.poll_flush(context)).await?;
    rest
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// Of the request.
    length: usize,
    response: Vec<u8>,
}

/// None while the request is not whole.
fn answer(bytes: &[u8], options: &WebOptions) -> Result<Option<Answer>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(refused(431, "too many header fields")),
        Err(_) => return Err(refused(400, "this is not HTTP")),
    };
    if length > REQUEST_BYTES {
        return Err(refused(431, "the request is too long"));
    }
    let all = |name: &'static str| {
        let named = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| std::str::from_utf8(header.value).unwrap_or("").trim())
    };
    let tokens = |name| all(name).flat_map(|value| value.split(',')).map(str::trim);
    let has = |name, token: &str| tokens(name).any(|one| one.eq_ignore_ascii_case(token));

    if request.method != Some("GET") || request.version != Some(1) {
        return Err(refused(405, "a WebSocket begins with GET of HTTP/1.1"));
    }
    if !options.paths.iter().any(|path| path == path_of(request.path.unwrap_or(""))) {
        return Err(refused(404, "MQTT is served at another path"));
    }
    if !has("connection", "upgrade") || !has("upgrade", "websocket") {
        return Err(refused(426, "MQTT is served over WebSocket here"));
    }
    if all("sec-websocket-version").next() != Some("13") {
        return Err(refused(426, "the version of WebSocket is 13"));
    }
    let mut keys = all("sec-websocket-key");
    let (key, None) = (keys.next().unwrap_or(""), keys.next()) else {
        return Err(refused(400, "there is more than one Sec-WebSocket-Key"));
    };
    if STANDARD.decode(key).map(|bytes| bytes.len()) != Ok(16) {
        return Err(refused(400, "Sec-WebSocket-Key is not one"));
    }
    if let Some(origin) = all("origin").next()
        && !lets_in_page(origin, all("host").next(), options)
    {
        return Err(refused(403, "this page may not connect"));
    }
    let offered = |name: &&&str| tokens("sec-websocket-protocol").any(|offered| offered == **name);
    let Some(subprotocol) = SUBPROTOCOLS.iter().find(offered) else {
        return Err(refused(400, "the subprotocol mqtt is not offered"));
    };
    let accept = accept_of(key);
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    );
    Ok(Some(Answer { length, response: response.into_bytes() }))
}

/// The path of a request, also of one that names the whole URI (RFC 9112, 3.2.2).
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
        None => target,
    };
    match path.split('?').next() {
        Some("") | None => "/",
        Some(path) => path,
    }
}

/// Whether a page of this origin may connect.
fn lets_in_page(origin: &str, host: Option<&str>, options: &WebOptions) -> bool {
    if !options.origins.is_empty() {
        return options.origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin));
    }
    if options.takes_foreign_pages {
        return true;
    }
    let Some(page) = origin.split_once("://").map(|(_, authority)| name_of(authority)) else { return false };
    let is_number = |name: &str| name.parse::<IpAddr>().is_ok();
    let is_here = |name: &str| {
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    };
    // A name that is the same in both proves nothing: whoever owns it can let it lead here.
    is_here(page) || host.is_some_and(|host| is_number(page) && name_of(host) == page)
}

/// A host without its port.
fn name_of(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    authority.rsplit_once(':').map_or(authority, |(name, _)| name)
}

fn refusal(status: u16, why: &str) -> Vec<u8> {
    let name = match status {
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        _ => "Bad Request",
    };
    let more = match status {
        405 => "Allow: GET\r\n",
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        _ => "",
    };
    let length = why.len() + 1;
    format!(
        "HTTP/1.1 {status} {name}\r\n{more}Connection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{why}\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request(lines: &[&str]) -> String {
        format!("GET /mqtt HTTP/1.1\r\nHost: here\r\n{}\r\n\r\n", lines.join("\r\n"))
    }

    fn fields(subprotocol: &str) -> [&str; 5] {
        [
            "Upgrade: websocket",
            "Connection: keep-alive, Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            subprotocol,
        ]
    }

    fn status(request: &str, options: &WebOptions) -> u16 {
        match answer(request.as_bytes(), options) {
            Ok(Some(_)) => 101,
            Ok(None) => 0,
            Err(Failure::Refused { status, .. }) => status,
            Err(Failure::Socket(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn an_upgrade_is_answered_as_the_rfc_computes_it() {
        assert_eq!(KEY.len(), 24);
        let text = request(&fields("Sec-WebSocket-Protocol: chat, mqttv3.1,mqtt"));
        let bytes = [text.as_bytes(), b"behind it"].concat();
        let Ok(Some(Answer { length, response })) = answer(&bytes, &WebOptions::default()) else {
            panic!("it is refused")
        };
        assert_eq!(length, text.len());
        let response = String::from_utf8(response).expect("text");
        assert!(
            response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{response}"
        );
        // [MQTT-6.0.0-4]
        assert!(response.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{response}");
        let half = &text[..text.len() - 1];
        assert_eq!(status(half, &WebOptions::default()), 0);
    }

    #[test]
    fn the_old_name_of_the_subprotocol_is_answered_with_itself() {
        let text = request(&fields("Sec-WebSocket-Protocol: mqttv3.1"));
        let Ok(Some(Answer { response, .. })) = answer(text.as_bytes(), &WebOptions::default()) else {
            panic!("it is refused")
        };
        assert!(String::from_utf8_lossy(&response).contains("\r\nSec-WebSocket-Protocol: mqttv3.1\r\n"));
    }

    #[test]
    fn what_is_wrong_is_said_by_the_status() {
        let right = fields("Sec-WebSocket-Protocol: mqtt");
        let without = |at: usize| {
            let mut lines = right.to_vec();
            lines.remove(at);
            request(&lines)
        };
        let options = WebOptions::default();
        assert_eq!(status(&request(&right), &options), 101);
        // [MQTT-6.0.0-3]
        assert_eq!(status(&request(&fields("Sec-WebSocket-Protocol: chat")), &options), 400);
        assert_eq!(status(&without(4), &options), 400);
        assert_eq!(status(&without(0), &options), 426);
        assert_eq!(status(&without(1), &options), 426);
        assert_eq!(status(&without(2), &options), 426);
        assert_eq!(status(&without(3), &options), 400);
        assert_eq!(status(&request(&right).replace("Key: d", "Key: "), &options), 400);
        assert_eq!(status(&request(&right).replace("/mqtt", "/other"), &options), 404);
        assert_eq!(status(&request(&right).replace("/mqtt", "/mqtt?token=1"), &options), 101);
        assert_eq!(status(&request(&right).replace("GET", "POST"), &options), 405);
        assert_eq!(status(&request(&right).replace("HTTP/1.1", "HTTP/1.0"), &options), 405);
        assert_eq!(status("\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", &options), 400);
        let many: Vec<String> = (0..100).map(|at| format!("X-{at}: 1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(status(&request(&many), &options), 431);
        let long = format!("Cookie: {}", "c".repeat(REQUEST_BYTES));
        assert_eq!(status(&request(&[&long]), &options), 431);
    }

    #[test]
    fn a_path_is_found_in_every_form_of_a_request() {
        let at = |target: &str, options: &WebOptions| {
            let text = request(&fields("Sec-WebSocket-Protocol: mqtt"));
            status(&text.replace("GET /mqtt ", &format!("GET {target} ")), options)
        };
        let options = WebOptions::default();
        for target in [
            "/",
            "/mqtt",
            "/mqtt/",
            "/?token=1",
            "ws://here:8083/mqtt",
            "http://here/mqtt/?a=b://c",
            "ws://here",
            "wss://here?x",
        ] {
            assert_eq!(at(target, &options), 101, "{target}");
        }
        for target in ["/mqtt//", "/MQTT", "*", "ws://here/other", "mqtt", "here:8083"] {
            assert_eq!(at(target, &options), 404, "{target}");
        }
        let one = WebOptions { paths: vec!["/a".to_owned(), "/b".to_owned()], ..options };
        assert_eq!(["/a", "/b", "/", "/mqtt"].map(|target| at(target, &one)), [101, 101, 404, 404]);
    }

    #[test]
    fn where_anybody_is_let_in_a_page_from_elsewhere_is_not() {
        let from = |origin: &str, host: &str, options: &WebOptions| {
            let line = format!("Origin: {origin}");
            let mut lines = fields("Sec-WebSocket-Protocol: mqtt").to_vec();
            lines.push(&line);
            status(&request(&lines).replace("Host: here", &format!("Host: {host}")), options)
        };
        let open = WebOptions { takes_foreign_pages: false, ..WebOptions::default() };
        for (origin, host) in [
            ("http://localhost:3000", "127.0.0.1:8083"),
            ("http://127.0.0.1", "localhost:8083"),
            ("http://[::1]:3000", "localhost"),
            ("http://10.0.0.7:8080", "10.0.0.7:8083"),
        ] {
            assert_eq!(from(origin, host, &open), 101, "{origin}");
        }
        for (origin, host) in [
            ("https://evil.example", "127.0.0.1:8083"),
            // Its name leads here now.
            ("http://evil.example:8083", "evil.example:8083"),
            ("http://203.0.113.7", "127.0.0.1:8083"),
            ("http://localhost.evil.example", "localhost"),
            ("null", "localhost"),
        ] {
            assert_eq!(from(origin, host, &open), 403, "{origin}");
        }
        let any = WebOptions { origins: vec!["*".to_owned()], ..open };
        assert_eq!(from("https://evil.example", "127.0.0.1", &any), 101);
    }

    #[test]
    fn pages_of_other_origins_are_refused_where_origins_are_named() {
        let options =
            WebOptions { origins: vec!["https://console.example.com".to_owned()], ..WebOptions::default() };
        let from = |origin: &str| {
            let line = format!("Origin: {origin}");
            let mut lines = fields("Sec-WebSocket-Protocol: mqtt").to_vec();
            lines.push(&line);
            request(&lines)
        };
        assert_eq!(status(&from("https://console.example.com"), &options), 101);
        assert_eq!(status(&from("https://evil.example.com"), &options), 403);
        assert_eq!(status(&from("https://evil.example.com"), &WebOptions::default()), 101);
        // Who is no browser names no page.
        assert_eq!(status(&request(&fields("Sec-WebSocket-Protocol: mqtt")), &options), 101);
    }
}
