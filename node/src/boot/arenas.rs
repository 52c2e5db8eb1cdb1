//! The addresses that glibc reserves. RocksDB, which is C++, has its memory from glibc, and that sets 64 MiB of addresses
//! apart for each thread that asks: a node at rest used 1 GiB of them for 45 MB of memory, and one that may have no
//! more (`ulimit -v`, `LimitAS=`) was out of them under any load. Shards ask all the time and have an arena each; the
//! others share.

/// Of all threads that are no shards.
const SHARED: libc::c_int = 2;

/// Bounds the number of arenas; to be called before threads are started. `MALLOC_ARENA_MAX` of the environment goes
/// before it.
pub fn bound(shards: u16) {
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        set(libc::c_int::from(shards) + SHARED);
    }
}

#[cfg(target_env = "gnu")]
fn set(arenas: libc::c_int) {
    // SAFETY: mallopt takes two integers and changes a number within glibc, which is read when a thread gets an arena.
    #[allow(unsafe_code)]
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    if is_set == 0 {
        tracing::warn!(arenas, "glibc does not bound its arenas: the node reserves more addresses");
    }
}

/// Other libraries reserve none.
#[cfg(not(target_env = "gnu"))]
fn set(_: libc::c_int) {}
