//! A member of a Shared Subscription that ends with its connection, reads all and acknowledges nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use convoy_wire::{ProtocolVersion, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::besiege::{Reads, besiege, stranger};
use super::{Attack, Ground, Limit, PLAIN};
use crate::client::bytes::{publish, subscribe};

pub(super) const ATTACK: Attack = Attack {
    name: "shared member that acknowledges nothing",
    limit: Limit { p99: Duration::from_millis(500), ..PLAIN.limit },
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    let mut member = stranger(ground.mqtt, "member").await?;
    member.write_all(&subscribe(1, &["$share/g/work/#"], 1)).await?;
    let heard = Arc::new(AtomicUsize::new(0));
    let reading = tokio::spawn({
        let heard = heard.clone();
        async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(read @ 1..) = member.read(&mut bytes).await {
                heard.fetch_add(read, Ordering::Relaxed);
            }
        }
    });
    let poured = besiege(&ground, 4, Reads::All, |who, round| {
        let packet = |at: u64| {
            let packet_id = 1 + ((round * 64 + at) % 60_000) as u16;
            publish(ProtocolVersion::V311, QoS::AtLeastOnce, &format!("work/{who}"), packet_id, &[b'x'; 4096])
        };
        (0..64).map(packet).collect::<Vec<_>>().concat()
    });
    let poured = poured.await?;
    ensure!(poured.bytes > 1 << 20, "{poured}");
    reading.abort();
    let heard = heard.load(Ordering::Relaxed);
    ensure!(heard > 64 << 10, "the member was sent {heard} bytes");
    Ok(format!("{heard} bytes to the member; {poured}"))
}
