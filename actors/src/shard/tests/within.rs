//! Within one shard.

use super::*;

type World = super::World<1>;

#[path = "access.rs"]
mod access;
#[path = "admitting.rs"]
mod admitting;
#[path = "adopting.rs"]
mod adopting;
#[path = "between.rs"]
mod between;
#[path = "casting.rs"]
mod casting;
#[path = "catching_up.rs"]
mod catching_up;
#[path = "connecting.rs"]
mod connecting;
#[path = "copying.rs"]
mod copying;
#[path = "crediting.rs"]
mod crediting;
#[path = "cutting.rs"]
mod cutting;
#[path = "declining.rs"]
mod declining;
#[path = "delivering.rs"]
mod delivering;
#[path = "features.rs"]
mod features;
#[path = "fleet.rs"]
mod fleet;
#[path = "flowing.rs"]
mod flowing;
#[path = "full_disk.rs"]
mod full_disk;
#[path = "giving.rs"]
mod giving;
#[path = "holding.rs"]
mod holding;
#[path = "late.rs"]
mod late;
#[path = "late_connects.rs"]
mod late_connects;
#[path = "listing.rs"]
mod listing;
#[path = "malformed.rs"]
mod malformed;
#[path = "moving.rs"]
mod moving;
#[path = "opening.rs"]
mod opening;
#[path = "ordering.rs"]
mod ordering;
#[path = "overflowing.rs"]
mod overflowing;
#[path = "parting.rs"]
mod parting;
#[path = "placing.rs"]
mod placing;
#[path = "publishing.rs"]
mod publishing;
#[path = "querying.rs"]
mod querying;
#[path = "racing.rs"]
mod racing;
#[path = "refusing.rs"]
mod refusing;
#[path = "restarting.rs"]
mod restarting;
#[path = "retaining.rs"]
mod retaining;
#[path = "salvaging.rs"]
mod salvaging;
#[path = "schedules/mod.rs"]
mod schedules;
#[path = "sessions.rs"]
mod sessions;
#[path = "several.rs"]
mod several;
#[path = "sharing.rs"]
mod sharing;
#[path = "silent.rs"]
mod silent;
#[path = "starving.rs"]
mod starving;
#[path = "storing.rs"]
mod storing;
#[path = "storming.rs"]
mod storming;
#[path = "subscribing.rs"]
mod subscribing;
#[path = "telling.rs"]
mod telling;
#[path = "twins.rs"]
mod twins;
#[path = "unfinished.rs"]
mod unfinished;
#[path = "unread.rs"]
mod unread;
#[path = "upgrading.rs"]
mod upgrading;
#[path = "versions.rs"]
mod versions;
#[path = "walking.rs"]
mod walking;
#[path = "wills.rs"]
mod wills;
#[path = "workers.rs"]
mod workers;
