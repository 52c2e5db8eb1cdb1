//! Starts a node and takes it down again. The one place that knows every room.

mod arenas;
mod descriptors;
mod folder;
mod identity;
mod limits;
mod private;
mod status;
mod supervise;
mod watchdog;

use anyhow::Context;
use convoy_actors::query::Layout;
use convoy_actors::{FAN_OUT_PIECE, Identity as ShardIdentity, Now, Options, Secret, Shard};
use convoy_membership::Partitioning;
use convoy_storage::engine::rocks::{self, Rocks};
use convoy_storage::engine::{Engine, Generations, Space};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::admin::{self, Liveness, Readiness, Source};
use crate::auth::Auth;
use crate::auth::bans::Book;
use crate::auth::reload::{self, Reload};
use crate::config::{ApiOptions, Config, Loaded};
use crate::drive::{self, ShardHandle};
use crate::listen;
use crate::observe::metrics::{CONNECTIONS_LIMIT, Recorder, STORAGE_BUFFER_BYTES};
use crate::observe::sys::Sys;
use crate::peer;
use folder::Folder;
pub use identity::{Identity, Layout as DataLayout, chance as random};
pub use private::begin as begin_private;
pub use status::Board;
pub use supervise::Watch;
pub use supervise::{Supervisor, TaskKind};
pub use watchdog::Watchdog;

/// Named conditions of `/readyz`.
pub mod condition {
    /// Every slot of this node's shards has a leader, so that every Client can be served.
    pub const SLOTS: &str = "slots";
    /// All that is stored can be read, and files are compacted.
    pub const STORAGE: &str = "storage";
    /// There is room on the disk for what publishers send.
    pub const DISK: &str = "disk";
    /// What the node writes is in the folder that the next start will open.
    pub const FOLDER: &str = "folder";
    /// The node takes connections.
    pub const LISTENERS: &str = "listeners";
}

/// What an operator does about damage, behind the text that tells of it.
pub const WAY_OUT: &str = " (with the node stopped, convoy data check says what is damaged, and convoy data salvage makes \
     a folder of what can be read)";

