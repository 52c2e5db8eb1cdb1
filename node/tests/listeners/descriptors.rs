//! Few descriptors: Clients and strangers take their share of them, and what the node itself needs is kept for it.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::mqtt::{ask, connect_packet, join, ping};
use crate::node::{Folder, Node, connect};

/// Of the node.
const LIMIT: u64 = 1024;

/// Small buffers, so that what is published makes files.
const STORAGE: &str = "write_buffer_bytes = \"1MiB\"\n";

/// This process holds the other ends.
fn raise_own_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit may be raised to its maximum");
}

/// Whether the other side has neither said anything nor gone.
fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("an option");
    let nothing = matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).expect("an option");
    nothing
}

/// 16 MB at QoS 1 for a Session that is away, each message acknowledged.
fn store(node: &Node, stream: &mut TcpStream) {
    let payload = vec![b'x'; 1_000_000];
    for id in 1..=16_u16 {
        let mut packet = vec![0x32];
        let mut length = 2 + 6 + 2 + payload.len();
        while length >= 128 {
            packet.push((length % 128) as u8 | 0x80);
            length /= 128;
        }
        packet.push(length as u8);
        packet.extend(b"\x00\x06stored");
        packet.extend(id.to_be_bytes());
        packet.extend(&payload);
        let answer = ask::<4>(stream, &packet).unwrap_or_else(|error| panic!("{error}:\n{}", node.log()));
        assert_eq!((answer[0], u16::from_be_bytes([answer[2], answer[3]])), (0x40, id));
    }
}

/// A Session that stays subscribed to `stored`.
fn subscribe_and_leave(addr: SocketAddr) {
    let mut stream = connect(addr);
    let mut packet = connect_packet("away");
    packet[9] = 0;
    assert_eq!(ask(&mut stream, &packet).expect("CONNACK"), [0x20, 2, 0, 0]);
    let subscribe = b"\x82\x0b\x00\x01\x00\x06stored\x01";
    assert_eq!(ask(&mut stream, subscribe).expect("SUBACK"), [0x90, 3, 0, 1, 1]);
}

/// Connections out of `wanted` that are still open after a moment.
fn hold(addr: SocketAddr, wanted: usize, mut begin: impl FnMut(&mut TcpStream)) -> Vec<TcpStream> {
    let mut streams: Vec<_> = (0..wanted)
        .map(|_| {
            let mut stream = connect(addr);
            begin(&mut stream);
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    streams.retain_mut(is_open);
    streams
}

fn start() -> Node {
    raise_own_limit();
    let listener = "[mqtt]\nlisteners = [\"127.0.0.1:0\"]\n";
    let text =
        format!("{STORAGE}{listener}[limits]\nconnects_per_second = 100000\nconnect_timeout = \"60s\"\n");
    Node::start_under(Folder::new(), &["prlimit", &format!("--nofile={LIMIT}")], &text)
}

fn open_descriptors(node: &Node) -> u64 {
    let metrics = node.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("process_open_fds "));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}

#[test]
fn silent_strangers_leave_storage_and_the_api_their_descriptors() {
    let node = start();
    let addr = node.addr("mqtt");
    subscribe_and_leave(addr);
    let mut publisher = connect(addr);
    join(&mut publisher).expect("it is served");
    let strangers = hold(addr, 1100, |_| {});
    println!("{} strangers are held, {} descriptors are open", strangers.len(), open_descriptors(&node));
    store(&node, &mut publisher);
    assert!(open_descriptors(&node) < LIMIT);
    node.wait_for_metric(&["convoy_connections_refused_total", "reason=\"half_open\""]);
    assert!(!node.log().contains("cannot be accepted"), "{}", node.log());
    // Who was let in is served when the others have gone.
    drop(strangers);
    let begin = Instant::now();
    while join(&mut connect(addr)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(10), "nobody is let in:\n{}", node.log());
    }
}

#[test]
fn clients_beyond_the_descriptors_are_refused_and_those_within_are_served() {
    let node = start();
    let addr = node.addr("mqtt");
    subscribe_and_leave(addr);
    let mut clients = hold(addr, 978, |stream| drop(join(stream)));
    println!("{} Clients are connected, {} descriptors are open", clients.len(), open_descriptors(&node));
    assert!(clients.len() >= 700, "{} Clients", clients.len());
    store(&node, &mut clients[0]);
    ping(clients.last_mut().expect("a Client")).expect("it is served");
    assert!(open_descriptors(&node) < LIMIT);
}
