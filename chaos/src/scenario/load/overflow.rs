//! Tanks, which are away for longer than their queue lasts, and hoses, which do not ask whether there is room.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::invariant::overflow::TOPICS;

/// Messages of one burst: more than a Session holds, so that one away for a burst has overflowed.
const BURST: u64 = 1300;

pub(super) async fn hose(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("hose", at);
    let topic = format!("{TOPICS}hose-{at}");
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::lasting()).await.is_none() {
            return;
        }
        for _ in 0..BURST {
            let qos = *chance.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce]);
            // Gone in between ends the burst.
            if !field.is_running() || client.publish(&topic, qos, Retain::No).await.is_err() {
                break;
            }
        }
        let _ = client.pump(Instant::now() + chance.millis(500, 2500)).await;
        if chance.one_in(8) {
            leave(&mut client, &mut chance).await;
        }
    }
    settle(&field, &mut client).await;
    client.disconnect().await;
}

pub(super) async fn tank(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("tank", at);
    let filter = format!("{TOPICS}#");
    let filters = [(filter.as_str(), Qos::ExactlyOnce)];
    let mut wanted = Wanted::new(&filters);
    while field.is_running() {
        if !client.is_connected() && field.come_back_subscribed(&mut client, &mut wanted).await.is_none() {
            return;
        }
        // Often too short to read all: it leaves with messages under way, and the next burst finds the queue full.
        let _ = client.pump(Instant::now() + chance.millis(20, 1500)).await;
        client.take_delivered();
        leave(&mut client, &mut chance).await;
        field.idle(chance.millis(500, 4000)).await;
    }
    drain(&field, &mut client, wanted, Duration::ZERO).await;
}
