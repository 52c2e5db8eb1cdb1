//! `convoy ctl`: asks a running node over its API and prints the answer.

mod bans;
mod fleet;
mod http;
mod list;
mod rows;
mod table;
mod users;

pub use http::{Api, Error};

use crate::admin::{
    Client, Draft, Holding, ListenerState, Member, Preview, Retained, Slot, Status, Subscription, Topic, Way,
    Whole, key,
};
use crate::file;
use anyhow::Context;
use clap::{Args, Subcommand};
use http::encode;
use list::{Listing, Row};
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};
use table::Table;

/// What a script can tell by the exit code, beside 0 and clap's 2.
mod exit {
    pub const FAILED: u8 = 1;
    /// No node answers.
    pub const UNREACHABLE: u8 = 3;
    /// The node does not take the key, or none was found.
    pub const KEY: u8 = 4;
    /// There is nothing of this name.
    pub const NOT_FOUND: u8 = 5;
}

#[derive(Debug, Args)]
pub struct Ctl {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Args)]
struct Target {
    /// Where the node's API listens
    #[arg(long, global = true, value_name = "ADDR", default_value = "127.0.0.1:18083", value_parser = addr)]
    api: SocketAddr,
    /// The node's data folder, which has the key [default: CONVOY_NODE__DATA, or ./convoy-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A file with the key, in place of the data folder's; CONVOY_API_KEY is the key itself
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// The node, its listeners and what it holds
    Status,
    /// Clients, connected or not; with a Client Identifier, all about one
    Clients {
        /// All about this one
        client_id: Option<String>,
        /// Those whose Client Identifier begins so
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        /// Those of this user
        #[arg(long)]
        user: Option<String>,
        /// Those that are connected
        #[arg(long, conflicts_with = "away")]
        connected: bool,
        /// Those that are not
        #[arg(long)]
        away: bool,
        /// Those that come from this address, with or without a port
        #[arg(long, value_name = "ADDR")]
        address: Option<String>,
        #[command(flatten)]
        much: Much,
    },
    /// Subscriptions, of all Clients or of one
    Subscriptions {
        /// Those of this Client, connected or not
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// To exactly this Topic Filter
        #[arg(long)]
        filter: Option<String>,
        /// That match this Topic Name
        #[arg(long)]
        topic: Option<String>,
        #[command(flatten)]
        much: Much,
    },
    /// Topic Filters with subscribers, or who gets a message on a topic
    Topics {
        /// Who gets a message on this topic
        #[arg(long = "match", value_name = "TOPIC")]
        matching: Option<String>,
        #[command(flatten)]
        much: Much,
    },
    /// Retained Messages, or one with its payload
    Retained {
        /// This one, with its payload; with + or # in it, all that match
        topic: Option<String>,
        /// Those whose topics match
        #[arg(long, conflicts_with = "topic")]
        filter: Option<String>,
        /// Delete the one of TOPIC
        #[arg(long, requires = "topic")]
        delete: bool,
        #[command(flatten)]
        much: Much,
    },
    /// What a user holds, and how much it may
    Stored {
        /// This one; without it, all Clients together that gave no user name
        user: Option<String>,
    },
    /// Disconnect a Client
    Kick {
        /// This one
        client_id: String,
        /// End its Session too, connected or not: Subscriptions and queue are gone
        #[arg(long)]
        session: bool,
    },
    /// The nodes of the fleet
    Cluster,
    /// Make a token by which a node joins the fleet: whoever has it can become a member
    Token {
        /// It is valid for this time, such as 10m or 24h
        #[arg(long = "for", value_name = "TIME", value_parser = bans::duration, default_value = "1h")]
        valid: std::time::Duration,
    },
    /// Where the node is reached
    Listeners,
    /// The slots of the node, their logs and what has stopped them
    Slots,
    /// Who may not connect, whatever rules say
    #[command(subcommand)]
    Ban(bans::Command),
    /// What the rules and bans of a configuration would do to who is connected, before they do it
    Preview {
        /// A configuration as TOML that is not in use
        #[arg(value_name = "FILE")]
        config: PathBuf,
    },
    /// Who may connect: the users file, which is edited in place
    #[command(subcommand)]
    Users(users::Command),
}

