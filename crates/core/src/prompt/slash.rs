//! What a person types instead of a prompt: `/name words`, as data. Pure; every surface that takes prompts reads them here.

use std::fmt;

use crate::ids::TaskId;

/// A command that is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name, without the slash.
    pub name: &'static str,
    /// What may follow, for people.
    pub hint: &'static str,
    /// What it does, in one line.
    pub description: &'static str,
}

const fn built_in(name: &'static str, hint: &'static str, description: &'static str) -> BuiltIn {
    BuiltIn { name, hint, description }
}

/// All commands that are always there, in the order in which they are listed.
pub const BUILT_IN: [BuiltIn; 12] = [
    built_in(
        "compact",
        "[INSTRUCTIONS]",
        "replace what was said so far by a summary, for the model",
    ),
    built_in("context", "", "say how full the model's window is"),
    built_in(
        "model",
        "[PROVIDER/MODEL]",
        "say which model answers, or take another from the next turn on",
    ),
    built_in("mode", "[NAME]", "say what tools may do, or change it from the next turn on"),
    built_in("usage", "", "say what the session has used"),
    built_in("steer", "WORDS", "tell the running turn something before its next step"),
    built_in("queue", "", "list what waits for a turn"),
    built_in("withdraw", "NUMBER", "take back what waits, by its number in the list"),
    built_in(
        "goal",
        "[WORDS]",
        "say how far the goal is, or give the session one to work for until it is reached; `off` takes it away",
    ),
    built_in("plan", "", "show the plan as the model wrote it last"),
    built_in(
        "tasks",
        "[cancel|send ID]",
        "list background tasks; `cancel ID` ends one, `cancel all` all of them, `send ID TEXT` gives one a line",
    ),
    built_in("help", "", "list all commands"),
];

/// A prompt that a person has written into a file and uses by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptFile {
    /// Its name, without the slash.
    pub name: String,
    /// What it does, in one line.
    pub description: Option<String>,
    /// What may follow, for people.
    pub argument_hint: Option<String>,
    /// The prompt, with `$ARGUMENTS` and `$1` to `$9` where arguments go.
    pub body: String,
}

/// What somebody typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A prompt: the words themselves, those of a file, or words whose doubled slash stands for one.
    Words(String),
    /// A command.
    Slash(Slash),
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slash {
    /// Replace what was said by a summary.
    Compact {
        /// What it should pay attention to.
        instructions: Option<String>,
    },
    /// How full the window is.
    Context,
    /// Which model answers; with a name, another.
    Model(Option<String>),
    /// What tools may do; with a name, something else.
    Mode(Option<String>),
    /// What the session has used.
    Usage,
    /// Words for the running turn.
    Steer(String),
    /// What waits for a turn.
    Queue,
    /// Take back what waits, by its number in the list, from 1.
    Withdraw(usize),
    /// How far the goal is; with words, a goal.
    Goal(Option<String>),
    /// No goal any more.
    NoGoal,
    /// The plan.
    Plan,
    /// What runs in the background.
    Tasks,
    /// End a background task; without a name all of them.
    CancelTask(Option<TaskId>),
    /// Send a background task a line.
    SendToTask(TaskId, String),
    /// All commands.
    Help,
}

/// Why a command is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlashError {
    /// There is no such command and no such file.
    #[error("there is no command /{name}{}; /help lists all, and //{name} says it to the model", Near(nearest.as_deref()))]
    Unknown {
        /// The name.
        name: String,
        /// The command most like it, when one is.
        nearest: Option<String>,
    },
    /// What follows does not fit.
    #[error("write it as /{name} {hint}")]
    Arguments {
        /// The command.
        name: &'static str,
        /// What may follow; empty when nothing may.
        hint: &'static str,
    },
}

struct Near<'a>(Option<&'a str>);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, " (did you mean /{name}?)"))
    }
}

impl Typed {
    /// Reads what was typed. A text is a command when its first word is a slash and a name, made of letters, digits, `-`, `_`, `.` and `:`; a path
    /// such as `/etc/hosts` is none. A command that is always there goes before a file of its name.
    ///
    /// # Errors
    /// [`SlashError`]: what looks like a command is never sent as words.
    pub fn read(text: &str, files: &[PromptFile]) -> Result<Self, SlashError> {
        let trimmed = text.trim();
        if let Some(rest) = trimmed.strip_prefix("//").filter(|rest| name_of(rest).is_some()) {
            return Ok(Self::Words(format!("/{rest}")));
        }
        let Some((name, rest)) = trimmed.strip_prefix('/').and_then(name_of) else {
            return Ok(Self::Words(text.to_owned()));
        };
        if let Some(known) = BUILT_IN.iter().find(|known| known.name == name) {
            let wrong = SlashError::Arguments { name: known.name, hint: known.hint };
            return built_in_of(name, rest).map(Self::Slash).ok_or(wrong);
        }
        match files.iter().find(|file| file.name == name) {
            Some(file) => Ok(Self::Words(file.with_arguments(rest))),
            None => {
                Err(SlashError::Unknown { name: name.to_owned(), nearest: nearest(name, files) })
            }
        }
    }
}

