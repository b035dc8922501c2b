//! Answers of a schema through the real program: what stands on stdout, what a failure says, and what a session keeps.

use serde_json::{Value, json};

use crate::home::Home;
use crate::voyage::{assert_sound, journal, of_type, sessions};

const COUNT: &str =
    r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer","minimum":1}}}"#;

fn said(home: &Home, words: &[&str]) -> String {
    home.script(&json!(words.iter().map(|words| json!({"text": words})).collect::<Vec<Value>>()))
}

#[test]
fn only_json_that_fits_is_on_stdout_however_it_is_printed() {
    let fenced = "```json\n{\"n\": 2.0}\n```";
    for (flags, wanted) in [(&[][..], "{\"n\": 2.0}\n"), (&["--quiet"], "{\"n\": 2.0}\n")] {
        let home = Home::new();
        home.write("project/count.json", COUNT);
        let model = said(&home, &["I think two.", "{\"n\": 0}", fenced]);
        let run = ["run", "-m", &model, "--output-schema", "count.json", "how many?"];
        let ran = home.run(&[&run, flags].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), wanted), "{}", ran.err);
        let entries = journal(&home, &sessions(&home)[0]);
        assert_sound(&entries);
        let asked = of_type(&entries, "turn_continued");
        assert_eq!(asked.iter().filter(|event| event["by"] == "output").count(), 2);
        assert_eq!(of_type(&entries, "turn_ended")[0]["structured_output"], "{\"n\": 2.0}");
    }
}

#[test]
fn what_never_fits_fails_with_the_reason_and_the_attempts() {
    let home = Home::new();
    let model = said(&home, &["one", "two", "three"]);
    let run = ["run", "-m", &model, "--output-schema", COUNT, "--output-retries", "1", "how many?"];
    let ran = home.run(&run);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.contains("no answer of 2 was of the form"), "{}", ran.err);
    let lines = home.run(&[&run[..], &["--json"]].concat());
    let result = lines.result();
    assert_eq!(
        (&result["exit_code"], &result["ended"]["stop"]["reason"]),
        (&json!(1), &json!("failed"))
    );
    let why = &result["ended"]["error"]["output"];
    assert_eq!((&why["attempts"], &why["last_output"]), (&json!(2), &json!("two")));
    assert!(why["reason"].as_str().unwrap().contains("not JSON alone"), "{why}");
}

#[test]
fn a_session_keeps_its_schema_until_another_is_given() {
    let home = Home::new();
    let model = said(&home, &["{\"n\": 1}", "x", "{\"n\": 2}", "[]"]);
    let first = home.run(&["run", "-m", &model, "--output-schema", COUNT, "how many?"]);
    assert_eq!((first.code, first.out.as_str()), (Some(0), "{\"n\": 1}\n"), "{}", first.err);
    let second = home.run(&["run", "--resume", "and now?", "--json"]);
    assert_eq!(second.result()["text"], "{\"n\": 2}", "{}", second.err);
    let list = ["run", "--resume", "all of them?", "--output-schema", r#"{"type":"array"}"#];
    let third = home.run(&list);
    assert_eq!((third.code, third.out.as_str()), (Some(0), "[]\n"), "{}", third.err);
}

#[test]
fn a_schema_that_is_none_is_refused_before_anything_is_made() {
    let home = Home::new();
    let model = said(&home, &["{}"]);
    let table = [
        (r#"{"type": "strng"}"#, "at /type"),
        (r#"{"type": "#, "not JSON"),
        ("missing.json", "missing.json"),
        (r#"{"$ref": "https://example.com/s"}"#, "nothing is fetched"),
    ];
    for (schema, wanted) in table {
        let ran = home.run(&["run", "-m", &model, "--output-schema", schema, "how many?"]);
        assert!(ran.refused(1).contains(wanted), "{}", ran.err);
    }
    assert!(sessions(&home).is_empty());
    let slash = home.run(&["run", "--output-schema", COUNT, "/help"]);
    assert!(slash.refused(1).contains("a slash command is none"), "{}", slash.err);
    let alone = home.run(&["run", "-m", &model, "--output-retries", "1", "how many?"]);
    assert!(alone.refused(2).contains("--output-schema"), "{}", alone.err);
}
