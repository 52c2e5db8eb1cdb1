use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::engine::contract::{self, Disk};

/// A folder, and the engine that is open in it.
struct Folder(TempDir, Mutex<Option<Arc<Rocks>>>);

impl Disk for Folder {
    fn open(&self) -> Arc<dyn Engine> {
        let mut current = self.1.lock().unwrap();
        *current = None;
        let opened = Arc::new(Rocks::open(self.0.path(), &Options::default()).unwrap());
        *current = Some(Arc::clone(&opened));
        opened
    }
}

contract::suite!(Folder(tempfile::tempdir().unwrap(), Mutex::new(None)));

fn open(folder: &Path) -> Result<Rocks, OpenError> {
    Rocks::open(folder, &Options::default())
}

fn put(engine: &Rocks, key: u32, value: &[u8]) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.put(Family::Queue, &key.to_be_bytes(), value);
    engine.write(&batch)
}

/// The value that the tests write for a key: incompressible enough, and never that of another key.
fn value(key: u32) -> Vec<u8> {
    (0..100_u32).map(|i| (key.wrapping_add(i).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn count(engine: &Rocks) -> u32 {
    let mut next = 0_u32;
    engine
        .scan(Family::Queue, b"", b"\xff\xff\xff\xff\xff", &mut |key, found| {
            assert_eq!(key, next.to_be_bytes(), "a batch is missing before others that are there");
            assert_eq!(found, value(next));
            next += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    next
}

/// What a process leaves that dies with `records` written: a copy of its folder while it is open. They are few enough
/// that nothing is being flushed while the files are copied.
fn killed_with(records: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).unwrap();
    for key in 0..records {
        put(&engine, key, &value(key)).unwrap();
    }
    copy(folder.path())
}

fn copy(folder: &Path) -> TempDir {
    let copied = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copied.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copied
}

/// The largest file with this extension.
fn file_with(folder: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

fn change(file: &Path, offset: u64, change: impl FnOnce(&mut [u8]), length: usize) {
    let file = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    change(&mut bytes);
    file.write_all_at(&bytes, offset).unwrap();
}

fn flip(file: &Path, offset: u64) {
    change(file, offset, |byte| byte[0] ^= 0x10, 1);
}

#[test]
fn a_killed_process_loses_nothing() {
    let folder = killed_with(1000);
    assert_eq!(count(&open(folder.path()).unwrap()), 1000);
}

#[test]
fn a_log_that_ends_anywhere_is_cut_to_whole_batches() {
    let folder = killed_with(300);
    let length = file_with(folder.path(), "log").metadata().unwrap().len();
    let mut longest = 0;
    for end in (0..length).step_by(991) {
        let folder = copy(folder.path());
        let log = file_with(folder.path(), "log");
        fs::File::options().write(true).open(log).unwrap().set_len(end).unwrap();
        let engine = open(folder.path()).unwrap();
        let found = count(&engine);
        assert!(found >= longest, "a longer log holds more: {found} of {end} bytes");
        longest = found;

        // What is written next is kept too.
        put(&engine, found, &value(found)).unwrap();
        let folder = copy(folder.path());
        assert_eq!(count(&open(folder.path()).unwrap()), found + 1);
    }
    assert!(longest > 280);
}

#[test]
fn a_log_whose_end_was_never_written_is_cut_there() {
    for garbage in [0, 0xa5] {
        let folder = killed_with(500);
        let log = file_with(folder.path(), "log");
        let length = log.metadata().unwrap().len();
        change(&log, length - 5000, |bytes| bytes.fill(garbage), 5000);
        let found = count(&open(folder.path()).unwrap());
        assert!((440..470).contains(&found), "{found}");
    }
}

#[test]
fn a_flipped_bit_within_the_log_is_refused_and_nothing_is_dropped() {
    let folder = killed_with(600);
    let log = file_with(folder.path(), "log");
    let length = log.metadata().unwrap().len();
    let record = length / 600;
    for offset in (0..length).step_by(1009) {
        flip(&log, offset);
        match open(folder.path()) {
            Err(OpenError::Damaged { place, .. }) => assert_eq!(place, log.display().to_string()),
            Err(error) => panic!("{error}"),
            Ok(_) => assert!(offset + 2 * record > length, "damage at {offset} of {length} went unseen"),
        }
        flip(&log, offset);
    }
    assert_eq!(count(&open(folder.path()).unwrap()), 600);
}

#[test]
fn zeros_within_the_log_are_refused() {
    let folder = killed_with(1500);
    let log = file_with(folder.path(), "log");
    for (offset, length) in [(32 << 10, 32 << 10), (40_000, 4096), (0, 32 << 10)] {
        let folder = copy(folder.path());
        let log = folder.path().join(log.file_name().unwrap());
        change(&log, offset, |bytes| bytes.fill(0), length);
        assert!(matches!(open(folder.path()), Err(OpenError::Damaged { .. })), "zeros at {offset}");
    }
}

#[test]
fn an_operator_may_drop_what_is_behind_the_damage() {
    let folder = killed_with(600);
    let log = file_with(folder.path(), "log");
    let length = log.metadata().unwrap().len();
    flip(&log, length / 2);
    let options = Options { drop_behind_damage: true, ..Options::default() };
    let engine = Rocks::open(folder.path(), &options).unwrap();
    let found = count(&engine);
    assert!((280..=300).contains(&found), "{found}");
    put(&engine, found, &value(found)).unwrap();
    drop(engine);

    let engine = open(folder.path()).unwrap();
    assert_eq!(count(&engine), found + 1);
}

#[test]
fn a_lost_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    // Small buffers and a large log: logs are begun and stay.
    let options = Options { log_bytes: 1 << 30, buffer_bytes: 4 << 20, ..Options::default() };
    let engine = Rocks::open(folder.path(), &options).unwrap();
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"keeps the first log alive", b"");
    engine.write(&batch).unwrap();
    for key in 0..30_000 {
        put(&engine, key, &value(key)).unwrap();
    }
    drop(engine);
    let first = wal::logs(folder.path()).unwrap().remove(0);
    assert!(wal::logs(folder.path()).unwrap().len() > 1);
    fs::remove_file(&first).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::Damaged { .. })));
}