/// Whether a text can be the name of a prompt file.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    text.starts_with(|c: char| c.is_alphanumeric()) && text.chars().all(fits)
}

/// The name at the beginning and what follows it.
fn name_of(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    is_name(name).then_some((name, rest.trim()))
}

fn built_in_of(name: &str, rest: &str) -> Option<Slash> {
    let words = (!rest.is_empty()).then(|| rest.to_owned());
    let one_word = !rest.contains(char::is_whitespace);
    match (name, words) {
        ("compact", instructions) => Some(Slash::Compact { instructions }),
        ("context", None) => Some(Slash::Context),
        ("model", name) if one_word => Some(Slash::Model(name)),
        ("mode", name) if one_word => Some(Slash::Mode(name)),
        ("usage", None) => Some(Slash::Usage),
        ("steer", Some(words)) => Some(Slash::Steer(words)),
        ("queue", None) => Some(Slash::Queue),
        ("withdraw", Some(number)) => {
            number.parse().ok().filter(|number| *number > 0).map(Slash::Withdraw)
        }
        ("goal", Some(words)) if words == "off" => Some(Slash::NoGoal),
        ("goal", words) => Some(Slash::Goal(words)),
        ("plan", None) => Some(Slash::Plan),
        ("tasks", words) => tasks(words.as_deref()),
        ("help", None) => Some(Slash::Help),
        _ => None,
    }
}

fn tasks(words: Option<&str>) -> Option<Slash> {
    let Some(words) = words else { return Some(Slash::Tasks) };
    let (what, rest) = words.split_once(char::is_whitespace).map(|(a, b)| (a, b.trim()))?;
    match (what, rest.split_once(char::is_whitespace)) {
        ("cancel", None) if rest == "all" => Some(Slash::CancelTask(None)),
        ("cancel", None) => TaskId::parse(rest).ok().map(|task| Slash::CancelTask(Some(task))),
        ("send", Some((task, line))) => {
            TaskId::parse(task).ok().map(|task| Slash::SendToTask(task, line.trim().to_owned()))
        }
        _ => None,
    }
}

fn nearest(name: &str, files: &[PromptFile]) -> Option<String> {
    let names = BUILT_IN.iter().map(|known| known.name);
    let names = names.chain(files.iter().map(|file| file.name.as_str()));
    let near = names.map(|known| (strsim::damerau_levenshtein(known, name), known)).min()?;
    let (distance, known) = near;
    (distance <= (name.chars().count() / 3).max(1)).then(|| known.to_owned())
}

impl PromptFile {
    /// The prompt with its arguments in place. `$ARGUMENTS` is all of them as they were typed; `$1` to `$9` are single ones, divided at white
    /// space unless in double quotes, and empty when missing. A prompt without any of these has its arguments below.
    #[must_use]
    pub fn with_arguments(&self, arguments: &str) -> String {
        let single = divided(arguments);
        let (mut prompt, mut rest, mut placed) = (String::new(), self.body.as_str(), false);
        while let Some(at) = rest.find('$') {
            prompt.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let digit = rest.chars().next().and_then(|c| c.to_digit(10)).filter(|n| *n > 0);
            if let Some(after) = rest.strip_prefix("ARGUMENTS") {
                (rest, placed) = (after, true);
                prompt.push_str(arguments);
            } else if let Some(digit) = digit {
                (rest, placed) = (&rest[1..], true);
                prompt.push_str(single.get(digit as usize - 1).map_or("", String::as_str));
            } else {
                prompt.push('$');
            }
        }
        prompt.push_str(rest);
        if !placed && !arguments.is_empty() {
            prompt = format!("{}\n\n{arguments}", prompt.trim_end());
        }
        prompt
    }
}

