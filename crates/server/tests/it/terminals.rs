//! Commands of a session whose client has terminals: what is asked of it, in which order, and that no terminal is forgotten.

use std::time::Duration;

use oarlock_core::ports::shell::{Process, ShellCommand, ShellError, ShellExit, Stdin};
use serde_json::{Value, json};

use crate::desk::Client;
use crate::files::borrow;
use crate::machine::{Lent, Machine};

fn command(lent: &Lent, words: &str) -> ShellCommand {
    ShellCommand {
        command: words.to_owned(),
        cwd: "/w".into(),
        env: vec![("PAGER".to_owned(), "cat".to_owned())],
        stdin: Stdin::Null,
        caller: Some((lent.cx.session.clone(), lent.cx.call.clone())),
    }
}

fn terminals() -> Value {
    json!({ "terminal": true })
}

/// The next request of this method. Nothing that ends a terminal comes before it.
async fn asked(client: &mut Client, method: &str) -> Value {
    let seen = client.until(|m| m["method"] == method).await;
    let (asked, before) = seen.split_last().expect("it is asked");
    let ends = |m: &&Value| m["method"] == "terminal/kill" || m["method"] == "terminal/release";
    assert_eq!(before.iter().find(ends), None, "before {method}");
    asked.clone()
}

async fn give(client: &mut Client, method: &str, result: Value) -> Value {
    let asked = asked(client, method).await;
    client.reply(&asked, result).await;
    asked
}

/// What the terminal shows when it is looked at next.
async fn shows(client: &mut Client, output: &str, exit: Value) {
    let result = json!({ "output": output, "truncated": false, "exitStatus": exit });
    give(client, "terminal/output", result).await;
}

/// A command that runs in the terminal `t1`, and the client's request to be answered when it has ended.
async fn running(client: &mut Client, lent: &Lent) -> (Box<dyn Process>, Value) {
    let spawn = lent.cx.shell.spawn(command(lent, "make"));
    let (process, _) =
        tokio::join!(spawn, give(client, "terminal/create", json!({ "terminalId": "t1" })));
    (process.expect("it runs"), asked(client, "terminal/wait_for_exit").await)
}

