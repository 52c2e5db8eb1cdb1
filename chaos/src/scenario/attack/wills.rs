//! Connections with a large Will that break off, over and over.

use anyhow::ensure;
use convoy_wire::{Connect, Packet, ProtocolVersion, QoS, TopicName, Will};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::{Attack, Ground, PLAIN};

pub(super) const ATTACK: Attack = Attack {
    name: "Will storm",
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    let mut tasks = JoinSet::new();
    for who in 0..16 {
        tasks.spawn(storm(ground.clone(), who));
    }
    let broken: u64 = tasks.join_all().await.into_iter().sum();
    ensure!(broken > 50, "{broken} connections");
    Ok(format!("{broken} Wills of 60 kB"))
}

async fn storm(ground: Ground, who: u64) -> u64 {
    let bytes = connect_with_will(&format!("storm-{who}"));
    let mut broken = 0;
    while !ground.is_over() {
        let Ok(mut stream) = TcpStream::connect(ground.mqtt).await else { continue };
        let mut answer = [0; 4];
        let joined = async {
            stream.write_all(&bytes).await?;
            stream.read_exact(&mut answer).await
        };
        if let Ok(Ok(_)) = timeout_at(ground.until, joined).await {
            broken += 1;
        }
    }
    broken
}

fn connect_with_will(client_id: &str) -> Vec<u8> {
    let mut connect = Connect::new(ProtocolVersion::V311, client_id);
    connect.will = Some(Will {
        topic: TopicName::new("storm/gone").expect("it is a Topic Name"),
        payload: &[b'x'; 60_000],
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Default::default(),
    });
    let mut bytes = Vec::new();
    Packet::Connect(connect).encode(ProtocolVersion::V311, &mut bytes).expect("a valid CONNECT");
    bytes
}
