//! Secrets as files, which their owner alone may read: written once, and never over another one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is there already, and of another fleet: join with an empty data folder", path.display())]
    Another { path: PathBuf },
}

/// What the file has; `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// Writes a file that is whole or not there, whatever happens, and returns when it is on disk.
pub fn keep(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    match read(path)? {
        Some(before) if before == bytes => return Ok(()),
        Some(_) => return Err(Error::Another { path: path.to_owned() }),
        None => {}
    }
    let write = || {
        let (folder, new) = (path.parent().unwrap_or(Path::new(".")), path.with_extension("new"));
        // Of a crash before.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| Error::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_its_owners_and_stays_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert_eq!(read(&path).unwrap(), None);
        fs::write(path.with_extension("new"), "of a crash").unwrap();
        keep(&path, b"one").unwrap();
        keep(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = keep(&path, b"two").unwrap_err().to_string();
        assert!(error.contains("of another fleet"), "{error}");
        assert_eq!(read(&path).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
