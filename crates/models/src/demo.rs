//! The built-in demonstration: no language model, but a fixed plan that really uses the tools and answers with what they gave.
//!
//! It is a pure function of the history: the same history gives the same answer. It asks for nothing that writes.

use std::collections::BTreeMap;

use futures::stream::{self, BoxStream, StreamExt};
use oarlock_core::event::DeltaItem;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Message, Part, ReplyStop, ToolResult, Usage};
use oarlock_core::ports::model::{
    Accepts, HostedCapabilities, Model, ModelError, ModelEvent, ModelInfo, ModelRequest, Price,
    Reply,
};
use oarlock_core::session::goal::GOAL_DONE;
use oarlock_core::spec::ModelSelection;
use serde_json::{Value, json};

/// Words of the prompt that are searched for.
const WORDS_MAX: usize = 3;
/// Files that are read.
const FILES_MAX: usize = 2;
/// Lines of anything that are quoted.
const LINES_MAX: usize = 5;
/// What it says of any goal.
const GOAL_SUMMARY: &str = "The demonstration looked at the folder and reported what it found. It is no language model and cannot judge what was asked for.";

/// The built-in demonstration, `demo/demo`. It costs nothing and calls nobody.
#[derive(Debug)]
pub struct DemoModel {
    info: ModelInfo,
}

impl DemoModel {
    /// The demonstration.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "models are made by name")]
    pub fn new() -> Self {
        let info = ModelInfo {
            selection: ModelSelection { provider: "demo".to_owned(), model: "demo".to_owned() },
            family: "demo".to_owned(),
            context_window: None,
            output_max: Some(4_096),
            price: Some(Price::default()),
            hosted: HostedCapabilities::default(),
            accepts: Accepts::default(),
            takes_output: false,
            drops_thought: false,
        };
        Self { info }
    }
}

impl Model for DemoModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let reply = answer(&request);
        let texts =
            reply.blocks.iter().zip(0..).filter_map(|(block, index)| match &block.content {
                Content::Text { text } => Some((index, text.clone())),
                Content::Thinking { .. } | Content::ToolCall { .. } | Content::Opaque { .. } => {
                    None
                }
            });
        let deltas = texts.flat_map(|(block, text)| {
            let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
            words
                .into_iter()
                .map(move |text| ModelEvent::Delta { item: DeltaItem::Text { block }, text })
        });
        let events: Vec<_> = deltas.chain([ModelEvent::Reply(reply.clone())]).map(Ok).collect();
        stream::iter(events).boxed()
    }
}

/// What happened since the last prompt.
struct Turn<'a> {
    prompt: String,
    /// The calls with their arguments and results, in order.
    done: Vec<(&'a str, Value, &'a ToolResult)>,
    /// Answers given so far.
    steps: usize,
}

impl Turn<'_> {
    /// Whether it is to work towards a goal and has not tried to say that it is reached.
    fn has_goal(&self) -> bool {
        self.prompt.contains(&format!("`{GOAL_DONE}`"))
            && self.done.iter().all(|(name, ..)| *name != GOAL_DONE)
    }
}

fn answer(request: &ModelRequest) -> Reply {
    if request.is_summary() {
        let words = "The demonstration looked at the folder and reported what it found.";
        let (blocks, usage) = (vec![text(words.to_owned())], Usage::default());
        return Reply {
            model: "demo".to_owned(),
            blocks,
            stop: ReplyStop::EndTurn,
            usage,
            warnings: Vec::new(),
        };
    }
    let turn = turn(&request.messages);
    let has = |name: &str| request.tools.iter().any(|tool| tool.name == name);
    let calls: Vec<(&str, Value)> = match turn.steps {
        0 => first_look().into_iter().filter(|(name, _)| has(name)).collect(),
        1 => closer_look(&turn).into_iter().filter(|(name, _)| has(name)).collect(),
        _ => Vec::new(),
    };
    let calls = match calls.is_empty() && has(GOAL_DONE) && turn.has_goal() {
        true => vec![(GOAL_DONE, json!({"summary": GOAL_SUMMARY}))],
        false => calls,
    };
    let output = |blocks: &[Block]| blocks.len() as u64 * 20;
    let (blocks, stop) = match calls.is_empty() {
        true => (vec![text(report(&turn))], ReplyStop::EndTurn),
        false => (ask(&turn, calls), ReplyStop::ToolUse),
    };
    let input = request.messages.len() as u64 * 20;
    let usage = Usage { input, output: output(&blocks), ..Usage::default() };
    Reply { model: "demo".to_owned(), blocks, stop, usage, warnings: Vec::new() }
}

