//! Proves: what lies between a socket and MQTT is no way to harm the node. TLS that is none, WebSockets that break their
//! rules, strangers who wait at any stage, and Clients who stop reading: each ends or is bounded, and others do not notice.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::attacks::{MASK, no_frames, no_handshakes, no_upgrades};
use common::bystanders::{Bystanders, descriptors_return_to};
use common::bytes::{connect, packet, publish};
use convoy_chaos::client::{Client, Pipe, Stream, Transport, connect as open, frame, upgrade};
use convoy_chaos::fleet::Node;
use convoy_chaos::oracle::{History, Qos, Retain, Terms};
use convoy_wire::{
    Connect, List, Packet, PacketId, ProtocolVersion, QoS, Subscribe, Subscription, SubscriptionOptions,
    TopicFilter,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

/// How soon the node has to close on a mistake that cannot be mended, and on silence with the limits below.
const CLOSE_LIMIT: Duration = Duration::from_secs(6);
const LIMITS: &str = "[limits]\nconnect_timeout = \"2s\"\nhandshake_timeout = \"2s\"\n";
const BINARY: u8 = 0x82;

type Socket = Box<dyn Stream>;

async fn opened(node: &Node, transport: Transport) -> Socket {
    open(&node.place(transport)).await.expect("the node listens")
}

/// TCP to a listener, whatever it expects then.
async fn plain(node: &Node, transport: Transport) -> Socket {
    let address = node.listeners().expect("it was given them").address(transport);
    open(&address.into()).await.expect("the node listens")
}

/// With its upgrade done, where there is one.
async fn ready(node: &Node, transport: Transport) -> Socket {
    let mut socket = opened(node, transport).await;
    if transport.is_web_socket() {
        socket.write_all(&upgrade("/mqtt", "mqtt")).await.expect("the node reads");
        socket.flush().await.expect("the node reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = timeout(CLOSE_LIMIT, socket.read_u8()).await.expect("an answer in time");
            answer.push(byte.expect("an answer that ends"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    }
    socket
}

/// MQTT as it goes over a transport.
fn dressed(transport: Transport, bytes: &[u8]) -> Vec<u8> {
    if transport.is_web_socket() { frame(BINARY, bytes, MASK) } else { bytes.to_vec() }
}

/// Writes and reads until the node closes; what it heard, `None` if the node did not close.
async fn heard_until_closed(mut socket: Socket, bytes: &[u8]) -> Option<Vec<u8>> {
    // The node may close in the middle of it.
    let _ = timeout(CLOSE_LIMIT, async {
        socket.write_all(bytes).await?;
        socket.flush().await
    })
    .await;
    let mut heard = Vec::new();
    // A connection that ends without a goodbye of TLS has ended.
    timeout(CLOSE_LIMIT, socket.read_to_end(&mut heard)).await.ok().map(|_| heard)
}

fn grown(node: &Node, before: u64) -> u64 {
    node.resident_bytes().expect("it runs").saturating_sub(before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_handshake_no_upgrade_or_no_frame_ends_its_connection_and_no_other() {
    let folder = common::folder();
    let mut node = common::started_with_listeners(&folder, LIMITS).await;
    let others = Bystanders::start(&node).await;
    let before = node.resident_bytes().expect("it runs");
    let mut open = Vec::new();
    for transport in [Transport::Tls, Transport::MutualTls, Transport::SecureWebSocket] {
        for (name, bytes) in no_handshakes() {
            if heard_until_closed(plain(&node, transport).await, &bytes).await.is_none() {
                open.push(format!("{name} ({transport:?})"));
            }
        }
    }
    for transport in [Transport::WebSocket, Transport::SecureWebSocket] {
        for (name, bytes) in no_upgrades() {
            match heard_until_closed(opened(&node, transport).await, &bytes).await {
                None => open.push(format!("{name} ({transport:?})")),
                Some(heard) => {
                    assert!(!heard.starts_with(b"HTTP/1.1 101"), "{name} was taken for an upgrade")
                }
            }
        }
        for (name, bytes) in no_frames() {
            let mut all = frame(BINARY, &connect(ProtocolVersion::V5, "hostile"), MASK);
            all.extend(bytes);
            if heard_until_closed(ready(&node, transport).await, &all).await.is_none() {
                open.push(format!("{name} ({transport:?})"));
            }
        }
    }
    println!("memory grew by {:.1} MB", grown(&node, before) as f64 / 1e6);
    assert!(grown(&node, before) < 64 << 20, "strangers took {} bytes", grown(&node, before));
    others.assert_unharmed(&mut node).await;
    assert!(open.is_empty(), "the connection outlived {open:?}");
}

/// Without its own certificate nobody gets to speak MQTT where one is required.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stranger_without_a_certificate_is_not_heard_where_one_is_required() {
    let folder = common::folder();
    let node = common::started_with_listeners(&folder, LIMITS).await;
    let mut place = node.place(Transport::MutualTls);
    place.tls = node.place(Transport::Tls).tls;
    // In TLS 1.3 a Client learns that it is refused only when it reads.
    if let Ok(socket) = open(&place).await {
        let heard = heard_until_closed(socket, &connect(ProtocolVersion::V5, "nobody")).await;
        assert_eq!(heard.expect("the node closes"), b"", "a stranger got an answer");
    }
    let mut known =
        Client::new("known", ProtocolVersion::V5, node.place(Transport::MutualTls), &History::new());
    assert_eq!(known.connect(Terms::clean()).await, Ok(false));
}

/// A ClientHello as rustls writes it.
fn client_hello(node: &Node, transport: Transport) -> Vec<u8> {
    let config = node.place(transport).tls.expect("a secure transport");
    let name = ServerName::try_from("localhost").expect("it is a name");
    let mut session =
        rustls::ClientConnection::new(Arc::clone(&config), name).expect("a configuration that works");
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).expect("a Vec takes everything");
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_wait_at_any_stage_are_bounded_in_memory_and_time() {
    const EACH: usize = 40;
    let folder = common::folder();
    let mut node = common::started_with_listeners(&folder, LIMITS).await;
    let others = Bystanders::start(&node).await;
    // Code and tables that the first handshake brings in are nobody's fault.
    for transport in Transport::ALL {
        drop(ready(&node, transport).await);
    }
    let descriptors = node.descriptors().expect("it runs");
    let before = node.resident_bytes().expect("it runs");

    let mut waiting: Vec<(String, Socket)> = Vec::new();
    for _ in 0..EACH {
        for transport in [Transport::Tls, Transport::MutualTls, Transport::SecureWebSocket] {
            let hello = client_hello(&node, transport);
            for (stage, bytes) in
                [("no handshake", &hello[..0]), ("half a handshake", &hello[..hello.len() / 2])]
            {
                let mut socket = plain(&node, transport).await;
                socket.write_all(bytes).await.expect("the node reads");
                waiting.push((format!("{stage} ({transport:?})"), socket));
            }
        }
        for transport in [Transport::WebSocket, Transport::SecureWebSocket] {
            let mut socket = opened(&node, transport).await;
            let request = upgrade("/mqtt", "mqtt");
            socket.write_all(&request[..request.len() / 2]).await.expect("the node reads");
            socket.flush().await.expect("the node reads");
            waiting.push((format!("half an upgrade ({transport:?})"), socket));
        }
        for transport in Transport::ALL {
            let connect = dressed(transport, &connect(ProtocolVersion::V5, "slow"));
            for (stage, bytes) in
                [("no CONNECT", &connect[..0]), ("half a CONNECT", &connect[..connect.len() / 2])]
            {
                let mut socket = ready(&node, transport).await;
                socket.write_all(bytes).await.expect("the node reads");
                socket.flush().await.expect("the node reads");
                waiting.push((format!("{stage} ({transport:?})"), socket));
            }
        }
    }
    let count = waiting.len() as u64;
    let grown = grown(&node, before);
    println!("{count} strangers: {} bytes each", grown / count);
    assert!(grown < count * (64 << 10), "{count} strangers who sent next to nothing took {grown} bytes");
    let mut open = Vec::new();
    for (stage, socket) in waiting {
        if heard_until_closed(socket, b"").await.is_none() {
            open.push(stage);
        }
    }
    open.dedup();
    assert!(open.is_empty(), "left open: {open:?}");
    others.assert_unharmed(&mut node).await;
    descriptors_return_to(&node, descriptors).await;
}

/// Keep Alive holds below every transport: a Client that fell silent in the middle of a packet or a frame is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_falls_silent_after_its_connect_is_let_go() {
    let folder = common::folder();
    let node = common::started_with_listeners(&folder, LIMITS).await;
    for transport in Transport::ALL {
        let mut terms = Connect::new(ProtocolVersion::V5, "silent");
        terms.keep_alive = 1;
        let mut bytes = Vec::new();
        Packet::Connect(terms).encode(ProtocolVersion::V5, &mut bytes).expect("a valid CONNECT");
        let publish = publish(ProtocolVersion::V5, QoS::AtMostOnce, "half", 1, b"payload");
        let mut all = dressed(transport, &bytes);
        let half = dressed(transport, &publish);
        all.extend_from_slice(&half[..half.len() / 2]);
        let began = Instant::now();
        let heard = heard_until_closed(ready(&node, transport).await, &all).await;
        assert!(heard.is_some(), "{transport:?}: left open");
        assert!(began.elapsed() > Duration::from_millis(1400), "{transport:?}: after {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_handshakes_and_frames_do_no_harm() {
    let seed = common::seed("random_transports");
    let folder = common::folder();
    let mut node = common::started_with_listeners(&folder, LIMITS).await;
    let others = Bystanders::start(&node).await;
    let mut chance = seed.stream("transports");
    let descriptors = node.descriptors().expect("it runs");
    let before = node.resident_bytes().expect("it runs");
    for round in 0..600_u64 {
        let in_tls = chance.one_in(3);
        let (mut socket, mut bytes) = if in_tls {
            (plain(&node, Transport::Tls).await, client_hello(&node, Transport::Tls))
        } else {
            let version = *chance.pick(&[ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5]);
            let mut bytes = Vec::new();
            for packet in [
                connect(version, "fuzz"),
                publish(version, QoS::ExactlyOnce, "fuzz/topic", 7, &round.to_be_bytes()),
                packet(0x62, &[0, 7]),
                packet(0xc0, &[]),
            ] {
                let (head, tail) = packet.split_at(chance.below(packet.len() as u64) as usize);
                bytes.extend(frame(0x02, head, MASK));
                bytes.extend(frame(0x89, b"ping", MASK));
                bytes.extend(frame(0x80, tail, MASK));
            }
            (ready(&node, Transport::WebSocket).await, bytes)
        };
        for _ in 0..chance.between(0, 3) {
            let at = chance.below(bytes.len() as u64) as usize;
            match chance.below(3) {
                0 => bytes[at] = chance.word() as u8,
                1 => bytes[at] ^= 1 << chance.below(8),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let _ = socket.write_all(&bytes).await;
        if chance.one_in(3) {
            let mut heard = [0; 64];
            let _ = timeout(Duration::from_millis(20), socket.read(&mut heard)).await;
        }
    }
    let grown = grown(&node, before);
    println!("memory grew by {:.1} MB", grown as f64 / 1e6);
    assert!(grown < 64 << 20, "600 connections took {grown} bytes");
    others.assert_unharmed(&mut node).await;
    descriptors_return_to(&node, descriptors).await;
}

/// Frames that cost the sender next to nothing: PINGs whose PONGs nobody reads, fragments without content, and a frame
/// of a terabyte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_are_bounded() {
    let folder = common::folder();
    let mut node = common::started_with_listeners(&folder, "").await;
    let others = Bystanders::start(&node).await;
    let before = node.resident_bytes().expect("it runs");
    let giant = {
        let mut bytes = vec![BINARY, 0xff];
        bytes.extend_from_slice(&(1_u64 << 40).to_be_bytes());
        bytes.extend_from_slice(&MASK);
        // PUBLISH at QoS 0, again and again, as the beginning of it.
        let publish = publish(ProtocolVersion::V5, QoS::AtMostOnce, "giant/frame", 1, &[b'.'; 100]);
        bytes.extend(publish.repeat(50_000).iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    };
    let floods = [
        ("PINGs", frame(0x89, &[b'p'; 125], MASK).repeat(200_000)),
        ("fragments without content", {
            let mut bytes = frame(0x02, &[0xc0], MASK);
            bytes.extend(frame(0x00, &[], MASK).repeat(1_000_000));
            bytes
        }),
        ("fragments of one packet", {
            let publish = publish(ProtocolVersion::V5, QoS::AtMostOnce, "bit/by/bit", 1, &[b'.'; 500_000]);
            let mut bytes = frame(0x02, &publish[..1], MASK);
            bytes.extend(publish[1..].iter().flat_map(|byte| frame(0x00, &[*byte], MASK)));
            bytes
        }),
        ("a frame of a terabyte", giant),
    ];
    for (name, bytes) in floods {
        let mut socket = ready(&node, Transport::WebSocket).await;
        let connect = dressed(Transport::WebSocket, &connect(ProtocolVersion::V5, "flood"));
        socket.write_all(&connect).await.expect("a good CONNECT");
        // The node may stop reading, or close; nothing that it writes is read.
        let written = timeout(Duration::from_secs(5), socket.write_all(&bytes)).await;
        let grown = grown(&node, before);
        println!("{name}: {written:?} of {} bytes; memory grew by {:.1} MB", bytes.len(), grown as f64 / 1e6);
        assert!(grown < 64 << 20, "{name} took {grown} bytes");
    }
    others.assert_unharmed(&mut node).await;
}

/// Who asks and does not read the answers is not read from: what it sends stays in its own socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_asks_and_does_not_read_is_not_read_from() {
    // Answers and half-read packets of one connection, dressed and not, and pieces in which the allocator takes memory.
    const LIMIT: u64 = 8 << 20;
    let folder = common::folder();
    let mut node = common::started_with_listeners(&folder, LIMITS).await;
    let others = Bystanders::start(&node).await;
    for transport in Transport::ALL {
        for (name, asker) in [("PINGREQ", packet(0xc0, &[])), ("PUBREL", packet(0x62, &[0, 9]))] {
            let before = node.resident_bytes().expect("it runs");
            let mut socket = ready(&node, transport).await;
            let connect = dressed(transport, &connect(ProtocolVersion::V5, "asker"));
            socket.write_all(&connect).await.expect("a good CONNECT");
            let questions = dressed(transport, &asker.repeat((1 << 20) / asker.len()));
            let mut sent = 0_usize;
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(3) && sent < 64 << 20 {
                match timeout(Duration::from_secs(1), socket.write_all(&questions)).await {
                    Ok(Ok(())) => sent += questions.len(),
                    // Its socket is full, or its connection closed.
                    _ => break,
                }
            }
            let grown = grown(&node, before);
            println!(
                "{transport:?}: {name}: {sent} bytes were sent; memory grew by {:.1} MB",
                grown as f64 / 1e6
            );
            assert!(grown < LIMIT, "{transport:?}: {name} took {grown} bytes of {sent}");
        }
    }
    others.assert_unharmed(&mut node).await;
}

/// A subscriber that stops reading is no reason to keep what it does not take, in whatever its bytes are wrapped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_stops_reading_harms_nobody_over_any_transport() {
    for transport in Transport::ALL {
        stalled_readers(transport).await;
    }
}

async fn stalled_readers(transport: Transport) {
    const COUNT: u64 = 12;
    const OUTPUT_BYTES: u64 = 256 << 10;
    const QUEUE_BYTES: u64 = 1 << 20;
    // What one connection holds of packets that are on their way through it, dressed and not.
    const BETWEEN: u64 = 512 << 10;
    // The log of what is published, in the engine's buffer, and pieces in which the allocator takes memory.
    const FIXED: u64 = 48 << 20;
    const ROUNDS: usize = 300;
    let folder = common::folder();
    let limits = format!("[limits]\noutput_bytes = {OUTPUT_BYTES}\nqueue_bytes = {QUEUE_BYTES}\n");
    let mut node = common::started_with_listeners(&folder, &limits).await;
    let others = Bystanders::start(&node).await;
    let version = ProtocolVersion::V5;
    let mut stalled = Vec::new();
    for at in 0..COUNT {
        let mut pipe = Pipe::open(node.place(transport), version).await.expect("the node listens");
        pipe.put(&Packet::Connect(Connect::new(version, &format!("stalled-{at}"))));
        let filter = TopicFilter::new("heavy/#").expect("a filter");
        let subscription = Subscription { filter, options: SubscriptionOptions::new(QoS::AtLeastOnce) };
        pipe.put(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::new(1).expect("not zero"),
            properties: Default::default(),
            subscriptions: List::new(&[subscription]),
        }));
        for answer in ["CONNACK", "SUBACK"] {
            pipe.answer().await.unwrap_or_else(|gone| panic!("{transport:?}: no {answer}: {gone}"));
        }
        stalled.push(pipe);
    }
    let before = node.resident_bytes().expect("it runs");
    let history = History::new();
    let mut desk = Client::new("heavy-desk", version, node.mqtt(), &history).with_payload_bytes(64 << 10);
    desk.connect(Terms::clean()).await.expect("it runs");
    for round in 0..ROUNDS {
        let qos = if round % 2 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        desk.publish("heavy/load", qos, Retain::No).await.expect("others are not disturbed");
    }
    let settled = desk.settle(Instant::now() + Duration::from_secs(20)).await;
    assert!(settled.expect("others stay connected"), "{transport:?}: the publisher waits");
    sleep(Duration::from_millis(300)).await;
    let grown = grown(&node, before);
    println!("{transport:?}: {COUNT} do not read 20 MB each: memory grew by {:.1} MB", grown as f64 / 1e6);
    let limit = COUNT * (OUTPUT_BYTES + QUEUE_BYTES + BETWEEN) + FIXED;
    assert!(grown < limit, "{transport:?}: {COUNT} who do not read took {grown} of {limit} bytes");
    others.assert_unharmed(&mut node).await;
    drop(stalled);
}
