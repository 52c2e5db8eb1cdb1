//! Much to remember, little memory: 100,000 offline Sessions, a million queued messages, a subscriber that never reads.
//! And a start whose time does not depend on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use convoy_wire::{Disconnect, Packet, PacketId, ProtocolVersion, Puback, Publish, QoS, ReasonCode};
use tokio::time::{Instant, sleep};

use super::ping::{Latency, Ping};
use super::plain::{acknowledged, by_many_hands, connect, one_session, subscribe};
use crate::client::{Incoming, Pipe};
use crate::fleet::Node;
use crate::invariant::bounds::Growth;

/// Sessions that share a topic: a million entries in queues need a tenth as many PUBLISHes.
const SHARED_BY: u64 = 10;
const WINDOW: usize = 256;

pub const SESSION_BYTES: u64 = 1024;
pub const MESSAGE_BYTES: u64 = 100;

/// `count` Sessions that never expire, each with one Subscription to `cmd/ID/#`; all are offline when it returns.
pub async fn offline_sessions(node: &Node, count: u64) -> anyhow::Result<Growth> {
    let bytes_before = rested(node).await?;
    by_many_hands(count, |at, hand| {
        let server = node.mqtt();
        async move { one_session(server, hand, &format!("v{at:06}"), &format!("cmd/v{at:06}/#")).await }
    })
    .await?;
    Ok(Growth {
        of: "offline Sessions",
        count,
        bytes_before,
        bytes_after: rested(node).await?,
        bytes_limit_each: SESSION_BYTES,
        bytes_fixed: 0,
    })
}

/// `count` messages in the queues of offline Sessions, `each` in every one.
pub async fn queued_messages(node: &Node, count: u64, each: u64) -> anyhow::Result<Growth> {
    let sessions = count / each;
    by_many_hands(sessions, |at, hand| {
        let server = node.mqtt();
        async move { one_session(server, hand, &queue_name(at), &queue_topic(at / SHARED_BY)).await }
    })
    .await?;
    let bytes_before = rested(node).await?;
    let topics = sessions.div_ceil(SHARED_BY);
    let publishers: Vec<_> = (0..4_u64)
        .map(|hand| {
            let topics: Vec<String> =
                (0..topics).filter(|topic| topic % 4 == hand).map(queue_topic).collect();
            tokio::spawn(publish_all(node.mqtt(), format!("filler-{hand}"), topics, each))
        })
        .collect();
    for publisher in publishers {
        publisher.await??;
    }
    Ok(Growth {
        of: "queued messages",
        count: sessions * each,
        bytes_before,
        bytes_after: rested(node).await?,
        bytes_limit_each: MESSAGE_BYTES,
        bytes_fixed: 0,
    })
}

