//! Grants that are saved for a folder: by a person's answer, by `oarlock policy`, and by nobody else.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use oarlock::grants::FileGrants;
use oarlock_core::ports::policy::{GRANTS_MAX, Grants, GrantsError};
use serde_json::json;

use crate::home::{Home, mode_of};
use crate::pty::Terminal;

/// A command that needs permission, then the end.
fn touches(home: &Home, name: &str) -> String {
    let touch = json!({ "calls": [{ "name": "bash", "arguments": { "command": format!("touch {name}") } }] });
    home.script(&json!([touch, { "text": "It is done." }]))
}

fn stored(home: &Home) -> std::path::PathBuf {
    home.path(".local/share/oarlock/grants.toml")
}

#[test]
fn a_grant_saved_in_one_run_is_used_by_the_next_in_the_same_folder_and_in_no_other() {
    let home = Home::new();
    let model = touches(&home, "one");
    let mut terminal = Terminal::start(&home, 120, &["run", "-m", &model, "go"]);
    terminal.expect("a  always allow in this session: bash(touch one)");
    terminal.expect("s  always allow, saved for later sessions in this folder: bash(touch one)");
    terminal.expect("> ");
    terminal.type_in("s\n");
    let (ended, shown) = terminal.end();
    assert_eq!(ended, Some(0), "{shown}");
    assert_eq!(mode_of(&stored(&home)), 0o600);
    std::fs::remove_file(home.path("project/one")).unwrap();

    let again = home.run(&["run", "-q", "-m", &model, "go"]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "It is done.\n"), "{}", again.err);
    assert!(home.path("project/one").exists(), "nobody was there, and nobody had to be asked");

    home.write("elsewhere/x", "");
    let elsewhere = home.path("elsewhere");
    let there = ["-C", elsewhere.to_str().unwrap(), "run", "-q", "-m", &model, "go"];
    assert_eq!(home.run(&there).code, Some(4));
    assert!(!home.path("elsewhere/one").exists());

    let other = touches(&home, "two");
    assert_eq!(home.run(&["run", "-q", "-m", &other, "go"]).code, Some(4), "other arguments");
    let strict = home.run(&["run", "-q", "--mode", "read-only", "-m", &model, "go"]);
    assert_eq!(strict.code, Some(4), "a mode that refuses is not loosened");
}

#[test]
fn chat_shows_the_scope_of_each_choice() {
    let home = Home::new();
    let model = touches(&home, "one");
    let mut terminal = Terminal::start(&home, 120, &["chat", "-m", &model]);
    terminal.expect("> ");
    terminal.type_in("go\n");
    terminal.expect("y  allow this once");
    terminal.expect("a  always allow in this session: bash(touch one)");
    terminal.expect("s  always allow, saved for later sessions in this folder: bash(touch one)");
    terminal.expect("n  refuse this once");
    terminal.expect("d  always refuse in this session: bash(touch one)");
    terminal.expect("> ");
    terminal.type_in("n\n");
    terminal.expect("It is done.");
    terminal.type_in("/exit\n");
    let (ended, shown) = terminal.end();
    assert!(ended.is_some() && !stored(&home).exists(), "{shown}");
}

#[test]
fn policy_lists_adds_and_takes_back_grants_of_a_folder() {
    let home = Home::new();
    let project = home.project().display().to_string();
    let nothing = home.run(&["policy", "list"]);
    assert_eq!(nothing.out, format!("nothing is granted in {project}\n"));
    let added = home.run(&["policy", "allow", "bash(touch *)", "write_file(docs/*)"]);
    assert_eq!(added.code, Some(0), "{}", added.err);
    assert!(added.out.contains("now granted to new sessions in"), "{}", added.out);
    let model = touches(&home, "one");
    assert_eq!(home.run(&["run", "-q", "-m", &model, "go"]).code, Some(0));
    let listed = home.run(&["policy", "list", "--json"]).lines();
    let grants = json!(["bash(touch *)", "write_file(docs/*)"]);
    assert_eq!(listed, [json!({ "folder": project, "grants": grants })]);
    let missing = home.run(&["policy", "forget", "bash"]);
    assert!(missing.refused(1).contains("`bash` is not granted"));
    assert!(home.run(&["policy", "allow", "bash("]).refused(1).contains("is not a rule"));
    assert_eq!(home.run(&["policy", "forget", "bash(touch *)"]).code, Some(0));
    assert_eq!(home.run(&["run", "-q", "-m", &model, "go"]).code, Some(4));
    home.write("elsewhere/x", "");
    let there = ["policy", "list", "--folder", "../elsewhere"];
    assert!(home.run(&there).out.starts_with("nothing is granted in"));
    assert_eq!(home.run(&["policy", "forget", "--all"]).code, Some(0));
    assert_eq!(home.run(&["policy", "list"]).out, format!("nothing is granted in {project}\n"));
    assert_eq!(home.run(&["policy", "forget"]).code, Some(2));
}

