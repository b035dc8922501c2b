//! Layers: which wins, and that every value knows where it was written.

use std::os::unix::fs::symlink;

use crate::home::Home;

#[test]
fn each_layer_wins_over_the_ones_below_and_is_named() {
    let home = Home::new();
    let key = "tools.search.respect_gitignore_default";
    assert!(home.config().line(key).ends_with("= true   # built in"));
    let user = home.user("# mine\n[tools.search]\nrespect_gitignore_default = false\n");
    assert!(home.config().line(key).ends_with(&format!("false   # {}:3:1", user.display())));
    let shared = home.shared("tools.search.respect_gitignore_default = true");
    assert!(home.config().line(key).ends_with(&format!("true   # {}:1:14", shared.display())));
    let local = home.write(
        "project/.oarlock/config.local.toml",
        "\ntools.search.respect_gitignore_default = false",
    );
    assert!(home.config().line(key).ends_with(&format!("false   # {}:2:14", local.display())));
    let variable = "OARLOCK_TOOLS_SEARCH_RESPECT_GITIGNORE_DEFAULT";
    let home = home.with(variable, "true");
    assert!(
        home.config().line(key).ends_with(&format!("true   # environment variable {variable}"))
    );
    let ran = home.run(&["doctor", "--config", &format!("{key}=false")]);
    assert!(
        ran.line(key).ends_with(&format!("false   # --config {key}=false")),
        "{}",
        ran.line(key)
    );
}

#[test]
fn tables_merge_and_lists_replace_but_rules_add_up() {
    let home = Home::new().with("OARLOCK_RULES_DENY", "bash(rm *)");
    home.user("[providers.openai]\ndefault_model = \"a\"\nmodels = [\"a\", \"b\"]\n[rules]\ndeny = [\"fetch\"]\n");
    let ran = home.run(&["doctor", "--config", "providers.openai.models=[\"c\"]"]);
    assert!(ran.line("providers.openai.default_model").contains("= \"a\""));
    assert!(ran.line("providers.openai.models").contains("[{ id = \"c\" }]"), "{}", ran.out);
    let deny = ran.line("rules.deny");
    assert!(deny.contains(r#"["fetch", "bash(rm *)"]"#), "{deny}");
    assert!(deny.contains("config.toml:5:1, environment variable OARLOCK_RULES_DENY"), "{deny}");
}

#[test]
fn the_project_is_the_nearest_ancestor_with_git_else_the_folder() {
    let home = Home::new();
    home.shared("limits.turn.steps = 3");
    std::fs::create_dir_all(home.project().join("deep/er")).unwrap();
    let value = |arguments: &[&str]| home.run(arguments).line("limits.turn.steps").to_owned();
    assert_eq!(value(&["-C", "deep/er", "doctor", "--config"]), "");
    std::fs::create_dir(home.project().join(".git")).unwrap();
    assert!(value(&["-C", "deep/er", "doctor", "--config"]).contains("= 3 "));
}

#[test]
fn xdg_folders_are_used_and_no_home_is_said() {
    let home = Home::new();
    let xdg = home.path("xdg").display().to_string();
    home.write("xdg/oarlock/config.toml", "mode = \"read-only\"");
    let home = home.with("XDG_CONFIG_HOME", &xdg).with("XDG_DATA_HOME", &xdg);
    assert!(home.config().line("mode").contains("read-only"));
    assert!(home.run(&["doctor", "--offline"]).out.contains(&format!("{xdg}/oarlock")));
    let bare_home = Home::new();
    let mut bare = bare_home.command();
    let ran = crate::home::ran(&bare.env_remove("HOME").arg("models").output().unwrap());
    assert!(ran.refused(1).contains("neither XDG_CONFIG_HOME nor HOME is set"));
}

#[test]
fn a_relative_xdg_folder_is_no_folder() {
    let home = Home::new().with("XDG_CONFIG_HOME", "relative");
    home.user("mode = \"read-only\"");
    assert!(home.config().line("mode").contains("read-only"));
}

#[test]
fn a_configuration_that_is_no_plain_file_is_refused_and_never_waited_for() {
    let home = Home::new();
    std::fs::create_dir_all(home.project().join(".oarlock")).unwrap();
    symlink("/dev/zero", home.project().join(".oarlock/config.toml")).unwrap();
    assert!(home.run(&["models"]).refused(1).contains("is not a regular file"));
    let home = Home::new();
    home.shared(&"#".repeat(300_000));
    assert!(home.run(&["models"]).refused(1).contains("256 KiB"));
}
