//! How a node becomes a member: it founds a fleet, or asks a member with a token.

use anyhow::{Context, bail, ensure};
use convoy_actors::meta::{Entrant, Fleet, FleetId, TokenHash};
use convoy_ids::NodeId;
use convoy_peer::authority::{self, Authority};
use convoy_peer::seal::Key;
use convoy_peer::token::Token;
use convoy_storage::engine::Engine;
use rustls::pki_types::ServerName;
use std::path::Path;
use std::time::{Duration, Instant};

use super::call::{self, Answer, Ask, Welcome};
use super::record::Belongs;
use crate::boot::random;

/// Between two rounds of the members that were named.
const AGAIN: Duration = Duration::from_secs(1);

/// Between two lines of the log that say that it waits.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// What belongs to a member.
pub struct Membership {
    pub belongs: Belongs,
    pub authority: Authority,
    pub key: Key,
}

/// The first node of a fleet.
pub fn found(me: NodeId, data: &Path, engine: &dyn Engine) -> anyhow::Result<Membership> {
    let fleet = FleetId(random().context("no random numbers to be had")?);
    let authority = Authority::found(fleet.0)?;
    let key = Key::draw()?;
    authority.keep(data)?;
    key.keep(data)?;
    let belongs = Belongs { fleet, founders: vec![me], known: Fleet::default() };
    belongs.keep(engine)?;
    tracing::info!(fleet = %hex(&fleet.0), "a fleet is founded");
    Ok(Membership { belongs, authority, key })
}

/// A member that starts again.
pub fn take_up(belongs: Belongs, data: &Path) -> anyhow::Result<Membership> {
    let authority = Authority::read(data)?.context("the files of the fleet's authority are missing")?;
    let key = Key::read(data)?.context("the fleet's key is missing")?;
    ensure!(
        authority.fleet() == belongs.fleet.0,
        "fleet-ca.pem is of another fleet than the data in this folder; put back the one that was there"
    );
    Ok(Membership { belongs, authority, key })
}

/// Asks the members that were named until one lets the node in. Ends with an error where asking again changes nothing.
pub async fn join(
    entrant: Entrant,
    slots: u16,
    members: &[String],
    token: &str,
    data: &Path,
    engine: &dyn Engine,
) -> anyhow::Result<Membership> {
    let token: Token = token.parse().context("peer.token")?;
    let fleet = FleetId(token.fleet());
    let ask = Ask::Join { entrant, fleet, slots, token: TokenHash(token.hash()) };
    let tls = authority::joining_config(token.fingerprint())?;
    let name = ServerName::try_from("member.convoy.internal").expect("it is a name");
    let mut said: Option<Instant> = None;
    tracing::info!(fleet = %hex(&fleet.0), ?members, "joining a fleet");
    loop {
        let mut why = String::new();
        for address in members {
            match call::call(address, name.clone(), std::sync::Arc::clone(&tls), &ask).await {
                Ok(Answer::Welcome(welcome)) => return settle(fleet, *welcome, data, engine),
                Ok(Answer::Refused(reason)) => bail!("the fleet refuses this node: {reason}"),
                Ok(Answer::Later(reason)) => why = format!("{address}: {reason}"),
                Ok(answer) => why = format!("{address}: an answer to another question, {answer:?}"),
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        if said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            said = Some(Instant::now());
            tracing::warn!(%why, "no member lets the node in yet; it goes on asking");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn settle(fleet: FleetId, welcome: Welcome, data: &Path, engine: &dyn Engine) -> anyhow::Result<Membership> {
    let authority = Authority::from_bytes(&welcome.authority)?;
    ensure!(authority.fleet() == fleet.0, "the member that answered is of another fleet");
    let key = Key::from_bytes(&welcome.key)?;
    let founders = welcome.founders.into_iter().map(NodeId::new).collect::<Option<Vec<_>>>();
    let founders = founders.context("the member that answered names a founder of number zero")?;
    let known = Fleet::decode(&welcome.fleet).context("the member that answered")?;
    authority.keep(data)?;
    key.keep(data)?;
    let belongs = Belongs { fleet, founders, known };
    belongs.keep(engine)?;
    Ok(Membership { belongs, authority, key })
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
