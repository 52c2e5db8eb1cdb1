mod frozen;
mod refusing;
mod samples;

use super::exhaust::{BOUNDS, exhaust};
use super::*;
use crate::spoil::Spoiler;
use frozen::FIELDS;
use samples::{body, letters, mail, sealed};

fn decode(bytes: Vec<u8>) -> Result<Mail, Error> {
    Mail::decode(bytes.into(), &BOUNDS)
}

fn encode(mail: &Mail) -> Vec<u8> {
    let mut bytes = Vec::new();
    mail.encode(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_form_is_frozen() {
    assert_eq!(letters().len(), FIELDS.len());
    for (letter, fields) in letters().into_iter().zip(FIELDS) {
        let mail = mail(vec![letter]);
        let bytes = encode(&mail);
        let written = &bytes[24..24 + fields.len()];
        assert_eq!(written.escape_ascii().to_string(), fields.escape_ascii().to_string(), "{mail:?}");
        assert_eq!(bytes, sealed(1, &body(&[fields])), "{mail:?}");
        assert_eq!(decode(bytes), Ok(mail));
    }
}

#[test]
fn a_batch_of_all_letters_is_read_as_it_was_written() {
    let mail = mail(letters());
    let bytes = Bytes::from(encode(&mail));
    assert_eq!(bytes, sealed(1, &body(&FIELDS)));
    let read = Mail::decode(bytes.clone(), &BOUNDS).unwrap();
    assert_eq!(read, mail);
    assert_eq!(read.len_bytes(), mail.len_bytes());
    // What is shared lies where it was received.
    assert!(bytes.as_ptr_range().contains(&read.shared[0].as_ptr()));
}

#[test]
fn no_letters_are_mail_too() {
    let nothing = || Mail::from_dest(crate::dest::Dest(0));
    assert_eq!(decode(encode(&nothing())), Ok(nothing()));
}

#[test]
fn what_a_node_has_stored_does_not_leave_it() {
    let mail = mail(vec![Letter::Stored(crate::budget::Report::default())]);
    let mut bytes = b"before".to_vec();
    assert_eq!(mail.encode(&mut bytes), Err(OfOneNode));
    assert_eq!(bytes, b"before");
}

#[test]
fn no_bytes_panic_and_what_is_read_is_written_alike() {
    let mut spoiler = Spoiler::new();
    let (mut read, mut refused) = (0, 0);
    for _ in 0..60_000 {
        // The checksum is right in most of them: without it nothing gets as far as the fields.
        let mut fields = FIELDS[spoiler.below(FIELDS.len())].to_vec();
        spoiler.spoil(&mut fields);
        let mut body = body(&[&fields, FIELDS[spoiler.below(FIELDS.len())]]);
        if spoiler.below(4) == 0 {
            // In the frame, or in what parts name.
            let at = spoiler.below(body.len());
            body[at] ^= 1 << spoiler.below(8);
        }
        let mut bytes = sealed(1, &body);
        spoiler.spoil_some(&mut bytes);
        *if exhaust(&bytes) { &mut read } else { &mut refused } += 1;
    }
    assert!(read > 5_000 && refused > 5_000, "{read} batches, {refused} refused");
}