/// How long Clients get to read why they are disconnected.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs a node until it is told to stop.
///
/// # Errors
///
/// Nothing was started, or a part died without which nothing could be acknowledged any more.
pub fn serve(loaded: Loaded, source: reload::Source) -> anyhow::Result<()> {
    let Loaded { config, settings } = loaded;
    let recorder =
        Recorder::install(&[convoy_actors::METRICS, peer::METRICS]).context("metrics cannot be recorded")?;
    let shards = shards_of(&config);
    arenas::bound(shards);
    let data = &config.node.data;
    let shares = share_descriptors(&config)?;
    let unusable = || format!("the data in {} cannot be used", data.display());
    let database = Arc::new(open(&config, shares.sorted_files)?);
    let identity = Identity::take_up(&*database, &config.fleet).with_context(unusable)?;
    let prepared = peer::prepare(&config, identity.node, identity.start, &*database)?;
    let rows = Generations::open(Arc::clone(&database) as Arc<dyn Engine>).with_context(unusable)?;
    let rows = Arc::new(rows);
    convoy_actors::bring_over(&*rows, config.fleet.slots).with_context(unusable)?;
    tracing::info!(
        node = %config.node.name, id = %identity.node, start = identity.start, data = %data.display(), "starting"
    );

    let readiness = Readiness::waiting_for(&[condition::SLOTS, condition::DISK, condition::LISTENERS]);
    if let Some(damage) = database.damage() {
        let reason = tell_of_damage(damage);
        tracing::error!(reason, "damage that an earlier start has met is still there");
        readiness.unmet(condition::STORAGE, reason);
    }
    let listeners = listen::bind(&config, shares.connections)?;
    let board = Arc::new(Board::new(&config, &identity, shards, &listeners));

    let liveness = Liveness::default();
    let watchdog = Watchdog::start(config.node.step_limit, liveness.clone())?;
    let supervisor = Supervisor::new();
    let engine: Arc<dyn Engine> = Arc::clone(&database) as Arc<dyn Engine>;
    let syncer = drive::sync::start(Arc::clone(&engine), supervisor.watch(TaskKind::LogCommit))?;
    let options = Options {
        slots: config.fleet.slots,
        partitioning: Partitioning {
            partitions: config.fleet.partitions,
            partition_levels: config.fleet.partition_levels.min(usize::from(u8::MAX)) as u8,
        },
        limits: limits::of(&config.limits, &config.features, shards),
        server_reference: config.node.server_reference.clone().map(String::into_boxed_str),
        shared: config.shared_subscriptions.clone(),
        min_free_bytes: config.storage.min_free_bytes,
        secret: Secret::new(identity::chance().context("no random numbers to be had")?),
        replicas: prepared.as_ref().map(peer::Prepared::members).unwrap_or_default(),
        moves: prepared.as_ref().map(peer::Prepared::moves),
        catch_up: Default::default(),
        fan_out_piece: FAN_OUT_PIECE,
        without: Default::default(),
    };

    let layout = Layout { slots: options.slots, shards, partitioning: options.partitioning };
    let users = reload::read_users(&config)
        .map_err(|problem| anyhow::anyhow!("{}: {problem}", config.users_file().display()))?;
    let knows_users = users.is_some();
    let access = Arc::new(config.access(knows_users));
    tell_of_access(&config, users.as_ref().map(|users| users.len()));

    let (handles, mailboxes): (Vec<_>, Vec<_>) = (0..shards).map(|_| drive::mailbox()).unzip();
    let handles: Arc<[ShardHandle]> = handles.into();
    let auth = Auth::start(&config.auth, users, &handles, || supervisor.watch(TaskKind::Authentication))?;
    let mut bans = Book::open(data, config.access.bans.clone(), Arc::clone(&handles))?;
    let banned = bans.at_start();
    let bans = Arc::new(bans);
    let begin = drive::boot_time();
    let others = prepared.as_ref().map(|prepared| prepared.others(shards));
    let mut threads = Vec::new();
    for (number, mailbox) in (0..shards).zip(mailboxes) {
        let identity = ShardIdentity { node: identity.node, start: identity.start, shard: number, shards };
        let shard = {
            let (rows, options, access) = (Arc::clone(&rows), options.clone(), Arc::clone(&access));
            let banned = Arc::clone(&banned);
            move || {
                let mut shard = Shard::new(identity, rows, options)?;
                shard.set_access(Now::default(), access);
                shard.set_bans(Now::default(), banned, &Arc::default());
                Ok(shard)
            }
        };
        let surroundings = drive::Surroundings {
            number,
            shards: Arc::clone(&handles),
            syncer: syncer.clone(),
            board: Arc::clone(&board),
            auth: auth.clone(),
            watchdog: watchdog.clone(),
            begin,
            others: others.clone(),
        };
        threads.push(drive::start(shard, mailbox, surroundings, supervisor.watch(TaskKind::Shard))?);
    }

    let peers = match prepared.zip(others) {
        None => None,
        Some((prepared, others)) => {
            let running = peer::Running {
                shard: handles[0].clone(),
                inward: others.inward,
                outward: others.outward,
                fleet: others.fleet,
                engine: Arc::clone(&engine),
                begin,
            };
            let (peers, thread) = prepared.start(running, supervisor.watch(TaskKind::Peers))?;
            threads.push(thread);
            Some(peers)
        }
    };

    let handshakes = listen::HandshakeOptions {
        threads: handshake_threads_of(&config),
        limit: config.limits.handshakes as usize,
        timeout: config.limits.handshake_timeout,
    };
    let handshakes =
        listen::Handshakes::start(&handshakes, listen::Shards::new(Arc::clone(&handles)), || {
            supervisor.watch(TaskKind::Handshakes)
        })?;

    let is_local = config.api.addr.ip().to_canonical().is_loopback();
    let state = admin::State {
        readiness: readiness.clone(),
        liveness,
        source: Arc::clone(&board) as Arc<dyn admin::Source>,
        recorder,
        shards: admin::Shards::new(layout, Arc::clone(&handles)),
        bans: Arc::clone(&bans),
        peers,
        key: admin::ApiKey::take_up(data, is_local || config.api.allow_anonymous)?
            .for_any_host(config.api.allow_anonymous),
        limits: config.limits.clone(),
        settings: settings
            .iter()
            .map(|(section, key, value, origin)| admin::Setting {
                section: section.to_owned(),
                key: key.to_owned(),
                value: value.to_owned(),
                origin,
            })
            .collect(),
    };
    if !is_local {
        tracing::warn!(
            addr = %config.api.addr,
            "the api is served without TLS off this machine: its key can be read on the way; a proxy can add TLS"
        );
    }
    let options =
        ApiOptions { connections: config.api.connections.min(usize::from(shares.api)), ..config.api.clone() };
    let api = admin::start(options, state)?;
    tracing::info!(addr = %api.addr(), "api for operators");
    let outcome = supervisor.run(async {
        let shards = Arc::clone(&handles);
        let reload = Reload::new(source, auth.clone(), shards, bans, config.clone(), knows_users);
        tokio::spawn(reload.run());
        let watch = watch(&database, &board, &readiness, config.storage.min_free_bytes);
        let watch_folder = watch_folder(&config.node.data, &readiness);
        let tell = tell(&board, &handles, config.node.sys_interval);
        let watch = async { tokio::join!(watch, watch_folder, tell) };
        tokio::pin!(watch);
        // Clients are let in once they can be served: a connection that is refused costs them less than one that
        // hangs.
        tokio::select! {
            _ = &mut watch => {}
            () = board.all_ready() => {}
            // Nobody is served yet, and the next start knows what to leave alone.
            () = stopped(&database) => return,
        }
        listen::start(listeners, &handshakes);
        // What the log says of the slots `/readyz` says too, and not at the next look around.
        readiness.met(condition::SLOTS);
        readiness.met(condition::LISTENERS);
        tracing::info!("ready");
        watch.await;
    });
    let was_ready = !readiness.reasons().iter().any(|unmet| unmet.condition == condition::LISTENERS);
    let outcome = outcome.and_then(|()| match database.failure() {
        Some(error) if !was_ready => {
            Err(error.clone()).context("stopped before the first Client could be served")
        }
        _ => Ok(()),
    });
    if let Err(error) = &outcome {
        tracing::error!(%error, "stopping");
    } else {
        tracing::info!("stopping");
    }

    readiness.unmet(condition::LISTENERS, "the node is stopping");
    let (gone, all_gone) = mpsc::channel::<()>();
    for shard in handles.iter() {
        shard.shut_down(gone.clone());
    }
    drop(gone);
    // Every shard drops its end when its last Client is gone.
    let _ = all_gone.recv_timeout(FAREWELL);
    for thread in threads {
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
    engine.sync().context("the last writes could not be synced")?;
    api.stop();
    tracing::info!("stopped");
    outcome
}

/// Which file and which slots, and what is done about it.
fn tell_of_damage(damage: &rocks::Damage) -> String {
    let rocks::Damage { note, gaps } = damage;
    let gaps = gaps.iter().map(|gap| {
        let (first, last) = gap.slots();
        let (family, rows) = (gap.family.name(), gap.keys.len());
        format!("family {family}, slots {first} to {last}: {rows} rows of {} cannot be read", gap.place)
    });
    let gaps: Vec<_> = gaps.collect();
    format!(
        "{} is damaged ({}); {}; files are not compacted meanwhile, so that writing goes on{WAY_OUT}",
        note.file,
        note.reason,
        gaps.join("; ")
    )
}

/// Says what an operator should know of who is let in, and to what.
fn tell_of_access(config: &Config, users: Option<usize>) {
    if let Some(users) = users {
        tracing::info!(users, file = %config.users_file().display(), "Clients are authenticated");
    }
    let open = config.access.rules.is_empty();
    if open && config.mqtt.iter().any(|listener| !listener.addr.ip().to_canonical().is_loopback()) {
        tracing::warn!(
            "there are no rules in [access]: whoever is let in may publish and subscribe everything"
        );
    }
}

fn shards_of(config: &Config) -> u16 {
    match config.node.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        shards => shards,
    }
    .clamp(1, usize::from(config.fleet.slots)) as u16
}

