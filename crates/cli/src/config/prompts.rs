//! Prompts in files: `prompts/NAME.md` beside the user's configuration, and in a project's `.oarlock` folder once the user trusts it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use oarlock_core::limits::PROMPT_FILE_BYTES;
use oarlock_core::prompt::slash::{BUILT_IN, PromptFile, is_name};

use super::{Loaded, Standing};

/// Files of one folder; further ones are left out, and that is said.
const FILES_MAX: usize = 200;

/// A file that is meant to be a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its text, or why there is none, in words for a person.
    pub text: Result<String, String>,
}

/// Whether links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// They are: a person may keep prompts elsewhere.
    Followed,
    /// They are not: a project's files are the project's own.
    Refused,
}

/// The `*.md` files of a folder, by their names; none when there is no such folder.
#[must_use]
pub fn find(folder: &Path, links: Links) -> Vec<Found> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.sort();
    let too_many = paths.split_off(paths.len().min(FILES_MAX)).into_iter().next();
    let left_out = |path| Found {
        path,
        text: Err(format!("it and what follows it are left out: {FILES_MAX} files are taken")),
    };
    let read = |path: PathBuf| Found { text: text(&path, links), path };
    paths.into_iter().map(read).chain(too_many.map(left_out)).collect()
}

fn text(path: &Path, links: Links) -> Result<String, String> {
    let found = match links {
        Links::Followed => std::fs::metadata(path),
        Links::Refused => std::fs::symlink_metadata(path),
    };
    if !found.map_err(|error| error.to_string())?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let bounded = &mut file.take(PROMPT_FILE_BYTES as u64 + 1);
    bounded.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > PROMPT_FILE_BYTES {
        return Err("it has more than 64 KiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// The prompts that may be used, and a line for each file that is none. The user's own go before a project's of the same name.
#[must_use]
pub fn load(loaded: &Loaded) -> (Vec<PromptFile>, Vec<String>) {
    let own = loaded.user_file.parent().map(|folder| folder.join("prompts"));
    let mut found = own.map_or_else(Vec::new, |folder| find(&folder, Links::Followed));
    let mut problems = Vec::new();
    match loaded.project.standing {
        Standing::Trusted => found.extend(loaded.project.prompts.iter().cloned()),
        Standing::Changed | Standing::Untrusted if !loaded.project.prompts.is_empty() => {
            problems.push(format!(
                "the prompts in {} are not used; see `oarlock trust --show`, then `oarlock trust`",
                loaded.project.root.join(".oarlock/prompts").display()
            ));
        }
        Standing::Nothing | Standing::Changed | Standing::Untrusted => {}
    }
    let mut prompts: Vec<PromptFile> = Vec::new();
    for Found { path, text } in found {
        match text.and_then(|text| parse(&path, &text)) {
            Ok(prompt) if prompts.iter().any(|known| known.name == prompt.name) => {
                problems.push(format!("{}: your own prompt of this name is used", path.display()));
            }
            Ok(prompt) => prompts.push(prompt),
            Err(why) => problems.push(format!("{}: {why}", path.display())),
        }
    }
    (prompts, problems)
}

/// Reads a prompt: lines `key: value` between two lines `---` at its beginning, if it begins so, and the prompt itself.
///
/// # Errors
/// Why it is none, in words for a person. A key that is not understood is refused.
pub fn parse(path: &Path, text: &str) -> Result<PromptFile, String> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| is_name(name));
    let name = name.ok_or("its name is no word of letters, digits, `-`, `_`, `.` and `:`")?;
    if BUILT_IN.iter().any(|known| known.name == name) {
        return Err(format!("/{name} is always there and means something else; rename the file"));
    }
    let (mut description, mut argument_hint, mut body) = (None, None, text);
    if let Some(rest) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) {
        let mut lines = rest.split_inclusive('\n');
        let mut read = 0;
        loop {
            let line = lines.next().ok_or("the line `---` that ends its head is missing")?;
            read += line.len();
            let line = line.trim();
            if line == "---" {
                break;
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line
                .split_once(':')
                .ok_or_else(|| format!("`{line}` in its head is no `key: value`"))?;
            let value = Some(unquoted(value.trim()).to_owned()).filter(|value| !value.is_empty());
            match key.trim() {
                "description" => description = value,
                "argument-hint" => argument_hint = value,
                other => {
                    return Err(format!(
                        "its head has the key `{other}`; description and argument-hint are understood"
                    ));
                }
            }
        }
        body = &rest[read..];
    }
    let body = body.trim().to_owned();
    if body.is_empty() {
        return Err("it says nothing".to_owned());
    }
    Ok(PromptFile { name: name.to_owned(), description, argument_hint, body })
}

fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_has_a_name_a_head_and_a_body() {
        let parsed = |name: &str, text: &str| {
            let prompt = parse(Path::new(name), text)?;
            Ok((prompt.name, prompt.description, prompt.argument_hint, prompt.body))
        };
        let some = |text: &str| Some(text.to_owned());
        let whole = "---\ndescription: \"Fix: an issue\"\nargument-hint: [number] [urgency]\n\n# c\n---\n\nFix $1.\n";
        assert_eq!(
            parsed("p/fix-it.md", whole),
            Ok((
                "fix-it".into(),
                some("Fix: an issue"),
                some("[number] [urgency]"),
                "Fix $1.".into()
            ))
        );
        assert_eq!(parsed("a.md", "Do it."), Ok(("a".into(), None, None, "Do it.".into())));
        assert_eq!(parsed("a.md", "---\r\n---\r\nx"), Ok(("a".into(), None, None, "x".into())));
        let table = [
            ("two words.md", "x", "its name"),
            (".md", "x", "its name"),
            ("usage.md", "x", "/usage is always there"),
            ("a.md", "---\nmodel: m\n---\nx", "the key `model`"),
            ("a.md", "---\ndescription: d\n", "`---`"),
            ("a.md", "---\nwords\n---\nx", "no `key: value`"),
            ("a.md", " \n", "it says nothing"),
        ];
        for (name, text, why) in table {
            let error: String = parsed(name, text).unwrap_err();
            assert!(error.contains(why), "{name} {text:?}: {error}");
        }
    }
}
