//! Messages that are soon out of date, and Sessions that are away for longer.

use std::sync::Arc;
use std::time::Duration;

use convoy_wire::ProtocolVersion;
use tokio::time::Instant;

use super::*;

/// Of 5.0, whatever its place: 3.x has no interval.
pub(super) async fn clock(field: Arc<Field>, at: usize) {
    let mut chance = field.seed.stream(&format!("clock-{at}"));
    let mut client = field.client_named(&format!("clock-{at}"), ProtocolVersion::V5, at);
    let topic = format!("tick/clock-{at}");
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::lasting()).await.is_none() {
            return;
        }
        let qos = *chance.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce]);
        // One in four is for longer than any run.
        let interval = if chance.one_in(4) { 3600 } else { chance.between(1, 3) };
        let interval = Some(Duration::from_secs(interval));
        if client.publish_for(&topic, qos, Retain::No, interval).await.is_ok() {
            let _ = client.pump(Instant::now() + chance.millis(20, 200)).await;
        }
        if chance.one_in(100) {
            leave(&mut client, &mut chance).await;
        }
    }
    settle(&field, &mut client).await;
    client.disconnect().await;
}

pub(super) async fn sleeper(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("sleeper", at);
    let filters = [("tick/#", Qos::ExactlyOnce)];
    let mut wanted = Wanted::new(&filters);
    while field.is_running() {
        if !client.is_connected() && field.come_back_subscribed(&mut client, &mut wanted).await.is_none() {
            return;
        }
        let _ = client.pump(Instant::now() + chance.millis(50, 1500)).await;
        client.take_delivered();
        leave(&mut client, &mut chance).await;
        let away = if chance.one_in(2) { chance.millis(4500, 7000) } else { chance.millis(0, 800) };
        field.idle(away).await;
    }
    drain(&field, &mut client, wanted, Duration::ZERO).await;
}
