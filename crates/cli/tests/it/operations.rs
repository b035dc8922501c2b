//! The command line against the table of operations: what each calls the other's, and how it ends.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use oarlock::args::Cli;
use oarlock_core::service::ErrorCode;
use oarlock_server::operations::operations;
use serde_json::json;

use crate::home::Home;

/// What people do with sessions that is no operation of programs, and why.
const OF_PEOPLE: [(&str, &str); 2] = [
    ("resume", "a program starts a turn, or waits for the one that was cut"),
    ("export", "a program reads the entries"),
];

/// A command by its words.
fn found<'a>(root: &'a Command, words: &str) -> Option<&'a Command> {
    words.split(' ').try_fold(root, |command, word| command.find_subcommand(word))
}

#[test]
fn every_command_of_the_table_is_there_and_every_command_about_sessions_is_in_it() {
    let root = Cli::command();
    let mut mapped = BTreeSet::new();
    for operation in operations() {
        let Some(words) = operation.command else { continue };
        let command = found(&root, words);
        let command = command.unwrap_or_else(|| panic!("{}: no `{words}`", operation.name));
        assert!(mapped.insert(command.get_name().to_owned()), "`{words}` is two operations");
        let takes_id = command.get_positionals().any(clap::Arg::is_required_set);
        let wants_id = operation.path.contains("{session_id}")
            || ["session search", "session send", "session import"].contains(&words);
        assert_eq!(takes_id, wants_id, "{words}");
    }
    for (name, why) in OF_PEOPLE {
        assert!(
            mapped.insert(name.to_owned()),
            "{name} has a row; it is not of people alone: {why}"
        );
    }
    let session = found(&root, "session").unwrap();
    let there: BTreeSet<String> =
        session.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert_eq!(mapped, there);
    // Serving is the table itself; of its own it has tokens.
    let of = |name: &str| {
        let command = found(&root, name).unwrap();
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((of("serve"), of("rpc")), (vec!["token".to_owned()], vec![]));
}

#[test]
fn commands_end_with_the_codes_of_the_error_table() {
    let home = Home::new();
    let model = home.script(&json!([{ "text": "one" }]));
    let absent = "01a1ffa1-0c86-70c2-afd9-4e292c035691";
    let code = |kind: ErrorCode| i32::from(kind.row().exit);
    for operation in operations().iter().filter(|o| o.path.contains("{session_id}")) {
        let Some(words) = operation.command else { continue };
        let mut arguments: Vec<&str> = words.split(' ').chain([absent]).collect();
        if words == "session delete" {
            arguments.push("--yes");
        }
        let ran = home.run(&arguments);
        assert!(ran.refused(code(ErrorCode::SessionNotFound)).contains(absent), "{words}");
    }
    assert_eq!(home.run(&["run", "-m", &model, "go"]).code, Some(0));
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    let beyond = home.run(&["session", "fork", &id, "--at", "4000"]);
    beyond.refused(code(ErrorCode::InvalidRequest));
    assert_eq!(home.run(&["session", "archive", &id]).code, Some(0));
    let archived = home.run(&["run", "-m", &model, "--resume", &id, "more"]);
    assert!(archived.refused(code(ErrorCode::SessionArchived)).contains("restore"));
}