/// The terminal is released, and nothing more is asked of it.
async fn is_released(client: &mut Client) {
    let release = give(client, "terminal/release", json!({})).await;
    assert_eq!(release["params"]["terminalId"], "t1");
    assert!(client.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_in_a_terminal_that_its_call_shows() {
    let (mut client, lent) = borrow(&Machine::with(&[]), terminals()).await;
    let spawn = lent.cx.shell.spawn(command(&lent, "make 'a b'"));
    let (process, create) =
        tokio::join!(spawn, give(&mut client, "terminal/create", json!({ "terminalId": "t1" })));
    let (create, mut process) = (&create["params"], process.unwrap());
    assert!(create["sessionId"].is_string());
    assert_eq!((&create["command"], &create["args"]), (&json!("sh"), &json!(["-c", "make 'a b'"])));
    assert_eq!((&create["cwd"], &create["outputByteLimit"]), (&json!("/w"), &json!(1 << 20)));
    assert_eq!(create["env"], json!([{ "name": "PAGER", "value": "cat" }]), "and nothing of ours");

    let seen = client.until(|m| m["params"]["update"]["content"].is_array()).await;
    let (update, content) = (
        &seen.last().unwrap()["params"]["update"],
        json!([{ "type": "terminal", "terminalId": "t1" }]),
    );
    assert_eq!((&update["toolCallId"], &update["content"]), (&json!("c1"), &content));
    let wait = seen.iter().find(|m| m["method"] == "terminal/wait_for_exit").cloned();
    let wait = match wait {
        Some(wait) => wait,
        None => asked(&mut client, "terminal/wait_for_exit").await,
    };

    let (said, ()) = tokio::join!(process.output(), shows(&mut client, "one\n", Value::Null));
    assert_eq!(said.unwrap(), "one\n");
    let (said, ()) = tokio::join!(process.output(), async {
        shows(&mut client, "one\n", Value::Null).await;
        shows(&mut client, "one\ntwo\n", Value::Null).await;
    });
    assert_eq!(said.unwrap(), "two\n");
    client.reply(&wait, json!({ "exitCode": 3 })).await;
    let (said, ()) = tokio::join!(process.output(), shows(&mut client, "one\ntwo\n!", Value::Null));
    assert_eq!(said.unwrap(), "!", "what it said last is not lost");
    assert_eq!(process.output().await, None);
    assert_eq!(process.wait().await.unwrap(), ShellExit::Code(3));
    drop(process);
    is_released(&mut client).await;
    drop(lent);
    let ended = client.until(|m| m["params"]["update"]["status"] == "completed").await;
    let ended = &ended.last().unwrap()["params"]["update"];
    assert_eq!(ended["content"], content, "it is shown for as long as the call is");
}

#[tokio::test(start_paused = true)]
async fn a_killed_command_is_killed_asked_for_its_last_words_and_released() {
    for ends_by_itself in [true, false] {
        let (mut client, lent) = borrow(&Machine::with(&[]), terminals()).await;
        let (mut process, wait) = running(&mut client, &lent).await;
        let (said, ()) = tokio::join!(process.output(), shows(&mut client, "one", Value::Null));
        assert_eq!(said.unwrap(), "one");
        let ((), kill) =
            tokio::join!(process.kill(), give(&mut client, "terminal/kill", json!({})));
        assert_eq!(kill["params"]["terminalId"], "t1");
        if ends_by_itself {
            client.reply(&wait, json!({ "signal": "SIGTERM" })).await;
        }
        let last = async {
            let output = client.until(|m| m["method"] == "terminal/output").await.pop().unwrap();
            client.reply(&output, json!({ "output": "one, bye", "truncated": false })).await;
        };
        let (said, ()) = tokio::join!(process.output(), last);
        assert_eq!(said.unwrap(), ", bye");
        assert_eq!(process.output().await, None);
        let signal = if ends_by_itself { 15 } else { 9 };
        assert_eq!(process.wait().await.unwrap(), ShellExit::Signal(signal));
        drop(process);
        is_released_after_withdrawal(&mut client).await;
    }
}

/// As [`is_released`], when the question for its end may be withdrawn first.
async fn is_released_after_withdrawal(client: &mut Client) {
    let release = client.until(|m| m["method"] == "terminal/release").await.pop().expect("it is");
    client.reply(&release, json!({})).await;
    while let Ok(Some(other)) = tokio::time::timeout(Duration::from_secs(60), client.next()).await {
        assert_eq!(other["method"], "$/cancel_request", "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_wants_any_more_is_ended_and_its_terminal_released() {
    // It runs.
    let (mut client, lent) = borrow(&Machine::with(&[]), terminals()).await;
    let (process, _) = running(&mut client, &lent).await;
    drop(process);
    give(&mut client, "terminal/kill", json!({})).await;
    is_released_after_withdrawal(&mut client).await;

    // It is about to run.
    let (mut client, lent) = borrow(&Machine::with(&[]), terminals()).await;
    let mut spawn = lent.cx.shell.spawn(command(&lent, "make"));
    assert!(futures::poll!(&mut spawn).is_pending());
    let create = asked(&mut client, "terminal/create").await;
    drop(spawn);
    client.reply(&create, json!({ "terminalId": "t1" })).await;
    is_released_after_withdrawal(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_has_no_command() {
    let (mut client, lent) = borrow(&Machine::with(&[]), terminals()).await;
    let before = tokio::time::Instant::now();
    let (spawned, create) = tokio::join!(
        lent.cx.shell.spawn(command(&lent, "make")),
        asked(&mut client, "terminal/create")
    );
    let Err(ShellError::Spawn { source, .. }) = spawned else { panic!("it has no terminal") };
    assert_eq!(source.to_string(), "the editor did not answer within 10 s");
    assert_eq!(before.elapsed().as_secs(), 10);
    client.reply(&create, json!({ "terminalId": "t1" })).await;
    is_released(&mut client).await;

    let (mut client, lent) = borrow(&Machine::with(&[]), terminals()).await;
    let (mut process, _) = running(&mut client, &lent).await;
    assert_eq!(process.output().await, None, "it is not waited for longer than ten seconds");
    let error = process.wait().await.unwrap_err();
    assert!(error.to_string().ends_with("the editor did not answer within 10 s"), "{error}");
    drop(process);
    client.until(|m| m["method"] == "terminal/kill").await;
    let release = client.until(|m| m["method"] == "terminal/release").await;
    assert_eq!(release.last().unwrap()["params"]["terminalId"], "t1");
}

#[tokio::test(start_paused = true)]
async fn where_a_command_may_not_run_and_what_takes_input_is_this_machines_business() {
    let machine = Machine::with(&[("/w/a", b"")]);
    let (mut client, lent) = borrow(&machine, terminals()).await;
    for cwd in ["/etc", "/w/a", "/w/missing"] {
        let order = ShellCommand { cwd: cwd.into(), ..command(&lent, "make") };
        let spawned = lent.cx.shell.spawn(order).await;
        assert!(matches!(spawned, Err(ShellError::Outside { .. })), "{cwd}");
    }
    let order = ShellCommand { stdin: Stdin::Piped, ..command(&lent, "cat") };
    assert!(lent.cx.shell.spawn(order).await.is_err());
    assert_eq!(*machine.commands.lock().unwrap(), ["cat"]);
    assert!(client.is_silent().await);
}
