//! Doors that say whether they are open, and visitors who look.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::*;

/// The last look at every Retained Message, by both versions.
pub(super) async fn read_all(field: &Arc<Field>) {
    let readers = (0..field.crowd.doors).flat_map(|door| [(door, 0), (door, 1)]);
    let tasks: Vec<_> =
        readers.map(|(door, turn)| tokio::spawn(read_last(field.clone(), door, turn))).collect();
    for task in tasks {
        join(field, task).await;
    }
}

async fn read_last(field: Arc<Field>, door: usize, turn: usize) {
    let mut client = field.client_named(&format!("last-{door}-{turn}"), version(turn), door + turn);
    if field.come_back(&mut client, Terms::clean()).await.is_none() {
        return;
    }
    if let Err(gone) = client.read_retained(&door_topic(door), Duration::from_millis(1500)).await {
        field.fail(format!("the last look at {} failed: {gone}", door_topic(door)));
    }
    client.disconnect().await;
}

fn door_topic(at: usize) -> String {
    format!("door/{at}/state")
}

pub(super) async fn door(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("door", at);
    let topic = door_topic(at);
    let qos = if at.is_multiple_of(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::lasting()).await.is_none() {
            return;
        }
        // One value at a time: the order of the topic is then beyond doubt.
        if client.in_flight() == 0 {
            let retain = if chance.one_in(4) { Retain::Delete } else { Retain::Set };
            if client.publish(&topic, qos, retain).await.is_err() {
                continue;
            }
        }
        if client.settle(Instant::now() + Duration::from_secs(10)).await == Ok(false) {
            client.drop_link();
        }
        let _ = client.pump(Instant::now() + chance.millis(1, 40)).await;
    }
    settle(&field, &mut client).await;
    client.disconnect().await;
}

pub(super) async fn visitor(field: Arc<Field>, at: usize) {
    let mut chance = field.seed.stream(&format!("visitor-{at}"));
    let mut count = 0;
    while field.is_running() {
        count += 1;
        let name = format!("visitor-{at}-{count}");
        let mut client = field.client_named(&name, version(count), count);
        let door = chance.below(field.crowd.doors as u64) as usize;
        if field.come_back(&mut client, Terms::clean()).await.is_none() {
            return;
        }
        // A crash in between leaves no answer, and nothing to judge.
        if client.read_retained(&door_topic(door), Duration::from_secs(1)).await.is_ok() {
            client.disconnect().await;
        }
        field.idle(chance.millis(0, 200)).await;
    }
}
