//! Sessions that last, each with a large Will, and all of these are due in the same second.

use anyhow::ensure;
use convoy_wire::{Connect, ConnectProperties, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout_at};

use super::large_will::connect_with_will;
use super::{Attack, Ground, Limit, PLAIN};

pub(super) const ATTACK: Attack = Attack {
    name: "Wills due at once",
    // The Wills themselves, which are 190 MB at most, and little on top of them.
    limit: Limit { resident_bytes: 400 << 20, ..PLAIN.limit },
    seconds: 14,
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

const WILLS: u64 = 3_200;

const TASKS: u64 = 8;

/// When they are due, behind the beginning.
const DUE: Duration = Duration::from_secs(8);

async fn run(ground: Ground) -> anyhow::Result<String> {
    let due = Instant::now() + DUE;
    let mut tasks = JoinSet::new();
    for who in 0..TASKS {
        tasks.spawn(leave(ground.clone(), who, due));
    }
    let left: u64 = tasks.join_all().await.into_iter().sum();
    ensure!(left > 200, "{left} Wills");
    ground.rest().await;
    Ok(format!("{left} Wills of 60 kB"))
}

/// Leaves Wills behind until they are due; how many.
async fn leave(ground: Ground, who: u64, due: Instant) -> u64 {
    let mut left = 0;
    for number in 0..WILLS / TASKS {
        let delay = due.saturating_duration_since(Instant::now()).as_secs();
        let Ok(mut stream) = TcpStream::connect(ground.mqtt).await else { continue };
        let client_id = format!("due-{who}-{number}");
        let properties = ConnectProperties { session_expiry_interval: Some(3_600), ..Default::default() };
        let connect = Connect { properties, ..Connect::new(ProtocolVersion::V5, &client_id) };
        let bytes = connect_with_will(connect, &format!("due/{client_id}"), |will| {
            will.properties.will_delay_interval = Some(delay as u32);
        });
        let mut answer = [0; 4];
        let joined = async {
            stream.write_all(&bytes).await?;
            stream.read_exact(&mut answer).await
        };
        match timeout_at(due, joined).await {
            Ok(Ok(_)) => left += 1,
            Ok(Err(_)) => {}
            Err(_) => break,
        }
    }
    left
}
