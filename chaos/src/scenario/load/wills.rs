//! Wagons with a last will that end in every way, and who watches.

use std::sync::Arc;
use std::time::Duration;

use convoy_wire::ProtocolVersion;
use tokio::time::Instant;

use super::*;

pub(super) async fn wagon(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("wagon", at);
    let topic: Name = format!("will/{}", client.name()).into();
    let mut probes = Probes::default();
    let mut seq = 0;
    let mut terms = |client: &Client, chance: &mut Stream| {
        seq += 1;
        let delay = match client.version() {
            ProtocolVersion::V5 => chance.below(WILL_DELAY_MAX + 1),
            _ => 0,
        };
        let will = Message::new(client.name(), &topic, Qos::ExactlyOnce, seq);
        let mut terms = Terms::lasting().with_will(will, Duration::from_secs(delay));
        if client.version().has_properties() {
            // The end of the Session, by its interval or by Clean Start, ends the delay too.
            terms.clean_start = chance.one_in(6);
            if chance.one_in(4) {
                terms.expiry = Duration::from_secs(chance.between(1, 2));
            }
        }
        terms
    };
    while field.is_running() {
        // Each attempt has a Will of its own: one that was not answered may have been heard.
        let asked = terms(&client, &mut chance);
        if client.connect(asked).await.is_err() {
            field.idle(Duration::from_millis(50)).await;
            continue;
        }
        let stays = Instant::now() + chance.millis(100, 1500);
        if client.pump(stays).await.is_ok() && chance.one_in(3) {
            let asked = terms(&client, &mut chance);
            take_over(&mut client, asked, &mut probes).await;
            let _ = client.pump(Instant::now() + chance.millis(50, 500)).await;
        }
        if client.version().has_properties() && chance.one_in(4) {
            client.disconnect_with_will().await;
        } else {
            leave(&mut client, &mut chance).await;
        }
        let away = if chance.one_in(4) {
            chance.millis(WILL_DELAY_MAX * 1000 + 3500, WILL_DELAY_MAX * 1000 + 4500)
        } else {
            chance.millis(0, 400)
        };
        field.idle(away).await;
    }
    probes.done(&field).await;
}

pub(super) async fn watcher(field: Arc<Field>, at: usize, ready: tokio::sync::oneshot::Sender<()>) {
    let (mut client, _) = field.client("watcher", at);
    let filters = [("will/#", Qos::ExactlyOnce)];
    let mut wanted = Wanted::new(&filters);
    let mut ready = Some(ready);
    while field.is_running() {
        if field.come_back_subscribed(&mut client, &mut wanted).await.is_none() {
            return;
        }
        if let Some(ready) = ready.take() {
            let _ = ready.send(());
        }
        while let Ok(true) | Ok(false) = client.step(Instant::now() + Duration::from_millis(200)).await {
            client.take_delivered();
            if !field.is_running() {
                break;
            }
        }
    }
    // The last Wills are due after their delay, and may take a while more.
    let at_least = Duration::from_secs(WILL_DELAY_MAX) + Duration::from_millis(3500);
    drain(&field, &mut client, wanted, at_least).await;
}
