//! Whatever bytes are, they are a frame that says the same when it is written again, or they are refused.

use bytes::Bytes;

use super::Frame;

/// More than any case of these has, and little enough to be met.
const MOST: usize = 4096;

pub(super) fn exhaust(bytes: &[u8]) -> bool {
    let Ok(frame) = Frame::decode(&Bytes::copy_from_slice(bytes), MOST) else { return false };
    assert!(bytes.len() <= MOST);
    let mut again = Vec::new();
    frame.encode_into(&mut again);
    assert_eq!(Frame::decode(&again.into(), MOST), Ok(frame));
    true
}
