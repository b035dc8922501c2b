//! `bash` and the shell under it: time, memory, bytes, secrets, and that nothing survives.

use std::path::Path;
use std::time::{Duration, Instant};

use oarlock_core::ports::clock::Cancel;
use oarlock_core::ports::shell::{Shell, ShellCommand, Stdin};
use oarlock_core::ports::tool::ToolError;
use serde_json::json;

use crate::kit::{Kit, text};

/// Whether any process of this machine has `mark` among its arguments.
pub(crate) fn runs(mark: &str) -> bool {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    numbers.map(|entry| entry.path()).any(|process| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|word| word == mark)
    })
}

#[expect(clippy::disallowed_methods, reason = "the test measures the machine's time")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until the file is there, which the command under test makes.
async fn appeared(path: &Path) {
    let started = now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "{} did not appear", path.display());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_command_gives_its_output_its_status_and_its_figures() {
    let kit = Kit::new();
    let cases = [
        ("echo out; echo err >&2", "out\nerr\n", json!(0)),
        ("printf x; exit 3", "x\n[exit status 3]", json!(3)),
        ("true", "[no output]", json!(0)),
        ("kill -9 $$", "[ended by signal 9]", json!(null)),
        ("cat; pwd | tail -c 5", "work\n", json!(0)),
        ("nosuchcommand 2>/dev/null", "[exit status 127]", json!(127)),
    ];
    for (command, expected, code) in cases {
        let output = kit.done("bash", json!({"command": command})).await;
        assert_eq!(text(&output), expected, "{command}");
        assert_eq!(output.detail["exit_code"], code, "{command}");
        assert_eq!(output.detail["timed_out"], json!(false));
    }
}

