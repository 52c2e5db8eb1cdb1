//! What strangers may take: places, places of one address, and memory.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::mqtt::{connect_packet, join, ping};
use crate::node::{Folder, Node, PATIENCE, connect};

const LISTENER: &str = "[[mqtt.listeners]]\naddr = \"127.0.0.1:0\"\n";

/// A connection from another address of this machine.
fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(IpAddr::from(from), 0).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("an option");
    let nothing = matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).expect("an option");
    nothing
}

#[test]
fn an_address_that_is_silent_too_often_keeps_no_other_address_out() {
    let limits = "[limits]\naddresses_exempt = []\nhalf_open_per_address = 3\nconnections_per_address = 8\n";
    let node = Node::start(Folder::new(), &format!("{LISTENER}{limits}"));
    let addr = node.addr("mqtt");
    let silent: Vec<_> = (0..20).map(|_| connect(addr)).collect();
    node.wait_for_metric(&["convoy_connections_refused_total", "reason=\"address_half_open\"", " 17"]);
    node.wait_for_metric(&["convoy_connections_half_open", " 3"]);
    assert_eq!(silent.iter().filter(|stream| is_open(stream)).count(), 3);
    assert!(join(&mut connect(addr)).is_err());
    let mut other = connect_from([127, 0, 0, 2], addr);
    join(&mut other).expect("another address is served");
    drop(silent);

    // Who is connected is half-open no more, and has a place all the same.
    node.wait_for_metric(&["convoy_connections_half_open", " 0"]);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut stream = connect(addr);
        join(&mut stream).expect("it is served");
        clients.push(stream);
    }
    assert!(join(&mut connect(addr)).is_err());
    node.wait_for_metric(&["convoy_connections_refused_total", "reason=\"address_too_many\"", " 1"]);
    clients.iter_mut().chain([&mut other]).for_each(|client| ping(client).expect("it is served"));
}

#[test]
fn behind_a_proxy_the_address_of_its_header_counts() {
    let text = format!(
        "{LISTENER}proxy_from = [\"127.0.0.0/8\"]\nallow_anonymous = true\n[limits]\naddresses_exempt = []\n\
         half_open_per_address = 2\n"
    );
    let node = Node::start(Folder::new(), &text);
    let from = |address: &str| {
        let mut stream = connect(node.addr("mqtt"));
        let header = format!("PROXY TCP6 {address} ::1 4000 1883\r\n");
        stream.write_all(header.as_bytes()).expect("it is taken");
        stream
    };
    let _silent = [from("2001:db8:0:1::1"), from("2001:db8:0:1::2")];
    node.wait_for_metric(&["convoy_connections_half_open", " 2"]);
    assert!(join(&mut from("2001:db8:0:1:ffff::3")).is_err());
    node.wait_for_metric(&["convoy_handshakes_failed_total", "reason=\"address\"", " 1"]);
    join(&mut from("2001:db8:0:2::1")).expect("another network is served");
}

fn resident_bytes(node: &Node) -> u64 {
    let metrics = node.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    line.and_then(|bytes| bytes.trim().parse().ok()).expect("a figure")
}

#[test]
fn strangers_that_send_most_of_a_connect_take_little_memory() {
    let node = Node::start(Folder::new(), &format!("{LISTENER}[limits]\nconnect_timeout = \"60s\"\n"));
    let addr = node.addr("mqtt");
    let mut client = connect(addr);
    join(&mut client).expect("it is served");
    let before = resident_bytes(&node);
    // CONNECT with 131,000 bytes, all but the last of them.
    let mut most = vec![0x10, 0xB8, 0xFF, 0x07];
    most.extend(&connect_packet("stranger")[2..]);
    most.resize(131_000, b'x');
    let mut strangers = Vec::new();
    for _ in 0..1500 {
        let mut stream = connect(addr);
        let _ = stream.write_all(&most);
        strangers.push(stream);
    }
    std::thread::sleep(Duration::from_millis(500));
    let open = strangers.iter().filter(|stream| is_open(stream)).count();
    let taken = resident_bytes(&node).saturating_sub(before) >> 20;
    println!("1500 strangers, {open} of them open, take {taken} MiB");
    assert!(taken < 80, "{taken} MiB");
    node.wait_for_metric(&["convoy_limit_met_total", "limit=\"unfinished_bytes\""]);
    ping(&mut client).expect("it is served");
    drop(strangers);
    node.wait_for_metric(&["convoy_unfinished_bytes", " 0"]);
    let _ = client.read(&mut []);
}
