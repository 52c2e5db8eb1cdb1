//! A Client that says everything in one breath and goes: what it said counts over every transport alike.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};

use crate::authority::Authority;
use crate::mqtt::{TlsClient, ask, connect_packet, join};
use crate::node::{Folder, Node, connect};

/// CONNECT, PUBLISH of QoS 0 to `topic`, DISCONNECT.
fn breath(topic: u8) -> Vec<u8> {
    [&connect_packet(&format!("breath-{topic}"))[..], &[0x30, 4, 0, 1, topic, b'!'], &[0xE0, 0]].concat()
}

const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// The upgrade, the breath in a frame, and a Close behind it.
fn framed(topic: u8) -> Vec<u8> {
    let breath = breath(topic);
    let header = [0x82, 0x80 | breath.len() as u8, 0, 0, 0, 0];
    [UPGRADE, &header, &breath, &[0x88, 0x82, 0, 0, 0, 0, 3, 0xE8]].concat()
}

/// TLS in one write: the bytes and close_notify together.
fn over_tls(client: &TlsClient, addr: SocketAddr, bytes: &[u8]) {
    let mut stream = client.open(addr);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    }
    stream.conn.writer().write_all(bytes).expect("room");
    stream.conn.send_close_notify();
    let mut records = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut records).expect("room");
    }
    stream.sock.write_all(&records).expect("it is taken");
    stream.sock.shutdown(Shutdown::Write).expect("it is open");
    let _ = stream.sock.read_to_end(&mut Vec::new());
}

#[test]
fn what_is_said_right_before_the_end_is_heard() {
    let authority = Authority::new("authority");
    let folder = Folder::new();
    authority.server(&["localhost"]).write(&folder, "server");
    let text = "[tls]\ncertificate = \"@server.pem\"\nkey = \"@server.key\"\n[mqtt]\nlisteners = \
                [\"127.0.0.1:0\", \"mqtts://127.0.0.1:0\", \"ws://127.0.0.1:0\", \"wss://127.0.0.1:0\"]\n";
    let node = Node::start(folder, text);
    let client = TlsClient::plain(&authority);

    let send = |kind: &str, bytes: &[u8]| {
        let mut stream = connect(node.addr(kind));
        stream.write_all(bytes).expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("it is open");
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let mut subscriber = connect(node.addr("mqtt"));
    join(&mut subscriber).expect("it is served");
    let suback: [u8; 5] = ask(&mut subscriber, &[0x82, 6, 0, 1, 0, 1, b'+', 0]).expect("SUBACK");
    assert_eq!(suback, [0x90, 3, 0, 1, 0]);
    let mut heard = |topic: u8| {
        let mut message = [0; 6];
        subscriber.read_exact(&mut message).unwrap_or_else(|error| panic!("{}: {error}", char::from(topic)));
        assert_eq!(message, [0x30, 4, 0, 1, topic, b'!']);
    };
    send("mqtt", &breath(b'a'));
    heard(b'a');
    over_tls(&client, node.addr("mqtts"), &breath(b'b'));
    heard(b'b');
    send("ws", &framed(b'c'));
    heard(b'c');
    over_tls(&client, node.addr("wss"), &framed(b'd'));
    heard(b'd');
}
