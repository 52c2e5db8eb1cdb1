//! The data folder is its owner's alone: messages of everybody are in it.

use rustix::fs::Mode;
use std::fs::{self, OpenOptions, Permissions};
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
    let entries = fs::read_dir(data).map_err(|error| whose(data, error))?;
    // What a database is opened with. Its own word for any trouble here is that another process works with it.
    let lock = data.join("LOCK");
    match OpenOptions::new().write(true).open(&lock) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(whose(&lock, error)),
        _ => {}
    }
    for entry in entries {
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

/// An error with the name of the user who is not denied it.
fn whose(path: &Path, error: io::Error) -> io::Error {
    let (own, owner) = (rustix::process::geteuid().as_raw(), fs::metadata(path).map(|found| found.uid()));
    match owner {
        Ok(owner) if error.kind() == io::ErrorKind::PermissionDenied && owner != own => {
            let path = path.display();
            let text = format!("{path} belongs to the user {owner}, and convoy runs as the user {own}");
            io::Error::new(error.kind(), text)
        }
        _ => error,
    }
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

    #[test]
    fn a_folder_or_database_of_another_user_is_named_as_such() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be another user");
            return;
        }
        let above = tempfile::tempdir().unwrap();
        let data = above.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("LOCK"), "").unwrap();
        fs::set_permissions(above.path(), Permissions::from_mode(0o755)).unwrap();
        for (folder, lock, named) in [(0o700, 0o600, data.clone()), (0o755, 0o644, data.join("LOCK"))] {
            fs::set_permissions(&data, Permissions::from_mode(folder)).unwrap();
            fs::set_permissions(data.join("LOCK"), Permissions::from_mode(lock)).unwrap();
            let data = data.clone();
            // Of this thread alone, which ends with it.
            let stranger = std::thread::spawn(move || {
                let nobody = rustix::process::Uid::from_raw(65_534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
                keep(&data).unwrap_err().to_string()
            });
            let expected =
                format!("{} belongs to the user 0, and convoy runs as the user 65534", named.display());
            assert_eq!(stranger.join().unwrap(), expected);
        }
    }
}
