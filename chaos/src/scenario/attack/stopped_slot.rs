//! QoS 2 to a slot that has stopped: to topics whose partition it holds, and to a Session of it. A row of the Session was
//! spoiled while the node was down; its checksum is right, so that no compaction meets the damage first, and the slot
//! stops when the Client comes back.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use convoy_ids::{ActorId, SlotId};
use convoy_membership::{Partitioning, slot_of};
use convoy_storage::engine::{Batch, Engine, Family, Rocks, rocks};
use convoy_wire::{Packet, PacketId, ProtocolVersion, Publish, QoS};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{Attack, Ground, PLAIN, Preparing};
use crate::client::{Incoming, Pipe};
use crate::fleet::Node;
use crate::scenario::plain::{connect, one_session};

pub(super) const ATTACK: Attack = Attack {
    name: "QoS 2 to a stopped slot",
    prepare: Some(prepare),
    stops_a_slot: true,
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

/// As a node has them by itself.
const SLOTS: u16 = 64;
const PARTITIONING: Partitioning = Partitioning { partitions: 8, partition_levels: 2 };

/// The kind of the rows that hold Sessions by their names, behind the slot in their keys.
const SESSION_ROW: u8 = b'c';

const PUBLISHERS: u64 = 8;
/// More than 60 MB together.
const MESSAGES: u16 = 500;
const MESSAGE_BYTES: usize = 16 << 10;

/// A topic of the stopped slot's, one of another slot's, and the Session that is in the one and has subscribed the other.
struct Place {
    slot: SlotId,
    topic: String,
    elsewhere: String,
    session: String,
}

fn slot_of_session(client_id: &str) -> SlotId {
    slot_of(&ActorId::Session { tenant: "", client_id }, SLOTS)
}

fn slot_of_topic(topic: &str) -> SlotId {
    PARTITIONING.locate("", topic, SLOTS).1
}

/// A slot that neither the bystanders need nor those who publish.
fn place() -> Place {
    let mut needed: Vec<SlotId> = (0..PUBLISHERS).map(|who| slot_of_session(&publisher(who))).collect();
    for pair in 0..4 {
        let name = format!("bystander-{pair}");
        needed.push(slot_of_topic(&format!("{name}/x")));
        needed.extend(["to", "from"].map(|side| slot_of_session(&format!("{name}-{side}"))));
    }
    let is_free = |topic: &String| !needed.contains(&slot_of_topic(topic));
    let topics = || (0..).map(|number| format!("halt-{number}/x"));
    let topic = topics().find(is_free).expect("there are more slots than that");
    let slot = slot_of_topic(&topic);
    let elsewhere = topics().find(|other| slot_of_topic(other) != slot).expect("there are other slots");
    let session = (0..).map(|number| format!("van-{number}"));
    let session = session.into_iter().find(|name| slot_of_session(name) == slot).expect("one of them");
    Place { slot, topic, elsewhere, session }
}

fn publisher(who: u64) -> String {
    format!("siege-{who}")
}

fn prepare(node: &mut Node) -> Preparing<'_> {
    Box::pin(async move {
        let Place { slot, elsewhere, session, .. } = place();
        node.start().await?;
        one_session(node.mqtt(), 0, &session, &elsewhere).await?;
        node.kill().await;
        spoil(node.data(), slot, &session)
    })
}

/// Writes what is no Session over the row of one.
fn spoil(data: &std::path::Path, slot: SlotId, session: &str) -> anyhow::Result<()> {
    let rocks = Rocks::open(data, &rocks::Options::default())?;
    let from = [&slot.0.to_be_bytes()[..], &[SESSION_ROW]].concat();
    let to = [&slot.0.to_be_bytes()[..], &[SESSION_ROW + 1]].concat();
    let mut row = None;
    rocks.scan(Family::Session, &from, &to, &mut |key, _| {
        row = key.ends_with(session.as_bytes()).then(|| key.to_vec());
        if row.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let mut batch = Batch::new();
    batch.put(Family::Session, &row.context("the Session has a row")?, &[0xff; 3]);
    rocks.write(&batch)?;
    Ok(rocks.sync()?)
}

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let Place { topic, elsewhere, session, .. } = place();
    let mut van = Pipe::open(ground.mqtt, ProtocolVersion::V5).await?;
    let met = connect(&mut van, &session, false).await;
    ensure!(met.is_err(), "the damaged Session was served");
    ground.begin_again(8);
    let (taken, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut publishers = JoinSet::new();
    for who in 0..PUBLISHERS {
        let topic = if who % 2 == 0 { topic.clone() } else { elsewhere.clone() };
        publishers.spawn(pour(ground.clone(), who, topic, taken.clone(), refused.clone()));
    }
    while let Some(done) = publishers.join_next().await {
        done??;
    }
    let taken = taken.load(Ordering::Relaxed) * MESSAGE_BYTES as u64;
    let refused = refused.load(Ordering::Relaxed);
    ensure!(taken > 1 << 20, "{taken} bytes were taken");
    Ok(format!("{} MB taken, {refused} messages refused", taken / 1_000_000))
}

/// Publishes from a Session that lasts, as fast as that is taken, without a PUBREL; and stays until the end.
async fn pour(
    ground: Ground,
    who: u64,
    topic: String,
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let mut pipe = Pipe::open(ground.mqtt, ProtocolVersion::V5).await?;
    connect(&mut pipe, &publisher(who), false).await?;
    let payload = vec![b'x'; MESSAGE_BYTES];
    for number in 1..=MESSAGES {
        pipe.put(&Packet::Publish(Publish {
            qos: QoS::ExactlyOnce,
            packet_id: PacketId::new(number),
            topic: &topic,
            payload: &payload,
            ..Publish::default()
        }));
        if !matches!(timeout_at(ground.until, pipe.flush()).await, Ok(Ok(()))) {
            break;
        }
        taken.fetch_add(1, Ordering::Relaxed);
        // What is answered by now.
        while let Ok(Some(Incoming::Pubrec { reason, .. })) = pipe.next(Instant::now()).await {
            refused.fetch_add(u64::from(reason >= 0x80), Ordering::Relaxed);
        }
    }
    while let Ok(Some(answer)) = pipe.next(ground.until).await {
        if let Incoming::Pubrec { reason: 0x80.., .. } = answer {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
