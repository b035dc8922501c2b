//! One skill, read from its `SKILL.md`.

use std::path::PathBuf;

use serde_json::Value;

use super::allowed::Allowed;
use super::find::{Found, Source};
use super::trigger::Triggers;
use crate::front_matter;

/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 64;
/// Characters of a description; of a longer one the beginning is shown.
pub const DESCRIPTION_CHARS_MAX: usize = 1024;

/// Keys that mean something here, and those that only tell people something.
const UNDERSTOOD: [&str; 8] = [
    "name",
    "description",
    "always",
    "triggers",
    "allowed-tools",
    "disable-model-invocation",
    "user-invocable",
    "argument-hint",
];
const FOR_PEOPLE: [&str; 4] = ["license", "compatibility", "metadata", "version"];
/// Words in a text that stand for the skill's folder.
const FOLDER_WORDS: [&str; 2] = ["${CLAUDE_SKILL_DIR}", "{baseDir}"];

/// A skill that can be used.
#[derive(Debug, Clone)]
pub struct Skill {
    /// Its name.
    pub name: String,
    /// What it is for and when to use it, in one line.
    pub description: String,
    /// Its canonical folder.
    pub folder: PathBuf,
    /// Whose word it is.
    pub source: Source,
    /// Whether its text is part of every new session.
    pub always: bool,
    /// Who thinks of it.
    pub thought_of: ThoughtOf,
    /// What may follow when a person names it.
    pub argument_hint: Option<String>,
    /// When it is hinted at.
    pub triggers: Triggers,
    /// What its loading grants.
    pub allowed: Allowed,
    /// Keys of its head that mean nothing here.
    pub ignored: Vec<String>,
    /// What of it is used in another way than its author may think, in words for a person.
    pub notes: Vec<String>,
    /// What it tells the model.
    pub body: String,
}

/// Who may think of a skill. Whoever does, it is the model that loads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThoughtOf {
    /// The model, which is told of it, and a person, who names it as a command.
    ByAnybody,
    /// A person alone: models are not told of it.
    ByPeople,
    /// The model alone: it is no command.
    ByModels,
}

impl Skill {
    /// Reads a skill. `tools` are the names of the tools that there are.
    ///
    /// # Errors
    /// Why it cannot be used, in words for a person.
    pub fn read(found: &Found, tools: &[String]) -> Result<Self, String> {
        let text = found.text.as_ref().map_err(Clone::clone)?;
        let document = front_matter::read(text).map_err(|error| error.to_string())?;
        let head = &document.head;
        let mut notes = Vec::new();
        if document.is_mended {
            notes.push(
                "its head is no YAML: what was misread was taken as if it stood in quotes"
                    .to_owned(),
            );
        }
        let name = name(&found.name, head.get("name"), &mut notes)?;
        let description = description(head.get("description"), &mut notes)?;
        let mut flag = |key, default| flag(head.get(key), key, default, &mut notes);
        let always = flag("always", false);
        let models_may_not = flag("disable-model-invocation", false);
        let people_may = flag("user-invocable", true);
        let thought_of = match (models_may_not, people_may) {
            (false, true) => ThoughtOf::ByAnybody,
            (true, true) => ThoughtOf::ByPeople,
            (false, false) => ThoughtOf::ByModels,
            (true, false) => return Err("neither a model nor a person may use it".to_owned()),
        };
        let triggers = match head.get("triggers") {
            Some(value) => Triggers::read(value, &mut notes),
            None => Triggers::default(),
        };
        let allowed = match head.get("allowed-tools") {
            Some(value) => Allowed::translate(value, tools),
            None => Allowed::default(),
        };
        let understood = |key: &&String| {
            UNDERSTOOD.contains(&key.as_str()) || FOR_PEOPLE.contains(&key.as_str())
        };
        let ignored = head.keys().filter(|key| !understood(key)).cloned().collect();
        let argument_hint = head.get("argument-hint").and_then(hint);
        let folder = found.folder.clone();
        let mut body = document.body.trim().to_owned();
        for word in FOLDER_WORDS {
            body = body.replace(word, &folder.to_string_lossy());
        }
        if body.is_empty() {
            return Err("it says nothing below its head".to_owned());
        }
        Ok(Self {
            name,
            description,
            folder,
            source: found.source,
            // What models are not told of is not given to each of them either.
            always: always && thought_of != ThoughtOf::ByPeople,
            thought_of,
            argument_hint,
            triggers,
            allowed,
            ignored,
            notes,
            body,
        })
    }
}