fn text(text: String) -> Block {
    Block { content: Content::Text { text }, native: None }
}

fn ask(turn: &Turn<'_>, calls: Vec<(&str, Value)>) -> Vec<Block> {
    let words = match turn.steps {
        _ if calls.iter().any(|(name, _)| *name == GOAL_DONE) => {
            "I have done all that I can, and say that the goal is reached.\n"
        }
        0 => "I am the built-in demonstration. First I look at what is in this folder.\n",
        _ => "Now I read what I found and search for the words of the prompt.\n",
    };
    let call = |(name, arguments): (&str, Value)| Block {
        // The runtime gives each call its id.
        content: Content::ToolCall {
            id: CallId("".into()),
            name: name.to_owned(),
            arguments: arguments.to_string(),
        },
        native: None,
    };
    std::iter::once(text(words.to_owned())).chain(calls.into_iter().map(call)).collect()
}

fn first_look() -> Vec<(&'static str, Value)> {
    vec![
        ("search", json!({"pattern": "*", "mode": "files"})),
        (
            "bash",
            json!({"command": "git log --oneline -3 2>/dev/null || ls", "timeout_ms": 10_000}),
        ),
    ]
}

fn closer_look(turn: &Turn<'_>) -> Vec<(&'static str, Value)> {
    let files = worth_reading(&listing(turn));
    let reads = files
        .into_iter()
        .take(FILES_MAX)
        .map(|path| ("read_file", json!({"path": path, "limit": 40})));
    // What says how a goal is worked for is not what the user asked about.
    let asked = turn.prompt.lines().filter(|line| !line.contains(GOAL_DONE));
    let search = words(&asked.collect::<Vec<_>>().join("\n")).map(|words| {
        let pattern = words.join("|");
        ("search", json!({"pattern": pattern, "mode": "content", "case_insensitive": true, "head_limit": 10}))
    });
    reads.chain(search).collect()
}

/// The last prompt and everything after it.
fn turn(messages: &[Message]) -> Turn<'_> {
    let start =
        messages.iter().rposition(|message| matches!(message, Message::User { .. })).unwrap_or(0);
    let mut turn = Turn { prompt: String::new(), done: Vec::new(), steps: 0 };
    let mut arguments: BTreeMap<&CallId, Value> = BTreeMap::new();
    for message in &messages[start..] {
        match message {
            Message::User { parts } => {
                turn.prompt = parts.iter().filter_map(Part::as_text).collect::<Vec<_>>().join("\n");
            }
            Message::Assistant { blocks } => {
                turn.steps += 1;
                for block in blocks {
                    if let Content::ToolCall { id, arguments: text, .. } = &block.content {
                        arguments.insert(id, serde_json::from_str(text).unwrap_or_default());
                    }
                }
            }
            Message::Tool { results } => turn.done.extend(results.iter().map(|result| {
                (
                    result.name.as_str(),
                    arguments.get(&result.call).cloned().unwrap_or_default(),
                    result,
                )
            })),
        }
    }
    turn
}

fn result_text(result: &ToolResult) -> String {
    result.parts.iter().filter_map(Part::as_text).collect::<Vec<_>>().join("\n")
}

/// The entries of the folder: names, folders with a trailing slash.
fn listing(turn: &Turn<'_>) -> Vec<String> {
    let found = turn.done.iter().find(|(name, arguments, result)| {
        *name == "search" && arguments["mode"] == "files" && !result.is_error
    });
    let text = found.map(|(_, _, result)| result_text(result)).unwrap_or_default();
    let entries = text.lines().filter(|line| !line.starts_with('[') && !line.trim().is_empty());
    let mut names: Vec<String> =
        entries.map(|line| line.split(" (").next().unwrap_or(line).to_owned()).collect();
    names.sort();
    names
}

