//! Who may not connect: the bans of the configuration, and those that an operator adds while the node runs. The latter are
//! kept in the data folder and hold over a restart. A ban is on the disk before it holds, and gone from there before it
//! ends.

use anyhow::Context;
use convoy_actors::query::{Answer, Query};
use convoy_actors::{Ban, Bans, Name, Network};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::users;
use crate::admin::time::{millis_of, rfc3339};
use crate::drive::ShardHandle;

/// The file in the data folder.
pub const FILE: &str = "bans.json";

/// The form of the file.
const VERSION: u32 = 1;

/// Of a name, and of a reason.
const NAME_BYTES: usize = u16::MAX as usize;
const REASON_BYTES: usize = 256;

/// A ban as operators see it. Everything that is said has to fit a Client; something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// By it the ban is removed. One of the configuration has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Client Identifier, or the beginning of some and an asterisk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// User name that is proven, or the beginning of some and an asterisk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Address or network such as `10.0.0.0/8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When it ends, as `2026-12-24T18:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Clients are not told.
    #[serde(default)]
    pub reason: String,
}

impl Entry {
    fn of(ban: &Ban) -> Self {
        Self {
            id: None,
            client_id: ban.client_id.as_ref().map(Name::to_string),
            user: ban.user.as_ref().map(Name::to_string),
            address: ban.address.map(|network| network.to_string()),
            until: ban.until.map(rfc3339),
            reason: ban.reason.to_string(),
        }
    }

    /// What is wrong with it is said in words that complete "this ban …".
    pub fn ban(&self) -> Result<Ban, String> {
        let name = |what: &str, name: &Option<String>| match name.as_deref() {
            Some("") => Err(format!("names a {what} without a letter")),
            Some(name) if name.len() > NAME_BYTES => Err(format!("names a {what} of more than 65,535 bytes")),
            name => Ok(name.map(Name::parse)),
        };
        if self.client_id.is_none() && self.user.is_none() && self.address.is_none() {
            return Err("is on nobody: say a client, a user or an address".to_owned());
        }
        if self.reason.len() > REASON_BYTES {
            return Err(format!("has a reason of more than {REASON_BYTES} bytes"));
        }
        let network = |text: &String| {
            text.parse::<Network>()
                .map_err(|()| format!("has the address {text:?}: expected one such as 10.0.0.0/8"))
        };
        let moment = |text: &String| {
            millis_of(text)
                .ok_or_else(|| format!("ends {text:?}: expected a moment such as 2026-12-24T18:00:00Z"))
        };
        Ok(Ban {
            client_id: name("client", &self.client_id)?,
            user: name("user", &self.user)?,
            address: self.address.as_ref().map(network).transpose()?,
            until: self.until.as_ref().map(moment).transpose()?,
            reason: self.reason.as_str().into(),
        })
    }
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    /// Numbers are not given twice.
    next: u64,
    bans: Vec<Entry>,
}

/// Why a ban was not added or removed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this ban {0}")]
    Wrong(String),
    #[error("there are {} bans already: remove some, or ban a network or a beginning of names", Bans::LIMIT)]
    Full,
    #[error("{} cannot be written", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// All bans of a node.
pub struct Book {
    path: PathBuf,
    shards: Arc<[ShardHandle]>,
    state: Mutex<State>,
}

struct State {
    configured: Vec<Ban>,
    kept: Kept,
}

impl State {
    /// The bans that an operator has added.
    fn kept(&self) -> Vec<Ban> {
        self.kept.bans.iter().map(|entry| entry.ban().expect("it was checked when it came")).collect()
    }

    fn all(&self) -> Arc<Bans> {
        Arc::new(Bans::new([self.configured.clone(), self.kept()].concat()))
    }
}

impl Book {
    /// Reads what is kept.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not ours: to start without it would let in who is banned.
    pub fn open(data: &Path, configured: Vec<Ban>, shards: Arc<[ShardHandle]>) -> anyhow::Result<Self> {
        let path = data.join(FILE);
        let kept = read(&path).with_context(|| format!("the bans in {} cannot be used", path.display()))?;
        Ok(Self { path, shards, state: Mutex::new(State { configured, kept }) })
    }

