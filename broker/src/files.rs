//! How many files this process may have open, and how many of them may be clients' connections.
//!
//! A log that can't open a file stops the broker, as a failed disk does. So connections, which
//! anyone can open, never get all that the system allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Files that are kept for logs, peers, the operator and probes, at most; half of what is allowed
/// where that is less.
const RESERVED_MAX: u64 = 8192;
/// Where clients may have fewer connections than this, somebody should know.
const CONNECTIONS_FEW: usize = 4096;

/// Raises what this process may open as far as it may by itself, and gives how many connections
/// each of so many doors may have.
pub(crate) fn connections_max(doors: usize) -> usize {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, maximum: found.maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => found.maximum,
        Err(_) => found.current,
    };
    let each = share(allowed, doors);
    if each < CONNECTIONS_FEW {
        let open_files = allowed.unwrap_or(u64::MAX);
        warn!(open_files, connections = each, "few files may be opened: raise `ulimit -n`");
    } else {
        info!(open_files = ?allowed, connections = each, "files that may be opened");
    }
    each
}

/// What one of so many doors may have of so many files; `None`: no bound.
fn share(allowed: Option<u64>, doors: usize) -> usize {
    let allowed = allowed.unwrap_or(u64::MAX);
    let left = allowed - RESERVED_MAX.min(allowed / 2);
    usize::try_from(left).unwrap_or(usize::MAX) / doors.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_get_all_files() {
        assert_eq!(share(Some(1024), 1), 512);
        assert_eq!(share(Some(1024), 2), 256);
        assert_eq!(share(Some(20_000), 1), 11_808);
        assert_eq!(share(None, 1), usize::try_from(u64::MAX - RESERVED_MAX).unwrap());
    }
}
