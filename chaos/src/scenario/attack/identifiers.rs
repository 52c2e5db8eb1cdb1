//! Sessions that are away, each with very many overlapping Subscriptions that have Subscription Identifiers: a small message
//! is a large one for each of them.

use std::net::SocketAddr;

use convoy_wire::{Disconnect, Packet, ProtocolVersion, QoS, ReasonCode, SubscriptionId};

use super::besiege::{Reads, besiege};
use super::{Attack, Ground, Limit, PLAIN};
use crate::client::Pipe;
use crate::client::bytes::publish;
use crate::scenario::plain::{by_many_hands, connect, subscribe_under};

pub(super) const ATTACK: Attack = Attack {
    name: "overlapping filters with identifiers",
    // What is known of each message in the queues of all these Sessions.
    limit: Limit { resident_bytes: 400 << 20, ..PLAIN.limit },
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

const SESSIONS: u64 = 150;

/// Of each Session.
const FILTERS: u32 = 900;

/// Enough for as many orders of a level and `+`.
const LEVELS: u32 = 10;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let server = ground.mqtt;
    by_many_hands(SESSIONS, |at, _| leave(server, at)).await?;
    // The attack begins here.
    ground.begin_again(6);
    let poured = besiege(&ground, 4, Reads::All, |_, round| {
        let packet_id = 1 + (round % 60_000) as u16;
        let topic = ["a"; LEVELS as usize + 1].join("/");
        publish(ProtocolVersion::V311, QoS::AtLeastOnce, &topic, packet_id, &[b'x'; 60])
    });
    let poured = poured.await?;
    Ok(format!("{SESSIONS} Sessions with {FILTERS} filters each; {poured}"))
}

async fn leave(server: SocketAddr, who: u64) -> anyhow::Result<()> {
    let mut pipe = Pipe::open(server, ProtocolVersion::V5).await?;
    connect(&mut pipe, &format!("overlapping-{who}"), false).await?;
    for way in 0..FILTERS {
        let identifier = SubscriptionId::new(100_000 + way);
        subscribe_under(&mut pipe, &filter(way), QoS::AtLeastOnce, identifier).await?;
    }
    pipe.put(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    pipe.flush().await?;
    Ok(())
}

/// One of those that the topic matches: it begins with its first level, and the bits of `way` are the places of `+`.
fn filter(way: u32) -> String {
    let level = |bit| if way >> bit & 1 == 0 { "/a" } else { "/+" };
    format!("a{}", (0..LEVELS).map(level).collect::<String>())
}
