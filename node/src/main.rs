//! `convoy`: one binary for the broker, its operators and its testers.

mod admin;
mod auth;
mod config;
mod ctl;
mod data;
mod file;
mod observe;
mod peer;
mod tester;

mod boot;
mod drive;
mod listen;
mod stream;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use config::{Flags, Loaded};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Convoy, an MQTT broker for fleets of vehicles
#[derive(Debug, Parser)]
#[command(name = "convoy", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker; works at once without any flag
    Serve(Sources),
    /// Look at the configuration without starting anything
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a running node
    Ctl(ctl::Ctl),
    /// Look at a data folder while no node works in it
    #[command(subcommand)]
    Data(data::Data),
    /// Publish messages to any MQTT server
    Pub(Box<tester::PubOptions>),
    /// Subscribe at any MQTT server and print what arrives
    Sub(Box<tester::SubOptions>),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether `serve` would start with it and serve every listener, and if not, everything that is wrong
    Check(Sources),
    /// Print every value with the source it comes from, as TOML
    Show(Sources),
}

/// What `serve` is told. Every other setting is a key of the file or a variable CONVOY_SECTION__KEY.
#[derive(Clone, Debug, Args)]
struct Sources {
    /// Configuration as TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of everything durable [default: ./convoy-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Name operators see [default: the host's]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// What fails together with this node
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Address for MQTT over TCP, may be repeated [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    mqtt: Vec<String>,
    /// Address for MQTT over TLS, may be repeated; its certificate is that of section [tls]
    #[arg(long, value_name = "ADDR")]
    mqtts: Vec<String>,
    /// Address for MQTT over WebSocket, may be repeated
    #[arg(long, value_name = "ADDR")]
    ws: Vec<String>,
    /// Address for MQTT over secure WebSocket, may be repeated; its certificate is that of section [tls]
    #[arg(long, value_name = "ADDR")]
    wss: Vec<String>,
    /// Address of the API for operators [default: 127.0.0.1:18083]
    #[arg(long, value_name = "ADDR")]
    api: Option<String>,
    /// Address for the other nodes of the fleet, TCP and UDP; without it the node is alone
    #[arg(long, value_name = "ADDR")]
    peer: Option<String>,
    /// Members of the fleet to join, with commas between
    #[arg(long, value_name = "ADDR[,ADDR]")]
    join: Option<String>,
    /// What `convoy ctl token` on a member has printed
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

impl Sources {
    fn load(self) -> Result<Loaded, config::Error> {
        let Self { config, data, node, zone, mqtt, mqtts, ws, wss, api, peer, join, token } = self;
        // A variable that is not text is none of ours: our keys and values are.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let flags = Flags { data, node, zone, mqtt, mqtts, ws, wss, api, peer, join, token };
        config::load(config.as_deref(), environment, &flags)
    }
}

fn main() -> ExitCode {
    let outcome = run(Cli::parse().command);
    observe::logs::finish();
    outcome.unwrap_or_else(|error| {
        // Not `eprintln!`, which panics when nobody reads.
        let _ = writeln!(io::stderr(), "convoy: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(sources) => {
            let loaded = sources.clone().load().context("nothing was started")?;
            loaded.check_files(false).context("nothing was started")?;
            observe::logs::start(&loaded.config.log)?;
            loaded.config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
            let file = sources.config.clone();
            let load = move || sources.clone().load().map(|loaded| loaded.config);
            boot::serve(loaded, auth::reload::Source { file, load: Box::new(load) })?;
        }
        Command::Config(ConfigCommand::Check(sources)) => {
            let loaded = sources.load()?;
            loaded.check_files(true)?;
            observe::logs::level(&loaded.config.log)?;
            for warning in loaded.config.warnings() {
                writeln!(io::stdout(), "warning: {warning}")?;
            }
            writeln!(io::stdout(), "the configuration is right")?;
        }
        Command::Config(ConfigCommand::Show(sources)) => {
            // Not `print!`, which panics when its reader has seen enough.
            write!(io::stdout(), "{}", sources.load()?.settings)?;
        }
        Command::Ctl(ctl) => return Ok(ctl::run(&ctl)),
        Command::Data(command) => return data::run(&command),
        Command::Pub(options) => return Ok(tester::publish(*options)),
        Command::Sub(options) => return Ok(tester::subscribe(*options)),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_is_well_formed() {
        Cli::command().debug_assert();
    }
}
