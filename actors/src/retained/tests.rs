use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use convoy_storage::engine::{Model, Space, View};
use proptest::prelude::*;

use super::*;
use crate::topic::naive;

const SLOT: SlotId = SlotId(3);
const PARTITION: u64 = 0x0102_0304_0506_0708;

/// An engine that counts the keys it shows and the scans it begins.
#[derive(Default)]
struct Counted {
    model: Arc<Model>,
    keys: AtomicUsize,
    scans: AtomicUsize,
}

impl Counted {
    /// Keys and scans since this was asked last.
    fn counts(&self) -> (usize, usize) {
        (self.keys.swap(0, Ordering::Relaxed), self.scans.swap(0, Ordering::Relaxed))
    }
}

impl Engine for Counted {
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error> {
        self.model.get(family, key, into)
    }

    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        self.model.scan(family, from, to, &mut |key, value| {
            self.keys.fetch_add(1, Ordering::Relaxed);
            visit(key, value)
        })
    }

    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>, Error> {
        self.model.last(family, from, to)
    }

    fn write(&self, batch: &Batch) -> Result<(), Error> {
        self.model.write(batch)
    }

    fn sync(&self) -> Result<(), Error> {
        self.model.sync()
    }

    fn view(self: Arc<Self>) -> Box<dyn View> {
        Arc::clone(&self.model).view()
    }

    fn space(&self) -> Result<Space, Error> {
        self.model.space()
    }

    fn is_behind(&self) -> bool {
        self.model.is_behind()
    }
}

/// Retained Messages with their topics as values, among those of neighbours in the order of keys.
fn engine(topics: impl IntoIterator<Item = impl AsRef<str>>) -> Counted {
    let engine = Counted::default();
    let mut batch = Batch::new();
    for topic in topics {
        let topic = topic.as_ref();
        put(&mut batch, SLOT, PARTITION, topic, 0, &[b"value of ", topic.as_bytes()].concat());
    }
    for (slot, partition) in [(2, PARTITION), (3, PARTITION - 1), (3, PARTITION + 1), (4, PARTITION)] {
        put(&mut batch, SlotId(slot), partition, "a/b", 0, b"a neighbour's");
    }
    engine.write(&batch).unwrap();
    engine
}

const WHOLE: Limits = Limits { messages: usize::MAX, bytes: usize::MAX, steps: usize::MAX };

fn chunk(engine: &dyn Engine, filter: &str, cursor: &mut Cursor, limits: &Limits) -> (Vec<String>, Progress) {
    let mut topics = Vec::new();
    let progress =
        read(engine, SLOT, PARTITION, filter, u64::MAX, cursor, &mut limits.clone(), &mut |topic, value| {
            assert_eq!(value, [b"value of ", topic.as_bytes()].concat());
            topics.push(topic.to_string());
            ControlFlow::Continue(())
        });
    (topics, progress.unwrap())
}

fn all(engine: &dyn Engine, filter: &str) -> Vec<String> {
    let (topics, progress) = chunk(engine, filter, &mut Cursor::default(), &WHOLE);
    assert_eq!(progress, Progress::Done);
    topics
}

#[test]
fn a_topic_has_one_message() {
    let engine = engine(["a/b"]);
    let mut batch = Batch::new();
    put(&mut batch, SLOT, PARTITION, "a/b", 0, b"new");
    engine.write(&batch).unwrap();
    let mut value = b"before ".to_vec();
    assert!(get(&engine, SLOT, PARTITION, "a/b", &mut value).unwrap());
    assert_eq!(value, b"before new");
    assert!(!get(&engine, SLOT, PARTITION, "a", &mut value).unwrap());
    assert_eq!(value, b"before new");
}

#[test]
fn a_removed_message_is_gone() {
    let engine = engine(["a/b", "a/b/c"]);
    let mut batch = Batch::new();
    remove(&mut batch, SLOT, PARTITION, "a/b");
    remove(&mut batch, SLOT, PARTITION, "a");
    engine.write(&batch).unwrap();
    assert_eq!(all(&engine, "#"), ["a/b/c"]);
}

#[test]
fn an_exact_filter_is_one_lookup() {
    let engine = engine(["a/b", "a/b/c", "a"]);
    assert_eq!(all(&engine, "a/b"), ["a/b"]);
    assert_eq!(all(&engine, "a/c"), [""; 0]);
    assert_eq!(engine.counts(), (0, 0));
}

