//! Help, versions, and wrong command lines.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::home::Home;

#[test]
fn help_and_version_need_neither_home_nor_configuration() {
    let home = Home::new();
    home.user("broken = = toml");
    for arguments in [&["--version"][..], &["--help"], &["init", "--help"], &["help", "trust"]] {
        let mut command = home.command();
        let output = command.env_remove("HOME").args(arguments).output().unwrap();
        let ran = crate::home::ran(&output);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(!ran.out.is_empty());
    }
    assert_eq!(home.run(&["--version"]).out, format!("oarlock {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_teaches_by_example() {
    for command in ["run", "chat", "session", "models", "init", "doctor", "trust"] {
        let help = Home::new().run(&[command, "--help"]).out;
        assert!(
            help.contains("Examples:") && help.contains(&format!("oarlock {command}")),
            "{help}"
        );
    }
}

#[test]
fn a_wrong_command_line_is_one_line_and_code_2() {
    let home = Home::new();
    let table: [(&[&str], &str); 6] = [
        (&["docter"], "doctor"),
        (&["models", "--jsno"], "--json"),
        (&["trust", "--show", "--revoke"], "cannot be used with"),
        (&["trust", "--list", "somewhere"], "cannot be used with"),
        (&["init", "--default-model"], "a value is required"),
        (&["doctor", "--nonsense"], "see `oarlock doctor --help`"),
    ];
    for (arguments, expected) in table {
        let ran = home.run(arguments);
        assert!(ran.refused(2).contains(expected), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn no_command_shows_help_and_code_2() {
    let ran = Home::new().run::<&str>(&[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("Usage: oarlock"));
}

#[test]
fn arguments_that_are_not_utf_8_are_refused_in_words() {
    let ran = Home::new().run(&[OsStr::new("models"), OsStr::from_bytes(b"\xff\xfe")]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(2), 1), "{}", ran.err);
}

#[test]
fn a_folder_whose_name_is_not_utf_8_works() {
    let home = Home::new();
    let folder = home.project().join(OsStr::from_bytes(b"\xff"));
    std::fs::create_dir(&folder).unwrap();
    let ran = home.run(&[OsStr::new("-C"), folder.as_os_str(), OsStr::new("models")]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn a_missing_folder_is_named() {
    let ran = Home::new().run(&["-C", "/no/such/folder", "models"]);
    assert!(ran.refused(1).contains("/no/such/folder"));
}

#[test]
fn a_closed_stdout_ends_quietly() {
    let home = Home::new();
    let mut command = home.command();
    let child = command.args(["doctor", "--config"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    drop(child.stdout.take());
    let ran = crate::home::ran(&child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}
