//! How many files a server may have open: as many as the machine lets it, and no more connections than that leaves room for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::complain;

/// Files for what is no connection: journals, bodies, models, commands.
const RESERVED: u64 = 512;

/// Raises the limit of open files as far as this process may, which its commands inherit; how many of so many connections there is room for. At most
/// half of a low limit is kept from them.
pub(super) fn room_for(wanted: u32) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
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
