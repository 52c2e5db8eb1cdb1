use convoy_ids::NodeId;
use convoy_storage::envelope;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::exhaust::exhaust;
use super::*;
use crate::stream::Reply;

const SLOT: SlotId = SlotId(300);
const PROCESS: Process = Process { node: NodeId::new(9).unwrap(), start: 2 };
const SOURCE: Source = Source { process: PROCESS, shard: 1, place: 4 };

/// One letter of each kind, as the first release writes it. They must be readable for ever.
fn samples() -> Vec<(Letter<'static>, &'static [u8])> {
    let (slot, process, term) = (SLOT, PROCESS, Term(7));
    let answer = |answer| Letter::Answer { slot, source: SOURCE, answer };
    let filled = |reply| answer(Answer::Filled { number: 5, reply });
    let call = |content| {
        let call = Call { number: 6, first: 5, round: 3, content };
        Letter::Call { slot, source: SOURCE, call }
    };
    vec![
        (call(Some(&b"on"[..])), b"\x00\xfb\x2c\x01\x09\x02\x01\x04\x06\x05\x03\x01\x02on"),
        (call(None), b"\x00\xfb\x2c\x01\x09\x02\x01\x04\x06\x05\x03\x00"),
        (filled(Reply::Done(b"ok".into())), b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x00\x05\x02ok"),
        (filled(Reply::Refused(vec![0x97])), b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x01\x05\x01\x97"),
        (filled(Reply::Void), b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x02\x05"),
        (answer(Answer::Forgotten { number: 5 }), b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x03\x05"),
        (answer(Answer::Expected { number: 5, round: 3 }), b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x04\x05\x03"),
        (
            answer(Answer::NotLeader { term, leader: NodeId::new(8) }),
            b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x05\x07\x08",
        ),
        (answer(Answer::NotLeader { term, leader: None }), b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x05\x07\x00"),
        (answer(Answer::Full), b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x06"),
        (answer(Answer::Skipped), b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x07"),
        (answer(Answer::Gone), b"\x01\xfb\x2c\x01\x09\x02\x01\x04\x08"),
        (Letter::Ask { slot, process, asked: 1_000 }, b"\x02\xfb\x2c\x01\x09\x02\xfb\xe8\x03"),
        (
            Letter::Supported { slot, process, support: Support { term, closings: 1 }, asked: 1_000 },
            b"\x03\xfb\x2c\x01\x09\x02\x07\x01\xfb\xe8\x03",
        ),
        (Letter::IntroduceYourself { slot, process, term }, b"\x04\xfb\x2c\x01\x09\x02\x07"),
        (
            Letter::Introduce { slot, process, term, connections: b"all" },
            b"\x05\xfb\x2c\x01\x09\x02\x07\x03all",
        ),
        (
            Letter::Closings { slot, process, term, first: 1, closed: b"one" },
            b"\x06\xfb\x2c\x01\x09\x02\x07\x01\x03one",
        ),
        (Letter::Closed { slot, process, term, number: 1 }, b"\x07\xfb\x2c\x01\x09\x02\x07\x01"),
    ]
}

fn sealed(version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    envelope::seal(KIND, version, &mut bytes, |into| into.extend_from_slice(body));
    bytes
}

#[test]
fn the_form_is_frozen() {
    for (letter, body) in samples() {
        let mut bytes = Vec::new();
        letter.encode_into(&mut bytes);
        assert_eq!(bytes, sealed(1, body), "{letter:?}");
        assert_eq!(Letter::decode(&bytes, 4096), Ok(letter));
    }
}

#[test]
fn what_is_no_letter_of_ours_is_refused() {
    let (_, body) = samples()[0];
    let bytes = sealed(1, body);
    assert_eq!(Letter::decode(&bytes, 10), Err(Error::Long { bytes: bytes.len(), most: 10 }));
    assert_eq!(
        Letter::decode(&sealed(2, body), 4096),
        Err(Error::Sealed(sealed::Error::Version { found: 2, known: 1 }))
    );
    let foreign = Letter::decode(b"GET / HTTP/1.1\r\n", 4096);
    assert_eq!(foreign, Err(Error::Sealed(envelope::Error::Foreign { found: *b"GE" }.into())));
    for end in 0..bytes.len() {
        assert!(matches!(
            Letter::decode(&bytes[..end], 4096),
            Err(Error::Sealed(sealed::Error::Envelope(_)))
        ));
        let body = &body[..end.min(body.len() - 1)];
        assert!(matches!(
            Letter::decode(&sealed(1, body), 4096),
            Err(Error::Sealed(sealed::Error::Record(_)))
        ));
    }
    let trailing = sealed(1, &[body, b"x"].concat());
    assert!(matches!(Letter::decode(&trailing, 4096), Err(Error::Sealed(sealed::Error::Record(_)))));
}

#[test]
fn what_cannot_be_is_refused_though_its_checksum_is_right() {
    let impossible: [(&[u8], _); 6] = [
        (b"\x00\x01\x00\x02\x01\x04\x06\x05\x03\x00", "node"),
        (b"\x00\x01\x09\x02\x01\x04\x04\x05\x03\x00", "number"),
        (b"\x00\x01\x09\x02\x01\x04\x06\x00\x03\x00", "number"),
        (b"\x01\x01\x09\x02\x01\x04\x04\x00\x03", "number"),
        (b"\x06\x01\x09\x02\x07\x00\x00", "number of a closing"),
        (b"\x07\x01\x09\x02\x07\x00", "number of a closing"),
    ];
    for (body, what) in impossible {
        assert_eq!(Letter::decode(&sealed(1, body), 4096), Err(Error::Impossible(what)), "{body:02x?}");
    }
}

#[test]
fn no_bytes_panic_and_what_is_read_is_written_alike() {
    let mut chance = 1_u64;
    let mut below = |end: usize| {
        chance = xxh3_64_with_seed(&chance.to_le_bytes(), 3);
        (chance % end as u64) as usize
    };
    let samples = samples();
    let (mut read, mut refused) = (0, 0);
    for _ in 0..60_000 {
        // The checksum is right in most of them: without it nothing gets as far as the fields.
        let mut body = samples[below(samples.len())].1.to_vec();
        for _ in 0..1 + below(3) {
            let at = below(body.len());
            match below(4) {
                0 => body[at] = below(256) as u8,
                1 => body.insert(at, [0, 1, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff][below(8)]),
                2 if body.len() > 1 => drop(body.remove(at)),
                _ => body[at] ^= 1 << below(8),
            }
        }
        let mut bytes = sealed(1, &body);
        if below(10) == 0 {
            let at = below(bytes.len());
            bytes[at] = below(256) as u8;
        }
        *if exhaust(&bytes) { &mut read } else { &mut refused } += 1;
    }
    assert!(read > 5_000 && refused > 5_000, "{read} letters, {refused} refused");
}
