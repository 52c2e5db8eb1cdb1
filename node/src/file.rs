//! Files that an operator names. A wrong name may be that of a device that never ends, or of a dump that fills the memory of
//! a node which serves: so no more is read than such a file can sensibly have.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The configuration, certificates and their keys; lists with millions of revoked certificates are the largest of them.
pub const BYTES_LIMIT: u64 = 256 << 20;
/// Millions of users.
pub const USERS_BYTES_LIMIT: u64 = 1 << 30;

/// The whole of a file; an error of [`io::ErrorKind::FileTooLarge`] if it has more than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let text = format!("it has more than {} MiB", limit >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// The same for text.
pub fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, limit)?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_not_read_to_its_end() {
        let error = read(Path::new("/dev/zero"), 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 1 MiB");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "whole").unwrap();
        assert_eq!(read_to_string(file.path(), 5).unwrap(), "whole");
        assert!(read_to_string(file.path(), 4).is_err());
    }
}
