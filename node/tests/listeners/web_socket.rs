//! MQTT over WebSocket (MQTT 5.0, 6), judged by another implementation of WebSocket.

use std::io::{Read, Write};
use std::net::TcpStream;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Error, Message};

use crate::authority::Authority;
use crate::mqtt::{BOTH, CONNACK, PINGREQ, PINGRESP, TlsClient, connect_packet};
use crate::node::{Folder, Node, connect};

const LISTENER: &str = "[mqtt]\nlisteners = [\"ws://127.0.0.1:0\"]\n";

const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Upgrades, and sends `behind` in the same breath.
fn upgrade<S: Read + Write>(mut stream: S, behind: &[u8]) -> WebSocket<S> {
    stream.write_all(&[UPGRADE.as_bytes(), behind].concat()).expect("it is taken");
    stream.flush().expect("it is taken");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{answer}");
    WebSocket::from_raw_socket(stream, Role::Client, None)
}

fn open(node: &Node) -> WebSocket<TcpStream> {
    upgrade(connect(node.addr("ws")), b"")
}

/// Reads until so many bytes of data have come.
fn data<S: Read + Write>(socket: &mut WebSocket<S>, bytes: usize) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < bytes {
        match socket.read().expect("a message") {
            Message::Binary(part) => data.extend_from_slice(&part),
            other => panic!("{other:?}"),
        }
    }
    data
}

/// The status code with which the Server closes.
fn closed<S: Read + Write>(socket: &mut WebSocket<S>) -> Option<CloseCode> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
            Ok(_) => {}
            Err(error) => panic!("it ends without a word: {error}"),
        }
    }
}

fn binary(bytes: &[u8]) -> Message {
    Message::binary(bytes.to_vec())
}

fn fragment(bytes: &[u8], opcode: Data, is_final: bool) -> Message {
    Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(opcode), is_final))
}

#[test]
fn packets_may_be_cut_into_frames_and_gathered_in_them_as_one_likes() {
    let node = Node::start(Folder::new(), LISTENER);
    let connect_bytes = connect_packet("story");

    // Each byte a message of its own.
    let mut socket = open(&node);
    connect_bytes.iter().for_each(|byte| socket.send(binary(&[*byte])).expect("it is taken"));
    assert_eq!(data(&mut socket, 4), CONNACK);

    // One message in fragments, with a Ping between them.
    let mut socket = open(&node);
    socket.send(fragment(&connect_bytes[..3], Data::Binary, false)).expect("it is taken");
    socket.send(Message::Ping(b"between".to_vec().into())).expect("it is taken");
    socket.send(fragment(&connect_bytes[3..9], Data::Continue, false)).expect("it is taken");
    socket.send(fragment(&connect_bytes[9..], Data::Continue, true)).expect("it is taken");
    assert_eq!(socket.read().expect("a Pong"), Message::Pong(b"between".to_vec().into()));
    assert_eq!(data(&mut socket, 4), CONNACK);

    // Several packets in one message, the last of them in half.
    let mut socket = open(&node);
    socket
        .send(binary(&[&connect_bytes[..], &PINGREQ, &PINGREQ, &PINGREQ[..1]].concat()))
        .expect("it is taken");
    assert_eq!(data(&mut socket, 8), [&CONNACK[..], &PINGRESP, &PINGRESP].concat());
    socket.send(binary(&PINGREQ[1..])).expect("it is taken");
    assert_eq!(data(&mut socket, 2), PINGRESP);
}

#[test]
fn what_comes_in_the_same_breath_as_the_upgrade_is_read() {
    let node = Node::start(Folder::new(), LISTENER);
    let connect_bytes = connect_packet("story");
    let mut frame = vec![0x82, 0x80 | connect_bytes.len() as u8, 0, 0, 0, 0];
    frame.extend(&connect_bytes);
    let mut socket = upgrade(connect(node.addr("ws")), &frame);
    assert_eq!(data(&mut socket, 4), CONNACK);
}

#[test]
fn large_messages_go_both_ways() {
    let node = Node::start(Folder::new(), LISTENER);
    let mut socket = open(&node);
    socket.send(binary(&connect_packet("story"))).expect("it is taken");
    socket.send(binary(&[0x82, 6, 0, 1, 0, 1, b'a', 0])).expect("it is taken");
    assert_eq!(data(&mut socket, 9), [0x20, 2, 0, 0, 0x90, 3, 0, 1, 0]);
    let payload: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let length = 3 + payload.len();
    let mut publish =
        vec![0x30, (length & 0x7F) as u8 | 0x80, (length >> 7 & 0x7F) as u8 | 0x80, (length >> 14) as u8];
    publish.extend([0, 1, b'a']);
    publish.extend(&payload);
    socket.send(binary(&publish)).expect("it is taken");
    assert!(data(&mut socket, publish.len()) == publish);
}

