//! Modes of one's own: sections of the configuration that `--mode` and `mode` name.

use serde_json::json;

use crate::home::Home;

const PLAN: &str = "[modes.plan]\nbase = \"read-only\"\nallow = [\"bash(touch notes*)\"]\ndeny = [\"search\"]\ndescription = \"look and take notes\"\n";

/// A command in the shell, then the end.
fn runs(home: &Home, command: &str) -> String {
    let call = json!({ "calls": [{ "name": "bash", "arguments": { "command": command } }] });
    home.script(&json!([call, { "text": "It is done." }, call, { "text": "Again." }]))
}

#[test]
fn a_mode_of_ones_own_decides_and_is_kept_by_its_sessions() {
    let home = Home::new();
    home.user(PLAN);
    let allowed = runs(&home, "touch notes.md");
    let ran = home.run(&["run", "-q", "--mode", "plan", "-m", &allowed, "go"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(home.path("project/notes.md").exists());
    let refused = runs(&home, "touch other");
    let ran = home.run(&["run", "--json", "--mode", "plan", "-m", &refused, "go"]);
    assert_eq!(ran.code, Some(4), "{}", ran.err);
    assert!(ran.out.contains("in mode plan only tools that read may run"), "{}", ran.out);
    // The session has its mode in its journal; the configuration may change.
    home.user("");
    let again = home.run(&["run", "--json", "--resume", "-m", &refused, "go on"]);
    assert_eq!(again.code, Some(4), "{}", again.err);
    assert!(again.out.contains("in mode plan"), "{}", again.out);
    assert!(!home.path("project/other").exists());
}

#[test]
fn an_unknown_mode_is_refused_with_the_nearest_name_and_its_place() {
    let home = Home::new();
    let file = home.user(PLAN);
    let ran = home.run(&["run", "--mode", "plam", "-m", "demo", "go"]);
    let words = ran.refused(2);
    assert!(words.contains("did you mean `plan`?") && words.contains("--mode"), "{words}");
    let ran = home.run(&["run", "--mode", "No Such", "-m", "demo", "go"]);
    assert!(ran.refused(2).contains("`mode` takes"), "{}", ran.err);
    home.user("mode = \"readonly\"");
    let ran = home.run(&["run", "-m", "demo", "go"]);
    let words = ran.refused(1);
    let place = file.display().to_string();
    assert!(words.contains("did you mean `read-only`?") && words.contains(&place), "{words}");
}

#[test]
fn a_section_that_is_no_mode_is_a_mistake_with_its_place() {
    for (text, wanted) in [
        ("[modes.plan]\ndeny = [\"bash\"]", "the mode `plan` has no `base`"),
        ("[modes.open]\nbase = \"open\"", "there are two modes `open`"),
        ("[modes.Plan]\nbase = \"open\"", "is not a mode's name"),
        ("[modes.plan]\nbase = \"lax\"", "`modes.plan.base` takes"),
        ("[modes.plan]\nallow = [\"bash(\"]\nbase = \"open\"", "`modes.plan.allow` takes"),
        ("[modes.plan]\nbass = \"open\"", "unknown key `modes.plan.bass`"),
    ] {
        let home = Home::new();
        let file = home.user(text);
        let ran = home.run(&["run", "-m", "demo", "go"]);
        let words = ran.refused(1);
        assert!(words.contains(wanted), "{text}: {words}");
        assert!(words.contains(&file.display().to_string()), "{text}: {words}");
    }
}

#[test]
fn a_folder_may_make_a_mode_stricter_and_nothing_else() {
    let careful = "mode = \"careful\"\n[modes.careful]\nbase = \"ask-writes\"\ndeny = [\"fetch\"]\n[modes.lax]\nbase = \"open\"";
    // What the folder writes, the key, what is then in force: the user's, or the folder's.
    for (text, key, wanted) in [
        ("modes.careful.base = \"open\"", "modes.careful.base", "\"ask-writes\""),
        ("modes.careful.base = \"read-only\"", "modes.careful.base", "\"read-only\""),
        ("modes.careful.allow = [\"bash\"]", "modes.careful.allow", ""),
        ("modes.careful.deny = [\"bash\"]", "modes.careful.deny", "[\"fetch\", \"bash\"]"),
        ("modes.careful.description = \"harmless\"", "modes.careful.description", ""),
        ("[modes.evil]\nbase = \"open\"", "modes.evil.base", ""),
        ("mode = \"lax\"", "mode", "\"careful\""),
        // It denies no fetch.
        ("mode = \"ask-writes\"", "mode", "\"careful\""),
        ("mode = \"deny-all\"", "mode", "\"deny-all\""),
    ] {
        let home = Home::new();
        home.user(careful);
        home.shared(text);
        let ran = home.config();
        let line = ran.line(key);
        let in_force = line.strip_prefix(&format!("{key} = ")).unwrap_or(line);
        assert!(
            if wanted.is_empty() {
                line.is_empty()
            } else {
                in_force.starts_with(&format!("{wanted} "))
            },
            "{text}: {line}"
        );
    }
    // `soft` refuses what `ask-writes` asks about, and runs what its rule names.
    let home = Home::new();
    home.user("[modes.soft]\nbase = \"read-only\"\nallow = [\"bash\"]");
    home.shared("mode = \"soft\"");
    assert!(home.config().line("mode").starts_with("mode = \"ask-writes\" "));
    let home = Home::new();
    home.shared("mode = \"evil\"\n[modes.evil]\nbase = \"open\"");
    let model = runs(&home, "touch one");
    assert_eq!(home.run(&["run", "-q", "-m", &model, "go"]).code, Some(4));
    let named = home.run(&["run", "-q", "--mode", "evil", "-m", &model, "go"]);
    assert_eq!(named.code, Some(2), "{}", named.err);
    assert_eq!(home.run(&["trust", "--yes"]).code, Some(0));
    assert_eq!(home.run(&["run", "-q", "-m", &model, "go"]).code, Some(0));
}
