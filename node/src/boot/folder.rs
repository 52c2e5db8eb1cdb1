//! The folder that was opened has to stay where it is. Who removes its files, moves it or lays a copy over it does not
//! disturb the process, which holds them open and writes on: into files that are gone with it, and with them what it
//! acknowledged. So it looks whether what it has opened is what the next start would find.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of the database: made once, and held for as long as it is open.
const LOCK: &str = "LOCK";

/// Of the database: which of its lists of files is in force. It is replaced now and then, and always there.
const CURRENT: &str = "CURRENT";

/// A data folder that is open.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Device and number of the lock.
    lock: (u64, u64),
}

impl Folder {
    /// # Errors
    ///
    /// It cannot be looked at.
    pub fn opened(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), lock: number_of(&path.join(LOCK))? })
    }

    /// Why the next start will not find what is written now; nothing if it will.
    pub fn why_lost(&self) -> Option<String> {
        let is_same = number_of(&self.path.join(LOCK)).is_ok_and(|lock| lock == self.lock);
        let what = match (is_same, self.path.join(CURRENT).exists()) {
            (true, true) => return None,
            (true, false) => "files of it were removed",
            (false, _) => "it was removed, moved or replaced",
        };
        let path = self.path.display();
        Some(format!(
            "{what} while this node has {path} open: what it acknowledges now is lost when it stops"
        ))
    }
}

fn number_of(file: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(file)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_removed_moved_or_replaced_under_its_node_is_told() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        let fill = || {
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(LOCK), "").unwrap();
            fs::write(path.join(CURRENT), "MANIFEST-000005\n").unwrap();
        };
        fill();
        let folder = Folder::opened(&path).unwrap();
        assert_eq!(folder.why_lost(), None);
        // As the database does it.
        fs::write(path.join("new"), "MANIFEST-000009\n").unwrap();
        fs::rename(path.join("new"), path.join(CURRENT)).unwrap();
        assert_eq!(folder.why_lost(), None);
        fs::remove_file(path.join(CURRENT)).unwrap();
        assert!(folder.why_lost().unwrap().starts_with("files of it were removed"));
        fill();
        fs::rename(&path, place.path().join("old")).unwrap();
        assert!(folder.why_lost().unwrap().starts_with("it was removed"));
        // A copy is another folder, whatever is in it.
        fill();
        assert!(folder.why_lost().unwrap().starts_with("it was removed"));
        fs::remove_dir_all(&path).unwrap();
        fs::rename(place.path().join("old"), &path).unwrap();
        assert_eq!(folder.why_lost(), None);
    }
}
