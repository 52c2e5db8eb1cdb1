//! Whatever bytes are, they are a letter that says the same when it is written again, or they are refused. The fuzz target
//! `letter` does the same without end.

use super::Letter;

/// More than any case of these has, and little enough to be met.
const MOST: usize = 4096;

pub fn exhaust(bytes: &[u8]) -> bool {
    let Ok(letter) = Letter::decode(bytes, MOST) else { return false };
    assert!(bytes.len() <= MOST);
    let mut again = Vec::new();
    letter.encode_into(&mut again);
    assert_eq!(Letter::decode(&again, MOST), Ok(letter));
    true
}
