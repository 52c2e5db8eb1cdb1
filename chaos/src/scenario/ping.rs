//! What others notice: how long messages take while something else goes on.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use convoy_wire::{Packet, PacketId, ProtocolVersion, Puback, Publish, QoS, ReasonCode};
use tokio::time::{Instant, sleep};

use super::plain::{connect, subscribe};
use crate::client::{Incoming, Pipe};

#[derive(Clone, Copy, Debug)]
pub struct Latency {
    pub median: Duration,
    pub p99: Duration,
}

/// A publisher and a subscriber that bounce QoS 1 messages: what others notice.
pub(super) struct Ping {
    server: SocketAddr,
    name: String,
    topic: String,
    publisher: Pipe,
    subscriber: Pipe,
}

impl Ping {
    /// `name` tells it from others.
    pub(super) async fn new(server: SocketAddr, name: &str) -> anyhow::Result<Self> {
        let topic = format!("{name}/x");
        let (publisher, subscriber) = open(server, name, &topic).await?;
        Ok(Self { server, name: name.to_owned(), topic, publisher, subscriber })
    }

    /// With new connections.
    pub(super) async fn open_again(&mut self) -> anyhow::Result<()> {
        (self.publisher, self.subscriber) = open(self.server, &self.name, &self.topic).await?;
        Ok(())
    }

    /// How long one message takes to its subscriber.
    pub(super) async fn bounce(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.publisher.put(&Packet::Publish(Publish {
            qos: QoS::AtLeastOnce,
            packet_id: PacketId::new(1),
            topic: &self.topic,
            payload: b"ping",
            ..Publish::default()
        }));
        self.publisher.flush().await?;
        match self.subscriber.answer().await? {
            Incoming::Publish { packet_id, qos, .. } if qos.level() == 1 => {
                let took = began.elapsed();
                let packet_id = PacketId::new(packet_id).context("QoS 1")?;
                self.subscriber.put(&Packet::Puback(Puback::new(packet_id, ReasonCode::Success)));
                self.subscriber.flush().await?;
                self.publisher.answer().await?;
                Ok(took)
            }
            other => bail!("{other:?} instead of a ping"),
        }
    }

    pub(super) async fn measure(&mut self, count: usize) -> anyhow::Result<Latency> {
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            took.push(self.bounce().await?);
        }
        Ok(latency(took))
    }

    pub(super) async fn measure_while<T>(
        &mut self,
        task: &tokio::task::JoinHandle<T>,
        look: impl Fn(),
    ) -> anyhow::Result<Latency> {
        let mut took = Vec::new();
        while !task.is_finished() {
            took.push(self.bounce().await?);
            look();
            sleep(Duration::from_millis(2)).await;
        }
        ensure!(!took.is_empty(), "the flood was over at once");
        Ok(latency(took))
    }
}

async fn open(server: SocketAddr, name: &str, topic: &str) -> anyhow::Result<(Pipe, Pipe)> {
    let mut subscriber = Pipe::open(server, ProtocolVersion::V5).await?;
    connect(&mut subscriber, &format!("{name}-to"), true).await?;
    subscribe(&mut subscriber, topic, QoS::AtLeastOnce).await?;
    let mut publisher = Pipe::open(server, ProtocolVersion::V5).await?;
    connect(&mut publisher, &format!("{name}-from"), true).await?;
    Ok((publisher, subscriber))
}

fn latency(mut took: Vec<Duration>) -> Latency {
    took.sort();
    Latency { median: took[took.len() / 2], p99: took[took.len() * 99 / 100] }
}
