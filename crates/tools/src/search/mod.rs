//! `search`: looks for a pattern in files, or for files by name, with ripgrep's machinery, within the session's folders on this machine.

mod content;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::message::Part;
use oarlock_core::ports::clock::Cancel;
use oarlock_core::ports::files::{DirEntry, FileKind};
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::config::SearchConfig;
use crate::document::failed;
use crate::files::{Hidden, Roots};
use crate::place;

const TIMEOUT_MS: u64 = 60_000;
const CONTEXT_MAX: u64 = 50;

#[derive(Debug)]
pub(crate) struct Search {
    schema: ToolSchema,
    config: SearchConfig,
    hidden: Hidden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Content,
    Files,
}

/// A call, read from its arguments.
#[derive(Debug, Clone)]
struct Query {
    pattern: String,
    mode: Mode,
    start: PathBuf,
    path_glob: Option<String>,
    case_insensitive: bool,
    multiline: bool,
    before: usize,
    after: usize,
    head_limit: usize,
    respect_gitignore: bool,
}

/// What a search on the blocking pool works with.
struct Job {
    query: Query,
    place: Place,
    roots: Roots,
    limits: SearchConfig,
    cancel: Cancel,
}

/// What a search found.
struct Findings {
    text: String,
    /// Matching lines, or files.
    count: usize,
    files_seen: usize,
    /// Why there may be more, in words.
    cut: Option<&'static str>,
}

/// Why a search found nothing out.
enum Refusal {
    Cancelled,
    Words(String),
}

impl Search {
    pub(crate) fn new(config: &SearchConfig, hidden: &[PathBuf]) -> Self {
        let description = "Search the files of the project. mode content: lines that match a regular expression (Rust syntax). mode files: paths that match \
            a glob such as *.rs or src/**/mod.rs, newest first; an empty pattern or * lists the folder.";
        let (default, max) = (config.default_head_limit, config.max_head_limit);
        let input = json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string"},
                "mode": {"type": "string", "enum": ["content", "files"], "description": "default content"},
                "path": {"type": "string", "description": "folder or file to search; default: the working folder"},
                "path_glob": {"type": "string", "description": "only files that match"},
                "case_insensitive": {"type": "boolean"},
                "multiline": {"type": "boolean", "description": "the pattern may match across lines"},
                "before": {"type": "integer", "minimum": 0, "maximum": CONTEXT_MAX, "description": "lines shown before a match"},
                "after": {"type": "integer", "minimum": 0, "maximum": CONTEXT_MAX},
                "head_limit": {"type": "integer", "minimum": 1, "maximum": max, "description": format!("matches; default {default}")},
                "respect_gitignore": {"type": "boolean", "description": format!("default {}", config.respect_gitignore_default)}
            },
            "required": ["pattern"],
            "additionalProperties": false
        });
        let description = description.to_owned();
        let schema = ToolSchema { name: "search".to_owned(), description, input, runs: Runs::Here };
        Self { schema, config: config.clone(), hidden: Hidden::of(hidden) }
    }

    fn query(&self, arguments: &Value, place: &Place) -> Result<Query, String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let mode = match arguments.choice("mode", &["content", "files"])? {
            Some("files") => Mode::Files,
            _ => Mode::Content,
        };
        let pattern = arguments.text("pattern")?.to_owned();
        if mode == Mode::Content && pattern.is_empty() {
            return Err("`pattern` is empty".to_owned());
        }
        let limits = (self.config.default_head_limit as u64, self.config.max_head_limit as u64);
        let number = |name, range, default| {
            Ok::<_, String>(
                usize::try_from(arguments.number(name, range, default)?).unwrap_or(usize::MAX),
            )
        };
        Ok(Query {
            pattern,
            mode,
            start: place.absolute(arguments.optional_text("path")?.unwrap_or_default()),
            path_glob: arguments.optional_text("path_glob")?.map(str::to_owned),
            case_insensitive: arguments.flag("case_insensitive", false)?,
            multiline: arguments.flag("multiline", false)?,
            before: number("before", (0, CONTEXT_MAX), 0)?,
            after: number("after", (0, CONTEXT_MAX), 0)?,
            head_limit: number("head_limit", (1, limits.1), limits.0)?,
            respect_gitignore: arguments
                .flag("respect_gitignore", self.config.respect_gitignore_default)?,
        })
    }

    async fn search(&self, query: Query, cx: ToolContext) -> Result<ToolOutput, ToolError> {
        if query.mode == Mode::Files
            && matches!(query.pattern.as_str(), "" | "*")
            && query.path_glob.is_none()
        {
            return folder(&query.start, query.head_limit, &cx).await;
        }
        let job = Job {
            roots: Roots::new(&cx.place).hiding(self.hidden.clone()),
            place: cx.place,
            limits: self.config.clone(),
            cancel: cx.cancel,
            query,
        };
        let run = move || match job.query.mode {
            Mode::Content => content::search(&job),
            Mode::Files => walk::newest(&job),
        };
        let found = tokio::task::spawn_blocking(run).await;
        let found =
            found.map_err(|ended| ToolError::failed(format!("the search broke off: {ended}")))?;
        found.map(report).map_err(|refusal| match refusal {
            Refusal::Cancelled => ToolError::Cancelled,
            Refusal::Words(words) => ToolError::failed(words),
        })
    }
}

async fn folder(path: &Path, max: usize, cx: &ToolContext) -> Result<ToolOutput, ToolError> {
    let entries = cx.files.list(path, max + 1).await.map_err(|error| failed(&error))?;
    let line = |entry: &DirEntry| match entry.kind {
        FileKind::File => format!("{} ({} bytes)\n", entry.name, entry.bytes),
        FileKind::Folder => format!("{}/\n", entry.name),
        FileKind::Other => format!("{} (no file)\n", entry.name),
    };
    let text: String = entries.iter().take(max).map(line).collect();
    let cut = (entries.len() > max).then_some("the limit is reached");
    Ok(report(Findings { text, count: entries.len().min(max), files_seen: entries.len(), cut }))
}

fn report(findings: Findings) -> ToolOutput {
    let mut text = findings.text;
    if findings.count == 0 {
        text.push_str("[nothing found]");
    }
    if let Some(why) = findings.cut {
        text.push_str(&format!("[there may be more: {why}]"));
    }
    let mut detail = Map::new();
    detail.insert("count".to_owned(), json!(findings.count));
    detail.insert("files_seen".to_owned(), json!(findings.files_seen));
    detail.insert("truncated".to_owned(), json!(findings.cut.is_some()));
    ToolOutput { content: vec![Part::text(text)], detail, ..ToolOutput::default() }
}

impl Tool for Search {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, place: &Place) -> Result<Assessment, String> {
        let query = self.query(arguments, place)?;
        Ok(Assessment {
            effect: Effect::Pure,
            title: crate::text::title("search", &query.pattern),
            subject: Subject { parts: vec![place::shown(&query.start, place)], complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, cx: &'a ToolContext) -> BoxFuture<'a, String> {
        let words = match self.query(arguments, &cx.place) {
            Ok(query) => format!("{} in {}", query.pattern, place::shown(&query.start, &cx.place)),
            Err(error) => error,
        };
        Box::pin(std::future::ready(words))
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            let query = self.query(&arguments, &cx.place).map_err(ToolError::Arguments)?;
            self.search(query, cx).await
        })
    }
}
