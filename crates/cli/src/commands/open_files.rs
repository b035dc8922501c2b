//! How many files a server may have open: as many as the machine lets it, and no more connections than that leaves room for.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::complain;

/// Files for what is no connection: journals, bodies, models, commands.
const RESERVED: u64 = 512;

/// What this process could open before it raised that.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// How many files commands may open, where this process raised its own limit: programs that use `select` or close every number they may have are not
/// written for more.
pub(crate) fn of_commands() -> Option<u64> {
    BEFORE.get().copied()
}

/// Raises the limit of open files as far as this process may, and not that of its commands; how many of so many connections there is room for. At most
/// half of a low limit is kept from them.
pub(super) fn room_for(wanted: u32) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match (setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }), current) {
        (Ok(()), Some(current)) => {
            BEFORE.get_or_init(|| current);
        }
        (Ok(()), None) => {}
        (Err(error), _) => tracing::debug!(%error, "the limit of open files stays as it is"),
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = files.saturating_sub(RESERVED).max(files / 2);
    let kept = u64::from(wanted).min(most);
    if kept < u64::from(wanted) {
        complain(&format!(
            "{kept} connections are kept at a time, and not {wanted}: this process may have {files} files open; `ulimit -Hn` allows more"
        ));
    }
    usize::try_from(kept).unwrap_or(usize::MAX)
}
