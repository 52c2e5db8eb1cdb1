//! Connections that are slow, many, or from where none are wanted.

use std::io::{Read, Write};
use std::time::Instant;

use crate::authority::Authority;
use crate::mqtt::{TlsClient, join, ping};
use crate::node::{Folder, Node, connect};

fn folder(authority: &Authority) -> Folder {
    let folder = Folder::new();
    authority.server(&["localhost"]).write(&folder, "server");
    folder
}

const TLS: &str = "[tls]\ncertificate = \"@server.pem\"\nkey = \"@server.key\"\n";

#[test]
fn a_handshake_that_takes_too_long_is_ended_and_its_place_is_free() {
    let authority = Authority::new("authority");
    let text = format!(
        "{TLS}[mqtt]\nlisteners = [\"127.0.0.1:0\", \"mqtts://127.0.0.1:0\", \"ws://127.0.0.1:0\"]\n[limits]\n\
         handshakes = 2\nhandshake_timeout = \"2s\"\n"
    );
    let node = Node::start(folder(&authority), &text);
    let begin = Instant::now();
    // Both places are taken by Clients that say nothing, or not enough.
    let mut silent = connect(node.addr("mqtts"));
    let mut slow = connect(node.addr("ws"));
    slow.write_all(b"GET /mqtt HTTP/1.1\r\n").expect("it is taken");
    // Plain listeners have no handshake and do not wait for one.
    join(&mut connect(node.addr("mqtt"))).expect("it is served");
    // The next one waits for a place, and gets it.
    TlsClient::plain(&authority).join(node.addr("mqtts")).expect("it is served in the end");
    assert!(begin.elapsed().as_secs() >= 1, "nobody had to wait");
    assert_eq!(silent.read(&mut [0; 8]).ok(), Some(0));
    assert_eq!(slow.read(&mut [0; 8]).ok(), Some(0));
    node.wait_for_metric(&["convoy_handshakes_failed_total", "mqtts", "reason=\"timeout\"", " 1"]);
    node.wait_for_metric(&["convoy_handshakes_failed_total", "ws", "reason=\"timeout\"", " 1"]);
    node.wait_for_metric(&["convoy_listener_connections", "\"mqtts", " 0"]);
}

#[test]
fn one_place_for_handshakes_serves_several_listeners() {
    let authority = Authority::new("authority");
    let text = format!(
        "{TLS}[mqtt]\nlisteners = [\"mqtts://127.0.0.1:0\", \"wss://127.0.0.1:0\", {{ kind = \"mqtts\", addr = \
         \"127.0.0.2:0\" }}]\n[limits]\nhandshakes = 1\n"
    );
    let node = Node::start(folder(&authority), &text);
    let client = TlsClient::plain(&authority);
    for _ in 0..3 {
        client.join(node.addr("mqtts")).expect("it is served");
        client.open(node.addr("wss")).write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is served");
    }
}

#[test]
fn the_limit_that_a_packet_exceeds_is_told_by_its_key() {
    let text =
        "[limits]\npacket_bytes = 4096\nconnect_packet_bytes = 1024\ntopic_levels = 3\ntopic_bytes = 64\n";
    let node = Node::start(Folder::new(), text);
    let publish = |topic: &str| {
        let mut packet = vec![0x30, 2 + topic.len() as u8, 0, topic.len() as u8];
        packet.extend_from_slice(topic.as_bytes());
        packet
    };
    let cases = [
        ("topic_levels", true, publish("a/b/c/d")),
        ("topic_bytes", true, publish(&"a".repeat(65))),
        ("packet_bytes", true, vec![0x30, 0x81, 0x20]),
        ("connect_packet_bytes", false, vec![0x10, 0x81, 0x08]),
    ];
    for (limit, is_connected, packet) in cases {
        let mut client = connect(node.addr("mqtt"));
        if is_connected {
            join(&mut client).expect("it is served");
        }
        client.write_all(&packet).expect("it is taken");
        node.wait_for_metric(&["convoy_limit_met_total", &format!("limit=\"{limit}\""), " 1"]);
    }
}

#[test]
fn a_hang_up_does_not_end_a_node_without_certificates() {
    let node = Node::start(Folder::new(), "");
    node.signal("HUP");
    std::thread::sleep(std::time::Duration::from_millis(200));
    join(&mut connect(node.addr("mqtt"))).expect("it is served");
}

#[test]
fn a_full_listener_refuses_before_the_handshake_and_another_one_serves() {
    let authority = Authority::new("authority");
    let text = format!(
        "{TLS}[[mqtt.listeners]]\nname = \"narrow\"\nkind = \"mqtts\"\naddr = \"127.0.0.1:0\"\nconnections = 1\n\
         [[mqtt.listeners]]\nname = \"wide\"\naddr = \"127.0.0.1:0\"\n"
    );
    let node = Node::start(folder(&authority), &text);
    let client = TlsClient::plain(&authority);
    let mut first = client.join(node.addr("mqtts")).expect("there is a place");
    client.join(node.addr("mqtts")).expect_err("there is none");
    node.wait_for_metric(&["convoy_connections_refused_total", "listener=\"narrow\"", "too_many", " 1"]);
    join(&mut connect(node.addr("mqtt"))).expect("the other listener has places");
    ping(&mut first).expect("it is still served");
    drop(first);
    node.wait_for_metric(&["convoy_listener_connections{listener=\"narrow\"}", " 0"]);
    client.join(node.addr("mqtts")).expect("there is a place again");
}
