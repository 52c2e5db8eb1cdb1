//! Jobs that one of a group takes, and groups whose members come and go.
//!
//! The crew takes jobs at QoS 1: some of it stays, some comes and goes, some unsubscribes, and some lets its Session end
//! with jobs in it, which then are for the others. The pair takes jobs at QoS 2 and no Session of it ends, so each job is
//! for one of it, once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::*;

const CREW: (&str, Qos) = ("$share/crew/job/crew/#", Qos::AtLeastOnce);
const PAIR: (&str, Qos) = ("$share/pair/job/pair/#", Qos::ExactlyOnce);

/// What a member does with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Connected whenever it can be.
    Stays,
    ComesAndGoes,
    /// Leaves the group, now and then.
    Unsubscribes,
    /// Lets its Session end by its interval.
    Expires,
}

/// How long the Session of such a member lasts, and how long it stays away to let it end.
const INTERVAL: Duration = Duration::from_secs(1);
const AWAY: (u64, u64) = (4000, 5000);

fn part(at: usize) -> ((&'static str, Qos), Habit) {
    match at % 10 {
        0 => (CREW, Habit::Stays),
        1 | 2 => (CREW, Habit::ComesAndGoes),
        3 => (CREW, Habit::Unsubscribes),
        // Of an even place: 5.0 alone can say it.
        4 | 6 => (CREW, Habit::Expires),
        5 => (PAIR, Habit::Stays),
        _ => (PAIR, Habit::ComesAndGoes),
    }
}

pub(super) async fn foreman(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("foreman", at);
    while field.is_running() {
        if !client.is_connected() && field.come_back(&mut client, Terms::lasting()).await.is_none() {
            return;
        }
        for _ in 0..chance.between(1, 4) {
            let group = if chance.one_in(2) { "crew" } else { "pair" };
            let qos = *chance.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce]);
            if client.publish(&format!("job/{group}/foreman-{at}"), qos, Retain::No).await.is_err() {
                break;
            }
        }
        // Gone in between is seen at the head of the loop. Members away hold few enough for their queues.
        let _ = client.pump(Instant::now() + chance.millis(30, 120)).await;
        if chance.one_in(150) {
            leave(&mut client, &mut chance).await;
        }
    }
    settle(&field, &mut client).await;
    client.disconnect().await;
}

pub(super) async fn member(field: Arc<Field>, at: usize) {
    let (mut client, mut chance) = field.client("member", at);
    let (filter, habit) = part(at);
    if habit == Habit::Expires {
        return expiring(&field, &mut client, &mut chance, filter).await;
    }
    let filters = [filter];
    let mut wanted = Wanted::new(&filters);
    let mut probes = Probes::default();
    while field.is_running() {
        if !client.is_connected() && field.come_back_subscribed(&mut client, &mut wanted).await.is_none() {
            return;
        }
        if client.pump(Instant::now() + chance.millis(100, 2000)).await.is_err() || !field.is_running() {
            continue;
        }
        client.take_delivered();
        match habit {
            Habit::ComesAndGoes if chance.one_in(3) => {
                take_over(&mut client, Terms::lasting(), &mut probes).await;
            }
            Habit::ComesAndGoes => {
                leave(&mut client, &mut chance).await;
                field.idle(chance.millis(0, 1500)).await;
            }
            Habit::Unsubscribes => {
                wanted = Wanted::new(&filters);
                // A connection that goes in between leaves it open whether it is a member: it subscribes again.
                if client.unsubscribe(filter.0).await.is_ok() {
                    let _ = client.pump(Instant::now() + chance.millis(50, 600)).await;
                }
                leave(&mut client, &mut chance).await;
            }
            Habit::Stays | Habit::Expires => {}
        }
    }
    // Until every interval of the others has passed and what they left has found its way.
    drain(&field, &mut client, wanted, INTERVAL + Duration::from_secs(4)).await;
    probes.done(&field).await;
}

async fn expiring(
    field: &Arc<Field>,
    client: &mut Client,
    chance: &mut Stream,
    (filter, qos): (&'static str, Qos),
) {
    let terms = || Terms { clean_start: false, expiry: INTERVAL, will: None };
    while field.is_running() {
        if field.come_back(client, terms()).await.is_none() {
            return;
        }
        if client.subscribe(filter, qos).await.is_ok() {
            let _ = client.pump(Instant::now() + chance.millis(100, 1500)).await;
            client.take_delivered();
        }
        leave(client, chance).await;
        let away = if chance.one_in(2) { chance.millis(AWAY.0, AWAY.1) } else { chance.millis(0, 500) };
        field.idle(away).await;
    }
    // Its Session ends at once, and others get what was in it.
    if field.come_back(client, Terms::clean()).await.is_some() {
        client.disconnect().await;
    }
}
