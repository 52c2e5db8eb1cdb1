//! What the engines cost the processor, per record: `cargo bench -p convoy-storage --bench engine`.
//!
//! A round stands for what a slot's driver writes at once: for each message of 64 bytes a log record and a queue
//! record. Time is processor time of the whole process, so the flushes and compactions of RocksDB are in it; the
//! machines these run on are noisy, so compare ratios. The last part needs wall time: how long writes take while
//! another thread syncs, and how long a start takes after the process was killed.

#![allow(clippy::disallowed_methods, reason = "a bench reads clocks")]

use std::env;
use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use convoy_storage::engine::rocks::{Options, Rocks};
use convoy_storage::engine::{Batch, Engine, Family, Model};

const MESSAGES: u32 = 1_000_000;
/// Makes this program the process that [`start_after_a_kill`] kills.
const FILL: &str = "--fill-until-killed";
const PAYLOAD: [u8; 64] = [0x5a; 64];

fn main() {
    let arguments: Vec<_> = env::args().collect();
    match &arguments[..] {
        [_, mode, folder] if mode == FILL => fill(Path::new(folder)),
        _ => measure_all(),
    }
}

fn measure_all() {
    println!("{MESSAGES} messages of {} bytes; ns of processor time per message", PAYLOAD.len());
    println!("{:<8} {:>6} {:>9} {:>9} {:>9} {:>9}", "engine", "round", "write", "drain", "delete", "range");
    for round in [64, 1000] {
        let folder = tempfile::tempdir().expect("a folder for the bench");
        let rocks = Rocks::open(folder.path(), &Options::default()).expect("an empty folder opens");
        measure("rocks", round, &rocks);
        measure("model", round, &Model::new());
    }
    writes_beside_syncs();
    start_after_a_kill();
}

fn measure(name: &str, round: u32, engine: &dyn Engine) {
    let write = per_message(|| write_all(engine, round));
    let drain = per_message(|| {
        let mut seen = 0;
        engine
            .scan(Family::Queue, &key(0, 0), &key(1, 0), &mut |_, value| {
                seen += value.len();
                ControlFlow::Continue(())
            })
            .expect("a scan");
        assert_eq!(seen, MESSAGES as usize * PAYLOAD.len());
    });
    let delete = per_message(|| {
        let mut batch = Batch::new();
        for first in (0..MESSAGES).step_by(round as usize) {
            batch.clear();
            for message in first..(first + round).min(MESSAGES) {
                batch.delete(Family::Queue, &key(0, message));
            }
            engine.write(&batch).expect("a write");
        }
    });
    let range = per_message(|| {
        let mut batch = Batch::new();
        for first in (0..MESSAGES).step_by(round as usize) {
            batch.clear();
            batch.delete_range(Family::Log, &key(0, first), &key(0, first + round));
            engine.write(&batch).expect("a write");
        }
    });
    println!("{name:<8} {round:>6} {write:>9.0} {drain:>9.0} {delete:>9.0} {range:>9.1}");
}

/// Log and queue record of every message, in rounds, each round one batch.
fn write_all(engine: &dyn Engine, round: u32) {
    let mut batch = Batch::new();
    for first in (0..MESSAGES).step_by(round as usize) {
        batch.clear();
        for message in first..(first + round).min(MESSAGES) {
            batch.put_parts(Family::Log, &key(0, message), &[&message.to_be_bytes(), &PAYLOAD]);
            batch.put(Family::Queue, &key(0, message), &PAYLOAD);
        }
        engine.write(&batch).expect("a write");
    }
}

/// Slot, kind, number: the shape of the keys that replicas use.
fn key(slot: u16, number: u32) -> [u8; 11] {
    let mut key = [0; 11];
    key[..2].copy_from_slice(&slot.to_be_bytes());
    key[2] = 1;
    key[7..].copy_from_slice(&number.to_be_bytes());
    key
}

fn per_message(work: impl FnOnce()) -> f64 {
    let before = processor_time();
    work();
    (processor_time() - before).as_nanos() as f64 / f64::from(MESSAGES)
}

/// Time that all threads of this process have run.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn writes_beside_syncs() {
    let folder = tempfile::tempdir_in(".").expect("a folder on a real disk");
    let rocks = Rocks::open(folder.path(), &Options::default()).expect("an empty folder opens");
    let mut batch = Batch::new();
    let mut write = |message: u32| {
        batch.clear();
        for part in 0..64 {
            batch.put(Family::Log, &key(0, message * 64 + part), &PAYLOAD);
        }
        let began = Instant::now();
        rocks.write(&batch).expect("a write");
        began.elapsed()
    };
    let alone = quantiles((0..2000).map(&mut write).collect());
    let done = AtomicBool::new(false);
    let (beside, syncs) = thread::scope(|scope| {
        let syncs = scope.spawn(|| {
            let mut syncs = Vec::new();
            while !done.load(Ordering::Acquire) {
                let began = Instant::now();
                rocks.sync().expect("a sync");
                syncs.push(began.elapsed());
            }
            syncs
        });
        let beside = quantiles((2000..4000).map(&mut write).collect());
        done.store(true, Ordering::Release);
        (beside, syncs.join().expect("the syncing thread"))
    });
    println!("\nwall time of a write of 64 records, half / 99 of 100 / longest:");
    println!("alone                       {alone:?}");
    println!("while another thread syncs  {beside:?}");
    println!("a sync took                 {:?}", quantiles(syncs));
}

fn quantiles(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    [times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1]]
}

/// Has a process of its own fill a database, kills it, and opens what it left.
fn start_after_a_kill() {
    let folder = tempfile::tempdir_in(".").expect("a folder on a real disk");
    let own = env::current_exe().expect("this bench has a file");
    let mut filling = Command::new(own)
        .arg(FILL)
        .arg(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this bench can be started");
    let mut filled = [0];
    filling.stdout.take().expect("it is piped").read_exact(&mut filled).expect("it tells when it is done");
    let status = fs::read_to_string(format!("/proc/{}/status", filling.id())).unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
    println!("\nmost memory a process held that wrote 3,600,000 records: {}", peak[6..].trim());
    filling.kill().expect("it runs");
    filling.wait().expect("it was killed");

    let files = fs::read_dir(folder.path()).expect("the folder");
    let files = files.map(|entry| entry.expect("an entry").path());
    let (mut log_bytes, mut sorted_bytes) = (0, 0);
    for path in files {
        let bytes = path.metadata().map_or(0, |metadata| metadata.len());
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => log_bytes += bytes,
            Some("sst") => sorted_bytes += bytes,
            _ => {}
        }
    }
    let began = Instant::now();
    let rocks = Rocks::open(folder.path(), &Options::default()).expect("what a kill leaves opens");
    let took = began.elapsed();
    assert!(rocks.last(Family::Queue, &[0], &[0xff]).expect("a read").is_some());
    println!("start after a kill: {took:?}, with {} MB of log", log_bytes >> 20);
    println!("and {} MB of sorted files", sorted_bytes >> 20);
}

/// Writes 300 MB, says so and waits to be killed.
fn fill(folder: &Path) -> ! {
    let rocks = Rocks::open(folder, &Options::default()).expect("an empty folder opens");
    let mut batch = Batch::new();
    for round in 0..3600 {
        batch.clear();
        for message in 0..1000 {
            batch.put(Family::Queue, &key(round as u16 % 64, round * 1000 + message), &PAYLOAD);
        }
        rocks.write(&batch).expect("a write");
    }
    println!("filled");
    loop {
        thread::park();
    }
}