/// Texts that tell most about a folder come first.
fn worth_reading(names: &[String]) -> Vec<String> {
    let rank = |name: &str| {
        let lower = name.to_lowercase();
        let extension = lower.rsplit('.').next().unwrap_or_default().to_owned();
        match extension.as_str() {
            _ if lower.starts_with("readme") => Some(0),
            "md" | "txt" | "rst" => Some(1),
            "toml" | "json" | "yaml" | "yml" => Some(2),
            "rs" | "py" | "js" | "ts" | "go" | "c" | "h" | "java" | "sh" => Some(3),
            _ => None,
        }
    };
    let mut files: Vec<(i32, &String)> = names
        .iter()
        .filter(|name| !name.ends_with('/'))
        .filter_map(|name| Some((rank(name)?, name)))
        .collect();
    files.sort();
    files.into_iter().map(|(_, name)| name.clone()).collect()
}

/// The longest words of the prompt, as pieces of a regular expression; none when it has none worth a search.
fn words(prompt: &str) -> Option<Vec<String>> {
    const COMMON: [&str; 16] = [
        "about", "does", "folder", "from", "have", "into", "please", "project", "should", "that",
        "this", "what", "when", "where", "which", "with",
    ];
    let mut words: Vec<String> = prompt
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.chars().count() >= 4 && !COMMON.contains(&word.to_lowercase().as_str()))
        .map(str::to_lowercase)
        .collect();
    words.sort_by_key(|word| (std::cmp::Reverse(word.chars().count()), word.clone()));
    words.dedup();
    words.truncate(WORDS_MAX);
    (!words.is_empty()).then_some(words)
}