/// Fetches the queue of one of the Sessions that [`queued_messages`] filled. Returns how many messages it held.
pub async fn drain(node: &Node, session: u64, expected: u64) -> anyhow::Result<u64> {
    let mut pipe = Pipe::open(node.mqtt(), ProtocolVersion::V5).await?;
    connect(&mut pipe, &queue_name(session), false).await?;
    let mut seen = 0;
    while seen < expected {
        let Some(packet) = pipe.next(Instant::now() + Duration::from_secs(5)).await? else { break };
        if let Incoming::Publish { packet_id, dup, .. } = packet {
            ensure!(!dup, "nothing was sent before");
            seen += 1;
            pipe.put(&Packet::Puback(Puback::new(
                PacketId::new(packet_id).context("QoS 1")?,
                ReasonCode::Success,
            )));
        }
    }
    pipe.put(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    pipe.flush().await?;
    Ok(seen)
}

/// What a subscriber that never reads did to the node and to others.
#[derive(Clone, Debug)]
pub struct Stall {
    pub growth: Growth,
    pub bytes_published: u64,
    pub quiet: Latency,
    pub stalled: Latency,
}

/// One subscriber takes nothing off its socket while `messages` of `bytes` each are published for it, at QoS 0 and 1.
pub async fn stalled_subscriber(node: &Node, messages: u64, bytes: usize) -> anyhow::Result<Stall> {
    let mut ping = Ping::new(node.mqtt(), "ping").await?;
    let quiet = ping.measure(300).await?;
    let mut stalled = Pipe::open(node.mqtt(), ProtocolVersion::V5).await?;
    connect(&mut stalled, "stalled", false).await?;
    subscribe(&mut stalled, "flood/#", QoS::AtLeastOnce).await?;
    let bytes_before = rested(node).await?;
    let highest = Arc::new(AtomicU64::new(0));
    let server = node.mqtt();
    let flood = tokio::spawn(async move {
        let payload = vec![b'.'; bytes];
        let mut publisher = Pipe::open(server, ProtocolVersion::V5).await?;
        connect(&mut publisher, "flood", true).await?;
        for at in 0..messages {
            let qos = if at % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            let packet_id = PacketId::new(1);
            publisher.put(&Packet::Publish(Publish {
                qos,
                packet_id: packet_id.filter(|_| qos != QoS::AtMostOnce),
                topic: "flood/all",
                payload: &payload,
                ..Publish::default()
            }));
            publisher.flush().await?;
            if qos == QoS::AtLeastOnce {
                match publisher.answer().await? {
                    Incoming::Puback { .. } => {}
                    other => bail!("{other:?} to a PUBLISH"),
                }
            }
        }
        anyhow::Ok(())
    });
    let during = ping.measure_while(&flood, || {
        if let Ok(bytes) = node.resident_bytes() {
            highest.fetch_max(bytes, Ordering::Relaxed);
        }
    });
    let during = during.await?;
    flood.await??;
    drop(stalled);
    Ok(Stall {
        growth: Growth {
            of: "subscribers that never read",
            count: 1,
            bytes_before,
            bytes_after: highest.load(Ordering::Relaxed),
            // Its output, and what was in flight; the rest of the queue is on disk.
            bytes_limit_each: 8 << 20,
            // The engine's own buffers fill on the way, as configured.
            bytes_fixed: 64 << 20,
        },
        bytes_published: messages * bytes as u64,
        quiet,
        stalled: during,
    })
}

fn queue_name(at: u64) -> String {
    format!("q{at:06}")
}

fn queue_topic(topic: u64) -> String {
    format!("queue/t{topic:05}")
}

/// `each` messages of 64 bytes to every topic, a window at a time.
async fn publish_all(
    server: SocketAddr,
    client_id: String,
    topics: Vec<String>,
    each: u64,
) -> anyhow::Result<()> {
    let mut pipe = Pipe::open(server, ProtocolVersion::V5).await?;
    connect(&mut pipe, &client_id, true).await?;
    let payload = [b'.'; 64];
    let mut in_flight = 0;
    let mut packet_id = PacketId::MIN;
    for topic in (0..each).flat_map(|_| &topics) {
        pipe.put(&Packet::Publish(Publish {
            qos: QoS::AtLeastOnce,
            packet_id: Some(packet_id),
            topic,
            payload: &payload,
            ..Publish::default()
        }));
        packet_id = packet_id.next();
        in_flight += 1;
        if in_flight == WINDOW {
            // Half the window stays under way while the other half is filled.
            while in_flight > WINDOW / 2 {
                acknowledged(&mut pipe).await?;
                in_flight -= 1;
            }
        }
    }
    for _ in 0..in_flight {
        acknowledged(&mut pipe).await?;
    }
    Ok(())
}

/// Resident memory once it has stopped moving.
async fn rested(node: &Node) -> anyhow::Result<u64> {
    let mut last = node.resident_bytes()?;
    for _ in 0..20 {
        sleep(Duration::from_millis(250)).await;
        let now = node.resident_bytes()?;
        if now.abs_diff(last) < 256 << 10 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
