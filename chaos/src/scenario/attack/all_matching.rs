//! Topic Filters of `a` and `+` in every order, all of which one topic matches: a small message, and much to do for it.

use anyhow::ensure;
use convoy_wire::{ProtocolVersion, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::besiege::{Reads, besiege, stranger};
use super::{Attack, DEAREST, Ground, PLAIN};
use crate::client::bytes::{publish, subscribe};

pub(super) const ATTACK: Attack = Attack {
    name: "wildcard filters that all match",
    run: |ground| Box::pin(run(ground)),
    limit: DEAREST,
    ..PLAIN
};

/// With the `a` before them as many levels as a filter with `+` may have.
const LEVELS: u32 = 11;

const STRANGERS: u32 = 8;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let all: Vec<String> = (0..1 << LEVELS).map(filter).collect();
    let mut strangers = Vec::new();
    for (each, who) in all.chunks((1 << LEVELS) / STRANGERS as usize * 2).cycle().zip(0..STRANGERS) {
        let mut stream = stranger(ground.mqtt, &format!("all-{who}")).await?;
        for filters in each.chunks(64) {
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            stream.write_all(&subscribe(1, &filters, 0)).await?;
            let mut answer = [0; 4 + 64];
            stream.read_exact(&mut answer).await?;
            ensure!(answer[4..].iter().all(|reason| *reason < 0x80), "{answer:02x?}");
        }
        // What it gets is nobody's concern, and must not stop at what it does not read.
        strangers.push(tokio::spawn(async move {
            let mut heard = vec![0; 64 << 10];
            while matches!(stream.read(&mut heard).await, Ok(1..)) {}
        }));
    }
    ground.begin_again(5);
    let poured = besiege(&ground, 4, Reads::All, |_, _| {
        let topic = ["a"; 120].join("/");
        publish(ProtocolVersion::V311, QoS::AtMostOnce, &topic, 0, b"x").repeat(20)
    });
    let poured = poured.await?;
    strangers.iter().for_each(|stranger| stranger.abort());
    Ok(format!("{STRANGERS} strangers with {} filters each; {poured}", all.len() / 4))
}

/// It begins with `a`, so that all are of one parent topic; the bits of `way` are the places of `+`.
fn filter(way: u32) -> String {
    let level = |bit| if way >> bit & 1 == 0 { "/a" } else { "/+" };
    format!("a{}/#", (0..LEVELS).map(level).collect::<String>())
}
