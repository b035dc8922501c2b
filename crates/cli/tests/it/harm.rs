//! The program under harm: a library of our own, loaded before the others, that kills it or fails its calls at a chosen moment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::home::{Home, Ran, ran};

/// The harmful library, compiled once.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/shim/harm.c");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (built, library) =
            (folder.join(format!("harm-{}.so", std::process::id())), folder.join("harm.so"));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&built).arg(source).arg("-ldl");
        let status = compiler.status().unwrap();
        assert!(status.success(), "the C compiler failed on {source}");
        std::fs::rename(&built, &library).unwrap();
        library
    })
}

/// A command that meets with harm, for example `sync:3:kill-before`.
pub(crate) fn harmed(home: &Home, harm: &str) -> Command {
    let mut command = home.command();
    command.env("LD_PRELOAD", library()).env("HARM", harm).env("HARMED", home.path("harmed"));
    command
}

/// Whether the harm happened: the program came to the chosen moment.
pub(crate) fn was_harmed(home: &Home) -> bool {
    home.path("harmed").exists()
}

/// The entries among lines of `--json`.
pub(crate) fn entries(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| line.get("entry").cloned())
        .collect()
}

/// The bodies of a kind of entry.
pub(crate) fn of_kind<'a>(entries: &'a [Value], kind: &str) -> Vec<&'a Value> {
    entries
        .iter()
        .filter(|entry| entry["event"]["type"] == kind)
        .map(|entry| &entry["event"]["data"])
        .collect()
}

/// The only session of a home, if it has one.
pub(crate) fn session(home: &Home) -> Option<String> {
    let listed = home.run(&["session", "list", "--all", "--json"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    let rows: Vec<Value> =
        listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.len() <= 1, "{rows:?}");
    rows.first().map(|row| row["id"].as_str().unwrap().to_owned())
}

/// What the journal of a session holds. Its entries are numbered without gaps.
pub(crate) fn journal(home: &Home, id: &str) -> Vec<Value> {
    let shown = home.run(&["session", "show", id, "--json"]);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    let entries = entries(&shown.out);
    let numbers: Vec<u64> = entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=entries.len() as u64).collect::<Vec<_>>());
    entries
}

/// Runs a command to its end.
pub(crate) fn output(mut command: Command, arguments: &[&str]) -> Ran {
    ran(&command.args(arguments).output().unwrap())
}
