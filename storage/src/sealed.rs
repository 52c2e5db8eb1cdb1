//! Records of one version in their envelope: what most rows and letters are. Who reads several versions looks into the
//! [`envelope`] itself.

use crate::envelope;
use crate::record::{self, BorrowDecode, Encode};

/// In which way the bytes are not such a record. Nothing was decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Envelope(#[from] envelope::Error),
    #[error("record of version {found}; this release reads version {known}")]
    Version { found: u8, known: u8 },
    #[error(transparent)]
    Record(#[from] record::Error),
}

/// The record in its envelope.
pub fn seal(kind: u8, version: u8, record: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    seal_into(kind, version, record, &mut bytes);
    bytes
}

/// The same, appended to `into`.
pub fn seal_into(kind: u8, version: u8, record: &impl Encode, into: &mut Vec<u8>) {
    envelope::seal(kind, version, into, |into| record::encode_into(record, into));
}

/// The record that `bytes` are.
pub fn open<'a, T: BorrowDecode<'a, ()>>(kind: u8, known: u8, bytes: &'a [u8]) -> Result<T, Error> {
    let (found, body) = envelope::open(kind, bytes)?;
    if found != known {
        return Err(Error::Version { found, known });
    }
    Ok(record::decode(body)?)
}