#[test]
fn a_text_frame_closes_the_connection() {
    // [MQTT-6.0.0-1]
    let node = Node::start(Folder::new(), LISTENER);
    let mut socket = open(&node);
    socket.send(binary(&connect_packet("story"))).expect("it is taken");
    assert_eq!(data(&mut socket, 4), CONNACK);
    socket.send(Message::text("hello")).expect("it is taken");
    assert_eq!(closed(&mut socket), Some(CloseCode::Unsupported));
}

#[test]
fn a_close_is_answered_with_its_own_status_code() {
    let node = Node::start(Folder::new(), LISTENER);
    let mut socket = open(&node);
    socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).expect("it is taken");
    assert_eq!(closed(&mut socket), Some(CloseCode::Away));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    node.wait_for_metric(&["convoy_listener_connections", "ws", " 0"]);
}

#[test]
fn the_end_is_said_in_a_close_frame() {
    let mut node = Node::start(Folder::new(), LISTENER);
    let mut socket = open(&node);
    socket.send(binary(&connect_packet("story"))).expect("it is taken");
    assert_eq!(data(&mut socket, 4), CONNACK);
    // A second CONNECT is a Protocol Error [MQTT-3.1.0-2].
    socket.send(binary(&connect_packet("story"))).expect("it is taken");
    assert_eq!(closed(&mut socket), Some(CloseCode::Normal));

    let mut socket = open(&node);
    socket.send(binary(&connect_packet("story"))).expect("it is taken");
    assert_eq!(data(&mut socket, 4), CONNACK);
    node.signal("TERM");
    assert_eq!(closed(&mut socket), Some(CloseCode::Away));
    node.wait_for_end();
}

#[test]
fn what_is_no_upgrade_to_mqtt_is_told_so_and_closed() {
    let node = Node::start(Folder::new(), LISTENER);
    let status = |request: &str| {
        let mut stream = connect(node.addr("ws"));
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).get(9..12).unwrap_or("").to_owned()
    };
    assert_eq!(status(&UPGRADE.replace("/mqtt", "/other")), "404");
    assert_eq!(status(&UPGRADE.replace("Protocol: mqtt", "Protocol: chat")), "400");
    assert_eq!(status(&UPGRADE.replace("Upgrade: websocket\r\n", "")), "426");
    let cookie = format!("Cookie: {}\r\nHost", "c".repeat(20_000));
    assert_eq!(status(&UPGRADE.replace("Host", &cookie)), "431");
    // A head that never ends is not gathered for ever.
    assert_eq!(status(&format!("GET /mqtt HTTP/1.1\r\nCookie: {}", "c".repeat(20_000))), "431");
    node.wait_for_metric(&["convoy_handshakes_failed_total", "reason=\"upgrade\"", " 5"]);
}

#[test]
fn a_packet_beyond_the_limit_is_refused_however_it_is_framed() {
    let node = Node::start(
        Folder::new(),
        &format!("{LISTENER}[limits]\npacket_bytes = 2048\nconnect_packet_bytes = 2048\n"),
    );
    let mut socket = open(&node);
    socket.send(binary(&connect_packet("story"))).expect("it is taken");
    assert_eq!(data(&mut socket, 4), CONNACK);
    // Many small packets in one large message are not a large packet.
    socket.send(binary(&PINGREQ.repeat(3000))).expect("it is taken");
    assert_eq!(data(&mut socket, 6000), PINGRESP.repeat(3000));
    socket.send(fragment(&[0x30, 0x80, 0x80, 0x40], Data::Binary, false)).expect("it is taken");
    assert_eq!(closed(&mut socket), Some(CloseCode::Normal));
}

#[test]
fn a_web_socket_may_go_over_tls() {
    let authority = Authority::new("authority");
    let folder = Folder::new();
    authority.server(&["localhost"]).write(&folder, "server");
    let text = "[[mqtt.listeners]]\nkind = \"wss\"\naddr = \"127.0.0.1:0\"\ncertificate = \"@server.pem\"\nkey = \
                \"@server.key\"\n";
    let mut node = Node::start(folder, text);
    // As browsers do it.
    let client = TlsClient::new(&authority, None, BOTH, &["h2", "http/1.1"]);
    let mut socket = upgrade(client.open(node.addr("wss")), b"");
    socket.send(binary(&connect_packet("story"))).expect("it is taken");
    assert_eq!(data(&mut socket, 4), CONNACK);
    socket.send(binary(&PINGREQ.repeat(20_000))).expect("it is taken");
    assert_eq!(data(&mut socket, 40_000), PINGRESP.repeat(20_000));
    node.signal("TERM");
    assert_eq!(closed(&mut socket), Some(CloseCode::Away));
    node.wait_for_end();
}