    /// What holds at the start.
    pub fn at_start(&mut self) -> Arc<Bans> {
        self.state.get_mut().all()
    }

    /// Those of the configuration first; those that are over are left out.
    pub async fn list(&self) -> Vec<Entry> {
        let state = self.state.lock().await;
        let now = now();
        let configured = state.configured.iter().map(Entry::of);
        let all = configured.chain(state.kept.bans.iter().cloned());
        all.filter(|entry| entry.ban().is_ok_and(|ban| !ban.is_over(now))).collect()
    }

    /// Adds a ban, and cuts off whom it hits. Returned with it is how many those were.
    pub async fn add(&self, entry: Entry) -> Result<(Entry, u64), Error> {
        let ban = entry.ban().map_err(Error::Wrong)?;
        let mut state = self.state.lock().await;
        let now = now();
        let mut bans = state.kept.bans.clone();
        bans.retain(|entry| entry.ban().is_ok_and(|ban| !ban.is_over(now)));
        if bans.len() + state.configured.len() >= Bans::LIMIT {
            return Err(Error::Full);
        }
        let entry = Entry { id: Some(state.kept.next), ..entry };
        bans.push(entry.clone());
        self.keep(&mut state, bans)?;
        let added = Arc::new(Bans::new(vec![ban]));
        let cut = self.would_cut(None, &added).await;
        self.tell(&state, &added).await;
        tracing::info!(?entry, disconnected = cut, "a ban was added by an operator");
        Ok((entry, cut))
    }

    /// How many Clients a ban would cut off.
    pub async fn weigh(&self, entry: &Entry) -> Result<u64, Error> {
        let added = Arc::new(Bans::new(vec![entry.ban().map_err(Error::Wrong)?]));
        Ok(self.would_cut(None, &added).await)
    }

    /// False if there is no such ban of an operator.
    pub async fn remove(&self, id: u64) -> Result<bool, Error> {
        let mut state = self.state.lock().await;
        let mut bans = state.kept.bans.clone();
        bans.retain(|entry| entry.id != Some(id));
        if bans.len() == state.kept.bans.len() {
            return Ok(false);
        }
        self.keep(&mut state, bans)?;
        self.tell(&state, &Arc::default()).await;
        tracing::info!(id, "a ban was removed by an operator");
        Ok(true)
    }

    /// Other bans stand in the configuration.
    pub async fn configure(&self, configured: Vec<Ban>) {
        let mut state = self.state.lock().await;
        let added = configured.iter().filter(|ban| !state.configured.contains(ban)).cloned().collect();
        state.configured = configured;
        let added = Arc::new(Bans::new(added));
        let cut = self.would_cut(None, &added).await;
        if cut > 0 {
            tracing::warn!(clients = cut, "bans of the configuration cut Clients off");
        }
        self.tell(&state, &added).await;
    }

    /// How many Clients are connected whom these rules, or these bans, would cut off.
    pub async fn would_cut(&self, access: Option<Arc<convoy_actors::Access>>, bans: &Arc<Bans>) -> u64 {
        let mut cut = 0;
        for (shard, handle) in (0..).zip(self.shards.iter()) {
            let mut at = Some(0);
            while let Some(from) = at.take() {
                let query = Query::Cut { shard, access: access.clone(), bans: Arc::clone(bans), from };
                if let Some(Answer::Cut { clients, next }) = handle.ask(query).await {
                    cut += clients;
                    at = next;
                }
            }
        }
        cut
    }

    async fn tell(&self, state: &State, added: &Arc<Bans>) {
        let all = state.all();
        for shard in self.shards.iter() {
            shard.set_bans(Arc::clone(&all), Arc::clone(added)).await;
        }
    }

