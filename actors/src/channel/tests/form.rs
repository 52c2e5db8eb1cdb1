use convoy_storage::{envelope, sealed};

use super::exhaust::exhaust;
use super::*;
use crate::spoil::Spoiler;

/// Frames as the first release writes them. They must be readable for ever.
fn samples() -> Vec<(Frame, &'static [u8])> {
    let hello = Frame {
        from: End { process: process(9, 2), shard: 1 },
        shards: 4,
        to_node: NodeId::new(8).unwrap(),
        to_shard: 3,
        epoch: 5,
        of: None,
        acknowledged: 0,
        sent_at: 1_000,
        heard: None,
        payload: None,
    };
    let heartbeat = Frame {
        of: Some(Side { start: 6, epoch: 7 }),
        acknowledged: 300,
        heard: Some(70_000),
        ..hello.clone()
    };
    let payload = Frame { payload: Some(Payload { number: 11, bytes: bytes("on") }), ..heartbeat.clone() };
    let empty = Frame { payload: Some(Payload { number: 11, bytes: Bytes::new() }), ..heartbeat.clone() };
    vec![
        (hello, b"\x09\x02\x01\x04\x08\x03\x05\x00\x00\xfb\xe8\x03\x00\x00"),
        (
            heartbeat,
            b"\x09\x02\x01\x04\x08\x03\x05\x01\x06\x07\xfb\x2c\x01\xfb\xe8\x03\x01\xfc\x70\x11\x01\x00\x00",
        ),
        (
            payload,
            b"\x09\x02\x01\x04\x08\x03\x05\x01\x06\x07\xfb\x2c\x01\xfb\xe8\x03\x01\xfc\x70\x11\x01\x00\x01\x0b\x02on",
        ),
        (
            empty,
            b"\x09\x02\x01\x04\x08\x03\x05\x01\x06\x07\xfb\x2c\x01\xfb\xe8\x03\x01\xfc\x70\x11\x01\x00\x01\x0b\x00",
        ),
    ]
}

fn sealed_as(version: u8, body: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    envelope::seal(0x42, version, &mut bytes, |into| into.extend_from_slice(body));
    bytes.into()
}

#[test]
fn the_form_is_frozen() {
    for (frame, body) in samples() {
        let mut bytes = b"before".to_vec();
        frame.encode_into(&mut bytes);
        assert_eq!(bytes[6..], sealed_as(1, body)[..], "{frame:?}");
        assert_eq!(Frame::decode(&sealed_as(1, body), 4096), Ok(frame));
    }
}

#[test]
fn a_payload_shares_the_bytes_that_it_came_in() {
    let bytes = sealed_as(1, samples()[2].1);
    let payload = Frame::decode(&bytes, 4096).unwrap().payload.unwrap();
    assert!(bytes.as_ptr_range().contains(&payload.bytes.as_ptr()));
}

#[test]
fn what_is_no_frame_of_ours_is_refused() {
    let body = samples()[2].1;
    let bytes = sealed_as(1, body);
    assert_eq!(Frame::decode(&bytes, 10), Err(Error::Long { bytes: bytes.len(), most: 10 }));
    assert_eq!(
        Frame::decode(&sealed_as(2, body), 4096),
        Err(Error::Sealed(sealed::Error::Version { found: 2, known: 1 }))
    );
    let foreign = Frame::decode(&Bytes::from_static(b"GET / HTTP/1.1\r\n"), 4096);
    assert_eq!(foreign, Err(Error::Sealed(envelope::Error::Foreign { found: *b"GE" }.into())));
    for end in 0..bytes.len() {
        let torn = Frame::decode(&bytes.slice(..end), 4096);
        assert!(matches!(torn, Err(Error::Sealed(sealed::Error::Envelope(_)))));
    }
    for end in 0..body.len() {
        let short = Frame::decode(&sealed_as(1, &body[..end]), 4096);
        assert!(matches!(short, Err(Error::Sealed(sealed::Error::Record(_)))));
    }
    let trailing = sealed_as(1, &[body, b"x"].concat());
    assert!(matches!(Frame::decode(&trailing, 4096), Err(Error::Sealed(sealed::Error::Record(_)))));
}

#[test]
fn what_cannot_be_is_refused_though_its_checksum_is_right() {
    let impossible: [(&[u8], _); 9] = [
        (b"\x00\x02\x01\x04\x08\x03\x05\x00\x00\x01\x00\x00", "node"),
        (b"\x09\x02\x01\x04\x00\x03\x05\x00\x00\x01\x00\x00", "node"),
        (b"\x09\x02\x00\x00\x08\x03\x05\x00\x00\x01\x00\x00", "shard"),
        (b"\x09\x02\x04\x04\x08\x03\x05\x00\x00\x01\x00\x00", "shard"),
        (b"\x09\x02\x01\x04\x08\x03\x00\x00\x00\x01\x00\x00", "epoch"),
        (b"\x09\x02\x01\x04\x08\x03\x05\x01\x06\x00\x00\x01\x00\x00", "epoch"),
        (b"\x09\x02\x01\x04\x08\x03\x05\x01\x06\x01\x00\x01\x01\x01\x01\x00\x00", "payload"),
        (b"\x09\x02\x01\x04\x08\x03\x05\x01\x06\x01\x00\x01\x00\x01\x01\x00", "payload"),
        (b"\x09\x02\x01\x04\x08\x03\x05\x00\x00\x01\x01\x01\x01\x01\x00", "payload"),
    ];
    for (body, what) in impossible {
        assert_eq!(Frame::decode(&sealed_as(1, body), 4096), Err(Error::Impossible(what)), "{body:02x?}");
    }
}

#[test]
fn no_bytes_panic_and_what_is_read_is_written_alike() {
    let mut spoiler = Spoiler::new();
    let samples = samples();
    let (mut read, mut refused) = (0, 0);
    for _ in 0..60_000 {
        // The checksum is right in most of them: without it nothing gets as far as the fields.
        let mut body = samples[spoiler.below(samples.len())].1.to_vec();
        spoiler.spoil(&mut body);
        let mut bytes = sealed_as(1, &body).to_vec();
        spoiler.spoil_some(&mut bytes);
        *if exhaust(&bytes) { &mut read } else { &mut refused } += 1;
    }
    assert!(read > 5_000 && refused > 5_000, "{read} frames, {refused} refused");
}