#[test]
fn a_folder_nobody_trusted_grants_itself_nothing() {
    let home = Home::new();
    home.shared("rules.allow = [\"bash\"]");
    let planted = format!("[folders.\"{}\"]\ngrants = [\"bash\"]\n", home.project().display());
    for place in ["grants.toml", ".oarlock/grants.toml", ".local/share/oarlock/grants.toml"] {
        home.write(&format!("project/{place}"), &planted);
    }
    let model = touches(&home, "one");
    let ran = home.run(&["run", "-q", "-m", &model, "go"]);
    assert_eq!(ran.code, Some(4), "{}", ran.err);
    assert!(!home.path("project/one").exists());
    home.shared("grants = [\"bash\"]");
    assert!(home.run(&["run", "-q", "-m", &model, "go"]).refused(1).contains("grants"));
}

#[test]
fn a_file_that_others_can_write_or_that_is_damaged_grants_nothing_and_is_kept() {
    let home = Home::new();
    assert_eq!(home.run(&["policy", "allow", "bash(touch *)"]).code, Some(0));
    let model = touches(&home, "one");
    std::fs::set_permissions(stored(&home), std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(home.run(&["policy", "list"]).refused(1).contains("chmod 600"));
    let ran = home.run(&["run", "-q", "-m", &model, "go"]);
    assert!(ran.code == Some(4) && ran.err.contains("without its saved grants"), "{}", ran.err);
    std::fs::set_permissions(stored(&home), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(stored(&home), "[folders").unwrap();
    assert!(home.run(&["policy", "allow", "bash(ls)"]).refused(1).contains("is damaged"));
    assert_eq!(std::fs::read_to_string(stored(&home)).unwrap(), "[folders");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_save_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (FileGrants::within(folder.path()), FileGrants::within(folder.path()));
    let here = std::path::Path::new("/here");
    for at in 0..20 {
        let (a, b) = ([format!("bash(a{at})")], [format!("bash(b{at})")]);
        let (first, second) = futures::join!(one.save(here, &a), two.save(here, &b));
        first.unwrap();
        second.unwrap();
    }
    let all = one.load(here).await.unwrap();
    assert_eq!(all.len(), 40, "{all:?}");
    let gone = two.forget(here, &all[..39]).await.unwrap();
    assert_eq!((gone.len(), one.load(here).await.unwrap().len()), (39, 1));
    let many: Vec<String> = (0..GRANTS_MAX).map(|at| format!("bash({at})")).collect();
    assert!(matches!(one.save(here, &many).await, Err(GrantsError::Full)));
    assert_eq!(two.load(here).await.unwrap(), all[39..]);
}

#[tokio::test]
async fn a_file_of_grants_is_bounded_and_one_beyond_the_bound_is_refused_and_kept() {
    const BYTES_MAX: usize = 4 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let (path, here) = (folder.path().join("grants.toml"), std::path::Path::new("/here"));
    let grants = FileGrants::within(folder.path());
    // One folder with a long name, and so many bytes in all.
    let write = |bytes: usize| {
        let (head, tail) = ("[folders.\"/", "\"]\ngrants = [\"bash(ls)\"]\n");
        let name = "x".repeat(bytes - head.len() - tail.len());
        let text = format!("{head}{name}{tail}");
        std::fs::write(&path, &text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        (text, std::path::PathBuf::from(format!("/{name}")))
    };
    let rules = ["bash(pwd)".to_owned()];
    let (full, named) = write(BYTES_MAX);
    assert_eq!(grants.load(&named).await.unwrap(), ["bash(ls)"]);
    let refused = grants.save(here, &rules).await.unwrap_err().to_string();
    assert!(refused.contains("would be longer than 4194304 bytes"), "{refused}");
    assert!(std::fs::read_to_string(&path).unwrap() == full, "it stays as it was");

    let (beyond, _) = write(BYTES_MAX + 1);
    for refused in [grants.load(here).await.err(), grants.save(here, &rules).await.err()] {
        let refused = refused.expect("it is too long").to_string();
        assert!(refused.contains("is longer than 4194304 bytes"), "{refused}");
    }
    assert!(std::fs::read_to_string(&path).unwrap() == beyond, "it stays as it was");
}

#[tokio::test]
async fn a_lock_that_is_never_let_go_ends_in_words_within_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let held = std::fs::File::create(folder.path().join("grants.lock")).unwrap();
    held.lock().unwrap();
    let grants = FileGrants::within(folder.path());
    let rules = ["bash(ls)".to_owned()];
    let save = grants.save(std::path::Path::new("/here"), &rules);
    let error = tokio::time::timeout(Duration::from_secs(10), save).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("holds the lock"), "{error}");
    assert!(grants.load(std::path::Path::new("/here")).await.unwrap().is_empty());
}