#[test]
fn a_filter_with_number_sign_matches_its_parent_too() {
    let engine = engine(["a", "a/b", "ab", "a/b/c", "a b", "b"]);
    assert_eq!(all(&engine, "a/#"), ["a", "a/b", "a/b/c"]);
    assert_eq!(engine.counts(), (3, 1));
}

#[test]
fn dollar_topics_are_hidden_from_leading_wildcards_and_cost_one_seek() {
    let topics = (0..1000).map(|at| format!("$SYS/{at}")).chain(["!".into(), "a".into(), "%".into()]);
    let engine = engine(topics);
    assert_eq!(all(&engine, "#"), ["!", "%", "a"]);
    let (keys, scans) = engine.counts();
    assert!(keys < 20 && scans == 2, "{keys} keys in {scans} scans");
    assert_eq!(all(&engine, "+"), ["!", "%", "a"]);
    assert_eq!(all(&engine, "$SYS/+").len(), 1000);
}

#[test]
fn irrelevant_subtrees_are_sought_over() {
    let vehicles = (0..100).flat_map(|vin| (0..1000).map(move |at| format!("fleet/{vin:03}/{at:04}/x")));
    let engine = engine(vehicles.chain(["fleet/007/open".into(), "fleet/100".into()]));
    assert_eq!(all(&engine, "fleet/+/open"), ["fleet/007/open"]);
    let (keys, scans) = engine.counts();
    assert!(keys < 2500 && scans < 250, "{keys} keys in {scans} scans");
    assert_eq!(all(&engine, "fleet/+"), ["fleet/100"]);
    let (keys, scans) = engine.counts();
    assert!(keys < 1200 && scans < 110, "{keys} keys in {scans} scans");
    assert_eq!(all(&engine, "fleet/+/0500/+").len(), 100);
    let (keys, scans) = engine.counts();
    assert!(keys < 2500 && scans < 250, "{keys} keys in {scans} scans");
}

#[test]
fn subtrees_of_few_topics_are_stepped_over_without_a_seek() {
    let engine = engine((0..100).flat_map(|vin| ["doors", "lamp"].map(|at| format!("fleet/{vin:03}/{at}"))));
    assert_eq!(all(&engine, "fleet/+/doors").len(), 100);
    assert_eq!(engine.counts(), (200, 1));
}

#[test]
fn work_is_bounded_where_nothing_matches() {
    let engine = engine((0..10_000).map(|at| format!("a/{at:05}/b")));
    let limits = Limits { steps: 100, ..WHOLE };
    let mut cursor = Cursor::default();
    let mut chunks = 0;
    loop {
        let (topics, progress) = chunk(&engine, "a/+/+/x", &mut cursor, &limits);
        let (keys, scans) = engine.counts();
        assert!(keys + scans * 8 <= 110, "{keys} keys in {scans} scans");
        assert_eq!(topics, [""; 0]);
        chunks += 1;
        if progress == Progress::Done {
            break;
        }
    }
    assert!((100..250).contains(&chunks), "{chunks}");
}

#[test]
fn a_chunk_ends_at_the_limit_of_messages_and_the_next_goes_on() {
    let engine = engine((0..10).map(|at| format!("a/{at}")));
    let limits = Limits { messages: 4, ..WHOLE };
    let mut cursor = Cursor::default();
    assert_eq!(chunk(&engine, "a/+", &mut cursor, &limits).0, ["a/0", "a/1", "a/2", "a/3"]);
    assert_eq!(chunk(&engine, "a/+", &mut cursor, &limits).0, ["a/4", "a/5", "a/6", "a/7"]);
    let last = ["a/8", "a/9"].map(String::from).to_vec();
    assert_eq!(chunk(&engine, "a/+", &mut cursor, &limits), (last, Progress::Done));
    assert_eq!(chunk(&engine, "a/+", &mut cursor, &limits), (vec![], Progress::Done));
}

#[test]
fn a_chunk_has_one_message_though_it_is_too_large() {
    let engine = engine(["a/long", "b/long"]);
    let limits = Limits { bytes: 1, ..WHOLE };
    let mut cursor = Cursor::default();
    assert_eq!(chunk(&engine, "#", &mut cursor, &limits), (vec!["a/long".into()], Progress::More));
    assert_eq!(chunk(&engine, "#", &mut cursor, &limits), (vec!["b/long".into()], Progress::More));
    assert_eq!(chunk(&engine, "#", &mut cursor, &limits), (vec![], Progress::Done));
}