#[derive(Debug, Args)]
struct Much {
    /// Items at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: usize,
}

/// Asks, prints, and says by the exit code how it went.
pub fn run(ctl: &Ctl) -> ExitCode {
    let Err(error) = ask(ctl) else { return ExitCode::SUCCESS };
    // Whoever reads us may have seen enough.
    let closed = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    if closed.into_iter().any(|cause| cause.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("convoy: {error:#}");
    ExitCode::from(match error.downcast_ref::<Error>() {
        Some(Error::Connect { .. } | Error::Read { .. } | Error::Foreign { .. }) => exit::UNREACHABLE,
        Some(Error::Key { .. } | Error::NoKey { .. }) => exit::KEY,
        Some(Error::Refused { status: 404, .. }) => exit::NOT_FOUND,
        _ => exit::FAILED,
    })
}

fn ask(ctl: &Ctl) -> anyhow::Result<()> {
    let Ctl { target, question } = ctl;
    if let Question::Users(command) = question {
        return users::run(command, &target.data());
    }
    let (api, json) = (target.api()?, target.json);
    match question {
        Question::Status => {
            let body = api.get("/status")?;
            if json {
                return print(&body);
            }
            let status: Status = serde_json::from_slice(&body)?;
            print(status.to_string().trim_end().as_bytes())
        }
        Question::Clients { client_id: Some(client_id), .. } => {
            let body = api.get(&format!("/api/v1/clients/{}", encode(client_id)))?;
            if json { print(&body) } else { fields(&body) }
        }
        Question::Clients { client_id: None, prefix, user, connected, away, address, much } => {
            let connected = (*connected || *away).then_some(*connected);
            Listing::new("/api/v1/clients", much.limit)
                .with("client_id", prefix.as_ref())
                .with("user", user.as_ref())
                .with("connected", connected)
                .with("address", address.as_ref())
                .print::<Client>(&api, json)
        }
        Question::Subscriptions { client, filter, topic, much } => {
            Listing::new("/api/v1/subscriptions", much.limit)
                .with("client_id", client.as_ref())
                .with("filter", filter.as_ref())
                .with("topic", topic.as_ref())
                .print::<Subscription>(&api, json)
        }
        Question::Topics { matching: Some(topic), .. } => {
            let body = api.get(&format!("/api/v1/topics/match?topic={}", encode(topic)))?;
            if json { print(&body) } else { print(way(&serde_json::from_slice(&body)?).as_bytes()) }
        }
        Question::Topics { matching: None, much } => {
            Listing::new("/api/v1/topics", much.limit).print::<Topic>(&api, json)
        }
        Question::Retained { topic: Some(topic), delete: true, .. } => {
            Ok(api.delete(&format!("/api/v1/retained/{}", encode(topic)))?)
        }
        Question::Retained { topic: Some(filter), much, .. } if filter.contains(['+', '#']) => {
            retained(Some(filter), much, &api, json)
        }
        Question::Retained { topic: Some(topic), .. } => {
            let body = api.get(&format!("/api/v1/retained/{}", encode(topic)))?;
            if json {
                return print(&body);
            }
            let whole: Whole = serde_json::from_slice(&body)?;
            print(whole.payload.unwrap_or(whole.payload_base64).as_bytes())
        }
        Question::Retained { topic: None, filter, much, .. } => retained(filter.as_ref(), much, &api, json),
        Question::Stored { user } => {
            let body = api.get(&match user {
                Some(user) => format!("/api/v1/users/{}/stored", encode(user)),
                None => "/api/v1/anonymous/stored".to_owned(),
            })?;
            if json {
                return print(&body);
            }
            let mut table = Table::new(rows::OF_HOLDING);
            rows::holding(&serde_json::from_slice::<Holding>(&body)?)
                .into_iter()
                .for_each(|row| table.push(row));
            print(table.to_string().trim_end().as_bytes())
        }
        Question::Kick { client_id, session } => {
            let session = if *session { "?session=true" } else { "" };
            Ok(api.delete(&format!("/api/v1/clients/{}{session}", encode(client_id)))?)
        }
        Question::Listeners => all::<ListenerState>(&api, "/api/v1/listeners", json),
        Question::Cluster => all::<Member>(&api, "/api/v1/cluster", json),
        Question::Token { valid } => fleet::token(&api, *valid, json),
        Question::Ban(command) => bans::run(command, &api, json),
        Question::Preview { config } => preview(&api, config, json),
        Question::Users(_) => unreachable!("it asks no node"),
        Question::Slots => all::<Slot>(&api, "/api/v1/slots", json),
    }
}

impl Target {
    /// The node's data folder.
    fn data(&self) -> PathBuf {
        let named = || std::env::var_os("CONVOY_NODE__DATA").map(PathBuf::from);
        self.data.clone().or_else(named).unwrap_or_else(|| "./convoy-data".into())
    }

    fn api(&self) -> anyhow::Result<Api> {
        let key = match (&self.api_key_file, std::env::var("CONVOY_API_KEY")) {
            (Some(path), _) => {
                Some(key::read(path)?.with_context(|| format!("there is no file {}", path.display()))?)
            }
            (None, Ok(key)) if !key.is_empty() => Some(key),
            // The node says so if it wants one.
            (None, _) => key::read(&key::path(&self.data()))?,
        };
        Ok(Api { addr: self.api, key })
    }
}

fn addr(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address with a port, such as 127.0.0.1:18083".to_owned())
}

fn retained(filter: Option<&String>, much: &Much, api: &Api, json: bool) -> anyhow::Result<()> {
    Listing::new("/api/v1/retained", much.limit).with("filter", filter).print::<Retained>(api, json)
}

fn preview(api: &Api, config: &Path, json: bool) -> anyhow::Result<()> {
    let toml = file::read_to_string(config, file::BYTES_LIMIT);
    let toml = toml.with_context(|| format!("{} cannot be read", config.display()))?;
    let answer = api.request("POST", "/api/v1/access/preview", &serde_json::to_vec(&Draft { toml })?)?;
    if json {
        return print(&answer);
    }
    let Preview { rules, bans, warnings, disconnected } = serde_json::from_slice(&answer)?;
    let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    let counts = format!("{rules} rules and {bans} bans: {disconnected} Clients would be disconnected");
    print(format!("{warnings}{counts}").as_bytes())
}

/// Prints a list that comes whole.
fn all<T: Row>(api: &Api, path: &str, json: bool) -> anyhow::Result<()> {
    let body = api.get(path)?;
    if json {
        return print(&body);
    }
    let items: Vec<T> = serde_json::from_slice(&body)?;
    let mut table = Table::new(T::HEADING);
    items.iter().for_each(|item| table.push(item.row()));
    print(table.to_string().trim_end().as_bytes())
}

/// Prints the fields of an object under each other.
fn fields(body: &[u8]) -> anyhow::Result<()> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)?;
    let mut table = Table::new(&["FIELD", "VALUE"]);
    for (name, value) in &object {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        table.push(vec![name.clone(), value]);
    }
    print(table.to_string().trim_end().as_bytes())
}

fn way(way: &Way) -> String {
    let Way { topic, partition, slot, matches, receivers } = way;
    let mut table = Table::new(&["CLIENT", "QOS", "SHARE", "LASTS"]);
    for receiver in receivers {
        table.push(vec![
            receiver.client_id.clone().unwrap_or_default(),
            receiver.qos.to_string(),
            receiver.share.clone().unwrap_or_default(),
            if receiver.lasts { "yes" } else { "no" }.to_owned(),
        ]);
    }
    format!("{topic}: partition {partition}, slot {slot}, {matches} Subscriptions match\n{table}")
        .trim_end()
        .to_owned()
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    writeln!(out)?;
    Ok(())
}
