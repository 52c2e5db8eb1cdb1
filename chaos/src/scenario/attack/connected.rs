//! Large messages at QoS 0 for two thousand Clients that are connected and do not read.

use anyhow::ensure;
use convoy_wire::QoS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::besiege::stranger;
use super::{Attack, Ground, PLAIN};
use crate::client::bytes::subscribe;
use crate::fleet::ProcessLimits;
use crate::scenario::plain::send_large;

pub(super) const ATTACK: Attack = Attack {
    name: "1 MB to 2,000 connected at QoS 0",
    // Their connections alone take more than 1,024.
    process: ProcessLimits { descriptors: 4096, ..PLAIN.process },
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

const CLIENTS: usize = 2000;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let mut connected = Vec::new();
    for at in 0..CLIENTS {
        let mut stream = stranger(ground.mqtt, &format!("reader-{at}")).await?;
        stream.write_all(&subscribe(1, &["news/all"], 0)).await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        ensure!(answer == [0x90, 3, 0, 1, 0], "{answer:02x?}");
        connected.push(stream);
    }
    ground.begin_again(5);
    let sent = send_large(ground.mqtt, "news/all", QoS::AtMostOnce, ground.until).await?;
    ensure!(sent > 0, "none was taken");
    Ok(format!("{sent} of them taken"))
}