fn handshake_threads_of(config: &Config) -> usize {
    match config.node.handshake_threads {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
        threads => threads,
    }
}

fn share_descriptors(config: &Config) -> anyhow::Result<descriptors::Shares> {
    // Beside them the API, the sync and what runs on no shard.
    let threads = usize::from(shards_of(config)) + handshake_threads_of(config) + 4;
    let (threads, wanted) = (threads as u64, config.limits.connections);
    let shares = descriptors::divide(descriptors::raise(), threads, config.mqtt.len() as u64, wanted)?;
    let descriptors::Shares { limit, connections, .. } = shares;
    if connections < wanted {
        tracing::warn!(
            open_files = limit,
            connections,
            "the limit of open files leaves room for fewer connections than limits.connections; raise it (LimitNOFILE= of \
             systemd, ulimit -Hn), or lower limits.connections"
        );
    }
    metrics::gauge!(CONNECTIONS_LIMIT).set(f64::from(connections));
    limits::tell(&config.limits);
    Ok(shares)
}

fn open(config: &Config, sorted_files: u16) -> anyhow::Result<Rocks> {
    let data = &config.node.data;
    private::begin();
    std::fs::create_dir_all(data)
        .with_context(|| format!("the data folder {} cannot be made", data.display()))?;
    private::keep(data).with_context(|| format!("the data in {} cannot be used", data.display()))?;
    let options = rocks::Options {
        cache_bytes: config.storage.block_cache_bytes as usize,
        buffer_bytes: config.storage.write_buffer_bytes as usize,
        open_files: sorted_files,
        ..rocks::Options::default()
    };
    Rocks::open(data, &options).map_err(|error| {
        let way_out = if matches!(error, rocks::OpenError::Damaged { .. }) { WAY_OUT } else { "" };
        anyhow::Error::new(error).context(format!("the data in {} cannot be opened{way_out}", data.display()))
    })
}