/// What may follow, in one line. YAML takes `[number]` for a list.
fn hint(value: &Value) -> Option<String> {
    let words = match value {
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Value::Array(list) => {
            let words = list.iter().filter_map(Value::as_str);
            format!("[{}]", words.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
    };
    (!words.is_empty() && words.len() <= NAME_CHARS_MAX * 2).then_some(words)
}

/// The name of its head. Published skills that lack one, or have a title there, go by the name of their folder.
fn name(folder: &str, given: Option<&Value>, notes: &mut Vec<String>) -> Result<String, String> {
    let given = given.and_then(Value::as_str).filter(|name| is_name(name));
    let name = given.or(Some(folder).filter(|name| is_name(name))).ok_or_else(|| {
        format!("neither its `name` nor that of its folder is a word of letters, digits, `-`, `_` and `.` with at most {NAME_CHARS_MAX} characters")
    })?;
    if given.is_none() {
        notes.push("its head has no `name` that is one; that of its folder is taken".to_owned());
    } else if name != folder {
        notes.push("its folder has another name".to_owned());
    }
    Ok(name.to_owned())
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(char::is_alphanumeric)
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && text.chars().count() <= NAME_CHARS_MAX
}

fn description(given: Option<&Value>, notes: &mut Vec<String>) -> Result<String, String> {
    let Some(Value::String(text)) = given else {
        return Err("it has no `description`: say what it is for and when to use it".to_owned());
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return Err("its `description` is empty: say what it is for and when to use it".to_owned());
    }
    match line.char_indices().nth(DESCRIPTION_CHARS_MAX) {
        None => Ok(line),
        Some((end, _)) => {
            notes.push(format!(
                "its description is cut: {DESCRIPTION_CHARS_MAX} characters are taken"
            ));
            Ok(format!("{}…", &line[..end]))
        }
    }
}

fn flag(given: Option<&Value>, key: &str, default: bool, notes: &mut Vec<String>) -> bool {
    match given {
        None | Some(Value::Null) => default,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => {
            notes.push(format!("`{key}` is neither true nor false and is taken for {default}"));
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Skill, String> {
        let found = Found {
            name: name.to_owned(),
            folder: PathBuf::from("/s").join(name),
            source: Source::User,
            text: Ok(text.to_owned()),
        };
        Skill::read(&found, &["bash".to_owned()])
    }

    #[test]
    fn a_published_skill_is_read_unchanged() {
        let text = "---\nname: pdf-forms\ndescription: >\n  Fills forms.\n  Use it for PDF files.\nlicense: Apache-2.0\ncompatibility: Requires python3\nmetadata:\n  author: someone\n  version: \"1.0\"\nallowed-tools: Bash(python:*) WebSearch\nmodel: some-model\nhooks: {}\n---\n\n# Forms\n\nRun ${CLAUDE_SKILL_DIR}/a.py or {baseDir}/b.py.\n";
        let skill = read("pdf-forms", text).unwrap();
        assert_eq!(skill.description, "Fills forms. Use it for PDF files.");
        assert_eq!(skill.ignored, ["model", "hooks"]);
        assert_eq!(skill.allowed.grants, ["bash(python)", "bash(python *)"]);
        assert_eq!(skill.allowed.refused.len(), 1);
        assert_eq!(skill.body, "# Forms\n\nRun /s/pdf-forms/a.py or /s/pdf-forms/b.py.");
        assert!(!skill.always && skill.triggers.is_empty() && skill.notes.is_empty());
    }

    #[test]
    fn what_is_no_skill_says_why() {
        for (name, text, why) in [
            ("a", "# A", "no head"),
            ("a b", "---\nname: a b\ndescription: d\n---\nx", "is a word"),
            ("-a", "---\nname: -a\ndescription: d\n---\nx", "is a word"),
            ("a", "---\nname: a\n---\nx", "no `description`"),
            ("a", "---\nname: a\ndescription: \" \"\n---\nx", "`description` is empty"),
            ("a", "---\nname: a\ndescription: d\n---\n \n", "says nothing"),
            (
                "a",
                "---\nname: a\ndescription: d\ndisable-model-invocation: true\nuser-invocable: false\n---\nx",
                "neither a model nor a person",
            ),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.contains(why), "{name} {text:?}: {error}");
        }
    }

    #[test]
    fn what_is_used_otherwise_than_it_was_meant_is_said() {
        let long = format!("---\ndescription: {}\nalways: perhaps\n---\nx", "é ".repeat(600));
        let skill = read("a", &long).unwrap();
        assert_eq!((skill.name.as_str(), skill.always, skill.notes.len()), ("a", false, 3));
        assert_eq!(skill.description.chars().count(), DESCRIPTION_CHARS_MAX + 1);
    }

    #[test]
    fn a_name_is_that_of_the_head_or_else_that_of_the_folder() {
        for (folder, name, expected, notes) in [
            ("a", "a", "a", 0),
            ("best-practices", "vendor-best-practices", "vendor-best-practices", 1),
            ("writer", "The Writer", "writer", 1),
            ("2", "[2]", "2", 1),
            ("a b", "a-b", "a-b", 1),
        ] {
            let skill =
                read(folder, &format!("---\nname: {name}\ndescription: d\n---\nx")).unwrap();
            assert_eq!((skill.name.as_str(), skill.notes.len()), (expected, notes), "{folder}");
        }
    }

    #[test]
    fn who_may_think_of_a_skill_is_what_its_head_says() {
        let read =
            |head: &str| read("a", &format!("---\ndescription: d\nalways: true\n{head}\n---\nx"));
        for (head, thought_of, always, hint) in [
            (
                "argument-hint: [number] [urgency]",
                ThoughtOf::ByAnybody,
                true,
                Some("[number] [urgency]"),
            ),
            (
                "argument-hint: [number, urgency]",
                ThoughtOf::ByAnybody,
                true,
                Some("[number, urgency]"),
            ),
            ("disable-model-invocation: true", ThoughtOf::ByPeople, false, None),
            ("user-invocable: false", ThoughtOf::ByModels, true, None),
        ] {
            let skill = read(head).unwrap();
            assert_eq!((skill.thought_of, skill.always), (thought_of, always), "{head}");
            assert_eq!((skill.argument_hint.as_deref(), skill.ignored.len()), (hint, 0), "{head}");
        }
    }
}
