//! A database survives `kill -9`, with every batch whose write returned, and belongs to one process at a time.
//!
//! The process that is killed is this program again, so this file has a main of its own in place of the test harness.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use convoy_storage::engine::rocks::{OpenError, Options, Rocks};
use convoy_storage::engine::{Batch, Engine, Family};

/// Makes this program the process that is killed.
const WRITER: &str = "--write-until-killed";

fn main() {
    let arguments: Vec<_> = env::args().collect();
    match &arguments[..] {
        [_, mode, folder] if mode == WRITER => write_until_killed(Path::new(folder)),
        _ => {
            run(
                "a_killed_process_loses_no_write_that_returned",
                a_killed_process_loses_no_write_that_returned,
            );
            run("a_folder_belongs_to_one_process", a_folder_belongs_to_one_process);
        }
    }
}

fn run(name: &str, test: fn()) {
    test();
    println!("test {name} ... ok");
}

fn a_killed_process_loses_no_write_that_returned() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = 0;
    // Long enough for flushes, new logs and compactions to be under way when the kill comes.
    for kill_after in [1, 700, 5_000, 20_000, 20_001] {
        let mut writer = Writer::start(folder.path());
        while writer.acknowledged < kept + kill_after {
            writer.acknowledge().expect("the writer goes on until it is killed");
        }
        writer.process.kill().unwrap();
        while writer.acknowledge().is_some() {}
        writer.process.wait().unwrap();

        let found = count(&open(folder.path()).unwrap());
        assert!(
            found >= writer.acknowledged,
            "{} writes returned and {found} are there",
            writer.acknowledged
        );
        kept = found;
    }
}

fn a_folder_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::start(folder.path());
    writer.acknowledge().expect("the writer writes");
    let error = open(folder.path()).err().expect("the folder is in use");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");

    writer.process.kill().unwrap();
    writer.process.wait().unwrap();
    open(folder.path()).expect("the folder of a dead process is free");
}

/// Another process that writes batches 0, 1, 2 and so on and tells after each that it returned.
struct Writer {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
    /// Batches whose write returned.
    acknowledged: u32,
}

impl Writer {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .arg(WRITER)
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines, acknowledged: 0 }
    }

    /// Waits for the next write to return; none if the process is dead.
    fn acknowledge(&mut self) -> Option<()> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        // A last line may be cut short by the kill.
        self.acknowledged = line.strip_suffix('\n')?.parse().unwrap();
        Some(())
    }
}

fn write_until_killed(folder: &Path) {
    let engine = open(folder).unwrap();
    let mut out = std::io::stdout();
    let mut batch = Batch::new();
    for number in count(&engine).. {
        batch.clear();
        batch.put(Family::Log, &number.to_be_bytes(), &value(number));
        batch.put(Family::Queue, &number.to_be_bytes(), &value(number));
        engine.write(&batch).unwrap();
        if number % 256 == 0 {
            engine.sync().unwrap();
        }
        // One call of the operating system, so that a line is there whole or not at all, nearly always.
        out.write_all(format!("{}\n", number + 1).as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

/// With buffers and a log so small that they are filled and written out many times.
fn open(folder: &Path) -> Result<Rocks, OpenError> {
    Rocks::open(folder, &Options { buffer_bytes: 4 << 20, log_bytes: 3 << 20, ..Options::default() })
}

fn value(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(50)
}

/// Batches in the database: each whole, and none missing before another.
fn count(engine: &Rocks) -> u32 {
    let [log, queue] = [Family::Log, Family::Queue].map(|family| {
        let mut next = 0_u32;
        engine
            .scan(family, b"", b"\xff\xff\xff\xff\xff", &mut |key, found| {
                assert_eq!(key, next.to_be_bytes(), "a batch is missing before others that are there");
                assert!(found == value(next), "batch {next} is not what was written");
                next += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        next
    });
    assert_eq!(log, queue, "a batch is there in part");
    log
}
