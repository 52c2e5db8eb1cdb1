//! Topic Filters of `a` and `+` in every order, which a message is tried against and none of which it matches.

use anyhow::{Context, ensure};
use convoy_wire::{ProtocolVersion, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::besiege::{Reads, besiege, stranger};
use super::{Attack, Ground, PLAIN};
use crate::client::bytes::{publish, subscribe};

pub(super) const ATTACK: Attack =
    Attack { name: "wildcard filters that almost match", run: |ground| Box::pin(run(ground)), ..PLAIN };

/// Of one Session, with the default limit of Subscriptions.
const EACH: u32 = 1000;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let (mut granted, mut refused, mut strangers) = (0, 0, Vec::new());
    // The first are as many as the limit of levels lets through, the others have a hundred levels.
    for (from, levels, tail) in
        [(0, 11, ""), (1000, 11, ""), (0, 14, "/a"), (1000, 14, "/a"), (2000, 14, "/a")]
    {
        let mut stream = stranger(ground.mqtt, &format!("almost-{}", strangers.len())).await?;
        for at in (from..from + EACH).step_by(100) {
            let filters: Vec<String> = (at..at + 100).map(|way| filter(way, levels, tail)).collect();
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            stream.write_all(&subscribe(1, &filters, 0)).await?;
            for reason in suback(&mut stream).await? {
                *(if reason < 0x80 { &mut granted } else { &mut refused }) += 1;
            }
        }
        strangers.push(stream);
    }
    ground.begin_again(5);
    let poured = besiege(&ground, 8, Reads::All, |_, _| {
        let topic = ["a"; 100].join("/");
        publish(ProtocolVersion::V311, QoS::AtMostOnce, &topic, 0, b"x").repeat(20)
    });
    let poured = poured.await?;
    ensure!(granted >= 2 * EACH, "{granted} filters of few levels were granted");
    Ok(format!("{granted} filters granted, {refused} refused; {poured}"))
}

/// Begins with `a`, so that all of them are of one parent topic; the bits of `way` are the places of `+`.
fn filter(way: u32, levels: u32, tail: &str) -> String {
    let level = |bit| if way >> bit & 1 == 0 { "/a" } else { "/+" };
    let ways: String = (0..levels).map(level).collect();
    if tail.is_empty() { format!("a{ways}") } else { format!("a{ways}{}/never", tail.repeat(80)) }
}

async fn suback(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    // A hundred Reason Codes and a Packet Identifier: one byte of Remaining Length.
    let mut answer = vec![0; 104];
    let read = timeout(Duration::from_secs(20), stream.read_exact(&mut answer));
    read.await.context("no SUBACK within 20 s")??;
    ensure!(answer[0] == 0x90 && answer[1] == 102, "{:02x?}", &answer[..4]);
    Ok(answer.split_off(4))
}
