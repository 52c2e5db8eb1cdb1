use convoy_storage::sealed;

use super::super::row::Error;
use super::*;

fn receiver() -> Receiver {
    let mut receiver = Receiver::new(Limits::default());
    let source = source(3, 7);
    receiver.take(&source, 1, 1, || done("on"));
    receiver.take(&source, 2, 1, || Reply::Refused(vec![0x97]));
    receiver.take(&source, 3, 1, || Reply::Void);
    receiver
}

fn recover(rows: &[(Key, Vec<u8>)]) -> Result<Receiver, Error> {
    Receiver::recover(Limits::default(), rows.iter().map(|(key, value)| (&key[..], &value[..])))
}

/// Rows as the first release writes them. They must be readable for ever.
#[test]
fn the_form_is_frozen() {
    let rows: Vec<_> = receiver().rows().collect();
    assert_eq!(rows[0].0, b"\0\0\0\0\0\0\0\0\x09");
    assert_eq!(rows[0].1, b"\xC0\x47\x31\x01\x05\0\0\0\x9e\xf7\x30\xe0\x03\0\x01\x01\x07");
    assert_eq!(rows[1].0, b"\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x03\0\x01\0\0\0\0\0\0\0\x07");
    assert_eq!(rows[1].1, b"\xC0\x47\x32\x01\x0a\0\0\0\xa7\xef\x23\x89\x03\x03\0\x02on\x01\x01\x97\x02");
    assert_eq!(rows.len(), 2);
}

#[test]
fn what_rows_say_is_what_was_known() {
    let mut receiver = receiver();
    receiver.forget_process(Process { node: node(4), start: 2 });
    let rows: Vec<_> = receiver.rows().collect();
    assert_eq!(recover(&rows), Ok(receiver));
}

#[test]
fn rows_that_are_none_are_refused() {
    let rows: Vec<_> = receiver().rows().collect();
    for at in 0..2 {
        for end in 0..rows[at].1.len() {
            let mut rows = rows.clone();
            rows[at].1.truncate(end);
            assert!(recover(&rows).is_err());
        }
        for end in 0..rows[at].0.len() {
            let mut rows = rows.clone();
            rows[at].0.truncate(end);
            assert_eq!(recover(&rows), Err(Error::Key));
        }
    }
    let mut swapped = rows.clone();
    swapped[0].1 = rows[1].1.clone();
    assert!(matches!(recover(&swapped), Err(Error::Sealed(sealed::Error::Envelope(_)))));
    let mut later = rows.clone();
    later[0].1.clear();
    convoy_storage::envelope::seal(0x31, 2, &mut later[0].1, |into| into.push(0));
    assert_eq!(recover(&later), Err(Error::Sealed(sealed::Error::Version { found: 2, known: 1 })));
}
