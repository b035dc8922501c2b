//! `session`: what is kept can be listed, shown, taken elsewhere and removed.

use serde_json::json;

use crate::home::Home;

fn kept() -> (Home, String) {
    let home = Home::new();
    home.write("project/a.txt", "text");
    let read = json!({ "name": "read_file", "arguments": { "path": "a.txt" } });
    let model = home.script(&json!([{ "calls": [read] }, { "text": "It says text." }]));
    assert_eq!(home.run(&["run", "-q", "-m", &model, "what is there?"]).code, Some(0));
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    (home, id)
}

#[test]
fn a_session_is_listed_and_shown() {
    let (home, id) = kept();
    let list = home.run(&["session", "list"]).out;
    assert!(list.starts_with(&id) && list.contains("idle") && list.contains("  1 turn "), "{list}");
    let shown = home.run(&["session", "show", &id]);
    assert!(
        shown.out.contains("> what is there?") && shown.out.contains("It says text."),
        "{}",
        shown.out
    );
    assert!(shown.err.contains("✓ read"), "{}", shown.err);
    let lines = home.run(&["session", "show", "--json", &id]).lines();
    assert_eq!(lines[0]["entry"]["event"]["type"], "session_created");
    let elsewhere = home.run(&["-C", "/", "session", "list"]);
    assert_eq!((elsewhere.code, elsewhere.out.as_str()), (Some(0), ""));
    assert!(elsewhere.err.contains("session list --all"), "{}", elsewhere.err);
    let uncut = home.run(&["session", "resume", &id]);
    assert!(uncut.refused(1).contains("no turn of this session was cut"));
}

#[test]
fn an_unknown_session_is_named_by_every_command() {
    let home = Home::new();
    let unknown = "01a1fdc3-6027-7384-af56-48c816a35e69";
    for command in ["show", "resume", "export", "delete"] {
        let mut arguments = vec!["session", command, unknown];
        if command == "delete" {
            arguments.push("--yes");
        }
        let ran = home.run(&arguments);
        assert!(ran.refused(1).contains(&format!("there is no session {unknown}")), "{}", ran.err);
    }
}

#[test]
fn a_session_taken_elsewhere_is_the_same_hash_for_hash() {
    let (home, id) = kept();
    let file = home.path("session.jsonl").display().to_string();
    assert_eq!(home.run(&["session", "export", &id, "-o", &file]).code, Some(0));
    let exported = std::fs::read_to_string(&file).unwrap();
    assert_eq!(home.run(&["session", "export", &id]).out, exported);

    let other = Home::new();
    let there = other.write("s.jsonl", &exported).display().to_string();
    let ran = other.run(&["session", "import", &there]);
    assert_eq!((ran.code, ran.out), (Some(0), format!("{id}\n")), "{}", ran.err);
    let again = other.run(&["session", "export", &id]);
    assert!(again.out.starts_with(&exported), "every frame and hash of before");
    let shown = other.run(&["session", "show", &id]).out;
    assert!(shown.contains("It says text."), "{shown}");

    let twice = other.run(&["session", "import", &there]);
    assert!(twice.refused(1).contains("nothing was imported"), "{}", twice.err);
    assert_eq!(other.sessions().len(), 1);
}

#[test]
fn what_is_no_whole_session_is_not_imported() {
    let (home, id) = kept();
    let whole = home.run(&["session", "export", &id]).out;
    let cut = &whole[..whole.len() - 20];
    let lines: Vec<&str> = whole.lines().collect();
    let holed = [&lines[..2], &lines[3..]].concat().join("\n");
    let changed = whole.replace("It says text.", "It says else.");
    let table = ["", "{}", "# a file\n", "\u{0}\u{1}", cut, &holed, &changed];
    for text in table {
        let other = Home::new();
        let file = other.write("s.jsonl", text).display().to_string();
        let ran = other.run(&["session", "import", &file]);
        assert!(ran.refused(1).contains("nothing was imported"), "{text:.60}: {}", ran.err);
        assert!(other.sessions().is_empty(), "{text:.60}");
    }
    assert!(home.run(&["session", "import", "nowhere"]).refused(1).contains("cannot open"));
}

#[test]
fn a_session_is_removed_only_when_somebody_says_so() {
    let (home, id) = kept();
    assert!(home.run(&["session", "delete", &id]).refused(1).contains("--yes"));
    assert_eq!(home.sessions().len(), 1);
    let ran = home.run(&["session", "delete", &id, "--yes", "--json"]);
    assert_eq!((ran.code, ran.lines()), (Some(0), vec![json!({ "deleted": [id] })]));
    assert!(home.sessions().is_empty());
}