    fn keep(&self, state: &mut State, bans: Vec<Entry>) -> Result<(), Error> {
        let kept = Kept { version: VERSION, next: state.kept.next + 1, bans };
        let text = serde_json::to_string_pretty(&kept).expect("texts and numbers can be written");
        users::write(&self.path, &text).map_err(|source| Error::Io { path: self.path.clone(), source })?;
        state.kept = kept;
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Kept> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Kept { version: VERSION, next: 1, bans: Vec::new() });
        }
        Err(error) => return Err(error.into()),
    };
    let kept: Kept = serde_json::from_str(&text)?;
    anyhow::ensure!(kept.version == VERSION, "it is of version {}: expected {VERSION}", kept.version);
    anyhow::ensure!(kept.bans.len() <= Bans::LIMIT, "it holds more than {} bans", Bans::LIMIT);
    for (entry, number) in kept.bans.iter().zip(1..) {
        entry.ban().map_err(|wrong| anyhow::anyhow!("ban {number} {wrong}"))?;
    }
    Ok(kept)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(client_id: &str) -> Entry {
        Entry { client_id: Some(client_id.into()), reason: "stolen".into(), ..Entry::default() }
    }

    fn book(data: &Path, configured: Vec<Ban>) -> anyhow::Result<Book> {
        Book::open(data, configured, Vec::new().into())
    }

    #[tokio::test]
    async fn a_ban_holds_over_a_restart_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let configured = on("car-1").ban().unwrap();
        let first = book(folder.path(), vec![configured.clone()]).unwrap();
        let (seven, cut) = first.add(on("car-7")).await.unwrap();
        assert_eq!((seven.id, cut), (Some(1), 0));
        first.add(on("car-8")).await.unwrap();
        let mut again = book(folder.path(), vec![configured]).unwrap();
        assert!(!again.at_start().is_empty());
        let listed: Vec<_> =
            again.list().await.into_iter().map(|entry| (entry.id, entry.client_id)).collect();
        let named = |id, name: &str| (id, Some(name.to_owned()));
        assert_eq!(listed, [named(None, "car-1"), named(Some(1), "car-7"), named(Some(2), "car-8")]);
        assert!(again.remove(1).await.unwrap() && !again.remove(1).await.unwrap());
        let (nine, _) = book(folder.path(), Vec::new()).unwrap().add(on("car-9")).await.unwrap();
        assert!(nine.id > Some(2));
    }

    #[tokio::test]
    async fn a_ban_that_is_over_goes_and_more_than_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let over = Entry { until: Some("2001-01-01T00:00:00Z".into()), ..on("car-1") };
        let full = vec![on("x").ban().unwrap(); Bans::LIMIT - 1];
        let book = book(folder.path(), full).unwrap();
        book.add(over).await.unwrap();
        assert_eq!(book.list().await.len(), Bans::LIMIT - 1);
        book.add(on("car-2")).await.unwrap();
        assert!(matches!(book.add(on("car-3")).await, Err(Error::Full)));
    }

    #[test]
    fn a_ban_on_nobody_or_of_a_wrong_form_is_refused_with_the_reason() {
        let wrong = |entry: Entry| entry.ban().unwrap_err();
        assert!(wrong(Entry::default()).contains("on nobody"));
        assert!(wrong(on("")).contains("client without a letter"));
        assert!(wrong(Entry { address: Some("10.0.0.0/33".into()), ..on("a") }).contains("10.0.0.0/8"));
        assert!(wrong(Entry { until: Some("tomorrow".into()), ..on("a") }).contains("a moment such as"));
        assert!(wrong(Entry { reason: "x".repeat(257), ..on("a") }).contains("256 bytes"));
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_and_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        for text in
            ["", "{}", "{\"version\":2,\"next\":1,\"bans\":[]}", "{\"version\":1,\"next\":1,\"bans\":[{}]}"]
        {
            fs::write(folder.path().join(FILE), text).unwrap();
            let error = book(folder.path(), Vec::new()).err().expect("it is refused");
            assert!(error.to_string().contains("bans.json cannot be used"), "{error}");
        }
    }
}
