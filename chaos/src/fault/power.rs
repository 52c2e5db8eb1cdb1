//! Power loss: an ext4 file system on a loop device whose writes stop at one instant.
//!
//! ext4's own shutdown, without a flush of its journal, is that instant: nothing that was dirty in memory reaches the image
//! any more, neither a file's bytes nor the journal's, and everything that was synced is in it. The image is then mounted
//! again, its journal replayed, as after the power came back. (Copying the image while it is written would mix moments;
//! kill -9 alone keeps the page cache, and with it all that a broker forgot to sync.)
//!
//! A sync that is under way when the shutdown begins may return well without its bytes: whoever cuts stops the writer
//! first, as a loss of power does.
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
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::fs::FileExt;
    use std::process::{Child, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::fault::skipped;
    use crate::fleet::signal;

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

    const APPENDED: usize = 700;
    const APPENDER: &str = "CHAOS_APPEND_TO";

    /// Not a test of its own: the child of the next one is this test binary with this name asked for.
    #[test]
    fn appender() {
        let Some(path) = std::env::var_os(APPENDER) else { return };
        let file = File::create(path).expect("room");
        let mut out = std::io::stdout();
        for number in 0_u64.. {
            let record = [(number % 251) as u8 + 1; APPENDED];
            file.write_all_at(&record, number * APPENDED as u64).expect("a disk");
            // With the power it loses its disk, and ends.
            if file.sync_data().is_err() || writeln!(out, "synced {number}").is_err() {
                return;
            }
        }
    }

    /// Another process that appends and syncs, and says so.
    fn appending(to: &Path) -> Child {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "fault::power::tests::appender", "--nocapture", "--test-threads=1"])
            .env(APPENDER, to)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("another of this program")
    }

    /// What [`power_cut`](crate::scenario::power_cut) rests on: with the writer stopped first, the instrument takes
    /// nothing that was synced, so whatever is missing then was the broker's to lose.
    #[test]
    fn cut_after_the_writer_was_stopped_takes_nothing_that_was_synced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut disk = match Disk::new(folder.path(), 32 << 20) {
            Ok(disk) => disk,
            Err(lacking) => {
                return skipped("cut_after_the_writer_was_stopped_takes_nothing_that_was_synced", &lacking);
            }
        };
        for cut in 0..30_u64 {
            let path = disk.path().join("log");
            fs::write(&path, b"").expect("room");
            File::open(disk.path()).expect("a folder").sync_all().expect("a disk");
            let mut child = appending(&path);
            let mut said = BufReader::new(child.stdout.take().expect("piped"));
            let mut line = String::new();
            // The cut comes at another moment of an append each time.
            while !line.contains("synced 20") {
                line.clear();
                assert!(said.read_line(&mut line).expect("a pipe") > 0, "the appender ended by itself");
            }
            std::thread::sleep(Duration::from_micros(97 * cut));
            signal::pause(child.id());
            // A thread inside a sync comes out of the kernel into the stop, whatever the sync returns.
            disk.cut().expect("ext4 can be cut");
            child.kill().expect("it is ours");
            child.wait().expect("it is ours");
            let mut rest = String::new();
            said.read_to_string(&mut rest).expect("a pipe");
            let synced = rest.lines().rfind(|line| line.starts_with("synced ")).map_or(20, |line| {
                line["synced ".len()..].parse::<usize>().expect("whole lines: it was stopped between them")
            });
            disk.power_off();
            disk.power_on().expect("the journal is replayed");
            let kept = fs::read(&path).expect("it was synced");
            for number in 0..=synced {
                let expected = [(number % 251) as u8 + 1; APPENDED];
                let found = kept.get(number * APPENDED..(number + 1) * APPENDED);
                assert_eq!(found, Some(&expected[..]), "cut {cut} took append {number} of {synced}");
            }
        }
    }
}