#[test]
fn a_visitor_that_has_enough_ends_the_chunk() {
    let engine = engine(["a", "b", "c"]);
    let mut cursor = Cursor::default();
    let mut visited = Vec::new();
    for _ in 0..2 {
        let progress = read(
            &engine,
            SLOT,
            PARTITION,
            "#",
            u64::MAX,
            &mut cursor,
            &mut WHOLE.clone(),
            &mut |topic, _| {
                visited.push(topic.to_string());
                ControlFlow::Break(())
            },
        );
        assert_eq!(progress.unwrap(), Progress::More);
    }
    assert_eq!(visited, ["a", "b"]);
    assert_eq!(chunk(&engine, "#", &mut cursor, &WHOLE).0, ["c"]);
}

#[test]
fn an_error_leaves_the_cursor_where_it_was() {
    let engine = engine(["a", "b", "c"]);
    let mut cursor = Cursor::default();
    chunk(&engine, "#", &mut cursor, &Limits { messages: 1, ..WHOLE });
    let before = cursor.clone();
    engine.model.damage(Family::Retained, &key::of(SLOT, PARTITION, "c"));
    let read = read(&engine, SLOT, PARTITION, "#", u64::MAX, &mut cursor, &mut WHOLE.clone(), &mut |_, _| {
        ControlFlow::Continue(())
    });
    assert!(matches!(read, Err(Error::Damaged { .. })));
    assert_eq!(cursor, before);
}

#[test]
fn a_key_that_is_no_topic_is_damage_and_is_not_visited() {
    let engine = engine(["a"]);
    let mut batch = Batch::new();
    batch.put(Family::Retained, &[&key::of(SLOT, PARTITION, "a")[..], b"\0\xc3"].concat(), b"value");
    engine.write(&batch).unwrap();
    let mut visited = 0;
    let error = read(
        &engine,
        SLOT,
        PARTITION,
        "a/#",
        u64::MAX,
        &mut Cursor::default(),
        &mut WHOLE.clone(),
        &mut |_, _| {
            visited += 1;
            ControlFlow::Continue(())
        },
    );
    let message = error.unwrap_err().to_string();
    assert!(message.ends_with(r"a\x00\xc3: its topic is not UTF-8"), "{message}");
    assert_eq!(visited, 1);
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "", "$", "é", "\u{1}", " "])
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6).prop_map(|levels| levels.join("/"))
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![2 => level(), 1 => Just("+")];
    (prop::collection::vec(level, 1..6), any::<bool>()).prop_map(|(mut levels, open)| {
        if open {
            levels.push("#");
        }
        levels.join("/")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn reading_by_filter_finds_what_asking_every_topic_finds(
        topics in prop::collection::btree_set(topic(), 0..200),
        removed in prop::collection::vec(topic(), 0..20),
        filters in prop::collection::vec(filter(), 1..20),
        messages in 1..10_usize,
        steps in 1..40_usize,
    ) {
        let engine = engine(&topics);
        let mut batch = Batch::new();
        let mut model: BTreeMap<_, _> = topics.iter().map(|topic| (topic.replace('/', "\0"), topic)).collect();
        for topic in &removed {
            remove(&mut batch, SLOT, PARTITION, topic);
            model.remove(&topic.replace('/', "\0"));
        }
        engine.write(&batch).unwrap();
        for filter in filters {
            let expected: Vec<_> =
                model.values().filter(|topic| naive(&filter, topic)).map(|topic| topic.to_string()).collect();
            prop_assert_eq!(&all(&engine, &filter), &expected, "{} at once", filter);

            let limits = Limits { messages, bytes: usize::MAX, steps };
            let (mut cursor, mut found) = (Cursor::default(), Vec::new());
            // Every chunk gets behind one key at least.
            for _ in 0..=topics.len() + 1 {
                let (mut topics, progress) = chunk(&engine, &filter, &mut cursor, &limits);
                prop_assert!(topics.len() <= messages);
                found.append(&mut topics);
                if progress == Progress::Done {
                    break;
                }
            }
            prop_assert_eq!(chunk(&engine, &filter, &mut cursor, &limits), (vec![], Progress::Done));
            prop_assert_eq!(&found, &expected, "{} in chunks", filter);
        }
    }
}