/// Tells Clients under `$SYS` how the node is.
async fn tell(board: &Board, shards: &[ShardHandle], interval: Duration) {
    if interval.is_zero() {
        return;
    }
    let mut sys = Sys::new(board.state().node, interval);
    let mut every = tokio::time::interval(interval);
    loop {
        every.tick().await;
        let topics = Arc::new(sys.topics(&board.totals()));
        shards.iter().for_each(|shard| shard.told(Arc::clone(&topics)));
    }
}

/// Returns when nothing is written any more.
async fn stopped(database: &Rocks) {
    let mut every = tokio::time::interval(Duration::from_millis(100));
    while database.failure().is_none() {
        every.tick().await;
    }
}

/// Looks after what nobody reports: room on the disk, and how the shards are.
async fn watch(engine: &Rocks, board: &Board, readiness: &Readiness, wanted: u64) {
    let mut every = tokio::time::interval(Duration::from_millis(200));
    let mut unreadable = None;
    loop {
        every.tick().await;
        let space = engine.space().map_err(|error| error.to_string());
        metrics::gauge!(STORAGE_BUFFER_BYTES).set(engine.buffered_bytes() as f64);
        if let Ok(space) = &space {
            board.set_free_bytes(space.free);
        }
        if space.as_ref().err() != unreadable.as_ref() {
            unreadable = space.as_ref().err().cloned();
            match &unreadable {
                Some(error) => tracing::error!(%error, "free space cannot be read"),
                None => tracing::info!("free space can be read again"),
            }
        }
        match why_no_room(&space, board.is_stalled(), wanted) {
            None => readiness.met(condition::DISK),
            Some(reason) => readiness.unmet(condition::DISK, reason),
        }
        match board.why_not_ready() {
            None => readiness.met(condition::SLOTS),
            Some(reason) => readiness.unmet(condition::SLOTS, reason),
        }
    }
}

/// Looks once a second whether the data folder is still the one that was opened.
async fn watch_folder(data: &Path, readiness: &Readiness) {
    let folder = match Folder::opened(data) {
        Ok(folder) => Arc::new(folder),
        Err(error) => return tracing::warn!(%error, "the data folder cannot be watched"),
    };
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let mut is_lost = false;
    loop {
        every.tick().await;
        let folder = Arc::clone(&folder);
        // A disk that does not answer holds up this question, and nobody else.
        let reason = tokio::task::spawn_blocking(move || folder.why_lost()).await.unwrap_or_default();
        if let Some(reason) = reason.as_ref().filter(|_| !is_lost) {
            tracing::error!(%reason, "the data folder is lost");
        }
        is_lost = reason.is_some();
        match reason {
            None => readiness.met(condition::FOLDER),
            Some(reason) => readiness.unmet(condition::FOLDER, reason),
        }
    }
}

/// Why publishers are refused, or are about to be.
fn why_no_room(space: &Result<Space, String>, refuses: bool, wanted: u64) -> Option<String> {
    match space {
        Err(error) => Some(format!("free space cannot be read: {error}")),
        Ok(space) if refuses || space.free < wanted => Some(format!(
            "{} MiB are free, and storage.min_free_bytes is {} MiB: what adds to the disk is refused",
            space.free >> 20,
            wanted >> 20
        )),
        Ok(_) => None,
    }
}
