//! TLS: versions, names, certificates of Clients, revocation, sessions that are resumed.

use rustls::{ClientConnection, HandshakeKind, ProtocolVersion, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::authority::Authority;
use crate::mqtt::{BOTH, ONLY_12, TlsClient, ask, connect_packet, join, ping};
use crate::node::{Folder, Node, connect};

const SERVER: &str = "certificate = \"@server.pem\"\nkey = \"@server.key\"\n";

fn listener(more: &str) -> String {
    format!("[[mqtt.listeners]]\nkind = \"mqtts\"\naddr = \"127.0.0.1:0\"\n{SERVER}{more}")
}

fn folder(authority: &Authority) -> Folder {
    let folder = Folder::new();
    authority.server(&["localhost"]).write(&folder, "server");
    folder.write("ca.pem", &authority.pem());
    folder
}

#[test]
fn either_version_is_spoken_unless_the_older_one_is_forbidden() {
    let authority = Authority::new("authority");
    let both = Node::start(folder(&authority), &listener(""));
    let newer = Node::start(folder(&authority), &listener("min_version = \"1.3\"\n"));
    let old = TlsClient::new(&authority, None, ONLY_12, &[]);
    let new = TlsClient::plain(&authority);

    let stream = old.join(both.addr("mqtts")).expect("1.2 is spoken");
    assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    let stream = new.join(both.addr("mqtts")).expect("1.3 is spoken");
    assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));

    new.join(newer.addr("mqtts")).expect("1.3 is spoken");
    old.join(newer.addr("mqtts")).expect_err("1.2 is forbidden");
    newer.wait_for_metric(&["convoy_handshakes_failed_total", "reason=\"version\"", " 1"]);
}

#[test]
fn a_client_may_offer_mqtt_or_nothing_but_not_only_something_else() {
    let authority = Authority::new("authority");
    let node = Node::start(folder(&authority), &listener(""));
    let offering = |alpn: &[&str]| TlsClient::new(&authority, None, BOTH, alpn);
    let stream = offering(&["x", "mqtt"]).join(node.addr("mqtts")).expect("mqtt is offered");
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"mqtt"[..]));
    let stream = offering(&[]).join(node.addr("mqtts")).expect("nothing is offered");
    assert_eq!(stream.conn.alpn_protocol(), None);
    offering(&["h2"]).join(node.addr("mqtts")).expect_err("h2 alone is offered");
    node.wait_for_metric(&["convoy_handshakes_failed_total", "reason=\"alpn\"", " 1"]);
}

/// Remembers what came over a socket.
struct Overheard {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Read for Overheard {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(into)?;
        self.bytes.extend_from_slice(&into[..read]);
        Ok(read)
    }
}

impl Write for Overheard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Lengths of the records of application data among these bytes.
fn records(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.extend((*kind == 23).then_some(length));
        bytes = rest.get(length..).unwrap_or_default();
    }
    lengths
}

