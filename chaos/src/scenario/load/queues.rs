//! Messages for vehicles: who sends them, and who gets them whenever it is there.

use std::sync::Arc;
use std::time::Duration;

use convoy_wire::ProtocolVersion;
use tokio::time::Instant;

use super::*;

pub(super) async fn desk(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("desk", at);
    let mut probes = Probes::default();
    let vans: Vec<Name> = (0..field.crowd.vans).map(van_name).collect();
    let all: Name = format!("all/desk-{at}").into();
    let news: Name = format!("news/desk-{at}").into();
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::lasting()).await.is_none() {
            return;
        }
        for _ in 0..chance.between(1, 16) {
            let qos = *chance.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce]);
            let van = chance.pick(&vans).clone();
            let (topic, audience, qos) = match chance.below(10) {
                0 => (news.clone(), &[][..], *chance.pick(&Qos::ALL)),
                1..3 => (all.clone(), &vans[..], qos),
                _ => (format!("cmd/{van}/desk-{at}").into(), std::slice::from_ref(&van), qos),
            };
            let next = client.next_sequence(&topic, qos);
            if !audience.iter().all(|van| field.may_send(van, client.name(), &topic, qos, next)) {
                continue;
            }
            if client.publish(&topic, qos, Retain::No).await.is_err() {
                break;
            }
        }
        // Gone in between is seen at the head of the loop.
        let _ = client.pump(Instant::now() + chance.millis(2, 20)).await;
        match chance.below(150) {
            0 => client.drop_link(),
            1 => {
                client.disconnect().await;
                field.idle(chance.millis(0, 300)).await;
            }
            2 => take_over(&mut client, Terms::lasting(), &mut probes).await,
            _ => {}
        }
    }
    settle(&field, &mut client).await;
    client.disconnect().await;
    probes.done(&field).await;
}

pub(super) async fn courier(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("courier", at);
    let topic = format!("news/courier-{at}");
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::clean()).await.is_none() {
            return;
        }
        let qos = *chance.pick(&Qos::ALL);
        if client.publish(&topic, qos, Retain::No).await.is_ok() {
            let _ = client.pump(Instant::now() + chance.millis(10, 60)).await;
        }
        if chance.one_in(100) {
            leave(&mut client, &mut chance).await;
        }
    }
    client.disconnect().await;
}

pub(super) async fn van(field: Arc<Field>, at: usize, ready: tokio::sync::oneshot::Sender<()>) {
    let (mut client, mut chance) = field.client("van", at);
    let mut probes = Probes::default();
    let mine = format!("cmd/{}/#", client.name());
    let filters = [(mine.as_str(), Qos::ExactlyOnce), ("all/#", Qos::AtLeastOnce)];
    let mut wanted = Wanted::new(&filters);
    let mut ready = Some(ready);
    while field.is_running() {
        if !client.is_connected() && field.come_back_subscribed(&mut client, &mut wanted).await.is_none() {
            return;
        }
        if let Some(ready) = ready.take() {
            let _ = ready.send(());
        }
        let until = Instant::now() + chance.millis(100, 2500);
        while let Ok(true) = client.step(until).await {
            field.saw(&van_name(at), client.take_delivered());
            if !field.is_running() {
                break;
            }
        }
        match chance.below(3) {
            0 => take_over(&mut client, Terms::lasting(), &mut probes).await,
            1 => {
                leave(&mut client, &mut chance).await;
                field.idle(chance.millis(0, 1500)).await;
            }
            _ => {}
        }
    }
    drain(&field, &mut client, wanted, Duration::ZERO).await;
    probes.done(&field).await;
}

pub(super) async fn reader(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("reader", at);
    let filters = [("news/#", Qos::AtLeastOnce), ("news/+", Qos::ExactlyOnce)];
    let (filter, qos) = filters[at % filters.len()];
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::lasting()).await.is_none() {
            return;
        }
        // Each step may find the connection gone; the next turn begins with a new one.
        if client.subscribe(filter, qos).await.is_err()
            || client.pump(Instant::now() + chance.millis(50, 1200)).await.is_err()
            || client.unsubscribe(filter).await.is_err()
        {
            continue;
        }
        let _ = client.pump(Instant::now() + chance.millis(50, 600)).await;
        client.take_delivered();
    }
    drain(&field, &mut client, Wanted::new(&[(filter, qos)]), Duration::ZERO).await;
}

pub(super) async fn guest(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("guest", at);
    while field.is_running() {
        let expiry = match (client.version(), chance.below(3)) {
            (_, 0) => Duration::ZERO,
            (ProtocolVersion::V5, 1) => Duration::from_secs(2),
            _ => Terms::LASTING,
        };
        // 3.1.1 has one bit for both.
        let clean_start = match client.version() {
            ProtocolVersion::V5 => chance.one_in(2),
            _ => expiry.is_zero(),
        };
        if field.come_back(&mut client, Terms { clean_start, expiry, will: None }).await.is_none() {
            return;
        }
        if client.subscribe("news/#", Qos::AtLeastOnce).await.is_ok() {
            let _ = client.pump(Instant::now() + chance.millis(50, 700)).await;
            client.take_delivered();
        }
        leave(&mut client, &mut chance).await;
        let away = if chance.one_in(3) { chance.millis(4500, 6000) } else { chance.millis(0, 800) };
        field.idle(away).await;
    }
    // Ends its Session, so that nothing is owed to it.
    if field.come_back(&mut client, Terms::clean()).await.is_some() {
        client.disconnect().await;
    }
}
