//! `convoy data`: looks at a data folder while no node works in it.

mod check;
mod left;
mod salvage;
#[cfg(test)]
mod tests;

use clap::{Args, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// What a script can tell by the exit code, beside 0 for what is whole, 1 for what could not be looked at, and clap's 2.
mod exit {
    pub const DAMAGED: u8 = 3;
}

#[derive(Debug, Subcommand)]
pub enum Data {
    /// Read everything and say what is damaged; changes nothing, and needs the node to be stopped
    Check(Folder),
    /// Make a new folder of what can be read, and list what was lost; the old one is left as it is
    Salvage(Folders),
}

#[derive(Debug, Args)]
pub struct Folders {
    /// The damaged folder
    #[arg(long, value_name = "OLD")]
    from: PathBuf,
    /// The folder to be made
    #[arg(long, value_name = "NEW")]
    to: PathBuf,
}

#[derive(Debug, Args)]
pub struct Folder {
    /// Folder of everything durable
    #[arg(long, value_name = "DIR", default_value = "./convoy-data")]
    data: PathBuf,
}

pub fn run(command: &Data) -> anyhow::Result<ExitCode> {
    match command {
        Data::Check(folder) => check::run(&folder.data),
        Data::Salvage(Folders { from, to }) => salvage::run(from, to),
    }
}
