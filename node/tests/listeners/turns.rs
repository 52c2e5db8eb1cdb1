//! Whoever waits for a turn of its shard causes one. A shard ticks ten times a second: what only went on then would crawl.

use crate::mqtt::{ask, join};
use crate::node::{Folder, Node, connect};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const TOPICS: usize = 30_000;

/// Much too long, and a fifth of what it takes when each piece waits for the tick.
const LONG: Duration = Duration::from_secs(1);

#[test]
fn retained_messages_come_without_waiting_for_the_tick() {
    for shards in [1, 2] {
        let text = format!("[node]\nshards = {shards}\n[[mqtt.listeners]]\naddr = \"127.0.0.1:0\"\n");
        let node = Node::start(Folder::new(), &text);
        let mut stream = connect(node.addr("mqtt"));
        join(&mut stream).expect("it is let in");
        // PUBLISH with RETAIN at QoS 0, of 209 bytes behind the header.
        let packet =
            |at: usize| [&b"\x31\xd1\x01\0\x07"[..], format!("{at:05}/r").as_bytes(), &[b'x'; 200]].concat();
        let packets: Vec<u8> = (0..TOPICS).flat_map(packet).collect();
        stream.write_all(&packets).expect("they are taken");
        // What a connection sends takes effect in the order sent: all of them are kept when this is answered.
        let suback: [u8; 5] = ask(&mut stream, b"\x82\x08\0\x01\0\x03+/r\0").expect("an answer");
        assert_eq!(suback, [0x90, 3, 0, 1, 0]);
        let began = Instant::now();
        let mut kept = vec![0; packets.len()];
        stream.read_exact(&mut kept).expect("all of them come");
        let took = began.elapsed();
        let mut kept: Vec<_> = kept.chunks(212).collect();
        kept.sort_unstable();
        assert!(kept.concat() == packets, "they are not what was published");
        assert!(took < LONG, "with {shards} shards {TOPICS} messages took {took:?}");
    }
}
