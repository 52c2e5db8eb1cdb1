//! `convoy ctl cluster` and `convoy ctl token`: who is of the fleet, and who may join it.

use std::time::Duration;

use super::http::Api;
use super::list::Row;
use super::print;
use crate::admin::{Member, Token};

impl Row for Member {
    const HEADING: &'static [&'static str] = &["NODE", "ZONE", "ADDRESS", "STATE", "SEEN", "ID"];

    fn row(&self) -> Vec<String> {
        let Self { name, zone, address, state, seen, id } = self.clone();
        vec![name, zone, address, state, seen, id]
    }
}

/// Prints a new token and nothing else, so that a script can hand it on.
pub fn token(api: &Api, valid: Duration, json: bool) -> anyhow::Result<()> {
    let body = format!("{{\"valid_for_seconds\":{}}}", valid.as_secs());
    let answer = api.request("POST", "/api/v1/tokens", body.as_bytes())?;
    if json {
        return print(&answer);
    }
    let Token { token, .. } = serde_json::from_slice(&answer)?;
    print(token.as_bytes())
}
