//! A frame: whom it is for, and bytes that nobody looks into here. Written as its length in bytes (32 bits, of what follows it),
//! the number of a slot or shard (16 bits), and the bytes; a length of zero is a sign of life. All numbers are little-endian.

use bytes::{Buf, Bytes, BytesMut};

const LENGTH: usize = 4;
const TO: usize = 2;

/// Says that whoever writes is there.
pub const SIGN: [u8; LENGTH] = [0; LENGTH];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// A slot on the lanes of replicas and snapshots, a shard on that of shards.
    pub to: u16,
    pub bytes: Bytes,
}

/// A frame that is longer than any that a node sends: the stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes came, and none has more than {limit}")]
pub struct TooLong {
    pub length: usize,
    pub limit: usize,
}

/// How many bytes a frame takes.
pub fn len(bytes: &[u8]) -> usize {
    LENGTH + TO + bytes.len()
}

/// Appends a frame.
pub fn encode(to: u16, bytes: &[u8], into: &mut Vec<u8>) {
    let length = u32::try_from(TO + bytes.len()).expect("a frame has less than 4 GiB");
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&to.to_le_bytes());
    into.extend_from_slice(bytes);
}

/// Takes the next frame that has come whole; the rest stays. `limit`: of the bytes in a frame.
pub fn decode(from: &mut BytesMut, limit: usize) -> Result<Option<Frame>, TooLong> {
    loop {
        let Some(length) = from.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 {
            from.advance(LENGTH);
            continue;
        }
        if length > limit + TO || length < TO {
            return Err(TooLong { length, limit });
        }
        if from.len() < LENGTH + length {
            from.reserve(LENGTH + length - from.len());
            return Ok(None);
        }
        from.advance(LENGTH);
        let mut frame = from.split_to(length);
        let to = frame.get_u16_le();
        return Ok(Some(Frame { to, bytes: frame.freeze() }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(from: &mut BytesMut, limit: usize) -> Vec<Frame> {
        std::iter::from_fn(|| decode(from, limit).expect("none is too long")).collect()
    }

    proptest! {
        #[test]
        fn frames_are_read_as_they_were_written_however_they_come(
            frames in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 1_usize..50,
        ) {
            let mut written = Vec::new();
            for (to, bytes) in &frames {
                written.extend_from_slice(&SIGN);
                encode(*to, bytes, &mut written);
            }
            let (mut from, mut read) = (BytesMut::new(), Vec::new());
            for piece in written.chunks(cut) {
                from.extend_from_slice(piece);
                read.extend(all(&mut from, 40));
            }
            let expected: Vec<_> =
                frames.into_iter().map(|(to, bytes)| Frame { to, bytes: bytes.into() }).collect();
            prop_assert_eq!(read, expected);
            prop_assert!(from.is_empty());
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut from = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = decode(&mut from, 64) {
                prop_assert!(frame.bytes.len() <= 64);
            }
            prop_assert!(from.capacity() <= 4_096);
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_before_it_has_come() {
        let mut written = Vec::new();
        encode(1, &[0; 65], &mut written);
        let mut from = BytesMut::from(&written[..LENGTH]);
        assert_eq!(decode(&mut from, 64), Err(TooLong { length: 67, limit: 64 }));
    }
}
