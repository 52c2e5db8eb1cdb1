//! Power loss: an ext4 file system on a loop device whose writes stop at one instant.
//!
//! ext4's own shutdown, without a flush of its journal, is that instant: nothing that was dirty in memory reaches the image
//! any more, neither a file's bytes nor the journal's, and everything that was synced is in it. The image is then mounted
//! again, its journal replayed, as after the power came back. (Copying the image while it is written would mix moments;
//! kill -9 alone keeps the page cache, and with it all that a broker forgot to sync.)
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Lacking;
use super::mount::{Mounted, run};

const WHAT: &str = "a loop device with ext4";

#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
    mounted: Option<Mounted>,
}

impl Disk {
    /// Makes the image in `folder`, sparse, and mounts it.
    pub fn new(folder: &Path, bytes: u64) -> Result<Self, Lacking> {
        let lacking = |error: std::io::Error| Lacking { what: WHAT, why: error.to_string() };
        let image = folder.join("disk.ext4");
        let file = File::create(&image).map_err(lacking)?;
        file.set_len(bytes).map_err(lacking)?;
        run(
            WHAT,
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        )?;
        let mut disk = Self { image, at: folder.join("disk"), mounted: None };
        disk.power_on()?;
        Ok(disk)
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    pub fn power_on(&mut self) -> Result<(), Lacking> {
        assert!(self.mounted.is_none(), "it is on");
        let image = self.image.to_string_lossy().into_owned();
        // commit: no help from the journal's timer for what nobody synced.
        let mounted = Mounted::new(WHAT, &["-o", "loop,commit=300", &image], &self.at)?;
        self.mounted = Some(mounted);
        Ok(())
    }

    /// From this moment nothing reaches the image. Processes that use it get errors; let them be gone before
    /// [`power_on`](Self::power_on).
    pub fn cut(&self) -> Result<(), Lacking> {
        let mounted = self.mounted.as_ref().expect("it is on");
        let folder =
            File::open(mounted.path()).map_err(|error| Lacking { what: WHAT, why: error.to_string() })?;
        let flags: u32 = NO_LOG_FLUSH;
        // SAFETY: the descriptor is open for the length of the call, and the request reads one u32, which outlives it.
        let answer = unsafe { libc::ioctl(folder.as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const flags) };
        if answer == 0 {
            return Ok(());
        }
        Err(Lacking { what: "ext4's shutdown request", why: std::io::Error::last_os_error().to_string() })
    }

    /// Lets go of the mount; the file system has to be idle.
    pub fn power_off(&mut self) {
        self.mounted = None;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.mounted = None;
        let _ = fs::remove_file(&self.image);
    }
}

/// `_IOR('X', 125, __u32)`.
const EXT4_IOC_SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const NO_LOG_FLUSH: u32 = 2;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::fault::skipped;

    /// The fault itself is tested: a cut that loses nothing would let every broker pass.
    #[test]
    fn cut_keeps_what_was_synced_and_loses_what_was_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut disk = match Disk::new(folder.path(), 32 << 20) {
            Ok(disk) => disk,
            Err(lacking) => return skipped("cut_keeps_what_was_synced_and_loses_what_was_not", &lacking),
        };
        let mut synced = File::create(disk.path().join("log")).expect("room");
        synced.write_all(b"acknowledged").expect("room");
        synced.sync_all().expect("a disk");
        File::open(disk.path()).expect("a folder").sync_all().expect("a disk");
        synced.write_all(b" and more").expect("room");
        fs::write(disk.path().join("other"), b"never synced").expect("room");
        drop(synced);

        disk.cut().expect("ext4 can be cut");
        disk.power_off();
        disk.power_on().expect("the journal is replayed");
        assert_eq!(fs::read(disk.path().join("log")).expect("it was synced"), b"acknowledged");
        assert!(!disk.path().join("other").exists());
    }
}