#[tokio::test]
async fn a_command_opens_as_many_files_as_is_said_and_may_ask_for_more() {
    let kit = Kit::new().opening(97);
    let asked = json!({"command": "ulimit -Sn; ulimit -Sn 98 && sh -c 'ulimit -Sn'"});
    assert_eq!(text(&kit.done("bash", asked).await), "97\n98\n");
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused() {
    let kit = Kit::new();
    let cases = [
        (
            json!({"command": "ls", "timeout_ms": 0}),
            "`timeout_ms` must be a whole number from 1 to 600000",
        ),
        (
            json!({"command": "ls", "timeout_ms": 600_001}),
            "`timeout_ms` must be a whole number from 1 to 600000",
        ),
        (json!({"command": " "}), "`command` is empty"),
        (json!({"comand": "ls"}), "there is no argument `comand`; did you mean `command`?"),
        (json!({}), "`command` is missing"),
    ];
    for (arguments, words) in cases {
        assert_eq!(kit.refused("bash", arguments).await, words);
    }
    let outside = kit.refused("bash", json!({"command": "ls", "workdir": ".."})).await;
    assert!(outside.contains("is outside the allowed folders"), "{outside}");
}

#[tokio::test]
async fn any_bytes_are_taken_and_shown_as_text() {
    let kit = Kit::new();
    let output = kit.done("bash", json!({"command": "printf '\\377a\\000b\\n'; echo end"})).await;
    assert_eq!(text(&output), "\u{FFFD}a\0b\nend\n");
    assert_eq!(output.detail["bytes"], json!(9));
}

#[tokio::test]
async fn a_timeout_holds_although_a_grandchild_holds_the_pipe_and_nothing_survives() {
    let kit = Kit::new();
    let command = "echo begun; sleep 7001 & sh -c 'trap \"\" TERM; while :; do sleep 7002; done'";
    let mut late = Vec::new();
    // Other work of the machine may take longer than is allowed here, though hardly ten times.
    while late.len() < 10 {
        let started = now();
        let output = kit.done("bash", json!({"command": command, "timeout_ms": 1000})).await;
        let elapsed = started.elapsed();
        assert!(elapsed >= Duration::from_millis(1000), "{elapsed:?}");
        assert!(text(&output).starts_with("begun\n[timed out after 1000 ms"), "{}", text(&output));
        assert_eq!(output.detail["timed_out"], json!(true));
        assert!(!runs("7001") && !runs("7002"));
        if elapsed < Duration::from_millis(1250) {
            return;
        }
        late.push(elapsed);
    }
    panic!("{late:?}");
}

#[tokio::test]
async fn a_command_that_ends_does_not_wait_for_what_it_left_and_that_is_ended() {
    let kit = Kit::new();
    let cases = [
        ("sleep 7101 & echo done", "7101"),
        ("setsid sleep 7102 & echo done", "7102"),
        ("(setsid sleep 7103 >/dev/null 2>&1 </dev/null &) ; echo done", "7103"),
        ("env -i setsid sleep 7104 >/dev/null 2>&1 </dev/null & echo done", "7104"),
        ("(setsid sh -c 'exec 9>&-; sleep 7105 & exit' >/dev/null 2>&1 &) ; echo done", "7105"),
    ];
    for (command, mark) in cases {
        let started = now();
        let output = kit.done("bash", json!({"command": command})).await;
        assert_eq!(text(&output), "done\n", "{command}");
        assert!(started.elapsed() < Duration::from_secs(2), "{command}: {:?}", started.elapsed());
        assert!(!runs(mark), "{command}");
    }
}

#[tokio::test]
async fn cancelling_ends_what_left_its_group_and_its_session() {
    let kit = Kit::new();
    let command =
        "setsid sh -c '(env -i /bin/sleep 7201 &) ; sleep 7202' & touch ready; sleep 7203";
    let cancel = Cancel::new();
    let call = kit.tool("bash").execute(json!({"command": command}), kit.context(&cancel));
    let ready = kit.path("ready");
    let (result, elapsed) = futures::future::join(call, async {
        appeared(&ready).await;
        let started = now();
        cancel.cancel();
        started
    })
    .await;
    assert!(matches!(result, Err(ToolError::Cancelled)), "{result:?}");
    assert!(elapsed.elapsed() < Duration::from_millis(300), "{:?}", elapsed.elapsed());
    assert!(!runs("7201") && !runs("7202") && !runs("7203"));
}

#[tokio::test]
async fn dropping_a_process_ends_all_of_it() {
    let kit = Kit::new();
    let command = "setsid sleep 7301 & touch ready; sleep 7302".to_owned();
    let command = ShellCommand {
        command,
        cwd: kit.place.cwd.clone(),
        env: Vec::new(),
        stdin: Stdin::Null,
        caller: None,
    };
    let process = kit.shell().spawn(command).await.unwrap();
    appeared(&kit.path("ready")).await;
    drop(process);
    assert!(!runs("7301") && !runs("7302"));
}

#[tokio::test]
async fn two_commands_at_once_do_not_end_each_other() {
    let kit = Kit::new();
    let kit = &kit;
    let calls = (0..12).map(|n| {
        let command = format!("sleep 0.{n:02}; (setsid sleep 0.01 &); echo {n}");
        let arguments = json!({"command": command});
        async move { (n, kit.done("bash", arguments).await) }
    });
    for (n, output) in futures::future::join_all(calls).await {
        assert_eq!(text(&output), format!("{n}\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_ends_at_once_loses_none_of_its_output() {
    let kit = Kit::new();
    for n in 0..300 {
        // With the pipe held by another, its end is not what tells that the command ended.
        let command = format!("sleep 9 & echo {n}");
        let output = kit.done("bash", json!({"command": command})).await;
        assert_eq!(text(&output), format!("{n}\n"));
    }
}

#[tokio::test]
async fn a_key_never_reaches_a_command() {
    let kit = Kit::new()
        .variable("OPENAI_API_KEY", "canary-1")
        .variable("MY_SECRET", "canary-2")
        .variable("LANG", "C.UTF-8");
    let output = kit.done("bash", json!({"command": "env; cat /proc/$$/environ"})).await;
    assert!(!text(&output).contains("canary"), "{}", text(&output));
    assert!(text(&output).contains("LANG=C.UTF-8"));
}

#[tokio::test]
async fn long_output_keeps_head_and_tail_and_the_whole_is_a_stored_body() {
    let kit = Kit::new();
    let output = kit.done("bash", json!({"command": "seq 1 10000"})).await;
    let shown = text(&output);
    assert!(shown.starts_with("1\n2\n") && shown.ends_with("\n9999\n10000\n"), "{shown}");
    assert!(shown.len() < 31_000, "{}", shown.len());
    let blob = &output.blobs[0];
    assert_eq!((blob.bytes, &output.detail["bytes"]), (48_894, &json!(48_894)));
    let path = format!("blob:{}", blob.blob);
    let window = kit.done("read_file", json!({"path": path, "offset": 5000, "limit": 2})).await;
    assert!(text(&window).starts_with("  5000\t5000\n  5001\t5001\n"), "{}", text(&window));
    assert!(!kit.shown.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_line_of_a_gigabyte_takes_no_memory() {
    let kit = Kit::new();
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before_kib = peak();
    let arguments =
        json!({"command": "head -c 1000000000 /dev/zero | tr '\\0' x", "timeout_ms": 120_000});
    let output = kit.done("bash", arguments).await;
    assert_eq!(output.detail["bytes"], json!(1_000_000_000));
    assert_eq!(output.detail["truncated_bytes"], json!(1_000_000_000 - 30_000));
    let shown: usize = kit.shown.lock().unwrap().iter().map(String::len).sum();
    assert!(shown < 50_000_000, "{shown}");
    // Other tests of this process run at the same time; a gigabyte held would be far beyond this.
    assert!(peak() - before_kib < 150_000, "{before_kib} KiB became {} KiB", peak());
}

#[test]
fn a_call_is_always_destructive_and_names_its_commands() {
    let kit = Kit::new();
    let tool = kit.tool("bash");
    let assessment =
        tool.assess(&json!({"command": "cd a && cargo test > log"}), &kit.place).unwrap();
    assert_eq!(assessment.effect, oarlock_core::event::Effect::Destructive);
    assert_eq!(assessment.subject.parts, ["cd a", "> log", "cargo test"]);
    assert!(assessment.subject.complete);
}
