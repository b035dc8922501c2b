//! Keys come from the environment or a private file, and are never shown.

use std::os::unix::fs::PermissionsExt;

use crate::home::Home;

const CANARY: &str = "sk-canary-5b1f";

fn chmod(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_file_must_be_private_and_hold_one_line() {
    let home = Home::new();
    let file = home.write("key", &format!("{CANARY}\n"));
    home.user("[providers.openai]\napi_key_file = \"~/key\"");
    let line = || {
        let ran = home.run(&["models"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.out.lines().find(|line| line.contains("openai/")).unwrap().to_owned()
    };
    chmod(&file, 0o644);
    assert!(
        line().contains(&format!("mode 0644); run `chmod 600 {}`", file.display())),
        "{}",
        line()
    );
    chmod(&file, 0o600);
    assert!(line().ends_with("ready"));
    std::fs::write(&file, "two\nlines").unwrap();
    assert!(line().contains("one line of text"));
    std::fs::remove_file(&file).unwrap();
    assert!(line().contains("cannot read the key file"));
}

#[test]
fn no_command_shows_a_key() {
    let home = Home::new().with("OPENAI_API_KEY", CANARY);
    home.user("[providers.openai.headers]\nx-token = \"sk-canary-5b1f\"");
    for arguments in [
        &["models", "--json"][..],
        &["doctor", "--offline"],
        &["doctor", "--offline", "--json"],
        &["doctor", "--config"],
        &["doctor", "--config", "--json"],
        &["init", "--yes", "--force"],
    ] {
        let ran = home.run(arguments);
        assert!(!ran.out.contains(CANARY) && !ran.err.contains(CANARY), "{arguments:?}");
    }
}

#[test]
fn a_dot_env_file_is_not_read() {
    let home = Home::new();
    home.write("project/.env", "OPENAI_API_KEY=x\nOARLOCK_MODE=open\n");
    assert!(home.config().line("mode").contains("ask-writes"));
    assert!(home.run(&["models"]).out.contains("needs $OPENAI_API_KEY"));
}
