//! Runs of the real program that are followed line by line, and what their journals say afterwards.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::home::{Home, Ran};

/// A program that should have ended long ago is killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The library that brings bad weather, made once; `None` where it cannot be made.
pub(crate) fn shim() -> Option<&'static PathBuf> {
    static SHIM: OnceLock<Option<PathBuf>> = OnceLock::new();
    SHIM.get_or_init(|| {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim/weather.c");
        let library = tempfile::Builder::new().prefix("weather").suffix(".so").tempfile().unwrap();
        let library = library.into_temp_path().keep().unwrap();
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status()
            .unwrap();
        assert!(made.success(), "the shim does not compile");
        Some(library)
    })
    .as_ref()
}

/// What the shim does, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) does: &'static str,
    pub(crate) calls: &'static str,
    pub(crate) at: usize,
    pub(crate) errno: i32,
    pub(crate) lasts: bool,
}

impl Weather {
    pub(crate) const FAIR: Self = Self { does: "", calls: "all", at: 0, errno: 0, lasts: false };

    pub(crate) fn on(self, mut command: Command, home: &Home) -> Command {
        command.env("LD_PRELOAD", shim().unwrap()).env("WEATHER", self.does);
        command.env("WEATHER_AT", self.at.to_string()).env("WEATHER_CALLS", self.calls);
        command.env("WEATHER_ERRNO", self.errno.to_string());
        command.env("WEATHER_COUNT", home.path("count"));
        if self.lasts {
            command.env("WEATHER_LASTS", "1");
        }
        command
    }
}

/// How many calls a run with [`Weather`] has made.
pub(crate) fn counted(home: &Home) -> usize {
    std::fs::read_to_string(home.path("count")).unwrap().parse().unwrap()
}

/// A program that runs; its lines are read as they come.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: BufReader<ChildStdout>,
    seen: Vec<Value>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, seen: Vec::new() }
    }

    /// Reads until a line of JSON fits.
    pub(crate) fn until(&mut self, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            let value: Value = serde_json::from_str(&line).unwrap();
            line.clear();
            self.seen.push(value.clone());
            if fits(&value) {
                return value;
            }
        }
        panic!("ended before the line that was waited for: {}", self.err());
    }

    pub(crate) fn until_event(&mut self, kind: &str) -> Value {
        self.until(|line| line["entry"]["event"]["type"] == kind)
    }

    pub(crate) fn session(&mut self) -> String {
        let created = self.until_event("session_created");
        created["entry"]["event"]["data"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status().unwrap();
        assert!(sent.success());
    }

    fn err(&mut self) -> String {
        let mut err = String::new();
        self.child.stderr.take().map(|mut from| from.read_to_string(&mut err));
        err
    }

    /// Waits for the end; the lines that nobody has read are in `out`.
    pub(crate) fn end(mut self) -> (Ran, Vec<Value>) {
        let begun = now();
        let mut out = String::new();
        self.lines.read_to_string(&mut out).unwrap();
        let status = self.child.wait().unwrap();
        assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
        let rest = out.lines().filter_map(|line| serde_json::from_str(line).ok());
        let mut seen = std::mem::take(&mut self.seen);
        seen.extend(rest);
        let err = self.err();
        (Ran { code: status.code(), out, err }, seen)
    }
}

/// This moment, for tests that wait for a program.
#[expect(clippy::disallowed_methods, reason = "a program is waited for on the machine's own clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The entries among lines of JSON.
pub(crate) fn entries(lines: &[Value]) -> Vec<Value> {
    lines.iter().filter_map(|line| line.get("entry").cloned()).collect()
}

pub(crate) fn parsed(out: &str) -> Vec<Value> {
    out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The journal of a session as `session show --json` tells it.
pub(crate) fn journal(home: &Home, id: &str) -> Vec<Value> {
    let shown = home.run(&["session", "show", "--json", id]);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    let entries = entries(&parsed(&shown.out));
    for (at, entry) in entries.iter().enumerate() {
        assert_eq!(entry["seq"], at + 1, "a gap in {entries:#?}");
    }
    entries
}

pub(crate) fn sessions(home: &Home) -> Vec<String> {
    let listed = home.run(&["session", "list", "--all", "--json"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    parsed(&listed.out).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn of_type<'a>(entries: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let fits = |entry: &&Value| entry["event"]["type"] == kind;
    entries.iter().filter(fits).map(|entry| &entry["event"]["data"]).collect()
}

/// What a journal must be after a turn, however it went: each call settled once and after it was called, one end that is the last of its turn.
pub(crate) fn assert_sound(entries: &[Value]) {
    let position = |kind: &str, call: &Value| {
        let found: Vec<usize> = (0..entries.len())
            .filter(|&at| {
                let event = &entries[at]["event"];
                event["type"] == kind && event["data"]["call"] == *call
            })
            .collect();
        found
    };
    for called in of_type(entries, "tool_called") {
        let settled = position("tool_settled", &called["call"]);
        assert_eq!(settled.len(), 1, "call {} in {entries:#?}", called["call"]);
        let begun = position("tool_called", &called["call"]);
        assert!(begun.len() == 1 && begun[0] < settled[0], "{entries:#?}");
    }
    for started in of_type(entries, "turn_started").iter().enumerate().map(|(at, _)| at + 1) {
        let of_turn: Vec<&Value> =
            entries.iter().filter(|entry| entry["turn"] == started).collect();
        let ends = of_turn.iter().filter(|entry| entry["event"]["type"] == "turn_ended").count();
        assert_eq!(ends, 1, "turn {started} in {entries:#?}");
        assert_eq!(of_turn.last().unwrap()["event"]["type"], "turn_ended", "{entries:#?}");
    }
}

/// Refuses to go on where something is missing, by name.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn skipped(what: &str, why: &str) {
    // The harness shows it with --nocapture; a run of the suite must be able to count skips.
    eprintln!("SKIPPED {what}: {why}");
}
