//! A disk that stops answering: an ext4 file system on a loop device whose image lies on another one, and that one is
//! frozen. What is written goes on into memory, as with a device that has stalled; whoever syncs waits until it thaws, and
//! cannot be killed meanwhile.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Lacking;
use super::power::Disk;

const WHAT: &str = "a file system that can be frozen";

/// In this order they are let go.
#[derive(Debug)]
pub struct StallingDisk {
    inner: Disk,
    outer: Disk,
}

/// While this is there, nothing that was written reaches the disk.
#[derive(Debug)]
pub struct Stalled(Child);

impl StallingDisk {
    /// A disk of so many bytes.
    pub fn new(folder: &Path, bytes: u64) -> Result<Self, Lacking> {
        let outer = Disk::new(folder, bytes + bytes / 4)?;
        let inner = Disk::new(outer.path(), bytes)?;
        Ok(Self { inner, outer })
    }

    pub fn path(&self) -> &Path {
        self.inner.path()
    }

    pub fn stall(&self) -> Result<Stalled, Lacking> {
        // It thaws when its standard input ends, so also when whoever asked for it dies.
        let script = "fsfreeze -f \"$0\" && echo frozen && read -r _; fsfreeze -u \"$0\"";
        let child = Command::new("sh")
            .args(["-c", script])
            .arg(self.outer.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let lacking = |why: String| Lacking { what: WHAT, why };
        let mut stalled = Stalled(child.map_err(|error| lacking(error.to_string()))?);
        let mut line = String::new();
        let said = BufReader::new(stalled.0.stdout.take().expect("it is piped")).read_line(&mut line);
        match said {
            Ok(_) if line.trim() == "frozen" => Ok(stalled),
            said => Err(lacking(format!("fsfreeze: {said:?} {line:?}"))),
        }
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use super::*;
    use crate::fault::skipped;

    #[test]
    fn who_syncs_waits_and_who_writes_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let test = "who_syncs_waits_and_who_writes_does_not";
        let disk = match StallingDisk::new(folder.path(), 64 << 20) {
            Ok(disk) => disk,
            Err(lacking) => return skipped(test, &lacking),
        };
        let mut file = File::create(disk.path().join("file")).expect("the disk is there");
        file.write_all(b"before").and_then(|()| file.sync_data()).expect("the disk answers");
        let stalled = match disk.stall() {
            Ok(stalled) => stalled,
            Err(lacking) => return skipped(test, &lacking),
        };
        let (tell, told) = channel();
        let syncs = std::thread::spawn(move || {
            file.write_all(b"meanwhile").expect("memory takes it");
            tell.send("written").expect("it is listened to");
            file.sync_data().expect("it thaws");
            tell.send("synced").expect("it is listened to");
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok("written"));
        assert_eq!(told.recv_timeout(Duration::from_secs(1)), Err(RecvTimeoutError::Timeout));
        drop(stalled);
        assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok("synced"));
        syncs.join().expect("it ends");
    }
}
