//! Disk full: a small tmpfs, filled by a ballast file and freed by its removal.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Lacking;
use super::mount::Mounted;

#[derive(Debug)]
pub struct SmallDisk {
    mounted: Mounted,
}

impl SmallDisk {
    pub fn new(folder: &Path, bytes: u64) -> Result<Self, Lacking> {
        let size = format!("size={bytes}");
        let mounted = Mounted::new(
            "a tmpfs of its own",
            &["-t", "tmpfs", "-o", &size, "chaos"],
            &folder.join("small"),
        )?;
        Ok(Self { mounted })
    }

    pub fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Takes the room that is left but for `leaving` bytes. Returns how much it took.
    pub fn fill(&self, leaving: u64) -> io::Result<u64> {
        self.take_all()?;
        let ballast = File::options().write(true).open(self.ballast())?;
        let taken = ballast.metadata()?.len().saturating_sub(leaving);
        ballast.set_len(taken)?;
        Ok(taken)
    }

    fn take_all(&self) -> io::Result<()> {
        let mut ballast = File::options().create(true).append(true).open(self.ballast())?;
        let block = vec![0x55_u8; 64 << 10];
        loop {
            match ballast.write(&block) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the room back.
    pub fn free(&self) -> io::Result<()> {
        fs::remove_file(self.ballast())
    }

    /// Bytes that are left.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(self.path())?;
        Ok(found.f_bavail * found.f_frsize)
    }

    fn ballast(&self) -> PathBuf {
        self.mounted.path().join("ballast")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::skipped;

    #[test]
    fn filled_disk_takes_nothing_until_it_is_freed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = match SmallDisk::new(folder.path(), 1 << 20) {
            Ok(disk) => disk,
            Err(lacking) => return skipped("filled_disk_takes_nothing_until_it_is_freed", &lacking),
        };
        disk.fill(0).expect("a tmpfs");
        let full = fs::write(disk.path().join("more"), vec![0; 64 << 10]).expect_err("no room");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        disk.free().expect("a tmpfs");
        fs::write(disk.path().join("more"), vec![0; 64 << 10]).expect("room again");
    }
}
