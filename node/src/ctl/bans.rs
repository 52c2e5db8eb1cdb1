//! `convoy ctl ban`: who may not connect, whatever rules say.

use anyhow::Context;
use clap::{Args, Subcommand};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::http::Api;
use super::list::Row;
use super::{all, print};
use crate::admin::Added;
use crate::admin::time::rfc3339;
use crate::auth::bans::Entry;
use crate::config::parse_duration;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ban Clients; who is connected is disconnected. Everything that is said has to fit; it holds over a restart
    Add(New),
    /// All bans that hold; those without a number stand in the configuration
    List,
    /// End a ban
    Remove {
        /// Its number, as `list` shows it
        id: u64,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Whom {
    /// This Client Identifier, or those that begin so before an asterisk
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// This user name, or those that begin so before an asterisk
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// This address or network, such as 10.0.0.0/8
    #[arg(long, value_name = "ADDR")]
    address: Option<String>,
}

#[derive(Debug, Args)]
pub struct New {
    #[command(flatten)]
    whom: Whom,
    /// It ends after this time, such as 36h or 7d
    #[arg(long = "for", value_name = "TIME", value_parser = duration, conflicts_with = "until")]
    lasts: Option<Duration>,
    /// It ends at this moment, such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
    /// For operators; Clients are not told
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Change nothing, and say how many Clients would be disconnected
    #[arg(long)]
    dry_run: bool,
}

pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a time such as 90s, 36h or 7d".to_owned())
}

impl New {
    fn entry(&self) -> Entry {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = self.lasts.map(|lasts| rfc3339(now.saturating_add(lasts).as_millis() as u64));
        Entry {
            id: None,
            client_id: self.whom.client.clone(),
            user: self.whom.user.clone(),
            address: self.whom.address.clone(),
            until: end.or_else(|| self.until.clone()),
            reason: self.reason.clone(),
        }
    }
}

impl Row for Entry {
    const HEADING: &'static [&'static str] = &["ID", "CLIENT", "USER", "ADDRESS", "UNTIL", "REASON"];

    fn row(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        let Self { client_id, user, address, until, reason, .. } = self;
        vec![id, text(client_id), text(user), text(address), text(until), reason.clone()]
    }
}

pub fn run(command: &Command, api: &Api, json: bool) -> anyhow::Result<()> {
    match command {
        Command::List => all::<Entry>(api, "/api/v1/bans", json),
        Command::Remove { id } => Ok(api.delete(&format!("/api/v1/bans/{id}"))?),
        Command::Add(new) => {
            let body = serde_json::to_vec(&new.entry()).context("the ban cannot be written")?;
            let dry_run = if new.dry_run { "?dry_run=true" } else { "" };
            let answer = api.request("POST", &format!("/api/v1/bans{dry_run}"), &body)?;
            if json {
                return print(&answer);
            }
            let Added { ban, disconnected } = serde_json::from_slice(&answer)?;
            print(
                match ban.id {
                    Some(id) => format!("ban {id}: {disconnected} Clients were disconnected"),
                    None => format!("{disconnected} Clients would be disconnected; nothing was changed"),
                }
                .as_bytes(),
            )
        }
    }
}
