//! What a letter between nodes costs, written and read: `cargo bench -p convoy-actors --profile quick --bench mail`. Batches of
//! 256 letters, from the bytes that a peer would send. About 100 ns a letter each way are meant to be enough.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoy_actors::mail::{Bounds, Mail};
use convoy_storage::envelope;

const LETTERS: u32 = 256;
const BOUNDS: Bounds = Bounds { bytes: 1 << 20, slots: 64, shards: 4 };
const RUNS: Duration = Duration::from_millis(500);

fn main() {
    let message = message(64);
    let length = message.len() as u32;
    let one = batch(&message, |fields, _| {
        fields.push(13);
        home(fields);
        session(fields);
        fields.push(1);
        part(fields, 0, length);
    });
    let many = batch(&message.repeat(LETTERS as usize), |fields, at| {
        fields.extend([0, 1, 253]);
        fields.extend(0x0123_4567_89ab_cdef_u64.to_le_bytes());
        fields.push(253);
        fields.extend(0x0123_4567_89ab_cdef_u64.to_le_bytes());
        fields.push(0);
        part(fields, at * length, length);
        fields.push(1);
        home(fields);
        fields.push(7);
    });
    let answers = batch(&[], |fields, _| {
        fields.push(16);
        home(fields);
        fields.extend([7, 1]);
    });
    println!("{:>28} {:>10} {:>10} {:>10}", "", "encode ns", "decode ns", "bytes");
    for (what, bytes) in [("Deliver of one message", one), ("Publish of as many", many), ("Answer", answers)]
    {
        let bytes = Bytes::from(bytes);
        let mail = Mail::decode(bytes.clone(), &BOUNDS).expect("it is mail");
        let mut again = Vec::new();
        let encode = per_letter(|| {
            again.clear();
            mail.encode(&mut again).expect("all of it may leave a node");
        });
        assert_eq!(again, bytes);
        let decode = per_letter(|| drop(black_box(Mail::decode(bytes.clone(), &BOUNDS))));
        let length = bytes.len() as f64 / f64::from(LETTERS);
        println!("{what:>28} {encode:>10.1} {decode:>10.1} {length:>10.1}");
    }
}

/// Of the quickest of many runs: others have the processor too.
fn per_letter(mut run: impl FnMut()) -> f64 {
    let (start, mut least) = (Instant::now(), Duration::MAX);
    while start.elapsed() < RUNS {
        let begun = Instant::now();
        (0..16).for_each(|_| run());
        least = least.min(begun.elapsed());
    }
    least.as_nanos() as f64 / f64::from(16 * LETTERS)
}

fn batch(laid: &[u8], mut fields: impl FnMut(&mut Vec<u8>, u32)) -> Vec<u8> {
    let mut bytes = Vec::new();
    envelope::seal(0x44, 1, &mut bytes, |into| {
        into.extend(LETTERS.to_le_bytes());
        frame(into, |into| (0..LETTERS).for_each(|at| frame(into, |into| fields(into, at))));
        frame(into, |into| into.extend_from_slice(laid));
    });
    bytes
}

fn frame(into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = into.len();
    into.extend([0; 4]);
    write(into);
    let length = (into.len() - at - 4) as u32;
    into[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// A message with a payload of so many bytes.
fn message(payload: usize) -> Vec<u8> {
    let topic = b"fleet/7/vehicle/1234/doors";
    let mut bytes = vec![1];
    bytes.extend([7; 8]);
    bytes.extend([0; 8]);
    bytes.extend([0, 5, 0, 0, 0, 0, 3, 0]);
    bytes.extend((topic.len() as u16).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(topic);
    bytes.extend(vec![b'p'; payload]);
    bytes
}

fn home(fields: &mut Vec<u8>) {
    fields.extend([9, 1]);
    number(fields, 70_000);
    fields.push(253);
    fields.extend(0x0123_4567_89ab_cdef_u64.to_le_bytes());
}

fn session(fields: &mut Vec<u8>) {
    fields.push(253);
    fields.extend((3_u64 << 48 | 1234).to_le_bytes());
}

fn part(fields: &mut Vec<u8>, from: u32, length: u32) {
    fields.push(0);
    number(fields, from);
    number(fields, length);
}

/// As `record` writes it.
fn number(fields: &mut Vec<u8>, number: u32) {
    match number {
        0..251 => fields.push(number as u8),
        251..0x1_0000 => {
            fields.push(251);
            fields.extend((number as u16).to_le_bytes());
        }
        _ => {
            fields.push(252);
            fields.extend(number.to_le_bytes());
        }
    }
}
