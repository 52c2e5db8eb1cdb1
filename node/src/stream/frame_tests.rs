use super::*;

/// A frame of a Client, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = Header::new(Opcode::Binary, payload.len(), Some(mask)).bytes().to_vec();
    bytes[0] = first;
    let at = bytes.len();
    bytes.resize(at + payload.len(), 0);
    unmask(payload, mask, &mut bytes[at..]);
    bytes
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    data: Vec<u8>,
    others: Vec<String>,
    fault: Option<u16>,
}

/// Reads `bytes` in pieces of `piece` bytes.
fn read(bytes: &[u8], piece: usize) -> Read {
    let mut decoder = Decoder::new(From::Client);
    let mut read = Read::default();
    let mut room = [0; 16];
    for mut piece in bytes.chunks(piece) {
        loop {
            match decoder.next(&mut piece, &mut room) {
                Ok(None) => break,
                Ok(Some(Event::Data(data))) => read.data.extend_from_slice(data),
                Ok(Some(other)) => read.others.push(format!("{other:?}")),
                Err(fault) => {
                    read.fault = Some(fault.code);
                    return read;
                }
            }
        }
    }
    read
}

fn refused(bytes: &[u8]) -> Option<u16> {
    read(bytes, bytes.len()).fault
}

#[test]
fn data_is_the_same_however_it_is_cut_into_frames_and_reads() {
    let payload: Vec<u8> = (0..1000_u32).map(|at| at as u8).collect();
    let whole = frame(0x82, &payload);
    let mut fragments = frame(0x02, &payload[..1]);
    fragments.extend(frame(0x00, &payload[1..200]));
    fragments.extend(frame(0x89, b"still there?"));
    fragments.extend(frame(0x80, &payload[200..]));
    for piece in [1, 2, 3, 7, 64, 4096] {
        assert_eq!(read(&whole, piece).data, payload, "{piece}");
        let read = read(&fragments, piece);
        assert_eq!(read.data, payload, "{piece}");
        assert_eq!(read.others, [format!("{:?}", Event::Ping(b"still there?".to_vec()))], "{piece}");
        assert_eq!(read.fault, None);
    }
}

#[test]
fn a_frame_that_says_it_is_endless_costs_nothing() {
    let mut bytes = vec![0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
    bytes.extend_from_slice(b"abc");
    assert_eq!(read(&bytes, 4), Read { data: b"abc".to_vec(), ..Read::default() });
}

#[test]
fn a_text_frame_is_refused_as_data_that_mqtt_does_not_take() {
    // [MQTT-6.0.0-1]
    assert_eq!(refused(&frame(0x81, b"hello")), Some(code::UNSUPPORTED_DATA));
    assert_eq!(refused(&frame(0x01, b"hello")), Some(code::UNSUPPORTED_DATA));
}

#[test]
fn what_the_rules_of_frames_forbid_is_refused() {
    let unmasked = [&[0x82, 3][..], b"abc"].concat();
    let half_a_message = frame(0x02, b"a");
    let cases = [
        ("not masked", unmasked),
        ("a reserved bit", frame(0xC2, b"")),
        ("a reserved opcode", frame(0x83, b"")),
        ("a reserved control opcode", frame(0x8B, b"")),
        ("a continuation of nothing", frame(0x80, b"")),
        ("a message within another", [half_a_message, frame(0x82, b"b")].concat()),
        ("a Ping in fragments", frame(0x09, b"")),
        ("a Ping too long", frame(0x89, &[0; 126])),
        ("a length in 16 bits that fits 7", vec![0x82, 0xFE, 0, 125, 0, 0, 0, 0]),
        ("a length in 64 bits that fits 16", vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
        ("a length of 64 bits", vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("half a status code", frame(0x88, &[3])),
        ("a status code that is never sent", frame(0x88, &1006_u16.to_be_bytes())),
    ];
    for (name, bytes) in cases {
        assert_eq!(refused(&bytes), Some(code::PROTOCOL_ERROR), "{name}");
    }
    assert_eq!(refused(&frame(0x88, &[3, 0xE8, 0xFF])), Some(code::INVALID_PAYLOAD));
}

#[test]
fn a_close_says_its_status_code_where_it_has_one() {
    assert_eq!(read(&frame(0x88, b""), 1).others, [format!("{:?}", Event::Close(None))]);
    assert_eq!(read(&frame(0x88, &[3, 0xE9, b'o']), 2).others, [format!("{:?}", Event::Close(Some(1001)))]);
}

#[test]
fn a_client_reads_what_a_server_writes() {
    for bytes in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let payload = vec![7; bytes];
        let mut written = Header::new(Opcode::Binary, bytes, None).bytes().to_vec();
        written.extend_from_slice(&payload);
        let mut decoder = Decoder::new(From::Server);
        let (mut input, mut room, mut data) = (&written[..], vec![0; 70_000], Vec::new());
        while let Some(Event::Data(piece)) = decoder.next(&mut input, &mut room).expect("it is right") {
            data.extend_from_slice(piece);
        }
        assert_eq!(data, payload);
        assert!(input.is_empty());
    }
}

#[test]
fn bytes_of_chance_are_read_or_refused_and_alike_in_pieces() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut faults = 0;
    for _ in 0..20_000 {
        // Frames that are nearly right come further than noise.
        let mut bytes =
            frame([0x82, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88][next() as usize % 7], &next().to_be_bytes());
        bytes.extend(frame([0x80, 0x82, 0x88][next() as usize % 3], &[0; 3]));
        let at = next() as usize % bytes.len();
        bytes[at] = next() as u8;
        let whole = read(&bytes, bytes.len());
        faults += u32::from(whole.fault.is_some());
        assert_eq!(whole, read(&bytes, 1), "{bytes:?}");
    }
    assert!((1000..20_000).contains(&faults), "{faults}");
}
