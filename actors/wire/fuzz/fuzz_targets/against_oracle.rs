//! One packet, read by us and by `mqtt-protocol-core`: both accept it or both refuse it, or the reason is listed in
//! `tests/wire/oracle.rs`. The first byte of the input chooses the version.

#![no_main]

#[path = "../../tests/wire/oracle.rs"]
mod oracle;

use convoy_wire::ProtocolVersion;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let [version, first, body @ ..] = input {
        let version = if version & 1 == 0 { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
        oracle::compare(version, *first, body);
    }
});
