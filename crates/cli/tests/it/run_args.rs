//! What can be typed after `run` and `chat`, and the layer of configuration that it makes.

use clap::Parser;
use oarlock::args::{ChatArgs, ReplayArgs, Resumed, RunArgs, SessionArgs};
use oarlock::config::{Environment, Inputs, load};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(Box<RunArgs>),
    Chat(Box<ChatArgs>),
    Session(SessionArgs),
    Replay(ReplayArgs),
}

fn parse(words: &[&str]) -> Result<Command, clap::Error> {
    Line::try_parse_from([&["oarlock"], words].concat()).map(|line| line.command)
}

fn run(words: &[&str]) -> RunArgs {
    match parse(&[&["run"], words].concat()).unwrap() {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_word_after_resume_is_a_prompt_unless_it_is_an_id() {
    const ID: &str = "0192f0c1-7b7e-7000-8000-000000000001";
    let id = || Resumed::Id(ID.into());
    let table: [(&[&str], Resumed, Option<&str>); 8] = [
        (&["go"], Resumed::New, Some("go")),
        (&[], Resumed::New, None),
        (&["--resume"], Resumed::Latest, None),
        (&["--resume", "go on"], Resumed::Latest, Some("go on")),
        (&["go on", "--resume"], Resumed::Latest, Some("go on")),
        (&["--resume", ID, "go on"], id(), Some("go on")),
        (&["--resume=0192f0c1-7b7e-7000-8000-000000000001"], id(), None),
        (&["--resume", ID], id(), None),
    ];
    for (words, resumed, prompt) in table {
        let expected = (resumed, prompt.map(str::to_owned));
        assert_eq!(run(words).session_and_prompt(), expected, "{words:?}");
    }
}

#[test]
fn what_excludes_each_other_or_makes_no_sense_is_refused_by_the_parser() {
    for words in [
        &["run", "x", "--json", "--quiet"][..],
        &["run", "x", "--ephemeral", "--resume"],
        &["run", "x", "--mode"],
        &["run", "x", "--max-steps", "0"],
        &["run", "x", "--max-tokens-total", "0"],
        &["run", "x", "--max-cost", "cheap"],
        &["run", "x", "--timeout", "30"],
        &["run", "x", "y"],
        &["session"],
        &["session", "delete"],
        &["replay"],
    ] {
        assert_eq!(parse(words).map(|_| ()).unwrap_err().exit_code(), 2, "{words:?}");
    }
    for words in [&["chat", "--resume"][..], &["session", "list", "--json"], &["replay", "dir"]] {
        assert!(parse(words).is_ok(), "{words:?}");
    }
}

#[test]
fn flags_are_the_highest_layer_and_rules_add_to_those_below() {
    let args = run(&[
        "x",
        "--model",
        "openai/m",
        "--effort",
        "high",
        "--mode",
        "open",
        "--allow",
        "bash(ls *)",
        "--allow",
        "fetch",
        "--deny",
        "write_file",
        "--max-steps",
        "3",
        "--max-tokens-total",
        "1000",
        "--max-cost",
        "$0.25",
        "--timeout",
        "90s",
        "--no-project-prompt",
    ]);
    let environment = Environment::of(&[
        ("HOME", "/nonexistent"),
        ("OARLOCK_MODE", "read-only"),
        ("OARLOCK_RULES_ALLOW", "search"),
        ("OARLOCK_LIMITS_TURN_STEPS", "9"),
    ]);
    let flags = args.model.settings();
    let cwd = std::env::temp_dir();
    let loaded =
        load(Inputs { environment, cwd, overrides: vec!["mode=deny-all".into()], flags }).unwrap();
    let told: Vec<String> = loaded
        .stack
        .lines()
        .filter(|(_, e)| e.sources.iter().any(|s| s.layer() == oarlock::config::Layer::Flag))
        .map(|(key, e)| format!("{key} = {} # {}", e.value, e.sources.last().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            "effort = \"high\" # --effort",
            "limits.turn.cost = \"$0.25\" # --max-cost",
            "limits.turn.steps = 3 # --max-steps",
            "limits.turn.time = \"90s\" # --timeout",
            "limits.turn.tokens = 1000 # --max-tokens-total",
            "mode = \"open\" # --mode",
            "model = \"openai/m\" # --model",
            "prompt.project = false # --no-project-prompt",
            "rules.allow = [\"search\", \"bash(ls *)\", \"fetch\"] # --allow",
            "rules.deny = [\"write_file\"] # --deny",
        ]
    );
}
