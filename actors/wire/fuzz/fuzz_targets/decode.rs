//! A stream of bytes: cut, decoded in every version, written again. Nothing panics, nothing differs.

#![no_main]

#[path = "../../tests/wire/exhaust.rs"]
mod exhaust;

use convoy_wire::{Cut, Limits, ProtocolVersion, TopicFilter, TopicName, cut};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| {
    let mut rest = stream;
    while let Ok(Cut::Whole { first, body, length }) = cut(rest, Limits::all(1 << 20)) {
        for version in ProtocolVersion::ALL {
            exhaust::exhaust(version, first, body);
        }
        rest = &rest[length..];
    }
    if let Ok(text) = std::str::from_utf8(stream) {
        if let (Ok(filter), Ok(name)) = (TopicFilter::new(text), TopicName::new("a/b/c")) {
            filter.matches(name);
        }
    }
});
