//! Bytes that a peer sends: nothing panics, and what is taken for a letter says the same when it is written again. The input
//! is also tried as a body whose checksum is right, for hardly any other gets as far as the fields.

#![no_main]

#[path = "../../src/letter/exhaust.rs"]
mod exhaust;

use convoy_actors::letter::Letter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    exhaust::exhaust(bytes);
    let mut sealed = Vec::new();
    convoy_storage::envelope::seal(0x41, 1, &mut sealed, |into| into.extend_from_slice(bytes));
    exhaust::exhaust(&sealed);
});
