//! Whatever bytes are, they are mail that says the same when it is written again, or they are refused. The fuzz target `mail`
//! does the same without end.

use super::{Bounds, Mail};

/// Those of a fleet of four slots, on nodes of two shards.
pub const BOUNDS: Bounds = Bounds { bytes: 1 << 16, slots: 4, shards: 2 };

pub fn exhaust(bytes: &[u8]) -> bool {
    let Ok(mail) = Mail::decode(bytes.to_vec().into(), &BOUNDS) else { return false };
    assert!(bytes.len() <= BOUNDS.bytes);
    let mut again = Vec::new();
    mail.encode(&mut again).expect("what is read has left a node");
    assert_eq!(Mail::decode(again.into(), &BOUNDS), Ok(mail));
    true
}
