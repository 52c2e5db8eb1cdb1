//! Connections with a large Will that break off, over and over.

use anyhow::ensure;
use convoy_wire::{Connect, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::large_will::connect_with_will;
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
    let client_id = format!("storm-{who}");
    let connect = Connect::new(ProtocolVersion::V311, &client_id);
    let bytes = connect_with_will(connect, "storm/gone", |will| will.retain = true);
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
