//! What every [`Engine`] must do, as tests: `contract::suite!(disk)` in the tests of an implementation runs them all,
//! each on a disk of its own.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Batch, Engine, Family};

/// Something that holds the keys of an engine while it is not open.
pub(crate) trait Disk {
    /// Opens the engine. The one opened before is no longer used.
    fn open(&self) -> Arc<dyn Engine>;
}

/// Makes every function named here a test of the disk that `$disk` makes.
macro_rules! suite {
    ($disk:expr) => {
        crate::engine::contract::suite!(@tests $disk;
            get_returns_what_was_put
            get_appends_and_leaves_what_was_there
            families_are_apart
            the_last_record_of_a_key_in_a_batch_wins
            delete_range_takes_the_first_key_and_leaves_the_end
            delete_range_spares_what_its_batch_puts_later
            scan_goes_up_from_the_first_key_to_before_the_end
            scan_stops_where_it_is_told
            scan_sees_nothing_written_after_it_began
            scan_of_an_empty_range_visits_nothing
            a_view_is_of_one_moment_in_all_families
            a_view_outlives_who_took_it
            last_is_the_greatest_key_before_the_end
            keys_are_ordered_as_bytes
            an_empty_batch_changes_nothing
            large_values_come_back_whole
            nothing_is_lost_by_opening_again
            a_batch_is_seen_whole_or_not_at_all
            syncs_run_while_others_write
            space_is_told
        );
    };
    (@tests $disk:expr; $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                crate::engine::contract::$name(&$disk);
            }
        )*
    };
}

pub(crate) use suite;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn batch(fill: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::new();
    fill(&mut batch);
    batch
}

fn get(engine: &dyn Engine, family: Family, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    engine.get(family, key, &mut value).unwrap().then_some(value)
}