/// Two logs, of which the first ends with batch 99 and the second begins with batch 100.
fn two_logs() -> (TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).unwrap();
    (0..100).for_each(|key| put(&engine, key, &value(key)).unwrap());
    let mut batch = Batch::new();
    batch.put(Family::Session, b"what is flushed begins a new log", b"");
    engine.write(&batch).unwrap();
    engine.database.flush_cf(engine.family(Family::Session)).unwrap();
    (100..200).for_each(|key| put(&engine, key, &value(key)).unwrap());
    drop(engine);
    let logs = wal::logs(folder.path()).unwrap();
    assert_eq!(logs.len(), 2);
    (folder, logs)
}

#[test]
fn a_log_that_lost_its_end_is_refused_when_another_goes_on() {
    let (folder, logs) = two_logs();
    let first = fs::File::options().write(true).open(&logs[0]).unwrap();
    first.set_len(logs[0].metadata().unwrap().len() - 10).unwrap();
    match open(folder.path()) {
        Err(OpenError::Damaged { place, .. }) => assert_eq!(place, logs[0].display().to_string()),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a batch is missing before others"),
    }
}

/// What a write leaves that failed for want of space, and was offered again to the next log.
#[test]
fn a_torn_end_of_a_log_is_no_damage_when_the_next_goes_on_without_a_gap() {
    use std::io::Write;
    let (folder, logs) = two_logs();
    let mut first = fs::File::options().append(true).open(&logs[0]).unwrap();
    first.write_all(&[0x5a; 100]).unwrap();
    assert_eq!(count(&open(folder.path()).unwrap()), 200);
}

