//! The `SKILL.md` files of a folder of skills. Nothing in them is understood here.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A `SKILL.md` may have this many bytes.
pub const SKILL_BYTES_MAX: usize = 128 * 1024;
/// Skills of one folder; further ones are left out, and that is said.
pub const SKILLS_MAX: usize = 200;
/// Names that are looked at in one folder.
const NAMES_MAX: usize = 5_000;
/// How the file is called.
const FILE_NAMES: [&str; 2] = ["SKILL.md", "skill.md"];

/// Whose word a skill is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The user's own folders.
    User,
    /// A folder that the user's configuration names.
    Extra,
    /// The project's folders; they count once the user trusts the project.
    Project,
}

/// Where links may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links<'a> {
    /// Anywhere: people keep their own skills elsewhere.
    Anywhere,
    /// Not out of this canonical folder: what a project has is its own.
    Within(&'a Path),
}

/// A file that is meant to be a skill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name of its folder, as it is listed.
    pub name: String,
    /// The canonical folder, or the one that was listed when it has none.
    pub folder: PathBuf,
    /// Whose word it is.
    pub source: Source,
    /// Its text, or why there is none, in words for a person.
    pub text: Result<String, String>,
}

/// The skills of a folder, by their names; none when there is no such folder. Folders without a `SKILL.md` and hidden ones are none.
#[must_use]
pub fn find(folder: &Path, source: Source, links: Links<'_>) -> Vec<Found> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.take(NAMES_MAX).filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let listed = folder.join(&name);
        let Some(file) =
            FILE_NAMES.iter().map(|file| listed.join(file)).find(|file| is_there(file))
        else {
            continue;
        };
        if found.len() == SKILLS_MAX {
            let why = format!("it and what follows it are left out: {SKILLS_MAX} skills are taken");
            found.push(Found { name, folder: listed, source, text: Err(why) });
            break;
        }
        let (folder, text) = match listed.canonicalize() {
            Ok(folder) => {
                let text = text(&folder, &file, links);
                (folder, text)
            }
            Err(error) => (listed, Err(error.to_string())),
        };
        found.push(Found { name, folder, source, text });
    }
    found
}

/// Whether something has this name, be it a link to nowhere.
fn is_there(file: &Path) -> bool {
    match std::fs::symlink_metadata(file) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

fn text(folder: &Path, file: &Path, links: Links<'_>) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let file = file.canonicalize().map_err(words)?;
    if let Links::Within(root) = links
        && !(folder.starts_with(root) && file.starts_with(root))
    {
        return Err("a link leads out of the project".to_owned());
    }
    if !std::fs::metadata(&file).map_err(words)?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let opened = File::open(&file).map_err(words)?;
    opened.take(SKILL_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(words)?;
    if bytes.len() > SKILL_BYTES_MAX {
        return Err("it has more than 128 KiB; move parts of it to files beside it".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}