fn scan(engine: &dyn Engine, family: Family, from: &[u8], to: &[u8]) -> Pairs {
    let mut pairs = Vec::new();
    engine
        .scan(family, from, to, &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    pairs
}

fn keys(engine: &dyn Engine, family: Family, from: &[u8], to: &[u8]) -> String {
    let keys: Vec<_> = scan(engine, family, from, to).into_iter().map(|(key, _)| key).collect();
    String::from_utf8(keys.concat()).unwrap()
}

/// An engine that holds `a` to `e` in the family log.
fn a_to_e(disk: &impl Disk) -> Arc<dyn Engine> {
    let engine = disk.open();
    engine
        .write(&batch(|b| {
            for key in [b"d", b"b", b"a", b"e", b"c"] {
                b.put(Family::Log, key, &[key[0], b'1']);
            }
        }))
        .unwrap();
    engine
}

pub(crate) fn get_returns_what_was_put(disk: &impl Disk) {
    let engine = disk.open();
    assert_eq!(get(&*engine, Family::Log, b"key"), None);
    engine.write(&batch(|b| b.put(Family::Log, b"key", b"one"))).unwrap();
    assert_eq!(get(&*engine, Family::Log, b"key").unwrap(), b"one");
    engine.write(&batch(|b| b.put_parts(Family::Log, b"key", &[b"t", b"", b"wo"]))).unwrap();
    assert_eq!(get(&*engine, Family::Log, b"key").unwrap(), b"two");
    engine.write(&batch(|b| b.put(Family::Log, b"key", b""))).unwrap();
    assert_eq!(get(&*engine, Family::Log, b"key").unwrap(), b"");
    engine.write(&batch(|b| b.delete(Family::Log, b"key"))).unwrap();
    assert_eq!(get(&*engine, Family::Log, b"key"), None);
    engine.write(&batch(|b| b.delete(Family::Log, b"absent"))).unwrap();
}

pub(crate) fn get_appends_and_leaves_what_was_there(disk: &impl Disk) {
    let engine = a_to_e(disk);
    let mut into = b"before ".to_vec();
    assert!(engine.get(Family::Log, b"a", &mut into).unwrap());
    assert!(!engine.get(Family::Log, b"absent", &mut into).unwrap());
    assert_eq!(into, b"before a1");
}

pub(crate) fn families_are_apart(disk: &impl Disk) {
    let engine = disk.open();
    let all = batch(|b| {
        for family in Family::ALL {
            b.put(family, b"key", family.name().as_bytes());
            b.put(family, b"kez", b"");
        }
    });
    engine.write(&all).unwrap();
    engine.write(&batch(|b| b.delete_range(Family::Queue, b"kez", b"z"))).unwrap();
    for family in Family::ALL {
        assert_eq!(get(&*engine, family, b"key").unwrap(), family.name().as_bytes());
        let (expected, last) = if family == Family::Queue { (1, b"key") } else { (2, b"kez") };
        assert_eq!(scan(&*engine, family, b"", b"\xff").len(), expected);
        assert_eq!(engine.last(family, b"", b"\xff").unwrap().unwrap().0, last);
    }
}

pub(crate) fn the_last_record_of_a_key_in_a_batch_wins(disk: &impl Disk) {
    let engine = a_to_e(disk);
    engine
        .write(&batch(|b| {
            b.delete(Family::Log, b"a");
            b.put(Family::Log, b"a", b"again");
            b.put(Family::Log, b"b", b"again");
            b.delete(Family::Log, b"b");
        }))
        .unwrap();
    assert_eq!(get(&*engine, Family::Log, b"a").unwrap(), b"again");
    assert_eq!(get(&*engine, Family::Log, b"b"), None);
}

pub(crate) fn delete_range_takes_the_first_key_and_leaves_the_end(disk: &impl Disk) {
    let engine = a_to_e(disk);
    engine.write(&batch(|b| b.delete_range(Family::Log, b"b", b"d"))).unwrap();
    assert_eq!(keys(&*engine, Family::Log, b"a", b"z"), "ade");
    assert_eq!(get(&*engine, Family::Log, b"b"), None);
    assert_eq!(engine.last(Family::Log, b"a", b"d").unwrap().unwrap().0, b"a");

    engine.write(&batch(|b| b.put(Family::Log, b"c", b"later"))).unwrap();
    assert_eq!(keys(&*engine, Family::Log, b"a", b"z"), "acde");
}

pub(crate) fn delete_range_spares_what_its_batch_puts_later(disk: &impl Disk) {
    let engine = a_to_e(disk);
    engine
        .write(&batch(|b| {
            b.put(Family::Log, b"c", b"earlier");
            b.delete_range(Family::Log, b"a", b"z");
            b.put(Family::Log, b"d", b"later");
        }))
        .unwrap();
    assert_eq!(scan(&*engine, Family::Log, b"a", b"z"), [(b"d".to_vec(), b"later".to_vec())]);
}

pub(crate) fn scan_goes_up_from_the_first_key_to_before_the_end(disk: &impl Disk) {
    let engine = a_to_e(disk);
    assert_eq!(keys(&*engine, Family::Log, b"b", b"e"), "bcd");
    assert_eq!(keys(&*engine, Family::Log, b"", b"\xff"), "abcde");
    assert_eq!(keys(&*engine, Family::Log, b"bb", b"d\0"), "cd");
    assert_eq!(
        scan(&*engine, Family::Log, b"a", b"c"),
        [(b"a".to_vec(), b"a1".to_vec()), (b"b".to_vec(), b"b1".to_vec())]
    );
}

pub(crate) fn scan_stops_where_it_is_told(disk: &impl Disk) {
    let engine = a_to_e(disk);
    let mut seen = Vec::new();
    engine
        .scan(Family::Log, b"a", b"z", &mut |key, _| {
            seen.extend_from_slice(key);
            if key == b"c" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(seen, b"abc");
}

pub(crate) fn scan_sees_nothing_written_after_it_began(disk: &impl Disk) {
    let engine = a_to_e(disk);
    let mut seen = Vec::new();
    engine
        .scan(Family::Log, b"a", b"z", &mut |key, value| {
            seen.push((key.to_vec(), value.to_vec()));
            let later = batch(|b| {
                b.put(Family::Log, b"cc", b"new");
                b.put(Family::Log, b"d", b"changed");
                b.delete(Family::Log, b"e");
            });
            engine.write(&later).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    let expected: Pairs = "abcde".bytes().map(|key| (vec![key], vec![key, b'1'])).collect();
    assert_eq!(seen, expected);
    assert_eq!(keys(&*engine, Family::Log, b"a", b"z"), "abcccd");
}

pub(crate) fn scan_of_an_empty_range_visits_nothing(disk: &impl Disk) {
    let engine = a_to_e(disk);
    assert_eq!(keys(&*engine, Family::Log, b"b", b"b"), "");
    assert_eq!(keys(&*engine, Family::Log, b"d", b"b"), "");
    assert_eq!(engine.last(Family::Log, b"d", b"b").unwrap(), None);
    assert_eq!(keys(&*engine, Family::Log, b"f", b"z"), "");
    assert_eq!(keys(&*engine, Family::Meta, b"a", b"z"), "");
}

pub(crate) fn a_view_is_of_one_moment_in_all_families(disk: &impl Disk) {
    let engine = disk.open();
    let all = |value: &[u8]| batch(|b| Family::ALL.iter().for_each(|family| b.put(*family, b"key", value)));
    engine.write(&all(b"then")).unwrap();
    let view = Arc::clone(&engine).view();
    engine.write(&all(b"now")).unwrap();
    engine.write(&batch(|b| b.put(Family::Log, b"later", b""))).unwrap();
    engine.write(&batch(|b| b.delete_range(Family::Queue, b"a", b"z"))).unwrap();
    for family in Family::ALL {
        let mut found = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        view.scan(family, b"", b"z", visit).unwrap();
        assert_eq!(found, [(b"key".to_vec(), b"then".to_vec())]);
        let mut value = b"and ".to_vec();
        assert!(view.get(family, b"key", &mut value).unwrap());
        assert_eq!(value, b"and then");
        assert!(!view.get(family, b"later", &mut value).unwrap());
        view.scan(family, b"z", b"a", &mut |_, _| panic!("the range is empty")).unwrap();
    }
}

pub(crate) fn a_view_outlives_who_took_it(disk: &impl Disk) {
    let view = a_to_e(disk).view();
    let mut value = Vec::new();
    thread::scope(|s| {
        s.spawn(move || assert!(view.get(Family::Log, b"a", &mut value).unwrap()));
    });
}

pub(crate) fn last_is_the_greatest_key_before_the_end(disk: &impl Disk) {
    let engine = a_to_e(disk);
    let last = |from: &[u8], to: &[u8]| engine.last(Family::Log, from, to).unwrap();
    assert_eq!(last(b"a", b"d"), Some((b"c".to_vec(), b"c1".to_vec())));
    let each = |ranges: &[(&[u8], &[u8])]| {
        let mut found = Vec::new();
        let mut add = |number, key: &[u8], value: &[u8]| found.push((number, key.to_vec(), value.to_vec()));
        engine.last_of_each(Family::Log, ranges, &mut add).unwrap();
        let alone = ranges.iter().enumerate();
        let alone =
            alone.filter_map(|(number, (from, to))| last(from, to).map(|(key, value)| (number, key, value)));
        assert_eq!(found, alone.collect::<Vec<_>>(), "{ranges:?}");
        found.len()
    };
    assert_eq!([each(&[]), each(&[(b"a", b"d")]), each(&[(b"x", b"z")])], [0, 1, 0]);
    assert_eq!(each(&[(b"\0", b"\x01"), (b"a", b"b"), (b"b", b"c"), (b"bb", b"bc"), (b"c", b"zz")]), 3);
    assert_eq!(last(b"a", b"d\0").unwrap().0, b"d");
    assert_eq!(last(b"", b"\xff").unwrap().0, b"e");
    assert_eq!(last(b"cc", b"d"), None);
    assert_eq!(last(b"f", b"z"), None);
    assert_eq!(last(b"", b"a"), None);
}

pub(crate) fn keys_are_ordered_as_bytes(disk: &impl Disk) {
    let engine = disk.open();
    let keys: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"\0\xff", b"\x7f", b"\x80", b"\xff"];
    engine
        .write(&batch(|b| {
            for key in keys.iter().rev() {
                b.put(Family::Session, key, b"");
            }
        }))
        .unwrap();
    let scanned: Vec<_> =
        scan(&*engine, Family::Session, b"", b"\xff\xff").into_iter().map(|(key, _)| key).collect();
    assert_eq!(scanned, keys);
}

pub(crate) fn an_empty_batch_changes_nothing(disk: &impl Disk) {
    let engine = a_to_e(disk);
    engine.write(&Batch::new()).unwrap();
    engine.write(&batch(|b| b.delete_range(Family::Log, b"c", b"b"))).unwrap();
    assert_eq!(keys(&*engine, Family::Log, b"a", b"z"), "abcde");
}

pub(crate) fn large_values_come_back_whole(disk: &impl Disk) {
    let engine = disk.open();
    let value: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    engine.write(&batch(|b| b.put(Family::Queue, b"key", &value))).unwrap();
    engine.sync().unwrap();
    assert!(get(&*engine, Family::Queue, b"key").unwrap() == value);
}

pub(crate) fn nothing_is_lost_by_opening_again(disk: &impl Disk) {
    let engine = a_to_e(disk);
    engine.sync().unwrap();
    engine.write(&batch(|b| b.put(Family::Meta, b"unsynced", b"1"))).unwrap();
    engine.write(&batch(|b| b.delete_range(Family::Log, b"b", b"d"))).unwrap();
    drop(engine);

    let engine = disk.open();
    assert_eq!(keys(&*engine, Family::Log, b"a", b"z"), "ade");
    assert_eq!(get(&*engine, Family::Meta, b"unsynced").unwrap(), b"1");
    drop(engine);
    assert_eq!(keys(&*disk.open(), Family::Log, b"a", b"z"), "ade");
}

/// One thread changes two keys of two families together; a reader's scan never meets them apart.
pub(crate) fn a_batch_is_seen_whole_or_not_at_all(disk: &impl Disk) {
    let engine = disk.open();
    let write = |round: u32| {
        let round = round.to_be_bytes();
        let both = batch(|b| {
            b.put(Family::Queue, b"first", &round);
            b.put(Family::Queue, b"second", &round);
        });
        engine.write(&both).unwrap();
    };
    write(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            (1..2_000).for_each(write);
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let pairs = scan(&*engine, Family::Queue, b"a", b"z");
            assert_eq!(pairs.len(), 2);
            assert_eq!(pairs[0].1, pairs[1].1);
        }
    });
}

/// Two threads write while a third syncs; then everything is there, also after opening again.
pub(crate) fn syncs_run_while_others_write(disk: &impl Disk) {
    const ROUNDS: u32 = 500;
    let engine = disk.open();
    let writers_left = AtomicBool::new(true);
    thread::scope(|scope| {
        let writers = [Family::Log, Family::Queue].map(|family| {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    engine.write(&batch(|b| b.put(family, &round.to_be_bytes(), b"v"))).unwrap();
                }
            })
        });
        scope.spawn(|| {
            while writers_left.load(Ordering::Acquire) {
                engine.sync().unwrap();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        writers_left.store(false, Ordering::Release);
    });
    engine.sync().unwrap();
    drop(engine);

    let engine = disk.open();
    for family in [Family::Log, Family::Queue] {
        let pairs = scan(&*engine, family, b"", &ROUNDS.to_be_bytes());
        let expected: Pairs =
            (0..ROUNDS).map(|round| (round.to_be_bytes().to_vec(), b"v".to_vec())).collect();
        assert_eq!(pairs, expected);
    }
}

pub(crate) fn space_is_told(disk: &impl Disk) {
    let space = disk.open().space().unwrap();
    assert!(space.free > 0 && space.free <= space.total, "{space:?}");
}
