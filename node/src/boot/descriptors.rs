//! Descriptors: as many as the kernel allows, and who gets them. A storage engine that cannot open a file has failed for
//! good, so what the node itself needs is set aside first, and Clients share the rest: a connection that is refused can
//! come again.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files of the engine beside its sorted ones: logs, the manifest, what is written out and compacted.
const ENGINE_FILES: u64 = 48;

/// Standard streams, the data folder, users, certificates, the configuration while it is read.
const OWN_FILES: u64 = 24;

/// A runtime's epoll, what wakes it, and room for what a thread reads now and then.
const THREAD_FILES: u64 = 5;

/// Fewer are no service.
const CONNECTIONS_LEAST: u64 = 64;

/// Who gets how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// What the kernel allows.
    pub limit: u64,
    /// Network Connections of Clients.
    pub connections: u32,
    /// Connections of operators and their tools.
    pub api: u16,
    /// Sorted files that the engine holds open.
    pub sorted_files: u16,
}

/// Too few for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{limit} open files are allowed, and {needed} are needed at least: raise it with ulimit -n, or LimitNOFILE= of systemd"
)]
pub struct TooFew {
    limit: u64,
    needed: u64,
}

/// Raises the limit as far as a process may, and says what it is then.
pub fn raise() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
        limit.current = before;
    }
    limit.current.unwrap_or(u64::MAX)
}

/// Divides `limit` for a node with so many threads and listeners. Of few descriptors the engine and the API take less.
pub fn divide(limit: u64, threads: u64, listeners: u64, connections: u32) -> Result<Shares, TooFew> {
    let sorted_files = (limit / 8).clamp(32, 512);
    let api = (limit / 16).clamp(16, 256);
    // A connection is accepted before it is refused.
    let own = OWN_FILES + ENGINE_FILES + threads * THREAD_FILES + listeners * 2 + sorted_files + api;
    let left = limit.saturating_sub(own);
    if left < CONNECTIONS_LEAST {
        return Err(TooFew { limit, needed: own + CONNECTIONS_LEAST });
    }
    Ok(Shares {
        limit,
        connections: u32::try_from(left).unwrap_or(u32::MAX).min(connections),
        api: api as u16,
        sorted_files: sorted_files as u16,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_are_mostly_for_clients_and_never_all() {
        let shares = divide(1024, 4, 1, 1_000_000).unwrap();
        assert_eq!((shares.sorted_files, shares.api), (128, 64));
        assert!((700..1024 - 128 - 64).contains(&shares.connections), "{shares:?}");
    }

    #[test]
    fn with_many_descriptors_the_configured_limit_holds() {
        let shares = divide(1 << 20, 4, 3, 1_000_000).unwrap();
        assert_eq!(shares, Shares { limit: 1 << 20, connections: 1_000_000, api: 256, sorted_files: 512 });
        assert_eq!(divide(u64::MAX, 4, 3, u32::MAX).unwrap().connections, u32::MAX);
    }

    #[test]
    fn too_few_are_refused_with_the_number_that_is_needed() {
        let TooFew { needed, .. } = divide(128, 4, 1, 1000).unwrap_err();
        assert!(divide(needed, 4, 1, 1000).is_ok());
        assert!(needed < 512, "{needed}");
    }
}
