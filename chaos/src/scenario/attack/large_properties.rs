//! Messages that are large in their properties, for six hundred Clients that are connected and do not read.

use anyhow::ensure;
use convoy_wire::{List, PacketId, ProtocolVersion, Publish, PublishProperties, QoS};

use super::{Attack, Ground, PLAIN};
use crate::client::Pipe;
use crate::scenario::plain::{connect, send_again, subscribe};

pub(super) const ATTACK: Attack = Attack {
    name: "900 kB of properties to 600 connected",
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

const CLIENTS: usize = 600;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let mut connected = Vec::new();
    for at in 0..CLIENTS {
        // Of 5.0: to others no properties are sent.
        let mut pipe = Pipe::open(ground.mqtt, ProtocolVersion::V5).await?;
        connect(&mut pipe, &format!("reader-{at}"), true).await?;
        subscribe(&mut pipe, "news/all", QoS::AtMostOnce).await?;
        connected.push(pipe);
    }
    ground.begin_again(3);
    let value = "x".repeat(60_000);
    let users = [("k", value.as_str()); 15];
    let message = Publish {
        qos: QoS::AtLeastOnce,
        packet_id: Some(PacketId::MIN),
        topic: "news/all",
        properties: PublishProperties { user_properties: List::new(&users), ..Default::default() },
        ..Publish::default()
    };
    let sent = send_again(ground.mqtt, &message, ground.until).await?;
    ensure!(sent > 0, "none was acknowledged");
    Ok(format!("{sent} of them acknowledged"))
}
