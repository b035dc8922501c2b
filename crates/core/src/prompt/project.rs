//! A project's own words for the model: `AGENTS.md` from the repository's root down to the folder, bounded. They are words and nothing else: no
//! setting is read from them.

use std::path::{Path, PathBuf};

use crate::limits::{PROMPT_FILE_BYTES, PROMPT_PROJECT_BYTES};
use crate::ports::files::{FileError, FileKind, FileStat, Files};
use crate::prompt::PromptError;

/// The file that is collected from the repository's root down to the folder.
pub const PROJECT_PROMPT_FILE: &str = "AGENTS.md";
/// What stands in for it in a folder that lacks it.
const FALLBACK_FILE: &str = "CLAUDE.md";

/// The words of the project of `cwd`: [`PROJECT_PROMPT_FILE`], or `CLAUDE.md` in a folder that lacks it, of every folder from the repository's root
/// (the nearest ancestor with a `.git` that `files` may see) down to `cwd`; without a repository that of `cwd` alone. `None` when there is none.
///
/// A file gives its first [`PROMPT_FILE_BYTES`] and all together [`PROMPT_PROJECT_BYTES`], the folder's own first; what was left out is said. Bytes
/// that are no text are replaced. A link that leads out of what `files` may see is left out.
///
/// # Errors
/// [`PromptError::Project`] when a file is there and cannot be read.
pub async fn load_project_prompt(
    cwd: &Path,
    files: &dyn Files,
) -> Result<Option<String>, PromptError> {
    let root = root(cwd, files).await?;
    let mut collected = Collected::new(&root);
    for folder in cwd.ancestors().take_while(|folder| folder.starts_with(&root)) {
        for name in [PROJECT_PROMPT_FILE, FALLBACK_FILE] {
            if collected.take(&folder.join(name), files).await? {
                break;
            }
        }
    }
    Ok(collected.words())
}

/// The words of one file, relative to `cwd`; `None` when it is not there.
pub(super) async fn load_file(
    cwd: &Path,
    file: &Path,
    files: &dyn Files,
) -> Result<Option<String>, PromptError> {
    let mut collected = Collected::new(cwd);
    collected.take(&cwd.join(file), files).await?;
    Ok(collected.words())
}

/// What is at a path that has to be a regular file.
pub(super) async fn regular(path: &Path, files: &dyn Files) -> Result<FileStat, FileError> {
    let stat = files.stat(path).await?;
    let found = match stat.kind {
        FileKind::File => return Ok(stat),
        FileKind::Folder => "a folder",
        FileKind::Other => "a device, socket or pipe",
    };
    Err(FileError::WrongKind { path: path.to_owned(), found })
}

/// The nearest ancestor with a `.git`, else the folder itself. Where `files` sees nothing, there is nothing to be found further up.
async fn root(cwd: &Path, files: &dyn Files) -> Result<PathBuf, PromptError> {
    for folder in cwd.ancestors() {
        match files.stat(&folder.join(".git")).await {
            Ok(_) => return Ok(folder.to_owned()),
            Err(FileError::NotFound { .. }) => {}
            Err(FileError::Outside { .. }) => break,
            Err(source) => return Err(PromptError::Project { source }),
        }
    }
    Ok(cwd.to_owned())
}

/// What was read so far, the folder's own first.
struct Collected<'a> {
    root: &'a Path,
    texts: Vec<String>,
    bytes_left: usize,
}

impl<'a> Collected<'a> {
    fn new(root: &'a Path) -> Self {
        Self { root, texts: Vec::new(), bytes_left: PROMPT_PROJECT_BYTES }
    }

    /// Takes a file; whether it is there at all.
    async fn take(&mut self, path: &Path, files: &dyn Files) -> Result<bool, PromptError> {
        let failed = |source| PromptError::Project { source };
        let name = path.strip_prefix(self.root).unwrap_or(path).display();
        let stat = match regular(path, files).await {
            Ok(stat) => stat,
            Err(FileError::NotFound { .. }) => return Ok(false),
            Err(FileError::Outside { .. }) => {
                self.texts.push(format!("({name} was left out: it is outside of the project.)"));
                return Ok(true);
            }
            Err(source) => return Err(failed(source)),
        };
        let wanted = PROMPT_FILE_BYTES.min(self.bytes_left);
        let bytes = files.read(path, 0, wanted).await.map_err(failed)?;
        self.bytes_left -= bytes.len().min(wanted);
        let is_cut = bytes.len() as u64 != stat.bytes && bytes.len() == wanted;
        let words = text(&bytes, is_cut);
        let words = words.trim();
        if is_cut {
            let (taken, of) = (bytes.len(), stat.bytes);
            self.texts.push(format!(
                "## {name}\n\n{words}\n\n(The rest of {name} was left out: {taken} of its {of} bytes are above.)"
            ));
        } else if !words.is_empty() {
            self.texts.push(format!("## {name}\n\n{words}"));
        }
        Ok(true)
    }

    /// All words, the root's first.
    fn words(self) -> Option<String> {
        let texts: Vec<String> = self.texts.into_iter().rev().collect();
        (!texts.is_empty()).then(|| texts.join("\n\n"))
    }
}

/// The tag around a project's words.
const TAG: &str = "project_instructions";

/// A project's words between tags. What could close them inside is escaped, so that the words cannot pass for another section.
pub(super) fn enclosed(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    for (index, piece) in words.split('<').enumerate() {
        if index > 0 {
            escaped.push_str(if closes(piece) { "&lt;" } else { "<" });
        }
        escaped.push_str(piece);
    }
    format!("<{TAG}>\n{}\n</{TAG}>", escaped.trim())
}

/// Whether this, behind a `<`, begins a closing tag: in any case, and with white space where a reader would overlook it.
fn closes(rest: &str) -> bool {
    let name = rest.trim_start().strip_prefix('/').map(str::trim_start);
    name.and_then(|name| name.get(..TAG.len())).is_some_and(|name| name.eq_ignore_ascii_case(TAG))
}

/// The bytes as text, lossily; a character that a cut has halved is left out.
pub(super) fn text(bytes: &[u8], is_cut: bool) -> String {
    let halved = bytes.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
    let whole = if is_cut { &bytes[..bytes.len() - halved] } else { bytes };
    String::from_utf8_lossy(whole).into_owned()
}