/// The answer: only what results say.
fn report(turn: &Turn<'_>) -> String {
    let mut report = String::new();
    let names = listing(turn);
    let folders = names.iter().filter(|name| name.ends_with('/')).count();
    if !names.is_empty() {
        let shown: Vec<&str> = names.iter().map(String::as_str).take(12).collect();
        let more = if names.len() > shown.len() { ", …" } else { "" };
        report += &format!(
            "This folder has {} and {}: {}{more}.\n",
            counted(names.len() - folders, "file"),
            counted(folders, "folder"),
            shown.join(", ")
        );
    }
    for (name, arguments, result) in &turn.done {
        report += &told(name, arguments, result);
    }
    if turn.done.is_empty() {
        report += "I was given no tool that I could use, so I know nothing about this folder.\n";
    }
    report +=
        "\nThis was the built-in demonstration, not a language model; `oarlock init` sets one up.";
    report
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn told(name: &str, arguments: &Value, result: &ToolResult) -> String {
    let text = result_text(result);
    let of = |key: &str| arguments[key].as_str().unwrap_or_default().to_owned();
    if result.is_error {
        return format!(
            "\n`{name}` did not run: {}\n",
            text.lines().next().unwrap_or("no reason was given")
        );
    }
    let quoted = |text: &str| {
        let lines = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
        lines.take(LINES_MAX).map(|line| format!("    {line}\n")).collect::<String>()
    };
    match name {
        "read_file" => format!("\n`{}` begins:\n\n{}", of("path"), quoted(&without_numbers(&text))),
        "search" if of("mode") == "content" => match text.starts_with("[nothing") {
            true => format!("\nNothing here mentions `{}`.\n", of("pattern")),
            false => format!("\n`{}` occurs here:\n\n{}", of("pattern"), quoted(&text)),
        },
        "search" | GOAL_DONE => String::new(),
        _ => format!("\n`{}` printed:\n\n{}", of("command"), quoted(&text)),
    }
}

/// The lines of a file without the numbers that `read_file` puts before them.
fn without_numbers(text: &str) -> String {
    let line = |line: &str| {
        line.split_once('\t').map_or_else(|| line.to_owned(), |(_, rest)| rest.to_owned())
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oarlock_core::ports::tool::{Runs, ToolSchema};

    use super::*;

    fn request(messages: Vec<Message>, tools: &[&str]) -> ModelRequest {
        let tool = |name: &&str| ToolSchema {
            name: (*name).to_owned(),
            description: String::new(),
            input: json!({}),
            runs: Runs::Here,
        };
        ModelRequest {
            system: String::new(),
            messages: Arc::new(messages),
            tools: Arc::new(tools.iter().map(tool).collect()),
            bodies: BTreeMap::new(),
            effort: None,
            sampling: oarlock_core::spec::Sampling::default(),
            output_max: None,
            capabilities: oarlock_core::spec::ResolvedSessionCapabilities::default(),
            output: None,
            cache_key: String::new(),
        }
    }

    fn user(text: &str) -> Message {
        Message::User { parts: vec![Part::text(text)] }
    }

    /// Plays a turn in which every call gets `give(name, arguments)`.
    fn play(
        prompt: &str,
        tools: &[&str],
        give: impl Fn(&str, &Value) -> (String, bool),
    ) -> (String, Vec<String>) {
        let (mut messages, mut called) = (vec![user(prompt)], Vec::new());
        for step in 0..5 {
            let mut reply = answer(&request(messages.clone(), tools));
            if reply.stop == ReplyStop::EndTurn {
                let Content::Text { text } = &reply.blocks[0].content else { panic!("{reply:?}") };
                return (text.clone(), called);
            }
            let mut results = Vec::new();
            for (index, block) in reply.blocks.iter_mut().enumerate() {
                let Content::ToolCall { id, name, arguments } = &mut block.content else {
                    continue;
                };
                *id = CallId(format!("{step}-{index}").into());
                let (text, is_error) = give(name, &serde_json::from_str(arguments).unwrap());
                called.push(format!("{name} {arguments}"));
                results.push(ToolResult {
                    call: id.clone(),
                    name: name.clone(),
                    parts: vec![Part::text(text)],
                    is_error,
                });
            }
            messages.push(Message::Assistant { blocks: reply.blocks });
            messages.push(Message::Tool { results });
        }
        panic!("it does not come to an end: {called:?}");
    }

    fn folder(name: &str, arguments: &Value) -> (String, bool) {
        let text = match (name, arguments["mode"].as_str()) {
            ("search", Some("files")) => {
                "README.md (120 bytes)\nsrc/\nmain.rs (40 bytes)".to_owned()
            }
            ("search", _) => "main.rs\n3:fn steering() {}".to_owned(),
            ("read_file", _) => "     1\t# Boats\n     2\tRowing.".to_owned(),
            _ => "abc123 first commit".to_owned(),
        };
        (text, false)
    }

    #[test]
    fn it_lists_reads_searches_runs_and_tells_what_it_found() {
        let (told, called) =
            play("where is the steering?", &["bash", "read_file", "search"], folder);
        for wanted in [
            "2 files and 1 folder:",
            "# Boats",
            "`steering` occurs here",
            "3:fn steering",
            "abc123",
            "demonstration",
        ] {
            assert!(told.contains(wanted), "{wanted} is missing in {told}");
        }
        assert_eq!(called.len(), 5, "{called:?}");
        assert!(called.iter().all(|call| !call.contains("write") && !call.contains("edit")));
        assert_eq!(
            told,
            play("where is the steering?", &["bash", "read_file", "search"], folder).0
        );
    }

    #[test]
    fn denied_calls_and_missing_tools_are_told_plainly() {
        let (told, _) =
            play("x", &["bash", "search"], |_, _| ("denied: nobody is here".to_owned(), true));
        assert!(told.contains("`bash` did not run: denied: nobody is here"), "{told}");
        let (told, called) = play("x", &[], folder);
        assert!(called.is_empty() && told.contains("no tool"), "{told}");
    }

    #[test]
    fn a_goal_is_said_to_be_reached_once_and_only_where_there_is_one() {
        let goal = "find the steering\n[Work until everything is done, then call `goal_done`.]";
        let tools = ["search", "goal_done"];
        let (told, called) = play(goal, &tools, folder);
        assert!(called.last().unwrap().starts_with("goal_done {\"summary\":"), "{called:?}");
        assert_eq!(called.iter().filter(|call| call.starts_with("goal_done")).count(), 1);
        assert!(!told.contains("goal_done") && told.contains("demonstration"), "{told}");
        for (prompt, tools) in [(goal, &tools[..1]), ("find the steering", &tools[..])] {
            let (_, called) = play(prompt, tools, folder);
            assert!(called.iter().all(|call| !call.starts_with("goal_done")), "{called:?}");
        }
    }

    #[test]
    fn a_second_prompt_starts_over() {
        let mut messages = vec![user("one")];
        messages.push(Message::Assistant { blocks: vec![text("old answer".to_owned())] });
        messages.push(user("two"));
        assert_eq!(answer(&request(messages, &["search"])).stop, ReplyStop::ToolUse);
    }
}
