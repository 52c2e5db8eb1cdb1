//! Filters that match many Retained Messages, subscribed again and again by Clients that do not read.

use anyhow::ensure;
use convoy_wire::{ProtocolVersion, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::besiege::{Reads, besiege, stranger};
use super::{Attack, Ground, PLAIN};
use crate::client::bytes::{publish, retained, subscribe};

pub(super) const ATTACK: Attack =
    Attack { name: "subscribing again to what is retained", run: |ground| Box::pin(run(ground)), ..PLAIN };

const MESSAGES: usize = 1000;

async fn run(ground: Ground) -> anyhow::Result<String> {
    let mut publisher = stranger(ground.mqtt, "keeper").await?;
    let mut bytes = Vec::new();
    for at in 0..MESSAGES {
        let topic = format!("kept/{at}");
        bytes.extend(retained(publish(ProtocolVersion::V311, QoS::AtMostOnce, &topic, 0, &[b'x'; 1000])));
    }
    // Answered when the others are stored: a Retained Message has its place in the order of its publisher.
    bytes.extend(retained(publish(ProtocolVersion::V311, QoS::AtLeastOnce, "kept/0", 1, b"x")));
    publisher.write_all(&bytes).await?;
    let mut answer = [0; 4];
    publisher.read_exact(&mut answer).await?;
    ensure!(answer == [0x40, 2, 0, 1], "{answer:02x?}");
    let poured = besiege(&ground, 8, Reads::Nothing, |_, round| {
        let filters: Vec<&str> = ["kept/#", "#", "+/+", "kept/+", "+/#"].repeat(40);
        subscribe(1 + (round % 60_000) as u16, &filters, 0)
    });
    let poured = poured.await?;
    ensure!(poured.bytes > 10_000, "{poured}");
    Ok(poured.to_string())
}
