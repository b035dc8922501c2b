//! What each file has to keep: functions from a file to its complaints, each with file, line and remedy.

use crate::source::Source;

/// Most lines of code in a file.
pub(crate) const LONGEST: usize = 500;

/// All rules.
pub(crate) const RULES: [fn(&Source) -> Vec<String>; 7] =
    [opening, length, name, purity, leftovers, environment, connections];

/// Parts of core and models that decide and never act.
const PURE: [&str; 12] = [
    "crates/core/src/session/state.rs",
    "crates/core/src/session/decide.rs",
    "crates/core/src/session/plan.rs",
    "crates/core/src/session/context.rs",
    "crates/models/src/anthropic/",
    "crates/models/src/gemini/",
    "crates/models/src/openai_chat/",
    "crates/models/src/classify.rs",
    "crates/models/src/codec.rs",
    "crates/models/src/item.rs",
    "crates/models/src/quirks.rs",
    "crates/models/src/sse.rs",
];

/// The pure files and folders, so that a renamed one is missed.
pub(crate) fn pure_places() -> &'static [&'static str] {
    &PURE
}

const EFFECTS: [&str; 9] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "spawn(",
];

const NAMELESS: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "manager", "misc"];

fn complaint(source: &Source, line: usize, words: &str) -> String {
    format!("{}:{line}: {words}", source.path)
}

fn opening(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![complaint(source, 1, "begin with a `//!` line that says what the file is")]
}

fn length(source: &Source) -> Vec<String> {
    let lines: Vec<usize> = source.code().map(|(number, _)| number).collect();
    if !source.is_product() || lines.len() <= LONGEST {
        return Vec::new();
    }
    let words = format!(
        "line {} of {} lines of code; {LONGEST} are the most: give one of its ideas a file of its own",
        LONGEST + 1,
        lines.len()
    );
    vec![complaint(source, lines[LONGEST], &words)]
}

fn name(source: &Source) -> Vec<String> {
    let parts = source.path.trim_end_matches(".rs").split('/');
    let banned = parts.filter(|part| NAMELESS.contains(part) || *part == "types");
    let words = |part: &str| format!("`{part}` says nothing: name it after what it holds");
    banned.map(|part| complaint(source, 1, &words(part))).collect()
}

fn purity(source: &Source) -> Vec<String> {
    if !PURE.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let found = source.code().flat_map(|(number, line)| {
        EFFECTS.iter().filter(move |effect| line.contains(**effect)).map(move |e| (number, *e))
    });
    let words = |e: &str| {
        format!(
            "`{e}` in a file that decides and does not act: move it behind a port or into `turn/`"
        )
    };
    found.map(|(number, effect)| complaint(source, number, &words(effect))).collect()
}

fn leftovers(source: &Source) -> Vec<String> {
    let banned = [
        ("#[allow(", "write `#[expect(lint, reason = \"…\")]`"),
        ("#![allow(", "write `#[expect(lint, reason = \"…\")]` at the place it is for"),
        ("todo!(", "write the code or leave the thing out"),
        ("unimplemented!(", "write the code or leave the thing out"),
        ("TODO", "do it, or file an issue"),
        ("FIXME", "fix it, or file an issue"),
    ];
    let mut found = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        for (what, remedy) in banned.iter().filter(|(what, _)| line.contains(what)) {
            found.push(complaint(source, at + 1, &format!("`{what}`: {remedy}")));
        }
    }
    found
}

fn environment(source: &Source) -> Vec<String> {
    if !source.is_product() || source.krate() == "cli" {
        return Vec::new();
    }
    let read = source.code().filter(|(_, line)| line.contains("env::var"));
    let words = "the environment is read in crates/cli alone: take the value as an argument";
    read.map(|(number, _)| complaint(source, number, words)).collect()
}

fn connections(source: &Source) -> Vec<String> {
    let guarded = source.path.starts_with("crates/tools/src/http/");
    if !source.is_product() || source.krate() != "tools" || guarded {
        return Vec::new();
    }
    let ways = ["reqwest", "lookup_host", "TcpStream", "UdpSocket"];
    let found = source.code().filter(|(_, line)| ways.iter().any(|way| line.contains(way)));
    let words = "tools connect through the port `HttpClient` alone, whose guard judges addresses: take an `Arc<dyn HttpClient>`";
    found.map(|(number, _)| complaint(source, number, words)).collect()
}
