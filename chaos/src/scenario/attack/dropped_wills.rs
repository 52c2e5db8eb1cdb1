//! Connections with a large Will each, all of which break off in the same moment.

use anyhow::ensure;
use convoy_wire::{Connect, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::large_will::{WILL_BYTES, connect_with_will};
use super::{Attack, Ground, Limit, PLAIN};
use crate::fleet::ProcessLimits;

pub(super) const ATTACK: Attack = Attack {
    name: "Wills of a network that goes",
    // The Wills themselves, which are 162 MB, and little on top of them.
    limit: Limit { resident_bytes: 480 << 20, ..PLAIN.limit },
    seconds: 8,
    process: ProcessLimits { descriptors: 8_192, ..PLAIN.process },
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

const CONNECTIONS: u64 = 2_700;

const TASKS: u64 = 8;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let mut tasks = JoinSet::new();
    for who in 0..TASKS {
        let server = ground.mqtt;
        tasks.spawn(async move {
            let mut streams = Vec::new();
            for number in (who..CONNECTIONS).step_by(TASKS as usize) {
                let mut stream = TcpStream::connect(server).await?;
                let client_id = format!("dropped-{number}");
                let connect = Connect::new(ProtocolVersion::V311, &client_id);
                let topic = format!("dropped/{number}");
                stream.write_all(&connect_with_will(connect, &topic, |_| {})).await?;
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await?;
                ensure!(answer == [0x20, 2, 0, 0], "{answer:02x?}");
                streams.push(stream);
            }
            Ok(streams)
        });
    }
    let streams: Vec<_> = tasks.join_all().await.into_iter().collect::<anyhow::Result<_>>()?;
    // The attack begins here.
    ground.begin_again(6);
    drop(streams);
    ground.rest().await;
    Ok(format!("{CONNECTIONS} Wills of {WILL_BYTES} bytes"))
}
