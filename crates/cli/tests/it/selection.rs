//! Which model is chosen, by what is configured and what is in the environment.

use oarlock::config::{Config, Environment, Inputs, load};
use oarlock::selection::{Selected, SelectionError, Surroundings, select};

fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join(".config/oarlock")).unwrap();
    std::fs::write(folder.path().join(".config/oarlock/config.toml"), text).unwrap();
    let environment = Environment::of(&[("HOME", folder.path().to_str().unwrap())]);
    let cwd = folder.path().to_owned();
    load(Inputs { environment, cwd, overrides: vec![], flags: vec![] }).unwrap().config
}

/// What is chosen with these keys: names in capitals are variables, others providers with a stored key.
fn choose(text: &str, keys: &[&str], ci: bool) -> Result<Selected, SelectionError> {
    let is_variable = |key: &String| key.chars().all(|c| !c.is_lowercase());
    let (key_variables, stored) = keys.iter().map(|key| (*key).to_owned()).partition(is_variable);
    select(&config(text), &Surroundings { key_variables, stored, unusable: None, ci })
}

const LOCAL: &str = "[providers.local]\nwire = \"openai-chat\"\nbase_url = \"http://127.0.0.1:1\"\nmodels = [\"m\", \"vendor/n\"]\n";

#[test]
fn what_is_named_is_taken_and_what_is_not_is_said() {
    let with_local = |first: &str| format!("{first}\n{LOCAL}");
    let (anthropic, openai) = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY");
    let table: [(String, &[&str], &str, bool); 17] = [
        ("model = \"demo\"".into(), &[], "demo/demo", false),
        ("model = \"demo\"".into(), &[anthropic], "demo/demo", false),
        ("model = \"openai/gpt-x\"".into(), &[openai], "openai/gpt-x", false),
        ("provider = \"openai\"".into(), &[openai], "openai/gpt-4o-mini", false),
        ("provider = \"openai\"\nmodel = \"ft:a/b\"".into(), &[openai], "openai/ft:a/b", false),
        ("model = \"gpt-x\"".into(), &[openai], "openai/gpt-x", false),
        (with_local(""), &[], "local/m", false),
        (with_local("model = \"vendor/n\"\nprovider = \"local\""), &[], "local/vendor/n", false),
        (with_local("model = \"m\""), &[openai], "local/m", false),
        (String::new(), &[openai], "openai/gpt-4o-mini", true),
        (String::new(), &[openai, anthropic], "anthropic/claude-sonnet-4-5", true),
        (String::new(), &["openai"], "openai/gpt-4o-mini", true),
        (String::new(), &["openai", "anthropic"], "anthropic/claude-sonnet-4-5", true),
        (String::new(), &["anthropic", openai], "openai/gpt-4o-mini", true),
        ("provider = \"openai\"".into(), &["openai", anthropic], "openai/gpt-4o-mini", false),
        (with_local("model = \"local/vendor/n\""), &["local"], "local/vendor/n", false),
        (with_local("provider = \"openai\""), &["openai"], "openai/gpt-4o-mini", false),
    ];
    for (text, keys, model, noticed) in table {
        let selected = choose(&text, keys, true).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(
            (selected.model.to_string().as_str(), selected.notice.is_some()),
            (model, noticed),
            "{text}"
        );
    }
}

#[test]
fn the_demonstration_is_chosen_only_when_there_is_nothing_at_all_and_never_in_ci() {
    let selected = choose("", &[], false).unwrap();
    assert_eq!(selected.model.to_string(), "demo/demo");
    assert!(selected.notice.unwrap().contains("oarlock init"));
    assert_eq!(choose("", &[], true), Err(SelectionError::NothingInCi));
}

#[test]
fn what_cannot_be_had_is_an_error_and_never_the_demonstration() {
    let table: [(&str, &[&str], &str); 8] = [
        ("model = \"opnai/x\"", &[], "unknown provider `opnai`; did you mean `openai`?"),
        ("provider = \"acme-corporation\"", &[], "configure it under [providers.acme-corporation]"),
        (
            "model = \"openai/x\"",
            &["ANTHROPIC_API_KEY"],
            "no key for provider `openai`; set OPENAI_API_KEY or run `oarlock login openai`",
        ),
        ("provider = \"openai\"", &["anthropic"], "run `oarlock login openai`"),
        ("provider = \"groq\"", &["GROQ_API_KEY"], "--model groq/MODEL"),
        ("provider = \"script\"", &[], "no default model"),
        ("model = \"gpt-x\"", &[], "no provider for the model `gpt-x`"),
        (
            "[providers.openai]\nmodels = [\"x\"]\napi_key_env = \"MINE\"",
            &["OPENAI_API_KEY"],
            "set MINE",
        ),
    ];
    for (text, keys, expected) in table {
        let told = choose(text, keys, false).unwrap_err().to_string();
        assert!(told.contains(expected), "{text}: {told}");
    }
}

#[test]
fn stored_keys_that_cannot_be_used_are_named_only_where_one_is_needed() {
    let around = Surroundings {
        key_variables: ["OPENAI_API_KEY".to_owned()].into(),
        unusable: Some("it is open to others".to_owned()),
        ..Surroundings::default()
    };
    let chosen = |text: &str| select(&config(text), &around);
    assert_eq!(chosen("provider = \"openai\"").unwrap().model.provider, "openai");
    let told = chosen("provider = \"groq\"\nmodel = \"m\"").unwrap_err().to_string();
    assert_eq!(told, "no key for provider `groq`: it is open to others");
}
