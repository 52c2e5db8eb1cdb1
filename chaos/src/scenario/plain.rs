//! What many stories have a Client do, on a bare connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use convoy_wire::{
    Connect, Disconnect, List, Packet, PacketId, ProtocolVersion, Publish, QoS, ReasonCode, Subscribe,
    SubscribeProperties, Subscription, SubscriptionId, SubscriptionOptions, TopicFilter,
};
use tokio::time::{Instant, timeout_at};

use crate::client::{Incoming, Pipe};

/// Connections that do the work.
const HANDS: u64 = 128;

pub(super) async fn by_many_hands<F, T>(count: u64, work: impl Fn(u64, u64) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let mut hands = tokio::task::JoinSet::new();
    for at in 0..count {
        if hands.len() as u64 >= HANDS {
            hands.join_next().await.context("there are hands")???;
        }
        hands.spawn(work(at, at));
    }
    while let Some(done) = hands.join_next().await {
        done??;
    }
    Ok(())
}

/// A Session that never expires: connects, subscribes and goes.
pub(super) async fn one_session(
    server: SocketAddr,
    hand: u64,
    client_id: &str,
    filter: &str,
) -> anyhow::Result<()> {
    // Loopback is a /8: many addresses have many ports, also while the kernel still remembers earlier connections.
    let from = Ipv4Addr::new(127, 0, 1 + (hand % 8) as u8, 1);
    let mut pipe = Pipe::open_from(SocketAddr::new(IpAddr::V4(from), 0), server, ProtocolVersion::V5).await?;
    connect(&mut pipe, client_id, false).await?;
    subscribe(&mut pipe, filter, QoS::AtLeastOnce).await?;
    pipe.put(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    pipe.flush().await?;
    ensure!(
        pipe.closed_within(Duration::from_secs(10)).await,
        "the Server leaves {client_id} open after its DISCONNECT"
    );
    Ok(())
}

/// With a Session that never expires, or a new one that ends with its connection.
pub(super) async fn connect(pipe: &mut Pipe, client_id: &str, clean: bool) -> anyhow::Result<()> {
    let mut connect = Connect::new(pipe.version(), client_id);
    connect.clean_start = clean;
    if !clean {
        connect.properties.session_expiry_interval = Some(u32::MAX);
    }
    pipe.put(&Packet::Connect(connect));
    match pipe.answer().await? {
        Incoming::Connack { reason: 0, .. } => Ok(()),
        other => bail!("{client_id} got {other:?} to its CONNECT"),
    }
}

pub(super) async fn subscribe(pipe: &mut Pipe, filter: &str, qos: QoS) -> anyhow::Result<()> {
    subscribe_under(pipe, filter, qos, None).await
}

/// The same with a Subscription Identifier.
pub(super) async fn subscribe_under(
    pipe: &mut Pipe,
    filter: &str,
    qos: QoS,
    subscription_id: Option<SubscriptionId>,
) -> anyhow::Result<()> {
    let subscription = Subscription {
        filter: TopicFilter::new(filter).context("a Topic Filter")?,
        options: SubscriptionOptions::new(qos),
    };
    pipe.put(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        properties: SubscribeProperties { subscription_id, ..Default::default() },
        subscriptions: List::new(&[subscription]),
    }));
    match pipe.answer().await? {
        Incoming::Suback { reasons, .. } if reasons.iter().all(|reason| *reason < 0x80) => Ok(()),
        other => bail!("{other:?} to a SUBSCRIBE"),
    }
}

pub(super) async fn acknowledged(pipe: &mut Pipe) -> anyhow::Result<()> {
    match pipe.answer().await? {
        Incoming::Puback { reason, .. } if reason < 0x80 => Ok(()),
        other => bail!("{other:?} to a PUBLISH"),
    }
}

/// Messages of 1 MB, one after the other, until the time is over or the connection. Returns how many were acknowledged,
/// at QoS 0 taken.
pub(super) async fn send_large(
    server: SocketAddr,
    topic: &str,
    qos: QoS,
    until: Instant,
) -> anyhow::Result<u64> {
    let payload = vec![b'x'; 1_000_000];
    let packet_id = PacketId::new(1).filter(|_| qos != QoS::AtMostOnce);
    send_again(server, &Publish { qos, packet_id, topic, payload: &payload, ..Publish::default() }, until)
        .await
}

/// The same of any message.
pub(super) async fn send_again(
    server: SocketAddr,
    message: &Publish<'_>,
    until: Instant,
) -> anyhow::Result<u64> {
    let mut pipe = Pipe::open(server, ProtocolVersion::V5).await?;
    connect(&mut pipe, "sender-of-much", true).await?;
    let mut sent = 0;
    while Instant::now() < until {
        pipe.put(&Packet::Publish(*message));
        if !matches!(timeout_at(until, pipe.flush()).await, Ok(Ok(()))) {
            break;
        }
        match message.qos {
            QoS::AtMostOnce => {}
            _ => match pipe.next(until).await {
                Ok(Some(Incoming::Puback { reason: 0..0x80, .. })) => {}
                _ => break,
            },
        }
        sent += 1;
    }
    Ok(sent)
}
