//! Whole runs of the program, each in a folder and a home of its own that are as good as new. Runs that are compared take turns, so that a busy
//! moment of the machine meets both.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{ms, percentile, row, start};

const PROGRAM: &str = env!("CARGO_BIN_EXE_oarlock");
/// How often a short run is measured.
const RUNS: usize = 100;
/// How often a long run is measured.
const LONG_RUNS: usize = 10;
/// Tool rounds of a long run.
const ROUNDS: usize = 200;

pub(crate) fn measure() {
    let place = Place::new();
    let size = std::fs::metadata(PROGRAM).expect("it was just built").len();
    row("size of the program, stripped", size as f64 / 1e6, Some(20.0), "MB");

    let (mut version, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        version.push(wall(place.oarlock(&["--version"])));
        floor.push(wall(place.command("true", &[])));
    }
    row("`true`, p50", percentile(&mut floor, 0.5), None, "ms");
    row("`oarlock --version`, p50", percentile(&mut version, 0.5), Some(3.0), "ms");

    one_shot(&place);
    rounds(&place);
}

fn one_shot(place: &Place) {
    let script = place.script("once.json", 0);
    let run = ["run", "--quiet", "--model", &script, "hello"];
    let mut times: Vec<f64> = (0..RUNS).map(|_| wall(place.oarlock(&run))).collect();
    row("one-shot turn, durable, p50", percentile(&mut times, 0.5), Some(12.0), "ms");
    row("one-shot turn, durable, p99", percentile(&mut times, 0.99), None, "ms");
    let mut first: Vec<f64> = (0..LONG_RUNS)
        .map(|_| {
            let fresh = Place::new();
            let script = fresh.script("once.json", 0);
            wall(fresh.oarlock(&["run", "--quiet", "--model", &script, "hello"]))
        })
        .collect();
    row("one-shot turn in a home without data, p50", percentile(&mut first, 0.5), None, "ms");
    let mut peaks: Vec<f64> = (0..LONG_RUNS).map(|_| peak_megabytes(place.oarlock(&run))).collect();
    row("one-shot turn, peak resident, p50", percentile(&mut peaks, 0.5), Some(14.0), "MB");
}

/// What a round costs is the difference of a turn with many and a turn with none, divided.
fn rounds(place: &Place) {
    let (many, none) = (place.script("many.json", ROUNDS), place.script("none.json", 0));
    let run = |script: &str| {
        let limits =
            ["--config", "limits.turn.steps=1000", "--config", "limits.turn.tool_calls=1000"];
        let head = ["run", "--quiet", "--mode", "open", "--model", script];
        wall(place.oarlock(&[&head[..], &limits[..], &["hello"]].concat()))
    };
    let (mut each, mut shells) = (Vec::new(), Vec::new());
    for _ in 0..LONG_RUNS {
        each.push((run(&many) - run(&none)) / ROUNDS as f64);
        let spawned: f64 = (0..50).map(|_| wall(place.command("sh", &["-c", "true"]))).sum();
        shells.push(spawned / 50.0);
    }
    row("`sh -c true`, p50", percentile(&mut shells, 0.5), None, "ms");
    row(
        "tool round: answer, `true` in a shell, two commits, p50",
        percentile(&mut each, 0.5),
        Some(1.4),
        "ms",
    );
}

fn wall(mut command: Command) -> f64 {
    let begun = start();
    let status = command.status().expect("the program is there");
    let took = ms(begun.elapsed());
    assert!(status.success(), "{command:?} failed");
    took
}

/// The highest resident set that was seen while the program ran. The system keeps the maximum; it is read until the end.
fn peak_megabytes(mut command: Command) -> f64 {
    let mut child = command.spawn().expect("the program is there");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    while child.try_wait().expect("it is our child").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        peak = kilobytes.map_or(peak, |kilobytes| kilobytes * 1024.0 / 1e6);
    }
    peak
}

/// A folder to work in and a home.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    home: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let temporary = || TempDir::new().expect("there is a temporary folder");
        Self { folder: temporary(), home: temporary() }
    }

    /// A script with so many calls of `true` before its answer, as `--model` takes it.
    fn script(&self, name: &str, rounds: usize) -> String {
        let call =
            serde_json::json!({"calls": [{"name": "bash", "arguments": {"command": "true"}}]});
        let mut steps = vec![call; rounds];
        steps.push(serde_json::json!({"text": "done"}));
        let path = self.folder.path().join(name);
        let text = serde_json::json!({ "steps": steps }).to_string();
        std::fs::write(&path, text).expect("the folder is ours");
        format!("script/{}", path.display())
    }

    pub(crate) fn oarlock(&self, arguments: &[&str]) -> Command {
        self.command(PROGRAM, arguments)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new(program));
        command.args(arguments).current_dir(self.folder.path());
        command.env_clear().env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}
