//! What the driver costs the processor, per record: `cargo bench -p convoy-storage --bench replica`.
//!
//! Time is processor time of the whole process, so RocksDB's own threads are in it; the machines these run on are
//! noisy, so compare ratios. A round proposes one record to each of so many slots, writes, syncs and applies: the
//! applied index of each slot is written too, as its caller does. `none` is an engine that keeps nothing: what is
//! left is the driver and raft.

use std::hint::black_box;
use std::sync::Arc;

use convoy_ids::{NodeId, SlotId};
use convoy_storage::engine::rocks::{self, Rocks};
use convoy_storage::engine::{Batch, Engine, Error, Family, Model, Pair, Space, View, Visit};
use convoy_storage::replica::{Driver, Effects, Options, Replica};

const SLOTS: u16 = 64;
const NODE: NodeId = NodeId::new(1).unwrap();

fn main() {
    println!("records of 64 bytes to {SLOTS} slots of one replica; ns of processor time per record");
    println!("{:<8} {:>6} {:>10} {:>10}", "engine", "round", "64 B", "4 KiB");
    for round in [1, 16, 64] {
        let folder = tempfile::tempdir().expect("a folder for the bench");
        let rocks = Rocks::open(folder.path(), &rocks::Options::default()).expect("an empty folder opens");
        records("none", round, || Arc::new(Nothing));
        records("model", round, || Arc::new(Model::new()));
        let rocks: Arc<dyn Engine> = Arc::new(rocks);
        records("rocks", round, || Arc::clone(&rocks));
    }
    println!();
    println!("one tick of an idle group, ns of processor time");
    println!("alone      {:>8.0}", idle(512, 1));
    println!("of three   {:>8.0}   follower without a leader's messages, before its election", idle(512, 3));
    println!();
    println!("three drivers in one thread, 64 slots, engine none: ns of processor time per committed record");
    for round in [1, 16, 64] {
        println!("round {round:>3}  {:>8.0}", three(round));
    }
}

fn records(name: &str, round: u16, engine: impl Fn() -> Arc<dyn Engine>) {
    let small = rounds(engine(), round, 64, 200_000);
    let large = rounds(engine(), round, 4096, 50_000);
    println!("{name:<8} {round:>6} {small:>10.0} {large:>10.0}");
}

fn rounds(engine: Arc<dyn Engine>, round: u16, bytes: usize, count: u32) -> f64 {
    let mut driver = Driver::new(Arc::clone(&engine), NODE, Options::default());
    let (mut state, mut effects) = (Batch::new(), Effects::new());
    for slot in 0..SLOTS {
        driver.open(SlotId(slot), Replica::first(NODE).id, &[Replica::first(NODE)]).expect("the slot opens");
    }
    settle(&mut driver, &*engine, &mut state, &mut effects);
    // A disk's sync costs time and little processor: one in a hundred rounds is a real one.
    let (mut next, mut committed, mut turns) = (0, 0, 0_u32);
    let before = processor_ns();
    while committed < count {
        for _ in 0..round {
            driver.propose(SlotId(next % SLOTS), vec![0x5a; bytes]).expect("a leader takes records");
            next = next.wrapping_add(1);
        }
        driver.round(&mut state, &mut effects).expect("a write");
        turns += 1;
        if let Some(round) = effects.sync.take() {
            if turns % 100 == 0 {
                engine.sync().expect("a sync");
            }
            driver.synced(round, &mut effects);
        }
        committed += apply(&mut driver, &mut state, &mut effects);
    }
    let spent = processor_ns() - before;
    for slot in 0..SLOTS {
        driver.close(SlotId(slot));
    }
    spent as f64 / f64::from(committed)
}

fn apply(driver: &mut Driver, state: &mut Batch, effects: &mut Effects) -> u32 {
    let mut records = 0;
    for committed in effects.committed.drain(..) {
        records += u32::from(!committed.data.is_empty());
        black_box(&committed.data);
        Driver::put_applied(committed.slot, committed.index, state);
        driver.advance_applied(committed.slot, committed.index);
    }
    effects.clear();
    records
}

fn settle(driver: &mut Driver, engine: &dyn Engine, state: &mut Batch, effects: &mut Effects) {
    while driver.is_dirty() || !state.is_empty() {
        driver.round(state, effects).expect("a write");
        if let Some(round) = effects.sync.take() {
            engine.sync().expect("a sync");
            driver.synced(round, effects);
        }
        apply(driver, state, effects);
    }
}

