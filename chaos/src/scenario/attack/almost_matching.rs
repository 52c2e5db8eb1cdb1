//! Topic Filters of `a` and `+` in every order, which a message is tried against and none of which it matches.

use anyhow::{Context, ensure};
use convoy_wire::{ProtocolVersion, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::besiege::{Reads, besiege, stranger};
use super::{Attack, DEAREST, Ground, PLAIN};
use crate::client::bytes::{publish, subscribe};

pub(super) const ATTACK: Attack = Attack {
    name: "wildcard filters that almost match",
    run: |ground| Box::pin(run(ground)),
    limit: DEAREST,
    ..PLAIN
};

/// Of one Session, with the default limit of Subscriptions.
const EACH: u32 = 1000;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let (mut granted, mut refused, mut strangers) = (0, 0, Vec::new());
    // The first are as many as the limits of levels let through: of any form, of two runs of `+`, of one. The others have a
    // hundred levels.
    let any = (0..2 * EACH).map(|way| filter(way, 11, ""));
    let few = runs(12, 2).chain(runs(23, 1));
    let deep = (0..3 * EACH).map(|way| filter(way, 14, "/a"));
    let all: Vec<String> = any.chain(few).chain(deep).collect();
    for each in all.chunks(EACH as usize) {
        let mut stream = stranger(ground.mqtt, &format!("almost-{}", strangers.len())).await?;
        for filters in each.chunks(100) {
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            stream.write_all(&subscribe(1, &filters, 0)).await?;
            for reason in suback(&mut stream, filters.len()).await? {
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
    let may = 2 * EACH + (runs(12, 2).count() + runs(23, 1).count()) as u32;
    ensure!(granted >= may, "{granted} filters of {may} were granted");
    Ok(format!("{granted} filters granted, {refused} refused; {poured}"))
}

/// Begins with `a`, so that all of them are of one parent topic; the bits of `way` are the places of `+`.
fn filter(way: u32, levels: u32, tail: &str) -> String {
    let level = |bit| if way >> bit & 1 == 0 { "/a" } else { "/+" };
    let ways: String = (0..levels).map(level).collect();
    if tail.is_empty() { format!("a{ways}") } else { format!("a{ways}{}/never", tail.repeat(80)) }
}

/// Begins alike; among so many levels behind that stand so many runs of `+`, in every way.
fn runs(levels: usize, count: usize) -> impl Iterator<Item = String> {
    let one = (0..levels).flat_map(move |from| (from + 1..=levels).map(move |to| from..to));
    let pairs = one.flat_map(move |first| {
        let behind = first.end + 1;
        let second = (behind..levels).flat_map(move |from| (from + 1..=levels).map(move |to| from..to));
        // Of one run alone the other is empty.
        let one_alone = std::iter::once(levels..levels).filter(move |_| count == 1);
        second.filter(move |_| count == 2).chain(one_alone).map(move |second| [first.clone(), second])
    });
    pairs.map(move |runs| {
        let level = |at| if runs.iter().any(|run| run.contains(&at)) { "/+" } else { "/a" };
        format!("a{}", (0..levels).map(level).collect::<String>())
    })
}

async fn suback(stream: &mut TcpStream, filters: usize) -> anyhow::Result<Vec<u8>> {
    // A hundred Reason Codes at most and a Packet Identifier: one byte of Remaining Length.
    let mut answer = vec![0; 4 + filters];
    let read = timeout(Duration::from_secs(20), stream.read_exact(&mut answer));
    read.await.context("no SUBACK within 20 s")??;
    ensure!(answer[0] == 0x90 && usize::from(answer[1]) == 2 + filters, "{:02x?}", &answer[..4]);
    Ok(answer.split_off(4))
}