#[test]
fn records_are_as_small_as_a_listener_says() {
    let authority = Authority::new("authority");
    for (said, largest) in [("", 10_000..20_000), ("record_bytes = 1024\n", 1024..1024 + 32)] {
        let node = Node::start(folder(&authority), &listener(said));
        let TlsClient { config, .. } = TlsClient::plain(&authority);
        let session =
            ClientConnection::new(config, "localhost".try_into().expect("a name")).expect("a session");
        let socket = Overheard { socket: connect(node.addr("mqtts")), bytes: Vec::new() };
        let mut stream = StreamOwned::new(session, socket);
        join(&mut stream).expect("it is served");
        assert_eq!(ask(&mut stream, b"\x82\x06\x00\x01\x00\x01t\x00").expect("SUBACK"), [0x90, 3, 0, 1, 0]);
        let mut publish = b"\x30\x93\x4e\x00\x01t".to_vec();
        publish.resize(3 + 10_003, b'x');
        stream.write_all(&publish).expect("it is taken");
        let mut came = vec![0; publish.len()];
        stream.read_exact(&mut came).expect("it comes back");
        assert_eq!(came, publish);
        let found = records(&stream.sock.bytes).into_iter().max().expect("a record");
        assert!(largest.contains(&found), "{said:?}: {found}");
    }
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let authority = Authority::new("authority");
    let folder = folder(&authority);
    authority.server(&["*.cars.example"]).write(&folder, "cars");
    let text = "[[mqtt.listeners]]\nkind = \"mqtts\"\naddr = \"127.0.0.1:0\"\ncertificate = [\"@server.pem\", \
                \"@cars.pem\"]\nkey = [\"@server.key\", \"@cars.key\"]\n";
    let node = Node::start(folder, text);
    let client = TlsClient::plain(&authority);
    client.join(node.addr("mqtts")).expect("the first certificate");
    client.asking_for("vin42.cars.example").join(node.addr("mqtts")).expect("the second certificate");
    // Who asks for neither gets the first, and judges by itself.
    let error = client.asking_for("cars.example").join(node.addr("mqtts")).expect_err("another name");
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[test]
fn a_client_that_comes_back_resumes_its_session() {
    let authority = Authority::new("authority");
    let node = Node::start(folder(&authority), &listener(""));
    for versions in [BOTH, ONLY_12] {
        let client = TlsClient::new(&authority, None, versions, &[]);
        let first = client.join(node.addr("mqtts")).expect("it is served");
        assert_ne!(first.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        let second = client.join(node.addr("mqtts")).expect("it is served");
        assert_eq!(second.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    }
    node.wait_for_metric(&["convoy_tls_handshakes_total", "version=\"1.3\"", "resumed=\"true\"", " 1"]);
    node.wait_for_metric(&["convoy_tls_handshakes_total", "version=\"1.2\"", "resumed=\"true\"", " 1"]);
}

#[test]
fn required_certificates_are_asked_for_and_judged() {
    let (authority, other) = (Authority::new("authority"), Authority::new("authority"));
    let node = Node::start(folder(&authority), &listener("client_ca = \"@ca.pem\"\n"));
    let addr = node.addr("mqtts");
    TlsClient::with(&authority, &authority.client("VIN42", 7)).join(addr).expect("a certificate of ours");
    TlsClient::plain(&authority).join(addr).expect_err("none is shown");
    TlsClient::with(&authority, &other.client("VIN42", 7)).join(addr).expect_err("one of somebody else");
    let expired = authority.pair("VIN42", &[], 8, -20, -10);
    TlsClient::with(&authority, &expired).join(addr).expect_err("one that has expired");
    for reason in ["no_certificate", "certificate", "certificate_expired"] {
        let reason = format!("reason=\"{reason}\"");
        node.wait_for_metric(&["convoy_handshakes_failed_total", &reason, " 1"]);
    }
    assert!(node.log().contains("handshake failed"), "{}", node.log());
}

#[test]
fn an_optional_certificate_may_be_missing_but_not_wrong() {
    let (authority, other) = (Authority::new("authority"), Authority::new("authority"));
    let more = "client_ca = \"@ca.pem\"\nclient_certificate = \"optional\"\n";
    let node = Node::start(folder(&authority), &listener(more));
    let addr = node.addr("mqtts");
    TlsClient::with(&authority, &authority.client("VIN42", 7)).join(addr).expect("a certificate of ours");
    TlsClient::plain(&authority).join(addr).expect("none is shown");
    TlsClient::with(&authority, &other.client("VIN42", 7)).join(addr).expect_err("one of somebody else");
}

#[test]
fn a_revoked_certificate_is_refused_also_where_its_session_could_be_resumed() {
    let authority = Authority::new("authority");
    let folder = folder(&authority);
    folder.write("crl.pem", &authority.revoke(&[1000]));
    let mut node = Node::start(folder, &listener("client_ca = \"@ca.pem\"\nclient_crl = \"@crl.pem\"\n"));
    let addr = node.addr("mqtts");
    let (mine, thine) = (authority.client("VIN42", 7), authority.client("VIN43", 1000));
    let client = TlsClient::with(&authority, &mine);
    let mut before = client.join(addr).expect("it is not revoked");
    TlsClient::with(&authority, &thine).join(addr).expect_err("it is revoked");
    node.wait_for_metric(&["convoy_handshakes_failed_total", "reason=\"certificate_revoked\"", " 1"]);

    node.folder.write("crl.pem", &authority.revoke(&[1000, 7]));
    node.signal("HUP");
    node.wait_for("certificates were read again");
    client.join(addr).expect_err("its ticket is worth nothing any more");
    ping(&mut before).expect_err("its connection is closed, too");
}

#[test]
fn the_end_is_said_in_tls_when_the_node_goes_down() {
    let authority = Authority::new("authority");
    let mut node = Node::start(folder(&authority), &listener(""));
    let mut stream = TlsClient::plain(&authority).join(node.addr("mqtts")).expect("it is served");
    node.signal("TERM");
    let mut rest = Vec::new();
    // Without close_notify this would be an unexpected end of file.
    stream.read_to_end(&mut rest).expect("an end that is said");
    node.wait_for_end();
}

#[test]
fn what_comes_right_behind_the_handshake_and_what_is_larger_than_a_record_arrives() {
    let authority = Authority::new("authority");
    let node = Node::start(folder(&authority), &listener(""));
    let mut stream = TlsClient::plain(&authority).open(node.addr("mqtts"));
    // CONNECT and SUBSCRIBE at once, then PUBLISH of 100,000 bytes to ourselves.
    let both = [&connect_packet("story")[..], &[0x82, 6, 0, 1, 0, 1, b'a', 0]].concat();
    let answer: [u8; 9] = ask(&mut stream, &both).expect("it is answered");
    assert_eq!(answer, [0x20, 2, 0, 0, 0x90, 3, 0, 1, 0]);
    let payload: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let length = 3 + payload.len();
    let mut publish =
        vec![0x30, (length & 0x7F) as u8 | 0x80, (length >> 7 & 0x7F) as u8 | 0x80, (length >> 14) as u8];
    publish.extend([0, 1, b'a']);
    publish.extend(payload);
    stream.write_all(&publish).expect("it is taken");
    let mut back = vec![0; publish.len()];
    stream.read_exact(&mut back).expect("it comes back");
    assert!(back == publish);
}

#[test]
fn bytes_that_are_no_tls_are_answered_by_an_alert() {
    let authority = Authority::new("authority");
    let node = Node::start(folder(&authority), &listener(""));
    let mut stream = crate::node::connect(node.addr("mqtts"));
    stream.write_all(&connect_packet("story")).expect("it is taken");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // A record of type alert, or the end.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    node.wait_for_metric(&["convoy_handshakes_failed_total", "reason=\"tls\"", " 1"]);
    join(&mut TlsClient::plain(&authority).open(node.addr("mqtts"))).expect("others are served");
}
