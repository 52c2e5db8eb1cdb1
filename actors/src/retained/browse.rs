//! Retained Messages of a slot for an operator: across its partitions, from a key on, in bounded pieces.

use std::ops::ControlFlow;

use convoy_ids::SlotId;
use convoy_storage::engine::{Engine, Error};

use super::read::{Cursor, Limits, Progress, read};
use super::{key, serve};

/// Visits what matches `filter` from the key `at` on, in these partitions or in all of the slot. Returns the key to go on
/// at, if there may be more.
pub fn browse(
    engine: &dyn Engine,
    slot: SlotId,
    partitions: Option<Vec<u64>>,
    filter: &str,
    at: Option<&[u8]>,
    limits: Limits,
    visit: &mut dyn FnMut(&str, &[u8]),
) -> Result<Option<Vec<u8>>, Error> {
    let mut partitions = partitions;
    if let Some(partitions) = &mut partitions {
        partitions.sort_unstable();
    }
    let mut left = limits;
    // A key of another slot is of another listing: this one has not begun.
    let at = at.filter(|key| key.starts_with(&slot.0.to_be_bytes()));
    let mut from = at.and_then(key::partition).unwrap_or(0);
    let mut at = at.map(<[u8]>::to_vec);
    loop {
        let partition = match &partitions {
            Some(partitions) => partitions.iter().copied().find(|partition| *partition >= from),
            None => serve::next_partition(engine, slot, from)?,
        };
        let Some(partition) = partition else { return Ok(None) };
        let mut cursor = match at.take().filter(|key| key::partition(key) == Some(partition)) {
            Some(key) => Cursor::at(key),
            None => Cursor::default(),
        };
        let progress =
            read(engine, slot, partition, filter, u64::MAX, &mut cursor, &mut left, &mut |topic, value| {
                visit(topic, value);
                ControlFlow::Continue(())
            })?;
        if progress == Progress::More {
            return Ok(cursor.into_key());
        }
        let Some(next) = partition.checked_add(1) else { return Ok(None) };
        left.take_seek();
        if left.are_met() {
            return Ok(Some(key::front(slot, next).to_vec()));
        }
        from = next;
    }
}

#[cfg(test)]
mod tests {
    use convoy_storage::engine::{Batch, Model};

    use super::*;

    const SLOT: SlotId = SlotId(3);

    fn engine(partitions: &[(u64, &[&str])]) -> Model {
        let (engine, mut batch) = (Model::new(), Batch::new());
        for (partition, topics) in partitions {
            for topic in *topics {
                super::super::put(&mut batch, SLOT, *partition, topic, 0, b"value");
            }
        }
        super::super::put(&mut batch, SlotId(4), 1, "of/another/slot", 0, b"value");
        engine.write(&batch).unwrap();
        engine
    }

    /// Everything, read in pieces of so many messages and steps.
    fn all(engine: &Model, partitions: Option<Vec<u64>>, filter: &str, limits: Limits) -> Vec<String> {
        let (mut topics, mut at) = (Vec::new(), None);
        for _ in 0..1000 {
            let mut visit = |topic: &str, _: &[u8]| topics.push(topic.to_owned());
            let next =
                browse(engine, SLOT, partitions.clone(), filter, at.as_deref(), limits, &mut visit).unwrap();
            match next {
                Some(next) => at = Some(next),
                None => return topics,
            }
        }
        panic!("it does not end: {topics:?}");
    }

    #[test]
    fn every_message_is_visited_once_however_small_the_pieces() {
        let engine = engine(&[(1, &["a", "a/b", "a/c"]), (5, &["b/x"]), (u64::MAX, &["c", "d"])]);
        for messages in 1..5 {
            for steps in [1, 9, 1000] {
                let limits = Limits { messages, bytes: 1 << 20, steps };
                let found = all(&engine, None, "#", limits);
                assert_eq!(found, ["a", "a/b", "a/c", "b/x", "c", "d"], "{messages} {steps}");
                assert_eq!(all(&engine, Some(vec![5, 1]), "+/+", limits), ["a/b", "a/c", "b/x"]);
                assert_eq!(all(&engine, Some(vec![5]), "b/x", limits), ["b/x"]);
            }
        }
    }
}
