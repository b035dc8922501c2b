//! The source files of the workspace, read from disk.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file.
pub(crate) struct Source {
    /// From the root of the workspace, with `/` between folders.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Lines of code with their numbers from 1: no blank lines, no comments, nothing from the unit tests at the end of the file.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let end = lines
            .windows(2)
            .position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].trim().ends_with('{'))
            .unwrap_or(lines.len());
        let numbered = lines.into_iter().take(end).enumerate().map(|(at, line)| (at + 1, line));
        numbered.filter(|(_, line)| {
            let line = line.trim_start();
            !line.is_empty() && !line.starts_with("//")
        })
    }

    /// The crate's folder under `crates/`.
    pub(crate) fn krate(&self) -> &str {
        self.path.split('/').nth(1).unwrap_or_default()
    }

    /// Whether it is part of the crate itself and not of its tests or benches.
    pub(crate) fn is_product(&self) -> bool {
        self.path.split('/').nth(2) == Some("src")
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A text file of the workspace.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The folders under `crates/`, sorted.
pub(crate) fn crates() -> Vec<String> {
    let entries = fs::read_dir(root().join("crates")).expect("the workspace has a folder crates");
    let names = entries.map(|entry| entry.expect("a folder can be listed"));
    let mut names: Vec<String> = names
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// All Rust files of all crates but those of this test, which name what they look for.
pub(crate) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for name in crates() {
        walk(&root(), &format!("crates/{name}"), &mut found);
    }
    found.retain(|source| !source.path.starts_with("crates/testkit/tests/architecture/"));
    assert!(found.len() > 100, "only {} files were found", found.len());
    found
}

fn walk(root: &Path, folder: &str, found: &mut Vec<Source>) {
    let entries = fs::read_dir(root.join(folder)).expect("a folder of the workspace can be listed");
    for entry in entries {
        let entry = entry.expect("a folder can be listed");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() && !path.ends_with("/target") {
            walk(root, &path, found);
        } else if path.ends_with(".rs") {
            let text = read(&path);
            found.push(Source { path, text });
        }
    }
}
