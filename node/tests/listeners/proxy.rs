//! Behind a proxy that says whom it speaks for.

use std::io::{Read, Write};

use crate::authority::Authority;
use crate::mqtt::{CONNACK, TlsClient, connect_packet, join};
use crate::node::{Folder, Node, connect};

fn listener(from: &str, more: &str) -> String {
    format!("[[mqtt.listeners]]\naddr = \"127.0.0.1:0\"\nproxy_from = [\"{from}\"]\n{more}")
}

#[test]
fn a_trusted_proxy_says_who_the_client_is_and_that_is_believed() {
    let node = Node::start(Folder::new(), &listener("127.0.0.0/8", ""));
    let addr = node.addr("mqtt");
    // Anonymous Clients are let in from this machine only: the Client's own address decides.
    let mut near = connect(addr);
    near.write_all(b"PROXY TCP4 127.0.0.9 127.0.0.1 4000 1883\r\n").expect("it is taken");
    join(&mut near).expect("it is served");
    let mut far = connect(addr);
    far.write_all(b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 1883\r\n").expect("it is taken");
    assert_ne!(far.read(&mut [0; 4]).ok(), Some(4));
    node.wait_for_metric(&["convoy_handshakes_failed_total", "reason=\"stranger\"", " 1"]);
    assert!(node.log().contains("peer=203.0.113.7:4000"), "{}", node.log());
    // The proxy itself, to see whether we are there.
    let mut probe = connect(addr);
    probe.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").expect("it is taken");
    join(&mut probe).expect("it is served");
}

#[test]
fn a_trusted_proxy_without_the_header_is_refused() {
    let node = Node::start(Folder::new(), &listener("127.0.0.1", ""));
    let mut stream = connect(node.addr("mqtt"));
    stream.write_all(&connect_packet("a Client that goes around the proxy")).expect("it is taken");
    assert_ne!(stream.read(&mut [0; 4]).ok(), Some(4));
    node.wait_for_metric(&["convoy_handshakes_failed_total", "reason=\"proxy\"", " 1"]);
}

#[test]
fn nobody_else_is_accepted_with_or_without_the_header() {
    let node = Node::start(Folder::new(), &listener("10.0.0.0/8", ""));
    for first in [&b"PROXY TCP4 127.0.0.9 127.0.0.1 4000 1883\r\n"[..], b""] {
        let mut stream = connect(node.addr("mqtt"));
        let _ = stream.write_all(&[first, &connect_packet("story")].concat());
        let mut answer = [0; 4];
        assert!(!matches!(stream.read(&mut answer), Ok(4) if answer == CONNACK));
    }
    node.wait_for_metric(&["convoy_connections_refused_total", "reason=\"no_proxy\"", " 2"]);
}

#[test]
fn tls_begins_behind_the_header() {
    let authority = Authority::new("authority");
    let folder = Folder::new();
    authority.server(&["localhost"]).write(&folder, "server");
    let more = "kind = \"mqtts\"\ncertificate = \"@server.pem\"\nkey = \"@server.key\"\n";
    let node = Node::start(folder, &listener("127.0.0.0/8", more));
    let mut stream = TlsClient::plain(&authority).open(node.addr("mqtts"));
    stream.sock.write_all(b"PROXY TCP6 ::1 ::1 4000 8883\r\n").expect("it is taken");
    join(&mut stream).expect("it is served");
}
