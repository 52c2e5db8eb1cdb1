//! The data folder is its owner's alone: messages of everybody are in it.

use rustix::fs::Mode;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A folder that everybody may write to, with a bit that says it is meant so: `/tmp`.
const STICKY: u32 = 0o1000;

/// Takes from what this process makes all rights of others, whatever the umask it was started with.
pub fn begin() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}

/// Takes from the folder and its files the rights that others have, which earlier releases left to the umask.
///
/// A folder of another user, such as one that is mounted and lets our group write, keeps its own: it is not ours to
/// change, and our files in it are private all the same.
pub fn keep(data: &Path) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let folder = fs::metadata(data)?;
    if folder.mode() & STICKY != 0 {
        return Ok(());
    }
    if folder.uid() == own && folder.mode() & 0o077 != 0 {
        fs::set_permissions(data, Permissions::from_mode(0o700))?;
    }
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        // Of the entry itself: a link may lead anywhere.
        let found = match entry.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if found.is_file() && found.uid() == own && found.mode() & 0o077 != 0 {
            fs::set_permissions(entry.path(), Permissions::from_mode(found.mode() & 0o700))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_an_earlier_release_becomes_private_and_what_a_link_names_does_not() {
        let above = tempfile::tempdir().unwrap();
        let (data, elsewhere) = (above.path().join("data"), above.path().join("elsewhere"));
        fs::create_dir(&data).unwrap();
        fs::write(&elsewhere, "").unwrap();
        fs::write(data.join("000004.log"), "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, data.join("users")).unwrap();
        for path in [&data, &elsewhere, &data.join("000004.log")] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;

        keep(&data).unwrap();
        assert_eq!((mode(&data), mode(&data.join("000004.log")), mode(&elsewhere)), (0o700, 0o700, 0o755));
        fs::set_permissions(&data, Permissions::from_mode(0o1777)).unwrap();
        keep(&data).unwrap();
        assert_eq!(mode(&data), 0o1777);
    }
}