#[test]
fn no_flipped_bit_of_the_manifest_loses_a_file() {
    let folder = flushed();
    let manifest = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST"))
        .unwrap();
    for offset in (0..manifest.metadata().unwrap().len()).step_by(3) {
        let folder = copy(folder.path());
        flip(&folder.path().join(manifest.file_name().unwrap()), offset);
        match open(folder.path()) {
            Ok(engine) => assert_eq!(count(&engine), 3000, "after a flip at {offset}"),
            Err(OpenError::Damaged { .. }) => {}
            Err(error) => panic!("flip at {offset}: {error}"),
        }
    }
}

/// A database with records 0 to 2999 in a sorted file and none in the log.
fn flushed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).unwrap();
    for key in 0..3000 {
        put(&engine, key, &value(key)).unwrap();
    }
    engine.database.flush_cf(engine.family(Family::Queue)).unwrap();
    drop(engine);
    folder
}

#[test]
fn a_damaged_file_is_named_and_what_it_held_is_not_returned() {
    let folder = flushed();
    let file = file_with(folder.path(), "sst");
    flip(&file, file.metadata().unwrap().len() / 3);
    let engine = open(folder.path()).unwrap();

    let mut outcomes = BTreeMap::new();
    for key in 0..3000_u32 {
        let mut found = Vec::new();
        let outcome = match engine.get(Family::Queue, &key.to_be_bytes(), &mut found) {
            Ok(true) if found == value(key) => "right",
            Err(Error::Damaged { place, .. }) if place == file.display().to_string() => "damaged",
            other => panic!("key {key}: {other:?}"),
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    assert!(outcomes["right"] > 2900 && outcomes["damaged"] > 0, "{outcomes:?}");

    let mut seen = 0;
    let scanned = engine.scan(Family::Queue, b"", b"\xff", &mut |_, _| {
        seen += 1;
        ControlFlow::Continue(())
    });
    assert!(matches!(scanned, Err(Error::Damaged { .. })));
    assert!(seen < 3000);
}

#[test]
fn no_flipped_bit_of_a_file_makes_a_wrong_value() {
    let folder = flushed();
    let file = file_with(folder.path(), "sst");
    let length = file.metadata().unwrap().len();
    for offset in (0..length).step_by(length as usize / 60).chain(length - 60..length) {
        flip(&file, offset);
        match open(folder.path()) {
            Ok(engine) => {
                for key in (0..3000_u32).step_by(7) {
                    let mut found = Vec::new();
                    match engine.get(Family::Queue, &key.to_be_bytes(), &mut found) {
                        Ok(true) => assert!(found == value(key), "wrong value after a flip at {offset}"),
                        Ok(false) => panic!("key {key} vanished after a flip at {offset}"),
                        Err(Error::Damaged { .. } | Error::Failed(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            Err(OpenError::Damaged { .. }) => {}
            Err(error) => panic!("flip at {offset}: {error}"),
        }
        flip(&file, offset);
    }
}

#[test]
fn folders_that_are_not_there_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder.path().join("data/node")).unwrap();
    put(&engine, 0, &value(0)).unwrap();
    assert_eq!(count(&engine), 1);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = open(&file.join("data")).err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot open {}", file.join("data").display())), "{error}");
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _engine = open(folder.path()).unwrap();
    let error = open(folder.path()).err().unwrap();
    assert_eq!(error.to_string(), format!("{} is in use by another process", folder.path().display()));
}

#[test]
fn a_database_whose_families_have_other_numbers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = rocksdb::Options::default();
    settings.create_if_missing(true);
    settings.create_missing_column_families(true);
    let reversed = Family::ALL.into_iter().rev().map(Family::name);
    drop(Database::open_cf(&settings, folder.path(), reversed).unwrap());
    assert!(matches!(open(folder.path()), Err(OpenError::Foreign { .. })));
}

#[test]
fn a_database_with_other_families_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let names = ["default"].into_iter().chain(Family::ALL.map(Family::name));
    let mut database = Database::open_cf(&rocksdb::Options::default(), folder.path(), names).unwrap();
    database.create_cf("later", &rocksdb::Options::default()).unwrap();
    drop(database);
    assert!(matches!(open(folder.path()), Err(OpenError::Foreign { .. })));
}

/// A file system of its own, small enough to be filled. Only root can mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// An engine on a disk that it has just filled with batches 0 to the number given, and a file that may be removed to
/// make room.
fn filled_disk() -> Option<(SmallDisk, Rocks, u32, PathBuf)> {
    let disk = SmallDisk::mount("48m")?;
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 28 << 20]).unwrap();
    let engine = Rocks::open(&disk.0.path().join("database"), &small_buffers()).unwrap();
    let mut written = 0;
    let refused = loop {
        match put(&engine, written, &value(written)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    Some((disk, engine, written, ballast))
}

fn small_buffers() -> Options {
    Options { buffer_bytes: 8 << 20, log_bytes: 256 << 20, ..Options::default() }
}

/// A batch of 1 MiB that cannot be compressed.
fn put_much(engine: &Rocks, number: u32) {
    let mut batch = Batch::new();
    for part in 0..16_u32 {
        let seed = number.wrapping_mul(16).wrapping_add(part);
        // Made faster than it is written.
        batch.put(Family::Retained, &seed.to_be_bytes(), &[number as u8; 1 << 16]);
    }
    engine.write(&batch).unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real disk takes real time")]
fn who_waits_while_the_disk_is_behind_finds_memory_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { buffer_bytes: 16 << 20, log_bytes: 1 << 30, ..Options::default() };
    let engine = Rocks::open(folder.path(), &options).unwrap();
    let (mut highest, mut waited) = (0, 0);
    // How often a disk is behind hangs on what else the machine does.
    for number in 0..3_000 {
        while engine.is_behind() {
            waited += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        put_much(&engine, number);
        highest = highest.max(engine.buffered_bytes());
        if waited > 0 && number >= 300 {
            break;
        }
    }
    // What it may use, what one batch adds, and a block of memory for each family.
    assert!(highest <= (20 << 20) + (3 << 20), "{highest} bytes in buffers");
    assert!(highest > 8 << 20 && waited > 0, "{highest} bytes in buffers, waited {waited} ms");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real disk takes real time")]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let Some((_disk, engine, written, ballast)) = filled_disk() else {
        eprintln!("skipped a_full_disk_refuses_writes_until_there_is_room: cannot mount a small disk here");
        return;
    };
    assert_eq!(count(&engine), written, "reads go on and nothing of the refused batch is seen");
    assert!(matches!(put(&engine, written, b"still full"), Err(Error::Full { .. })));

    fs::remove_file(&ballast).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = put(&engine, written, &value(written)) {
        assert!(matches!(error, Error::Full { .. }), "{error}");
        assert!(Instant::now() < deadline, "writes are refused though there is room");
        // RocksDB looks for room every five seconds and tells nobody when it has found some.
        std::thread::sleep(Duration::from_millis(20));
    }
    engine.sync().unwrap();
    assert_eq!(count(&engine), written + 1);
    let folder = engine.path().to_path_buf();
    drop(engine);
    assert_eq!(count(&open(&folder).unwrap()), written + 1);
}

#[test]
fn a_process_that_starts_on_a_full_disk_loses_nothing() {
    let Some((_disk, engine, written, ballast)) = filled_disk() else {
        eprintln!(
            "skipped a_process_that_starts_on_a_full_disk_loses_nothing: cannot mount a small disk here"
        );
        return;
    };
    let folder = engine.path().to_path_buf();
    drop(engine);
    // It finds the little room that a start needs, or says that there is none.
    match Rocks::open(&folder, &small_buffers()) {
        Ok(engine) => assert_eq!(count(&engine), written),
        Err(error) => assert!(matches!(error, OpenError::Full { .. }), "{error}"),
    }

    fs::remove_file(&ballast).unwrap();
    let engine = Rocks::open(&folder, &small_buffers()).unwrap();
    assert_eq!(count(&engine), written);
    put(&engine, written, &value(written)).unwrap();
}

/// A database of which one file cannot be compacted, and that file.
fn damaged_for_compaction() -> (TempDir, PathBuf) {
    let folder = flushed();
    let file = file_with(folder.path(), "sst");
    change(&file, file.metadata().unwrap().len() / 3, |bytes| bytes.fill(0xa5), 16);
    let engine = open(folder.path()).unwrap();
    // What lies over the damaged file has to be merged with it.
    let error = (0..3000).cycle().take(3_000_000).find_map(|key| {
        if key % 600 == 0 {
            // It says too that writing has stopped.
            let _ = engine.database.flush_cf(engine.family(Family::Queue));
        }
        put(&engine, key, &value(key)).err()
    });
    let error = error.expect("a compaction meets the damage");
    let Error::Stopped { place, .. } = &error else { panic!("{error}") };
    let expected = format!("{} (family queue, slots 0 to 0)", file.display());
    assert_eq!(*place, expected);
    assert_eq!(put(&engine, 1, b""), Err(error.clone()));

    // What can be read is.
    let mut found = Vec::new();
    assert_eq!(engine.get(Family::Queue, &2999_u32.to_be_bytes(), &mut found), Ok(true));
    assert_eq!(found, value(2999));
    (folder, file)
}

#[test]
fn damage_that_stopped_writing_is_named_after_a_restart_and_writes_go_on() {
    let (folder, file) = damaged_for_compaction();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    for start in 0..3_u32 {
        let engine = open(folder.path()).unwrap();
        let damage = engine.damage().expect("the damage is still there");
        assert_eq!(damage.note.file, name);
        let [gap] = &damage.gaps[..] else { panic!("{damage:?}") };
        assert_eq!((gap.family, gap.slots()), (Family::Queue, (0, 0)));
        assert!(gap.place.ends_with(&name), "{gap:?}");
        // More files than a compaction begins with.
        for key in 0..20 {
            put(&engine, 10_000 + 100 * start + key, &value(key)).unwrap();
            engine.database.flush_cf(engine.family(Family::Queue)).unwrap();
        }
        engine.sync().unwrap();
    }
}

#[test]
fn damage_that_was_mended_is_forgotten() {
    let (folder, file) = damaged_for_compaction();
    let whole = flushed();
    let original = fs::read(file_with(whole.path(), "sst")).unwrap();
    let mut damaged = fs::read(&file).unwrap();
    let at = damaged.len() / 3;
    // Two databases differ in what identifies them: only the damaged bytes are taken over.
    assert_eq!(original[at - 64..at], damaged[at - 64..at]);
    damaged[at..at + 16].copy_from_slice(&original[at..at + 16]);
    fs::write(&file, damaged).unwrap();
    assert_eq!(open(folder.path()).unwrap().damage(), None);
    assert_eq!(damage::recall(folder.path()).unwrap(), None);
}

#[test]
fn a_survey_gives_out_all_rows_but_those_of_the_damaged_block() {
    let folder = flushed();
    let file = file_with(folder.path(), "sst");
    let length = file.metadata().unwrap().len();
    for at in [length / 3, length / 2] {
        change(&file, at, |bytes| bytes.fill(0xa5), 16);
    }
    let engine = open(folder.path()).unwrap();
    let mut seen = Vec::new();
    let gaps = engine
        .survey(Family::Queue, b"", b"", &mut |key, found| {
            let key = u32::from_be_bytes(key.try_into().unwrap());
            assert_eq!(found, value(key));
            seen.push(key);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert!(seen.is_sorted() && seen.len() > 2900, "{}", seen.len());
    let mut lost: Vec<_> = (0..3000).filter(|key| seen.binary_search(key).is_err()).collect();
    for gap in &gaps {
        let edge = |key: &[u8]| u32::from_be_bytes(key.try_into().unwrap());
        lost.retain(|key| *key <= edge(&gap.after) || *key >= edge(&gap.before));
    }
    assert_eq!(lost, [], "rows are missing that no gap tells of");
}

#[test]
fn a_missing_current_is_told_as_itself() {
    let folder = killed_with(300);
    let current = folder.path().join("CURRENT");
    let kept = fs::read(&current).unwrap();
    for damage in [None, Some(&b"MANIFEST-000099\n"[..]), Some(b"\xff\xfe")] {
        match damage {
            None => fs::remove_file(&current).unwrap(),
            Some(bytes) => fs::write(&current, bytes).unwrap(),
        }
        match open(folder.path()) {
            Err(OpenError::Damaged { place, .. }) => assert_eq!(place, current.display().to_string()),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("a new database was made over the old one"),
        }
    }
    fs::write(&current, kept).unwrap();
    assert_eq!(count(&open(folder.path()).unwrap()), 300);
}

#[test]
fn a_list_of_files_that_is_damaged_is_made_anew_of_the_files() {
    // All in the log, all in a table, and some of both, with what was deleted in the one and stands in the other.
    let both = flushed();
    let engine = open(both.path()).unwrap();
    let mut batch = Batch::new();
    batch.delete(Family::Queue, &7_u32.to_be_bytes());
    batch.put(Family::Meta, b"\0\0who", b"I");
    engine.write(&batch).unwrap();
    let both = copy(engine.path());
    for (folder, count) in [(killed_with(300), 300), (flushed(), 3000), (both, 2999)] {
        let current = folder.path().join("CURRENT");
        let manifest = folder.path().join(fs::read_to_string(&current).unwrap().trim_end());
        let harms: [&dyn Fn(); 3] =
            [&|| flip(&manifest, 60), &|| fs::write(&manifest, b"").unwrap(), &|| {
                fs::remove_file(&current).unwrap()
            }];
        for harm in harms {
            harm();
            let before = names(folder.path());
            let into = tempfile::tempdir().unwrap();
            let rebuilt = rebuild(folder.path(), &into.path().join("new")).unwrap();
            assert_eq!(rebuilt, Rebuilt { log: LogEnd::Whole, lost: Vec::new() });
            assert_eq!(names(folder.path()), before, "the old folder has changed");
            let engine = open(&into.path().join("new")).unwrap();
            let mut keys = [0; Family::ALL.len()];
            for (family, keys) in Family::ALL.into_iter().zip(&mut keys) {
                let mut add = |_: &[u8], _: &[u8]| {
                    *keys += 1;
                    ControlFlow::Continue(())
                };
                engine.scan(family, b"", &[0xff; 8], &mut add).unwrap();
            }
            assert_eq!(keys.iter().sum::<u32>(), count + u32::from(count == 2999));
        }
    }
}

#[test]
fn a_table_that_cannot_be_read_at_all_is_told_when_the_list_is_made_anew() {
    let folder = flushed();
    let table = file_with(folder.path(), "sst");
    fs::write(&table, b"nothing of the kind").unwrap();
    fs::remove_file(folder.path().join("CURRENT")).unwrap();
    let into = tempfile::tempdir().unwrap();
    let rebuilt = rebuild(folder.path(), &into.path().join("new")).unwrap();
    assert_eq!(rebuilt.lost, [table]);
    assert_eq!(count(&open(&into.path().join("new")).unwrap()), 0);
}

/// Rows as a list that was made anew has them.
fn rebuilt_rows(from: &Path) -> Vec<(u32, Vec<u8>)> {
    let into = tempfile::tempdir().unwrap();
    let into = into.path().join("new");
    rebuild(from, &into).unwrap();
    let rebuilt = ReadOnly::open_rebuilt(&into).unwrap();
    let (mut surveyed, mut scanned) = (Vec::new(), Vec::new());
    let row = |key: &[u8], value: &[u8]| (u32::from_be_bytes(key.try_into().unwrap()), value.to_vec());
    let mut survey = |key: &[u8], value: &[u8]| {
        surveyed.push(row(key, value));
        ControlFlow::Continue(())
    };
    assert_eq!(rebuilt.engine.survey(Family::Queue, b"", b"", &mut survey).unwrap(), []);
    let mut scan = |key: &[u8], value: &[u8]| {
        scanned.push(row(key, value));
        ControlFlow::Continue(())
    };
    rebuilt.engine.scan(Family::Queue, b"", &[0xff; 8], &mut scan).unwrap();
    assert_eq!(scanned, surveyed);
    surveyed
}

#[test]
fn of_tables_that_others_were_merged_of_nothing_old_comes_back_when_the_list_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).unwrap();
    let queue = engine.family(Family::Queue);
    let merge = || {
        engine.database.flush_cf(queue).unwrap();
        // At the last level, also if it is there already: all its rows are given the same sequence number.
        let mut options = rocksdb::CompactOptions::default();
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        engine.database.compact_range_cf_opt(queue, None::<&[u8]>, None::<&[u8]>, &options);
    };
    // What was merged stays beside what it became.
    let kept = tempfile::tempdir().unwrap();
    let keep = || {
        let table = file_with(folder.path(), "sst");
        fs::copy(&table, kept.path().join(table.file_name().unwrap())).unwrap();
    };
    for key in 0..4 {
        put(&engine, key, b"old").unwrap();
    }
    merge();
    keep();
    put(&engine, 1, b"new").unwrap();
    merge();
    keep();
    put(&engine, 2, b"newest").unwrap();
    let mut batch = Batch::new();
    batch.delete(Family::Queue, &3_u32.to_be_bytes());
    engine.write(&batch).unwrap();
    engine.sync().unwrap();
    let log = file_with(folder.path(), "log");
    fs::copy(&log, kept.path().join(log.file_name().unwrap())).unwrap();

    let rows = [(0, &b"old"[..]), (1, b"new"), (2, b"newest")].map(|(key, value)| (key, value.to_vec()));
    assert_eq!(rebuilt_rows(kept.path()), rows);
}

#[test]
fn the_log_is_taken_up_to_its_damage_when_the_list_is_made_anew() {
    let folder = killed_with(300);
    let log = file_with(folder.path(), "log");
    flip(&log, log.metadata().unwrap().len() / 2);
    fs::remove_file(folder.path().join("CURRENT")).unwrap();
    let into = tempfile::tempdir().unwrap();
    let rebuilt = rebuild(folder.path(), &into.path().join("new")).unwrap();
    assert!(matches!(rebuilt.log, LogEnd::Damaged { file, .. } if file == log));
    let left = count(&open(&into.path().join("new")).unwrap());
    assert!((100..200).contains(&left), "{left}");
}

fn names(folder: &Path) -> Vec<(PathBuf, u64)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = files.map(|file| (file.path(), file.metadata().unwrap().len())).collect();
    names.sort();
    names
}

/// Bytes that this thread has read from files, whether they were cached there or not.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn a_lookup_reads_little_however_many_rows_a_table_has() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 1 << 20, ..Options::default() };
    let engine = Rocks::open(folder.path(), &options).unwrap();
    for from in (0..400_000_u32).step_by(10_000) {
        let mut batch = Batch::new();
        (from..from + 10_000).for_each(|key| batch.put(Family::Session, &(2 * key).to_be_bytes(), b"row"));
        engine.write(&batch).unwrap();
    }
    engine.database.flush_cf(engine.family(Family::Session)).unwrap();
    // Away from level 0, whose filters are held in memory.
    engine.database.compact_range_cf(engine.family(Family::Session), None::<&[u8]>, None::<&[u8]>);
    let (before, mut value) = (bytes_read(), Vec::new());
    for key in (0..400_000_u32).step_by(400) {
        assert!(!engine.get(Family::Session, &(2 * key + 1).to_be_bytes(), &mut value).unwrap());
    }
    let each = (bytes_read() - before) / 1_000;
    assert!(each < 16 << 10, "{each} bytes for each lookup");
}
