//! Keys of Retained Messages: slot, partition, and the Topic Name with zero bytes between its levels.
//!
//! U+0000 stands in no Topic Name ([MQTT-1.5.4-2], [MQTT-4.7.3-2]) and sorts before everything else, so a topic comes
//! right before the topics below it and these lie together. The form is on disk: it never changes between releases.

use convoy_ids::SlotId;

/// What stands between levels instead of `/`.
pub(super) const SEPARATOR: u8 = 0;

/// Sorts behind the separator and before everything else that a topic may hold: with it, a topic's key becomes the end of
/// the topics at and below it.
pub(super) const BELOW_END: u8 = 1;

/// Sorts behind everything that a topic may begin with: no UTF-8 holds it.
const ALL_END: u8 = 0xff;

/// Bytes in front of the topic.
pub(super) const FRONT: usize = 2 + 8;

/// What all keys of a partition begin with.
pub(super) fn front(slot: SlotId, partition: u64) -> [u8; FRONT] {
    let mut front = [0; FRONT];
    front[..2].copy_from_slice(&slot.0.to_be_bytes());
    front[2..].copy_from_slice(&partition.to_be_bytes());
    front
}

pub(super) fn of(slot: SlotId, partition: u64, topic: &str) -> Vec<u8> {
    debug_assert!(!topic.contains('\0'), "wire refuses U+0000");
    let mut key = Vec::with_capacity(FRONT + topic.len());
    key.extend_from_slice(&front(slot, partition));
    push_levels(&mut key, topic);
    key
}

/// The range of all keys of a partition.
pub(super) fn all(slot: SlotId, partition: u64) -> (Vec<u8>, Vec<u8>) {
    let front = front(slot, partition);
    (front.to_vec(), [&front[..], &[ALL_END]].concat())
}

/// The range of all keys of a slot.
pub(super) fn slot(slot: SlotId) -> (Vec<u8>, Vec<u8>) {
    let front = slot.0.to_be_bytes();
    let behind = match slot.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![ALL_END; FRONT + 1],
    };
    (front.to_vec(), behind)
}

/// The partition that a key is of.
pub(super) fn partition(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(2..FRONT)?.try_into().ok()?))
}

/// Appends levels as they stand in a key.
pub(super) fn push_levels(key: &mut Vec<u8>, levels: &str) {
    key.extend(levels.bytes().map(|byte| if byte == b'/' { SEPARATOR } else { byte }));
}

/// The Topic Name at the end of a key. `None` if what is there is no text.
pub(super) fn topic<'a>(key: &[u8], into: &'a mut Vec<u8>) -> Option<&'a str> {
    into.clear();
    into.extend(key.get(FRONT..)?.iter().map(|&byte| if byte == SEPARATOR { b'/' } else { byte }));
    std::str::from_utf8(into).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_in_every_release() {
        let key = of(SlotId(0x0102), 0x0304_0506_0708_090a, "a/é//b");
        assert_eq!(key, b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0aa\0\xc3\xa9\0\0b");
        assert_eq!(topic(&key, &mut Vec::new()), Some("a/é//b"));
    }

    #[test]
    fn topics_lie_right_before_those_below_them() {
        let topics = ["/", "/a", "a", "a/", "a/b", "a/b/c", "a/é", "a b", "aa", "b"];
        let keys = topics.map(|topic| of(SlotId(1), 2, topic));
        assert!(keys.is_sorted(), "{keys:?}");
        let (from, to) = all(SlotId(1), 2);
        assert!(from <= keys[0] && keys[9] < to);
        assert!(to <= all(SlotId(1), 3).0);
        assert!(all(SlotId(1), u64::MAX).1 <= all(SlotId(2), 0).0);
    }

    #[test]
    fn what_is_no_text_is_no_topic() {
        let mut key = of(SlotId(1), 2, "a");
        key.push(0xff);
        assert_eq!(topic(&key, &mut Vec::new()), None);
        assert_eq!(topic(&key[..5], &mut Vec::new()), None);
    }
}
