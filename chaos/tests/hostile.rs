//! Proves: no bytes of a stranger bring the node down, fill its memory or disturb others. Each attack is one that brokers
//! have fallen for.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::bystanders::{Bystanders, descriptors_return_to};
use common::bytes::{connect, packet, publish, text};
use convoy_wire::{ProtocolVersion, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How soon the node has to close on a mistake that cannot be mended.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

struct Attack {
    name: &'static str,
    bytes: Vec<u8>,
}

/// What comes instead of a CONNECT.
fn before_connect() -> Vec<Attack> {
    let v5 = |flags: u8, rest: &[u8]| {
        let mut body = text(b"MQTT", &[5, flags, 0, 60]);
        body.extend_from_slice(rest);
        packet(0x10, &body)
    };
    let mut flood = Vec::new();
    for _ in 0..20_000 {
        flood.push(0x26);
        flood.extend(text(b"k", &text(b"v", b"")));
    }
    let mut length = Vec::new();
    let mut left = flood.len();
    while left >= 128 {
        length.push((left % 128) as u8 | 0x80);
        left /= 128;
    }
    length.push(left as u8);
    let mut flooded = length;
    flooded.extend(flood);
    flooded.extend(text(b"flood", b""));
    let attack = |name, bytes| Attack { name, bytes };
    vec![
        attack("HTTP", b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec()),
        attack("TLS to a plain listener", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        attack("256 MiB announced (CVE-2017-7651)", vec![0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4]),
        attack("a length of five bytes (CVE-2026-21888)", vec![0x10, 0xff, 0xff, 0xff, 0xff, 0x01, 0]),
        attack("packet type 0", vec![0x00, 0]),
        attack("PUBLISH before CONNECT", publish(ProtocolVersion::V311, QoS::AtMostOnce, "a", 1, b"x")),
        attack("SUBSCRIBE before CONNECT", packet(0x82, &[0, 1, 0, 1, b'a', 0])),
        attack("an unknown protocol", packet(0x10, &text(b"MQTT", &[9, 2, 0, 0, 0, 1, b'x']))),
        attack("another protocol's name", packet(0x10, &text(b"MQTX", &[4, 2, 0, 0, 0, 1, b'x']))),
        attack("a reserved flag", v5(0x03, &[0, 0, 1, b'x'])),
        attack("a Will of QoS 3", v5(0x1e, &[0, 0, 1, b'x', 0, 0, 1, b'w', 0, 0])),
        attack(
            "a Client Identifier that is no UTF-8",
            packet(0x10, &text(b"MQTT", &[4, 2, 0, 0, 0, 2, 0xc3, 0x28])),
        ),
        attack(
            "a string longer than its packet",
            packet(0x10, &text(b"MQTT", &[4, 2, 0, 0, 0xff, 0xff, b'x'])),
        ),
        attack("a property twice", v5(2, &[10, 0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 2, 0, 1, b'x'])),
        attack("properties longer than the packet", v5(2, &[0xff, 0xff, 0x7f, 0, 1, b'x'])),
        attack("a flood of User Properties (CVE-2021-41039)", v5(2, &flooded)),
    ]
}

/// What comes after a good CONNECT and may not be answered by anything but the end.
fn after_connect() -> Vec<Attack> {
    let v = ProtocolVersion::V5;
    let attack = |name, bytes| Attack { name, bytes };
    vec![
        attack("a second CONNECT", connect(v, "hostile")),
        attack("a CONNACK", packet(0x20, &[0, 0, 0])),
        attack("a PUBLISH of QoS 3", packet(0x36, &text(b"a", &[0, 1, 0]))),
        attack("DUP at QoS 0", packet(0x38, &text(b"a", &[0]))),
        attack("an empty topic (CVE-2021-34432)", packet(0x30, &text(b"", &[0, b'x']))),
        attack("a wildcard in a Topic Name", packet(0x30, &text(b"a/#", &[0, b'x']))),
        attack("NUL in a Topic Name", packet(0x30, &text(b"a\0b", &[0, b'x']))),
        attack("a topic that is no UTF-8", packet(0x30, &text(&[0xed, 0xa0, 0x80], &[0, b'x']))),
        attack("Packet Identifier 0", packet(0x32, &text(b"a", &[0, 0, 0]))),
        attack("a Topic Alias of 0", packet(0x30, &text(b"a", &[3, 0x23, 0, 0]))),
        attack("a Topic Alias above the maximum", packet(0x30, &text(b"a", &[3, 0x23, 0xff, 0xff]))),
        attack("a Topic Alias that nobody defined", packet(0x30, &text(b"", &[3, 0x23, 0, 1]))),
        attack("a Subscription Identifier from a Client", packet(0x30, &text(b"a", &[2, 0x0b, 1]))),
        attack("SUBSCRIBE without filters", packet(0x82, &[0, 1, 0])),
        attack("SUBSCRIBE with other flags", packet(0x80, &[0, 1, 0, 0, 1, b'a', 0])),
        attack("SUBSCRIBE at QoS 3", packet(0x82, &[0, 1, 0, 0, 1, b'a', 3])),
        attack(
            "# in the middle of a filter",
            packet(0x82, &[0, 1, 0, 0, 5, b'a', b'/', b'#', b'/', b'b', 0]),
        ),
        attack("PUBREL with other flags", packet(0x60, &[0, 1])),
        attack("a packet above the maximum", {
            let mut bytes = vec![0x30, 0xff, 0xff, 0xff, 0x7f];
            bytes.extend_from_slice(&[b'x'; 4096]);
            bytes
        }),
        attack("a length of five bytes", vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01]),
    ]
}

/// Sends `bytes` and reads until the node closes; `false` if it did not.
async fn is_closed_after(server: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(server).await.expect("the node listens");
    // The node may close in the middle of it.
    let _ = stream.write_all(bytes).await;
    let mut heard = Vec::new();
    timeout(CLOSE_LIMIT, stream.read_to_end(&mut heard)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_packets_end_their_connection_and_no_other() {
    let folder = common::folder();
    // Some of it reads like the head of a long packet: then it is the time for a CONNECT that ends it.
    let mut node = common::started(&folder, &[("CONVOY_LIMITS__CONNECT_TIMEOUT", "2s")]).await;
    let others = Bystanders::start(&node).await;
    let mut open = Vec::new();
    for attack in before_connect() {
        if !is_closed_after(node.mqtt(), &attack.bytes).await {
            open.push(attack.name);
        }
    }
    for attack in after_connect() {
        let mut bytes = connect(ProtocolVersion::V5, "hostile");
        bytes.extend(attack.bytes);
        if !is_closed_after(node.mqtt(), &bytes).await {
            open.push(attack.name);
        }
    }
    others.assert_unharmed(&mut node).await;
    assert!(open.is_empty(), "the connection outlived {open:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_and_broken_packets_do_no_harm() {
    let seed = common::seed("random_bytes");
    let folder = common::folder();
    let mut node = common::started(&folder, &[]).await;
    let others = Bystanders::start(&node).await;
    let mut chance = seed.stream("hostile");
    let descriptors = node.descriptors().expect("it runs");
    for round in 0..1500_u64 {
        let version = *chance.pick(&[ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5]);
        let mut bytes = connect(version, "fuzz");
        if chance.one_in(4) {
            bytes = (0..chance.between(1, 300)).map(|_| chance.word() as u8).collect();
        } else {
            bytes.extend(publish(version, QoS::ExactlyOnce, "fuzz/topic", 7, &round.to_be_bytes()));
            bytes.extend(packet(0x82, &[0, 3, 0, 0, 6, b'f', b'u', b'z', b'z', b'/', b'#', 2]));
            bytes.extend(packet(0x62, &[0, 7]));
            for _ in 0..chance.between(1, 4) {
                let at = chance.below(bytes.len() as u64) as usize;
                match chance.below(3) {
                    0 => bytes[at] = chance.word() as u8,
                    1 => bytes[at] ^= 1 << chance.below(8),
                    _ => bytes.truncate(at.max(1)),
                }
            }
        }
        let mut stream = TcpStream::connect(node.mqtt()).await.expect("the node listens");
        let _ = stream.write_all(&bytes).await;
        if chance.one_in(3) {
            let mut heard = [0; 64];
            let _ = timeout(Duration::from_millis(20), stream.read(&mut heard)).await;
        }
    }
    others.assert_unharmed(&mut node).await;
    descriptors_return_to(&node, descriptors).await;
}

/// Memory before authentication, and descriptors: both are given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_and_slow_connections_are_bounded_in_number_memory_and_time() {
    let folder = common::folder();
    let mut node = common::started(&folder, &[("CONVOY_LIMITS__CONNECT_TIMEOUT", "2s")]).await;
    let others = Bystanders::start(&node).await;
    let descriptors = node.descriptors().expect("it runs");
    let before = node.resident_bytes().expect("it runs");

    let mut strangers = Vec::new();
    for at in 0..600 {
        let mut stream = TcpStream::connect(node.mqtt()).await.expect("the node listens");
        // Nothing at all; the head of a CONNECT and then nothing; 60 KB announced and hardly any of it sent.
        let sent: &[u8] = match at % 3 {
            0 => &[],
            1 => &connect(ProtocolVersion::V5, "slow")[..6],
            _ => &[0x10, 0xe0, 0xd4, 0x03, 0, 4, b'M', b'Q', b'T', b'T', 5],
        };
        stream.write_all(sent).await.expect("the node takes a few bytes");
        strangers.push(stream);
    }
    // One that trickles, a byte at a time: no packet gets longer than the limit by being slow.
    let mut trickle = TcpStream::connect(node.mqtt()).await.expect("the node listens");
    let trickled = tokio::spawn(async move {
        let began = Instant::now();
        for byte in connect(ProtocolVersion::V5, &"t".repeat(400)) {
            if trickle.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let mut heard = Vec::new();
        let _ = timeout(Duration::from_secs(20), trickle.read_to_end(&mut heard)).await;
        (began.elapsed(), heard)
    });
    let grown = node.resident_bytes().expect("it runs").saturating_sub(before);
    // The allocator takes memory in pieces of megabytes, however little is asked for.
    let limit = (8 << 20) + 600 * (8 << 10);
    assert!(grown < limit, "600 strangers who sent next to nothing took {grown} of {limit} bytes");

    for (at, mut stream) in strangers.into_iter().enumerate() {
        let mut heard = Vec::new();
        let closed = timeout(Duration::from_secs(8), stream.read_to_end(&mut heard)).await;
        assert!(closed.is_ok(), "stranger {at} was left open");
    }
    let (lasted, heard) = trickled.await.expect("the trickle ends");
    assert!(
        heard.first() != Some(&0x20) || heard.get(3) != Some(&0),
        "a CONNECT that took {lasted:?} was accepted"
    );
    others.assert_unharmed(&mut node).await;
    descriptors_return_to(&node, descriptors).await;
}

/// CVE-2023-28366 (QoS 2 identifiers never released), CVE-2019-11779 (topics of many levels), and a Client that ignores
/// Receive Maximum: legal to the letter or not, bounded either way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_ask_for_too_much_are_bounded() {
    let folder = common::folder();
    let mut node = common::started(&folder, &[]).await;
    let others = Bystanders::start(&node).await;
    let before = node.resident_bytes().expect("it runs");

    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        // QoS 2 PUBLISHes under every Packet Identifier, none released.
        let mut bytes = connect(version, "unreleased");
        for packet_id in 1..=u16::MAX {
            bytes.extend(publish(version, QoS::ExactlyOnce, "deep/qos2", packet_id, &[b'.'; 256]));
        }
        speak(node.mqtt(), &bytes).await;
        // As many levels as a topic has room for, to publish to and to subscribe to.
        let deep = vec![b'/'; 65_000];
        let empty: &[u8] = if version.has_properties() { &[0] } else { &[] };
        let mut bytes = connect(version, "deep");
        bytes.extend(packet(0x30, &text(&deep, empty)));
        speak(node.mqtt(), &bytes).await;
        let mut bytes = connect(version, "deep");
        let mut subscribe = vec![0, 1];
        subscribe.extend_from_slice(empty);
        subscribe.extend(text(&deep, &[1]));
        bytes.extend(packet(0x82, &subscribe));
        speak(node.mqtt(), &bytes).await;
        // Acknowledgements of what was never sent.
        let mut bytes = connect(version, "acks");
        for packet_id in 1..2000_u16 {
            for first in [0x40, 0x50, 0x62, 0x70] {
                bytes.extend(packet(first, &packet_id.to_be_bytes()));
            }
        }
        speak(node.mqtt(), &bytes).await;
    }
    let grown = node.resident_bytes().expect("it runs").saturating_sub(before);
    println!("memory grew by {:.1} MB", grown as f64 / 1e6);
    assert!(grown < 160 << 20, "what four greedy Clients asked for took {grown} bytes");
    others.assert_unharmed(&mut node).await;
}

/// Says it all and listens for a while.
async fn speak(server: SocketAddr, bytes: &[u8]) {
    let stream = TcpStream::connect(server).await.expect("the node listens");
    let (mut read, mut write) = stream.into_split();
    let listening = tokio::spawn(async move {
        let mut heard = vec![0; 64 << 10];
        while let Ok(Ok(1..)) = timeout(Duration::from_millis(700), read.read(&mut heard)).await {}
    });
    // The node may close in the middle of it, or stop reading.
    let _ = timeout(Duration::from_secs(10), write.write_all(bytes)).await;
    let _ = listening.await;
}

/// Filters that overlap in every way, on topics of many levels: each message is tried against all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wildcards_that_overlap_cost_others_nothing() {
    let mut chance = common::seed("wildcards").stream("wildcards");
    let folder = common::folder();
    let mut node = common::started(&folder, &[]).await;
    let others = Bystanders::start(&node).await;
    let before = node.resident_bytes().expect("it runs");

    let mut bombers = Vec::new();
    for bomber in 0..20 {
        let mut stream = TcpStream::connect(node.mqtt()).await.expect("the node listens");
        let mut bytes = connect(ProtocolVersion::V5, &format!("bomber-{bomber}"));
        for _ in 0..100 {
            let mut filter: Vec<&str> =
                (0..chance.between(4, 12)).map(|_| if chance.one_in(2) { "+" } else { "a" }).collect();
            if chance.one_in(2) {
                filter.push("#");
            }
            let mut subscribe = vec![0, 1, 0];
            subscribe.extend(text(filter.join("/").as_bytes(), &[0]));
            bytes.extend(packet(0x82, &subscribe));
        }
        stream.write_all(&bytes).await.expect("the node reads");
        // The CONNACK, and 100 times a SUBACK of six bytes.
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.expect("a CONNACK");
        let mut rest = vec![0; usize::from(head[1]) + 600];
        stream.read_exact(&mut rest).await.expect("all of them are answered");
        bombers.push(stream);
    }
    let mut publisher = TcpStream::connect(node.mqtt()).await.expect("the node listens");
    publisher.write_all(&connect(ProtocolVersion::V5, "bomb")).await.expect("the node reads");
    for round in 0..300 {
        let topic = vec!["a"; 4 + round % 40].join("/");
        let bytes = publish(ProtocolVersion::V5, QoS::AtMostOnce, &topic, 1, b"bomb");
        publisher.write_all(&bytes).await.expect("a PUBLISH is no reason to close");
    }
    // What they are sent is read, as a Client in good standing does.
    let heard = bombers.into_iter().map(|mut bomber| {
        tokio::spawn(async move {
            let (mut heard, mut total) = (vec![0; 64 << 10], 0);
            while let Ok(Ok(read @ 1..)) = timeout(Duration::from_secs(1), bomber.read(&mut heard)).await {
                total += read;
            }
            total
        })
    });
    let mut total = 0;
    for heard in heard.collect::<Vec<_>>() {
        total += heard.await.expect("a reader");
    }
    let grown = node.resident_bytes().expect("it runs").saturating_sub(before);
    println!(
        "2000 overlapping filters and {total} bytes delivered: memory grew by {:.1} MB",
        grown as f64 / 1e6
    );
    assert!(total > 20 * 300 * 10, "hardly anything matched: {total} bytes");
    assert!(grown < 64 << 20, "2000 filters took {grown} bytes");
    others.assert_unharmed(&mut node).await;
}

/// All that one packet has room for in properties, kept, queued and given to late subscribers (CVE-2021-41039).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_properties_are_bounded_by_the_packet() {
    let folder = common::folder();
    let mut node = common::started(&folder, &[]).await;
    let others = Bystanders::start(&node).await;
    let before = node.resident_bytes().expect("it runs");
    let pair = [&[0x26][..], &text(b"k", &text(b"v", b""))].concat();
    let properties = pair.repeat(100_000);
    assert!(properties.len() < 1 << 20, "one packet has room for it");
    for round in 0..20 {
        let mut bytes = connect(ProtocolVersion::V5, "flood");
        let mut body = text(format!("flood/{round}").as_bytes(), b"");
        let mut left = properties.len();
        while left >= 128 {
            body.push((left % 128) as u8 | 0x80);
            left /= 128;
        }
        body.push(left as u8);
        body.extend_from_slice(&properties);
        // RETAIN: it stays.
        bytes.extend(packet(0x31, &body));
        let mut subscribe = vec![0, 1, 0];
        subscribe.extend(text(b"flood/#", &[0]));
        bytes.extend(packet(0x82, &subscribe));
        speak(node.mqtt(), &bytes).await;
    }
    let grown = node.resident_bytes().expect("it runs").saturating_sub(before);
    println!("2,000,000 User Properties in 20 packets: memory grew by {:.1} MB", grown as f64 / 1e6);
    assert!(grown < 160 << 20, "20 packets took {grown} bytes");
    others.assert_unharmed(&mut node).await;
}
