//! What glibc keeps for itself. RocksDB, which is C++, has its memory from glibc, and that sets 64 MiB of addresses
//! apart for each thread that asks: a node at rest used 1 GiB of them for 45 MB of memory, and one that may have no
//! more (`ulimit -v`, `LimitAS=`) was out of them under any load. Shards ask all the time and have an arena each; the
//! others share.
//!
//! Memory within an arena goes back to the system from its end alone, so that what RocksDB gave back stayed ours: beside
//! 30 MB of write buffers a node under a flood held 130 MB of arenas. Write buffers are made of blocks of up to 1 MiB, and
//! so are the buffers of its files; they are mapped one by one, and gone when they are freed. By itself glibc maps none of
//! that size any more once it has freed one.

/// Of all threads that are no shards.
const SHARED: libc::c_int = 2;

/// Blocks of this size and more are mapped by themselves, up to so many: a process has 65,530 mappings by default.
const MAPPED_BYTES: libc::c_int = 512 << 10;
const MAPPED: libc::c_int = 8192;

/// Bounds what glibc keeps; to be called before threads are started. `MALLOC_ARENA_MAX`, `MALLOC_MMAP_THRESHOLD_` and
/// `MALLOC_MMAP_MAX_` of the environment go before it.
pub fn bound(shards: u16) {
    set("MALLOC_ARENA_MAX", M_ARENA_MAX, libc::c_int::from(shards) + SHARED);
    set("MALLOC_MMAP_THRESHOLD_", M_MMAP_THRESHOLD, MAPPED_BYTES);
    set("MALLOC_MMAP_MAX_", M_MMAP_MAX, MAPPED);
}

#[cfg(target_env = "gnu")]
use libc::{M_ARENA_MAX, M_MMAP_MAX, M_MMAP_THRESHOLD};

#[cfg(target_env = "gnu")]
fn set(variable: &'static str, parameter: libc::c_int, value: libc::c_int) {
    if std::env::var_os(variable).is_some() {
        return;
    }
    // SAFETY: mallopt takes two integers and changes a number within glibc, which is read when memory is asked for.
    #[allow(unsafe_code)]
    let is_set = unsafe { libc::mallopt(parameter, value) };
    if is_set == 0 {
        tracing::warn!(variable, value, "glibc does not bound what it keeps: the node holds more memory");
    }
}

/// Other libraries keep less.
#[cfg(not(target_env = "gnu"))]
const M_ARENA_MAX: libc::c_int = 0;
#[cfg(not(target_env = "gnu"))]
const M_MMAP_MAX: libc::c_int = 0;
#[cfg(not(target_env = "gnu"))]
const M_MMAP_THRESHOLD: libc::c_int = 0;
#[cfg(not(target_env = "gnu"))]
fn set(_: &'static str, _: libc::c_int, _: libc::c_int) {}
