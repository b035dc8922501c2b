//! A disk that lies, fails, is full or may not be written, and a file that was torn: a clear error, and nothing lost that was told.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::home::{Home, Ran, ran};
use crate::voyage::{
    Weather, assert_sound, counted, entries, journal, parsed, sessions, shim, skipped,
};

/// More moments than a turn makes something durable at.
const SYNCS: [usize; 18] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18];
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Programs that run at the same time.
const AT_ONCE: usize = 6;

fn home() -> Home {
    let home = Home::new();
    home.write("project/notes.txt", "row your boat\n");
    let calls = json!([{"name": "bash", "arguments": {"command": "echo done >> trace.txt"}}]);
    let steps = json!({"steps": [{"calls": calls}, {"text": "All done."}], "repeat_last": true});
    home.write("project/script.json", &steps.to_string());
    home
}

const RUN: [&str; 7] = ["run", "--json", "--mode", "open", "--model", "script/script.json", "go"];

/// The program once more, in bad weather.
fn met(home: &Home, weather: Weather, arguments: &[&str]) -> Ran {
    ran(&weather.on(home.command(), home).args(arguments).output().unwrap())
}

/// The only session of a home, if it has one.
fn session(home: &Home) -> Option<String> {
    sessions(home).first().cloned()
}

/// Afterwards what was told is kept, the command ran at most once, and the session can be used.
fn is_usable(home: &Home, met: &Ran, weather: Weather) {
    let told = entries(&parsed(&met.out));
    let Some(id) = session(home) else {
        assert_eq!(told, Vec::<Value>::new(), "{weather:?}: told before it was kept");
        return;
    };
    assert!(journal(home, &id).starts_with(&told), "{weather:?}: an entry was lost");
    let again = home.run(&["run", "--json", "--resume", &id, "again"]);
    assert_eq!(again.code, Some(0), "{weather:?}: {}", again.err);
    assert_sound(&journal(home, &id));
    let traces = std::fs::read_to_string(home.path("project/trace.txt")).unwrap_or_default();
    assert!(traces.lines().count() <= 1, "{weather:?}: the command ran twice");
}

/// Runs a turn with the weather changing at each of these calls, several at a time, since a program that waits for its store waits for
/// seconds. Counts the turns that went on, and those that failed; a call that a turn does not come to counts as neither.
fn sweep(weather: Weather, calls: &[usize]) -> (usize, usize) {
    let (fine, failed, next) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(at) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match goes_on(Weather { at: *at, ..weather }) {
                        Some(true) => fine.fetch_add(1, Ordering::Relaxed),
                        Some(false) => failed.fetch_add(1, Ordering::Relaxed),
                        None => 0,
                    };
                }
            });
        }
    });
    (fine.into_inner(), failed.into_inner())
}

/// Whether the turn went on; nothing when it did not come to the call.
fn goes_on(weather: Weather) -> Option<bool> {
    let home = home();
    let met = met(&home, weather, &RUN);
    let went_on = match met.code {
        Some(0) => true,
        Some(1) => false,
        other => panic!("{weather:?}: code {other:?}: {}", met.err),
    };
    if !went_on {
        let told = met.err.lines().filter(|line| line.starts_with("oarlock: ")).count();
        assert!(told >= 1 && !met.err.contains("panic"), "{weather:?}: {}", met.err);
        if weather.errno == ENOSPC {
            assert!(
                met.err.contains("free some space") || met.err.contains("its free space"),
                "{weather:?}: {}",
                met.err
            );
        }
    }
    let came = counted(&home) >= weather.at;
    is_usable(&home, &met, weather);
    came.then_some(went_on)
}

#[test]
fn an_append_that_is_said_to_have_failed_and_did_not_is_found_out() {
    if shim().is_none() {
        return skipped("the sweep of ambiguous appends", "LD_PRELOAD is of Linux");
    }
    let weather = Weather { does: "fail-after", calls: "sync", errno: EIO, ..Weather::FAIR };
    let (fine, failed) = sweep(weather, &SYNCS);
    assert!(fine >= 6 && fine + failed >= 10, "{fine} went on, {failed} failed");
}

#[test]
fn a_disk_that_fails_once_loses_nothing() {
    if shim().is_none() {
        return skipped("the sweep of a failing disk", "LD_PRELOAD is of Linux");
    }
    let weather = Weather { does: "fail-before", calls: "sync", errno: EIO, ..Weather::FAIR };
    let (fine, failed) = sweep(weather, &SYNCS);
    assert!(fine >= 6 && fine + failed >= 10, "{fine} went on, {failed} failed");
}

