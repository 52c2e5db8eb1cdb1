//! Damage of a sorted file that stopped all writing, remembered in the folder so that the next start does not meet it
//! in silence.
//!
//! RocksDB reads a file again when it compacts it, and a block that is not what was written ends every later write: what
//! is on disk stays readable and nothing is added. A start after that would write on for as long as the next compaction
//! takes. So the file is noted, and while it is damaged the database is opened without compactions: writes go on, the
//! damaged rows are refused whenever they are read, and an operator reads which file and which slots it is.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::envelope;
use crate::record::{self, Decode, Encode};

const NAME: &str = "DAMAGE";
const KIND: u8 = b'D';
const VERSION: u8 = 1;

/// A file that RocksDB could not compact.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "crate::record")]
pub struct Note {
    /// Its name within the folder.
    pub file: String,
    pub reason: String,
}

/// Writes it beside the database, which takes no writes any more.
pub(super) fn remember(folder: &Path, note: &Note) -> io::Result<()> {
    let mut bytes = Vec::new();
    envelope::seal(KIND, VERSION, &mut bytes, |body| record::encode_into(note, body));
    let aside = folder.join("DAMAGE.new");
    let mut file = fs::File::create(&aside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&aside, folder.join(NAME))?;
    fs::File::open(folder)?.sync_all()
}

/// What an earlier start has met. A note that cannot be read itself names no file: it says that there was damage.
pub(super) fn recall(folder: &Path) -> io::Result<Option<Note>> {
    let bytes = match fs::read(folder.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let note = envelope::open(KIND, &bytes).ok().and_then(|(_, body)| record::decode::<Note>(body).ok());
    let unreadable = || Note { file: String::new(), reason: format!("{NAME} itself cannot be read") };
    Ok(Some(note.unwrap_or_else(unreadable)))
}

/// The damage is gone.
pub(super) fn forget(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join(NAME))?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_kept_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(recall(folder.path()).unwrap(), None);
        let note = Note { file: "000012.sst".into(), reason: "a checksum".into() };
        remember(folder.path(), &note).unwrap();
        assert_eq!(recall(folder.path()).unwrap(), Some(note));
        fs::write(folder.path().join(NAME), "torn").unwrap();
        assert!(recall(folder.path()).unwrap().is_some());
        forget(folder.path()).unwrap();
        assert_eq!(recall(folder.path()).unwrap(), None);
    }
}
