//! Commands in the background through the real program: waited for, let go, interrupted, killed, and each end told once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::home::Home;
use crate::sittings::fed;
use crate::voyage::{Running, assert_sound, journal, now, of_type, sessions};

fn in_background(command: &str) -> Value {
    json!({"name": "bash", "arguments": {"command": command, "run_in_background": true}})
}

/// A model that starts the command, and then answers with these texts.
fn model(home: &Home, command: &str, texts: &[&str]) -> String {
    let first = json!({"calls": [in_background(command)]});
    let texts = texts.iter().map(|text| json!({"text": text}));
    home.script(&json!([first].into_iter().chain(texts).collect::<Vec<_>>()))
}

/// Whether any process of this machine has `mark` among its arguments.
fn runs(mark: &str) -> bool {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    numbers.map(|entry| entry.path()).any(|process| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|word| word == mark)
    })
}

/// Waits until that is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let begun = now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::yield_now();
    }
}

fn outcomes(entries: &[Value]) -> Vec<String> {
    let ends = of_type(entries, "task_settled");
    ends.iter().map(|end| end["outcome"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn run_waits_for_background_tasks_and_the_turns_that_they_start() {
    let home = Home::new();
    let model = model(&home, "sleep 0.3; echo late", &["started", "heard"]);
    let ran = home.run(&["run", "--mode", "open", "-m", &model, "go"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "started\nheard\n"), "{}", ran.err);
    for line in
        ["bg-1 in the background: sleep 0.3; echo late", "background tasks that run: 1", "bg-1"]
    {
        assert!(ran.err.contains(line), "{line} is missing in {}", ran.err);
    }
    let id = sessions(&home).remove(0);
    let entries = journal(&home, &id);
    assert_sound(&entries);
    let told = &of_type(&entries, "input_admitted")[1]["content"][0]["text"];
    assert_eq!(told, "[background task bg-1 (sleep 0.3; echo late) completed]\nlate\n");
    let shown = home.run(&["session", "show", &id]);
    let list = "background tasks:\nbg-1  completed  sleep 0.3; echo late\n";
    assert!(shown.out.ends_with(list), "{}", shown.out);
    let lines = home.run(&["run", "--json", "--mode", "open", "-m", &model, "go"]);
    assert_eq!((lines.code, &lines.result()["text"]), (Some(0), &json!("heard")), "{}", lines.err);
    let asked = home.run(&["run", "--resume", &id, "/tasks"]);
    assert_eq!(asked.out, "bg-1  completed  sleep 0.3; echo late\n", "{}", asked.err);
    assert!(home.run(&["run", "--help"]).out.contains("--no-wait"));
}

#[test]
fn run_waits_for_the_hooks_that_keep_the_turn_of_an_end_from_beginning() {
    let home = Home::new();
    home.user("[[hooks.before_ingest]]\nname = \"slow\"\nshell = \"sleep 0.4\"\n");
    let model = model(&home, "echo soon", &["started", "heard"]);
    let ran = home.run(&["run", "--mode", "open", "-m", &model, "go"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "started\nheard\n"), "{}", ran.err);
}

#[test]
fn no_wait_and_an_interrupt_end_the_tasks_and_keep_the_code_of_the_turn() {
    let home = Home::new();
    for (mark, no_wait) in [("6172.01", true), ("6172.02", false)] {
        let model = model(&home, &format!("touch begun; sleep {mark}"), &["started", "never"]);
        let mut command = home.command();
        command.args(["run", "--json", "--mode", "open", "-m", &model, "go"]);
        if no_wait {
            command.arg("--no-wait");
        }
        let begun = now();
        let mut running = Running::start(command);
        running.until_event("turn_ended");
        if !no_wait {
            until("it begins", || home.path("project/begun").exists());
            running.signal("INT");
        }
        let (ran, lines) = running.end();
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert_eq!(lines.last().unwrap()["result"]["text"], "started", "{lines:#?}");
        assert!(!runs(mark));
        let id = home.sessions().iter().map(|row| row["id"].as_str().unwrap().to_owned()).max();
        let entries = journal(&home, &id.unwrap());
        assert_sound(&entries);
        assert_eq!(outcomes(&entries), ["canceled"]);
        assert_eq!(of_type(&entries, "turn_started").len(), 1);
    }
}

#[test]
fn a_mode_that_denies_commands_denies_them_in_the_background_too() {
    let home = Home::new();
    let model = model(&home, "touch done", &["so be it"]);
    for mode in ["deny-all", "read-only", "ask-writes"] {
        let ran = home.run(&["run", "--json", "--mode", mode, "-m", &model, "go"]);
        assert_eq!(ran.result()["text"], "so be it", "{}", ran.err);
    }
    assert!(!home.path("project/done").exists());
    for id in sessions(&home) {
        let entries = journal(&home, &id);
        assert_eq!(of_type(&entries, "tool_settled")[0]["outcome"], "denied");
        assert!(of_type(&entries, "task_started").is_empty());
    }
}

#[test]
fn chat_shows_the_end_of_a_task_and_what_the_model_says_to_it() {
    let home = Home::new();
    let model = model(&home, "read line; echo $line", &["started", "heard"]);
    let lines = b"go\n/tasks\n/tasks cancel bg-7\n";
    let chat = ["chat", "--mode", "open", "-m", &model];
    let mut command = home.command();
    let mut child = command
        .args(chat)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, lines).unwrap();
    until("a task begins", || {
        let id = sessions(&home).pop();
        id.is_some_and(|id| of_type(&journal(&home, &id), "turn_ended").len() == 1)
    });
    std::io::Write::write_all(&mut stdin, b"/tasks send bg-1 aboard\n").unwrap();
    drop(stdin);
    let ran = crate::home::ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("started\n") && ran.out.contains("heard\n"), "{}", ran.out);
    assert!(ran.out.contains("sent to bg-1\n"), "{} {}", ran.out, ran.err);
    assert!(ran.err.contains("there is no background task bg-7"), "{}", ran.err);
    let entries = journal(&home, &sessions(&home)[0]);
    let told = &of_type(&entries, "input_admitted")[1]["content"][0]["text"];
    assert!(told.as_str().unwrap().ends_with("completed]\naboard\n"), "{told}");
    let left = fed(&home, &chat, b"go\n/exit\n");
    assert_eq!(left.code, Some(0), "{}", left.err);
}

#[test]
fn a_command_whose_program_is_killed_ends_with_it_and_the_next_turn_is_told_that_it_is_lost() {
    let home = Home::new();
    let mark = "6172.03";
    let command = format!("touch begun; (sleep {mark} & wait)");
    let model = model(&home, &command, &["started", "told", "never"]);
    let mut command = home.command();
    command.args(["run", "--json", "--mode", "open", "-m", &model, "go"]);
    let mut running = Running::start(command);
    let id = running.session();
    running.until_event("turn_ended");
    until("it begins", || home.path("project/begun").exists() && runs(mark));
    running.signal("KILL");
    let (ran, _) = running.end();
    assert_eq!(ran.code, None);
    until("the command outlives its program", || !runs(mark));
    let resumed = home.run(&["run", "--json", "--resume", &id, "and now"]);
    assert_eq!(
        (resumed.code, &resumed.result()["text"]),
        (Some(0), &json!("told")),
        "{}",
        resumed.err
    );
    let entries = journal(&home, &id);
    assert_sound(&entries);
    assert_eq!(outcomes(&entries), ["lost"]);
    let turns = of_type(&entries, "turn_started");
    assert_eq!(turns[1]["inputs"].as_array().unwrap().len(), 2, "both ride on one turn");
}

/// Starts programs on one session and kills each of them, until so many tasks were started.
fn killed_again_and_again(home: &Home, model: &str, tasks: usize) -> (String, usize) {
    let mut id: Option<String> = None;
    for kills in 0..400 {
        let mut command = home.command();
        command.args(["run", "--json", "--mode", "open", "-m", model]);
        if let Some(id) = &id {
            command.args(["--resume", id]);
        }
        command.arg("go");
        let mut running = Running::start(command);
        let wanted = 20 + kills * 7 % 60;
        let mut seen = 0;
        running.until(|line| {
            seen += 1;
            seen > wanted || line.get("result").is_some()
        });
        running.signal("KILL");
        drop(running);
        let found = id.get_or_insert_with(|| sessions(home).remove(0)).clone();
        if of_type(&journal(home, &found), "task_started").len() >= tasks {
            return (found, kills);
        }
    }
    panic!("too few tasks were started");
}

#[test]
fn each_end_of_many_tasks_is_told_once_although_their_program_is_killed_again_and_again() {
    let home = Home::new();
    let commands = ["true", "sleep 0.02", "sleep 0.2", "echo x; exit 1"];
    let calls: Vec<Value> = commands.iter().cycle().take(8).map(|c| in_background(c)).collect();
    let steps: Vec<Value> = (0..400)
        .map(|step| match step % 2 {
            0 => json!({"calls": calls}),
            _ => json!({"text": "on it"}),
        })
        .collect();
    let script = json!({"steps": steps, "repeat_last": true}).to_string();
    let model = format!("script/{}", home.write("script.json", &script).display());
    let (id, kills) = killed_again_and_again(&home, &model, 100);
    // A model that starts nothing more takes what is left.
    let quiet = json!({"steps": [{"text": "done"}], "repeat_last": true}).to_string();
    home.write("script.json", &quiet);
    let last = home.run(&["run", "--json", "--resume", &id, "finish"]);
    assert_eq!(last.code, Some(0), "{}", last.err);
    let entries = journal(&home, &id);
    assert_sound(&entries);
    let names = |kind: &str| -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for data in of_type(&entries, kind) {
            *names.entry(data["task"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        names
    };
    let (begun, ended) = (names("task_started"), names("task_settled"));
    assert!(begun.len() >= 100 && begun == ended && ended.values().all(|times| *times == 1));
    let of_tasks = entries.iter().filter(|entry| entry["event"]["data"]["source"] == "background");
    let mut taken: BTreeMap<u64, usize> =
        of_tasks.map(|entry| (entry["seq"].as_u64().unwrap(), 0)).collect();
    assert_eq!(taken.len(), begun.len());
    for kind in ["turn_started", "step_started"] {
        for data in of_type(&entries, kind) {
            for input in data["inputs"].as_array().into_iter().flatten() {
                if let Some(times) = taken.get_mut(&input.as_u64().unwrap()) {
                    *times += 1;
                }
            }
        }
    }
    assert!(taken.values().all(|times| *times == 1), "{taken:?}");
    let outcomes = outcomes(&entries);
    let lost = outcomes.iter().filter(|outcome| *outcome == "lost").count();
    println!("{} tasks, {} kills, {lost} lost", begun.len(), kills + 1);
    assert!(lost > 0 && outcomes.contains(&"completed".to_owned()), "{outcomes:?}");
}
