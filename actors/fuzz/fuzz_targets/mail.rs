//! Mail that a peer sends: nothing panics, and what is taken for mail says the same when it is written again. The input is also
//! tried as a body whose checksum is right, and as the fields of one letter beside a message of each kind, for hardly any other
//! gets as far as these.

#![no_main]

#[path = "../../src/shard/mail/exhaust.rs"]
mod exhaust;

use convoy_actors::mail::{Bounds, Mail};
use libfuzzer_sys::fuzz_target;

/// A message of topic `a`, and a receiver of slot 1 behind it.
const LAID: &[u8] = b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0am\x05\0\0\0\0\0\x01\0\x01";

fuzz_target!(|bytes: &[u8]| {
    exhaust::exhaust(bytes);
    exhaust::exhaust(&sealed(|into| into.extend_from_slice(bytes)));
    exhaust::exhaust(&sealed(|into| {
        into.extend_from_slice(&1_u32.to_le_bytes());
        frame(into, |into| frame(into, |into| into.extend_from_slice(bytes)));
        frame(into, |into| into.extend_from_slice(LAID));
        frame(into, |into| into.extend_from_slice(&LAID[..33]));
    }));
});

fn sealed(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut sealed = Vec::new();
    convoy_storage::envelope::seal(0x44, 1, &mut sealed, body);
    sealed
}

fn frame(into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = into.len();
    into.extend_from_slice(&[0; 4]);
    write(into);
    let length = (into.len() - at - 4) as u32;
    into[at..at + 4].copy_from_slice(&length.to_le_bytes());
}