fn divided(arguments: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), arguments.trim_start());
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let (word, after) =
            quoted.or_else(|| rest.split_once(char::is_whitespace)).unwrap_or((rest, ""));
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, body: &str) -> PromptFile {
        let (description, argument_hint) = (None, None);
        PromptFile { name: name.to_owned(), description, argument_hint, body: body.to_owned() }
    }

    #[test]
    fn what_is_typed_is_words_or_a_command_and_never_a_guess() {
        let files = [file("fix", "Fix $1 in $2."), file("usage", "mine")];
        let words = |text: &str| Ok(Typed::Words(text.to_owned()));
        let slash = |slash| Ok(Typed::Slash(slash));
        let unknown = |name: &str, nearest: Option<&str>| {
            let nearest = nearest.map(str::to_owned);
            Err(SlashError::Unknown { name: name.to_owned(), nearest })
        };
        let wrong = |name, hint| Err(SlashError::Arguments { name, hint });
        let table = [
            ("hello /usage", words("hello /usage")),
            ("/etc/hosts says what?", words("/etc/hosts says what?")),
            ("/", words("/")),
            ("/ usage", words("/ usage")),
            ("//usage of oars", words("/usage of oars")),
            ("// a comment", words("// a comment")),
            ("///x", words("///x")),
            ("/usage", slash(Slash::Usage)),
            ("  /usage\n", slash(Slash::Usage)),
            ("/usage now", wrong("usage", "")),
            ("/context", slash(Slash::Context)),
            ("/compact", slash(Slash::Compact { instructions: None })),
            (
                "/compact keep\nthe plan",
                slash(Slash::Compact { instructions: Some("keep\nthe plan".to_owned()) }),
            ),
            ("/model", slash(Slash::Model(None))),
            ("/model a/b", slash(Slash::Model(Some("a/b".to_owned())))),
            ("/model a b", wrong("model", "[PROVIDER/MODEL]")),
            ("/mode open", slash(Slash::Mode(Some("open".to_owned())))),
            ("/steer left, now", slash(Slash::Steer("left, now".to_owned()))),
            ("/steer", wrong("steer", "WORDS")),
            ("/queue", slash(Slash::Queue)),
            ("/withdraw 2", slash(Slash::Withdraw(2))),
            ("/withdraw 0", wrong("withdraw", "NUMBER")),
            ("/withdraw all", wrong("withdraw", "NUMBER")),
            ("/goal", slash(Slash::Goal(None))),
            ("/goal off", slash(Slash::NoGoal)),
            ("/goal off we go", slash(Slash::Goal(Some("off we go".to_owned())))),
            ("/plan", slash(Slash::Plan)),
            ("/plan a trip", wrong("plan", "")),
            ("/tasks", slash(Slash::Tasks)),
            ("/tasks cancel all", slash(Slash::CancelTask(None))),
            ("/tasks cancel bg-2", slash(Slash::CancelTask(Some(TaskId::numbered(2))))),
            ("/tasks cancel", wrong("tasks", "[cancel|send ID]")),
            (
                "/tasks send bg-2 y  z",
                slash(Slash::SendToTask(TaskId::numbered(2), "y  z".to_owned())),
            ),
            ("/tasks send bg-2", wrong("tasks", "[cancel|send ID]")),
            ("/help", slash(Slash::Help)),
            ("/fix a.rs main", words("Fix a.rs in main.")),
            ("/usgae", unknown("usgae", Some("usage"))),
            ("/fixx", unknown("fixx", Some("fix"))),
            ("/weather", unknown("weather", None)),
        ];
        for (text, expected) in table {
            assert_eq!(Typed::read(text, &files), expected, "{text:?}");
        }
        let error = Typed::read("/usgae", &files).unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no command /usgae (did you mean /usage?); /help lists all, and //usgae says it to the model"
        );
    }

    #[test]
    fn arguments_go_where_the_prompt_wants_them_and_are_never_lost() {
        let table = [
            ("a $ARGUMENTS b", "x  y", "a x  y b"),
            ("$1-$2-$3", "x \"y z\" w", "x-y z-w"),
            ("$1$2", "x", "x"),
            ("$1", "$2 x", "$2"),
            ("cost $0 $x $", "", "cost $0 $x $"),
            ("do it\n", "now", "do it\n\nnow"),
            ("do it\n", "", "do it\n"),
            ("$2", "\"open x", "x"),
        ];
        for (body, arguments, expected) in table {
            assert_eq!(
                file("f", body).with_arguments(arguments),
                expected,
                "{body:?} {arguments:?}"
            );
        }
    }

    #[test]
    fn every_command_that_is_listed_is_understood() {
        for known in BUILT_IN {
            let words = match known.name {
                "withdraw" => "1",
                "tasks" => "cancel all",
                _ => "x",
            };
            let with = Typed::read(&format!("/{} {words}", known.name), &[]);
            let without = Typed::read(&format!("/{}", known.name), &[]);
            assert_eq!(with.is_ok(), !known.hint.is_empty(), "{}", known.name);
            let needs = !known.hint.is_empty() && !known.hint.starts_with('[');
            assert_eq!(without.is_err(), needs, "{}", known.name);
        }
    }
}
