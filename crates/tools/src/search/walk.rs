//! Walks the files below a folder, by the rules of ignore files, up to a number of entries, and never through a link.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use globset::{GlobBuilder, GlobMatcher};
use ignore::{DirEntry, WalkBuilder};

use super::{Findings, Job, Refusal};
use crate::place;

/// A file that the walk came by.
pub(super) struct Seen {
    /// Its real path.
    pub(super) path: PathBuf,
    /// How it is shown.
    pub(super) shown: String,
    pub(super) entry: DirEntry,
}

/// How the walk ended.
pub(super) struct Walked {
    pub(super) entries: usize,
    pub(super) cut: bool,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    Stop,
}

/// Calls `visit` for each file that fits `path_glob`, in the order of their paths.
pub(super) fn walk(job: &Job, mut visit: impl FnMut(Seen) -> Next) -> Result<Walked, Refusal> {
    let query = &job.query;
    let found = job.roots.find(&query.start).map_err(|error| Refusal::Words(error.to_string()))?;
    let start = found.path().to_owned();
    let glob = query.path_glob.as_deref().map(glob).transpose()?;
    let mut entries = 0;
    for entry in builder(&start, query.respect_gitignore).build() {
        if job.cancel.is_cancelled() {
            return Err(Refusal::Cancelled);
        }
        entries += 1;
        if entries > job.limits.max_walk_files {
            return Ok(Walked { entries, cut: true });
        }
        // What cannot be read is passed over, as ripgrep does.
        let Ok(entry) = entry else { continue };
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path().to_owned();
        let below = path.strip_prefix(&start).unwrap_or(&path);
        let named = if below.as_os_str().is_empty() {
            query.start.clone()
        } else {
            query.start.join(below)
        };
        let shown = place::shown(&named, &job.place);
        let name = Path::new(&shown);
        if glob.as_ref().is_some_and(|glob| !glob.is_match(name) && !glob.is_match(below)) {
            continue;
        }
        if visit(Seen { path, shown, entry }) == Next::Stop {
            break;
        }
    }
    Ok(Walked { entries, cut: false })
}

fn builder(start: &Path, respect_gitignore: bool) -> WalkBuilder {
    let mut builder = WalkBuilder::new(start);
    builder.follow_links(false).hidden(false).require_git(false);
    builder.git_ignore(respect_gitignore).git_exclude(respect_gitignore).ignore(respect_gitignore);
    // The user's own global rules lie outside the session's folders.
    builder.parents(respect_gitignore).git_global(false);
    builder.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git");
    builder.sort_by_file_path(Ord::cmp);
    builder
}

/// A glob on paths; one without a slash is for names at any depth.
pub(super) fn glob(pattern: &str) -> Result<GlobMatcher, Refusal> {
    let anywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
    let glob = GlobBuilder::new(anywhere.trim_start_matches("./")).literal_separator(true).build();
    Ok(glob.map_err(|error| Refusal::Words(error.to_string()))?.compile_matcher())
}

/// The files whose path fits the pattern, newest first.
pub(super) fn newest(job: &Job) -> Result<Findings, Refusal> {
    let pattern = glob(&job.query.pattern)?;
    let mut files: Vec<(SystemTime, String)> = Vec::new();
    let walked = walk(job, |seen| {
        let below = seen.path.strip_prefix(&job.query.start).unwrap_or(&seen.path);
        if pattern.is_match(&seen.shown) || pattern.is_match(below) {
            let modified = seen.entry.metadata().ok().and_then(|meta| meta.modified().ok());
            files.push((modified.unwrap_or(SystemTime::UNIX_EPOCH), seen.shown));
        }
        Next::Continue
    })?;
    files.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    let found = files.len();
    let mut text = String::new();
    let mut count = 0;
    for (_, path) in files.iter().take(job.query.head_limit) {
        if text.len() + path.len() > job.limits.max_result_bytes {
            break;
        }
        text.push_str(path);
        text.push('\n');
        count += 1;
    }
    let cut = match (walked.cut, count < found) {
        (true, _) => Some("the walk was stopped; give a path"),
        (_, true) => Some("the limit is reached"),
        (false, false) => None,
    };
    Ok(Findings { text, count, files_seen: walked.entries, cut })
}