#[test]
fn a_disk_that_is_full_from_any_write_on_loses_nothing() {
    if shim().is_none() {
        return skipped("the sweep of a full disk", "LD_PRELOAD is of Linux");
    }
    let full = Weather { does: "fail-before", calls: "write", errno: ENOSPC, ..Weather::FAIR };
    let full = Weather { lasts: true, ..full };
    let (fine, failed) = sweep(full, &[1, 2, 3, 5, 8, 13, 21, 34, 55, 75, 89, 110]);
    assert!(failed >= 10, "{fine} went on, {failed} failed");
}

/// Runs a shell in a mount namespace of its own; nothing where that is refused.
fn in_namespace(home: &Home, script: &str) -> Option<Ran> {
    let allowed = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    let flags: &[&str] = match allowed {
        true => &["--user", "--map-root-user", "--mount"],
        false => &["--mount"],
    };
    let possible = Command::new("unshare")
        .args(flags)
        .args(["sh", "-c", "mount -t tmpfs -o size=64k none /mnt"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !possible {
        skipped("a disk in a mount namespace", "this machine refuses mounts");
        return None;
    }
    let mut command = Command::new("unshare");
    command.env_clear().env("HOME", home.path("")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("OARLOCK", env!("CARGO_BIN_EXE_oarlock"));
    command.current_dir(home.project());
    Some(ran(&command.args(flags).args(["sh", "-c", script]).output().unwrap()))
}

#[test]
fn a_data_folder_that_may_not_be_written_is_told_in_one_line() {
    let home = home();
    assert_eq!(home.run(&RUN).code, Some(0));
    let id = session(&home).unwrap();
    let kept = journal(&home, &id);
    let script = r#"
        data=$HOME/.local/share/oarlock
        mount --bind "$data" "$data" && mount -o remount,bind,ro "$data" || exit 99
        exec "$OARLOCK" run --json --model script/script.json again </dev/null"#;
    let Some(refused) = in_namespace(&home, script) else { return };
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{}", refused.err);
    assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
    assert!(
        refused.err.contains("oarlock") && refused.err.contains("read-only"),
        "{}",
        refused.err
    );
    assert_eq!(journal(&home, &id), kept);
}

#[test]
fn a_disk_that_is_really_full_is_told_and_leaves_what_was_there() {
    let home = home();
    let script = r#"
        data=$HOME/.local/share/oarlock
        mkdir -p "$data" && mount -t tmpfs -o size=700k none "$data" || exit 99
        "$OARLOCK" run --json --mode open --model script/script.json go </dev/null >"$HOME/first" || exit 98
        dd if=/dev/zero of="$data/filler" bs=1k count=2000 2>/dev/null
        "$OARLOCK" run --json --mode open --model script/script.json again </dev/null >"$HOME/second"
        echo "code $?" >&2
        rm "$data/filler"
        "$OARLOCK" session list --json >"$HOME/listed" && "$OARLOCK" run --quiet --resume "more" </dev/null"#;
    let Some(all) = in_namespace(&home, script) else { return };
    assert_eq!((all.code, all.out.trim()), (Some(0), "All done."), "{}", all.err);
    assert!(all.err.contains("code 1"), "{}", all.err);
    assert!(all.err.contains("full"), "{}", all.err);
}

#[test]
fn a_torn_file_is_told_and_what_was_whole_can_still_be_read() {
    for torn in ["oarlock.db-wal", "oarlock.db"] {
        let home = home();
        assert_eq!(home.run(&RUN).code, Some(0));
        let id = session(&home).unwrap();
        let whole = journal(&home, &id);
        // The program dies in the middle of another turn, so that its log is not folded into the file.
        let weather = Weather { does: "kill-before", calls: "sync", at: 4, ..Weather::FAIR };
        assert_eq!(met(&home, weather, &["run", "--json", "--resume", &id, "again"]).code, None);
        let path = home.path(".local/share/oarlock").join(torn);
        tear(&path);
        let read = home.run(&["session", "show", &id, "--json"]);
        match read.code {
            Some(0) => {
                let kept = entries(&parsed(&read.out));
                assert!(kept.len() >= whole.len() && kept[..whole.len()] == whole, "{torn}");
            }
            Some(1) => assert!(
                read.err.contains("damaged")
                    || read.err.contains("malformed")
                    || read.err.contains("corrupt"),
                "{torn}: {}",
                read.err
            ),
            other => panic!("{torn}: code {other:?}: {}", read.err),
        }
        println!("{torn}: code {:?} {}", read.code, read.err.trim());
    }
}

/// Overwrites the second half of the last page, as a write that was cut leaves it.
fn tear(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap_or_default();
    let len = bytes.len();
    if len < 4096 {
        return;
    }
    bytes[len - 2048..].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
}
