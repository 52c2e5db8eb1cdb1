//! One Session in a thousand Shared Subscriptions to one topic, and large messages for it.

use anyhow::{Context, ensure};
use convoy_wire::QoS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::besiege::stranger;
use super::{Attack, Ground, PLAIN};
use crate::client::bytes::subscribe;
use crate::scenario::plain::send_large;

pub(super) const ATTACK: Attack =
    Attack { name: "1 MB to 1,000 $share groups", run: |ground| Box::pin(run(ground)), ..PLAIN };

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let mut member = stranger(ground.mqtt, "member").await?;
    for packet in 0..10_u16 {
        let filters: Vec<String> = (0..100).map(|at| format!("$share/g{packet}-{at}/big")).collect();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        member.write_all(&subscribe(1 + packet, &filters, 1)).await?;
        let mut answer = [0; 104];
        // A Remaining Length below 128 takes one byte.
        member.read_exact(&mut answer).await.context("a SUBACK")?;
        ensure!(answer[0] == 0x90 && answer[4..].iter().all(|reason| *reason == 1), "{answer:02x?}");
    }
    ground.begin_again(5);
    let sent = send_large(ground.mqtt, "big", QoS::AtLeastOnce, ground.until).await?;
    Ok(format!("{sent} of them acknowledged"))
}
