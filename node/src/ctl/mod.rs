//! `convoy ctl`: asks a running node over its API and prints the answer.

mod get;

pub use get::get;

use crate::admin::Status;
use clap::{Args, Subcommand};
use std::{
    io::{self, Write},
    net::SocketAddr,
};

#[derive(Debug, Args)]
pub struct Ctl {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// The node, its listeners and what it holds
    Status(Target),
}

#[derive(Debug, Args)]
struct Target {
    /// Where the node's API listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18083")]
    api: SocketAddr,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(ctl: &Ctl) -> anyhow::Result<()> {
    match &ctl.question {
        Question::Status(target) => {
            let body = get(target.api, "/status")?;
            let mut out = io::stdout();
            if target.json {
                out.write_all(&body)?;
                writeln!(out)?;
            } else {
                let status: Status = serde_json::from_slice(&body)?;
                write!(out, "{status}")?;
            }
        }
    }
    Ok(())
}
