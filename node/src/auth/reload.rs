//! Looks after the users file and the sections `[auth]` and `[access]` of the configuration while the node runs: what has
//! changed is taken up, and what is wrong changes nothing. Who cannot wait sends SIGHUP.

use convoy_actors::Access;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

use super::Auth;
use super::bans::Book;
use super::users::{Problem, Users};
use crate::config::{self, Config};
use crate::drive::ShardHandle;
use crate::observe::metrics::ACCESS_RELOADS;

const EVERY: Duration = Duration::from_secs(2);

/// How the configuration is read again: as it was at the start.
pub struct Source {
    pub file: Option<PathBuf>,
    pub load: Box<dyn Fn() -> Result<Config, config::Error> + Send>,
}

/// What tells whether a file is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    len: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self { modified: (found.mtime(), found.mtime_nsec()), len: found.len(), inode: found.ino() })
    }
}

/// What is in use.
pub struct Reload {
    source: Source,
    auth: Auth,
    shards: Arc<[ShardHandle]>,
    bans: Arc<Book>,
    config: Config,
    knows_users: bool,
    config_stamp: Option<Stamp>,
    users_stamp: Option<Stamp>,
    /// Sections that wait for the next start, as they were told of.
    fixed: Vec<&'static str>,
}

/// The users of a configuration. `None` where there is no file and none is asked for.
pub fn read_users(config: &Config) -> Result<Option<Users>, Problem> {
    match Users::read(&config.users_file()) {
        Ok(users) => Ok(Some(users)),
        Err(Problem::Io(error))
            if error.kind() == std::io::ErrorKind::NotFound && config.auth.users.is_none() =>
        {
            Ok(None)
        }
        Err(problem) => Err(problem),
    }
}

impl Reload {
    pub fn new(
        source: Source,
        auth: Auth,
        shards: Arc<[ShardHandle]>,
        bans: Arc<Book>,
        config: Config,
        knows_users: bool,
    ) -> Self {
        let config_stamp = source.file.as_deref().and_then(Stamp::of);
        let users_stamp = Stamp::of(&config.users_file());
        let fixed = Vec::new();
        Self { source, auth, shards, bans, config, knows_users, config_stamp, users_stamp, fixed }
    }

    /// To be run for as long as the node runs.
    pub async fn run(mut self) {
        let mut hang_up = match signal(SignalKind::hangup()) {
            Ok(hang_up) => hang_up,
            Err(error) => return tracing::error!(%error, "users and rules are not looked after"),
        };
        loop {
            let anyway = tokio::select! {
                _ = hang_up.recv() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            self.look(anyway).await;
        }
    }

    async fn look(&mut self, anyway: bool) {
        let config_stamp = self.source.file.as_deref().and_then(Stamp::of);
        let mut rules_changed = false;
        if anyway || config_stamp != self.config_stamp {
            self.config_stamp = config_stamp;
            rules_changed = self.take_config();
            if rules_changed {
                self.bans.configure(self.config.access.bans.clone()).await;
            }
        }
        let users_stamp = Stamp::of(&self.config.users_file());
        let mut gone = BTreeSet::new();
        if anyway || users_stamp != self.users_stamp {
            self.users_stamp = users_stamp;
            if let Some(left) = self.take_users() {
                gone = left;
                rules_changed |= !std::mem::replace(&mut self.knows_users, true);
            }
        }
        if rules_changed {
            let access = Arc::new(self.config.access(self.knows_users));
            let cut = self.bans.would_cut(Some(Arc::clone(&access)), &Arc::default()).await;
            if cut > 0 {
                tracing::warn!(
                    clients = cut,
                    "the rules that hold now let fewer Clients connect: these are cut off"
                );
            }
            for shard in self.shards.iter() {
                shard.set_access(Arc::clone(&access)).await;
            }
        }
        if !gone.is_empty() {
            let gone = Arc::new(gone);
            for shard in self.shards.iter() {
                shard.revoke(Arc::clone(&gone)).await;
            }
        }
    }

    /// True if rules have changed.
    fn take_config(&mut self) -> bool {
        match (self.source.load)() {
            Ok(config) => {
                self.tell_of_fixed(&config);
                let warnings = config.warnings();
                let Config { auth, access, .. } = config;
                let changed = (&auth, &access) != (&self.config.auth, &self.config.access);
                if changed {
                    count("taken");
                    let (rules, bans) = (access.rules.len(), access.bans.len());
                    tracing::info!(rules, bans, "[auth], [access] and [[ban]] were read again");
                    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                    self.config.auth = auth;
                    self.config.access = access;
                }
                changed
            }
            Err(error) => {
                count("refused");
                tracing::error!(%error, "the changed configuration is not used, the old one is kept");
                false
            }
        }
    }

    /// Whoever changes what holds from the next start on should not wait for it.
    fn tell_of_fixed(&mut self, config: &Config) {
        let fixed = config.fixed_sections_unlike(&self.config);
        if fixed != self.fixed && !fixed.is_empty() {
            let sections = fixed.join(", ");
            tracing::warn!(sections, "what has changed in these sections holds from the next start on");
        }
        self.fixed = fixed;
    }

    /// The users who are gone or have another password; `None` if nothing was taken up.
    fn take_users(&mut self) -> Option<BTreeSet<String>> {
        let file = self.config.users_file();
        match read_users(&self.config) {
            Ok(Some(users)) => {
                count("taken");
                let known = users.len();
                let gone = self.auth.set_users(users);
                tracing::info!(file = %file.display(), known, gone = gone.len(), "users were read again");
                Some(gone)
            }
            Ok(None) if !self.knows_users => None,
            Ok(None) => {
                count("refused");
                tracing::error!(file = %file.display(), "the users file is gone, the old users are kept");
                None
            }
            Err(problem) => {
                count("refused");
                tracing::error!(file = %file.display(), %problem, "the changed users file is not used, the old users are kept");
                None
            }
        }
    }
}

/// The rules of a configuration.
impl Config {
    pub fn access(&self, knows_users: bool) -> Access {
        let policy = convoy_actors::Policy {
            denied_publish: self.access.denied_publish,
            client_id_owner: self.auth.client_id_owner,
            authenticates: knows_users,
            checks_retain_source: self.access.check_retain_source,
        };
        Access::new(self.access.rules.clone(), policy)
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(ACCESS_RELOADS, "outcome" => outcome).increment(1);
}
