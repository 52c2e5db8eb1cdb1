//! A mounted file system that is unmounted when it is let go, whatever became of the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Lacking;

#[derive(Debug)]
pub(super) struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Runs `mount` with `arguments` and the folder `at`, which is made.
    pub(super) fn new(what: &'static str, arguments: &[&str], at: &Path) -> Result<Self, Lacking> {
        std::fs::create_dir_all(at).map_err(|error| Lacking { what, why: error.to_string() })?;
        run(what, Command::new("mount").args(arguments).arg(at))?;
        Ok(Self { at: at.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A process that still dies may hold a file: then the mount goes when it does.
        let whole = Command::new("umount").arg(&self.at).output();
        if !whole.is_ok_and(|output| output.status.success()) {
            let _ = Command::new("umount").arg("-l").arg(&self.at).output();
        }
    }
}

pub(super) fn run(what: &'static str, command: &mut Command) -> Result<(), Lacking> {
    let output = command.output().map_err(|error| Lacking { what, why: format!("{command:?}: {error}") })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Lacking { what, why: format!("{command:?}: {said}") })
}