fn idle(groups: u16, voters: u64) -> f64 {
    let engine: Arc<dyn Engine> = Arc::new(Nothing);
    let options = Options { election_ticks: 1_000_000, ..Options::default() };
    let mut driver = Driver::new(Arc::clone(&engine), NODE, options);
    let voters: Vec<_> = (1..=voters).filter_map(NodeId::new).map(Replica::first).collect();
    for slot in 0..groups {
        driver.open(SlotId(slot), voters[0].id, &voters).expect("the slot opens");
    }
    settle(&mut driver, &*engine, &mut Batch::new(), &mut Effects::new());
    const TICKS: u32 = 5_000;
    let before = processor_ns();
    for _ in 0..TICKS {
        driver.tick();
    }
    assert!(!driver.is_dirty());
    (processor_ns() - before) as f64 / f64::from(TICKS) / f64::from(groups)
}

/// What all three replicas of a record cost together: proposing, sending, storing and acknowledging.
fn three(round: u16) -> f64 {
    let voters: Vec<_> = (1..=3).filter_map(NodeId::new).map(Replica::first).collect();
    let engine: Arc<dyn Engine> = Arc::new(Nothing);
    let mut drivers: Vec<_> = voters
        .iter()
        .map(|voter| {
            let mut driver = Driver::new(Arc::clone(&engine), voter.node, Options::default());
            for slot in 0..SLOTS {
                driver.open(SlotId(slot), voter.id, &voters).expect("the slot opens");
            }
            driver
        })
        .collect();
    let mut state = Batch::new();
    let mut effects: Vec<_> = (0..3).map(|_| Effects::new()).collect();
    let mut turn = |drivers: &mut Vec<Driver>| {
        let (mut committed, mut quiet) = (0, true);
        for place in 0..drivers.len() {
            let (driver, effects) = (&mut drivers[place], &mut effects[place]);
            driver.round(&mut state, effects).expect("a write");
            if let Some(round) = effects.sync.take() {
                driver.synced(round, effects);
            }
            let messages = std::mem::take(&mut effects.messages);
            let records = apply(driver, &mut state, effects);
            committed += if place == 0 { records } else { 0 };
            quiet &= messages.is_empty() && !driver.is_dirty();
            for message in messages {
                let to = message.to.get() as usize - 1;
                drivers[to].step(message.slot, voters[place].node, &message.bytes).expect("an honest peer");
            }
        }
        (committed, quiet)
    };
    // The first node leads all slots: it alone has ticks until it is elected.
    while !(0..SLOTS).all(|slot| drivers[0].role(SlotId(slot)).is_some_and(|role| role.is_leader())) {
        drivers[0].tick();
        while !turn(&mut drivers).1 {}
    }
    let (mut next, mut committed) = (0, 0);
    let before = processor_ns();
    while committed < 50_000 {
        for _ in 0..round {
            drivers[0].propose(SlotId(next % SLOTS), vec![0x5a; 64]).expect("a leader takes records");
            next = next.wrapping_add(1);
        }
        loop {
            let (records, quiet) = turn(&mut drivers);
            committed += records;
            if quiet {
                break;
            }
        }
    }
    (processor_ns() - before) as f64 / f64::from(committed)
}

/// Time that all threads of this process have run.
fn processor_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Keeps nothing.
struct Nothing;

impl Engine for Nothing {
    fn get(&self, _: Family, _: &[u8], _: &mut Vec<u8>) -> Result<bool, Error> {
        Ok(false)
    }

    fn scan(&self, _: Family, _: &[u8], _: &[u8], _: Visit<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn last(&self, _: Family, _: &[u8], _: &[u8]) -> Result<Option<Pair>, Error> {
        Ok(None)
    }

    fn write(&self, batch: &Batch) -> Result<(), Error> {
        black_box(batch.size_bytes());
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn view(self: Arc<Self>) -> Box<dyn View> {
        Arc::new(Model::new()).view()
    }

    fn space(&self) -> Result<Space, Error> {
        Ok(Space { total: u64::MAX, free: u64::MAX })
    }

    fn is_behind(&self) -> bool {
        false
    }
}
