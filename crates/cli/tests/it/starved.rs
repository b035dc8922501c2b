//! Disks that fail or fill under the real program: it goes on, or says so in one line; nothing is lost or done twice.

use crate::deaths::TWO_TOOLS;
use crate::home::Home;
use crate::quarrels::RUN;
use crate::voyage::{
    Running, Weather, assert_sound, counted, entries, journal, sessions, shim, skipped,
};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn furnished() -> Home {
    let home = Home::new();
    home.write("project/s.json", TWO_TOOLS);
    home.write("project/input", "words\n");
    assert_eq!(home.run(&["session", "list"]).code, Some(0));
    home
}

/// Runs under bad weather, then again under a fair sky.
fn weathered(weather: Weather) -> Option<i32> {
    let home = furnished();
    let mut command = weather.on(home.command(), &home);
    command.args(RUN);
    let (ran, lines) = Running::start(command).end();
    if ran.code != Some(0) {
        assert_eq!(ran.code, Some(1), "{weather:?}: {}", ran.err);
        assert!(ran.err.lines().last().unwrap().starts_with("oarlock: "), "{}", ran.err);
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
    }
    let shown = entries(&lines);
    let Some(id) = sessions(&home).first().cloned() else {
        assert!(shown.is_empty(), "{weather:?}: shown and lost");
        return ran.code;
    };
    let kept = journal(&home, &id);
    assert!(kept.starts_with(&shown), "{weather:?}: {shown:#?} was shown, {kept:#?} was kept");
    home.run(&["run", "--json", "--resume", &id]);
    let after = journal(&home, &id);
    assert!(after.starts_with(&kept), "{weather:?}");
    assert_sound(&after);
    let effects = std::fs::read_to_string(home.path("project/effect")).unwrap_or_default();
    assert!(effects.lines().count() <= 1, "{weather:?}: done twice");
    ran.code
}

fn sweep(weather: Weather, stride: usize) {
    if shim().is_none() {
        return skipped("failing disks", "LD_PRELOAD is of Linux");
    }
    let home = furnished();
    let fair = Weather { does: "", at: 0, ..weather };
    let mut command = fair.on(home.command(), &home);
    assert!(command.args(RUN).output().unwrap().status.success());
    let points = counted(&home);
    assert!(points >= 5, "{points} points");
    let codes: Vec<_> =
        (1..=points).step_by(stride).map(|at| weathered(Weather { at, ..weather })).collect();
    println!("{weather:?}: {points} points, exit codes {codes:?}");
}

#[test]
fn a_sync_that_fails_once_loses_nothing() {
    sweep(Weather { does: "fail-before", calls: "sync", at: 0, errno: EIO, lasts: false }, 1);
}

#[test]
fn a_sync_that_is_done_and_reported_as_failed_loses_nothing() {
    sweep(Weather { does: "fail-after", calls: "sync", at: 0, errno: EIO, lasts: false }, 1);
}
#[test]
fn a_disk_that_is_full_from_some_write_on_loses_nothing() {
    sweep(Weather { does: "fail-before", calls: "write", at: 0, errno: ENOSPC, lasts: true }, 23);
}
