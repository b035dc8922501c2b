//! `edit_file`: replaces one passage of a file, or every occurrence of it.

mod matching;

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::message::Part;
use oarlock_core::ports::files::{Expect, FileError};
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::difference::diff;
use crate::document::{Document, FILE_BYTES_MAX, PathLocks, failed};
use crate::place;
use matching::{Edit, Plan, Strategy, line_number, plan};

const TIMEOUT_MS: u64 = 60_000;
/// Times that an edit is made anew because somebody else changed the file under it.
const ATTEMPTS: u32 = 5;

#[derive(Debug)]
pub(crate) struct EditFile {
    schema: ToolSchema,
    locks: Arc<PathLocks>,
}

/// A file before and after an edit.
struct Draft {
    before: String,
    after: String,
    plan: Plan,
    expect: Expect,
}

impl EditFile {
    pub(crate) fn new(locks: Arc<PathLocks>) -> Self {
        let description = "Replace old_string by new_string in a file. old_string must be copied from the file as it is, without line numbers, and must occur \
            once: add lines around it if it does not. With replace_all every exact occurrence is replaced.";
        let input = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "old_string": {"type": "string"},
                "new_string": {"type": "string"},
                "replace_all": {"type": "boolean"}
            },
            "required": ["path", "old_string", "new_string"],
            "additionalProperties": false
        });
        let description = description.to_owned();
        Self {
            schema: ToolSchema {
                name: "edit_file".to_owned(),
                description,
                input,
                runs: Runs::Here,
            },
            locks,
        }
    }

    fn call<'a>(&self, arguments: &'a Value, place: &Place) -> Result<(PathBuf, Edit<'a>), String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let path = arguments.text("path")?;
        let (before, after) = (arguments.text("old_string")?, arguments.text("new_string")?);
        if path.is_empty() {
            return Err("`path` is empty".to_owned());
        }
        if before.is_empty() {
            return Err("`old_string` is empty; use write_file to make a file".to_owned());
        }
        if before == after {
            return Err("`old_string` and `new_string` are the same".to_owned());
        }
        let replace_all = arguments.flag("replace_all", false)?;
        Ok((place.absolute(path), Edit { before, after, replace_all }))
    }

    async fn describe(&self, arguments: &Value, cx: &ToolContext) -> Result<String, String> {
        let (path, edit) = self.call(arguments, &cx.place)?;
        let draft = draft(&path, edit, cx).await.map_err(|error| error.to_string())?;
        Ok(diff(&place::shown(&path, &cx.place), &draft.before, &draft.after))
    }
}

async fn draft(
    path: &std::path::Path,
    edit: Edit<'_>,
    cx: &ToolContext,
) -> Result<Draft, ToolError> {
    let shown = place::shown(path, &cx.place);
    let document = Document::load(path, cx.files.as_ref()).await.map_err(|error| failed(&error))?;
    let document =
        document.ok_or_else(|| failed(&FileError::NotFound { path: path.to_owned() }))?;
    let before = String::from_utf8(document.bytes).map_err(|_| {
        ToolError::failed(format!("{shown} is not UTF-8 text; edit it with a command"))
    })?;
    let plan = plan(&before, edit).map_err(|why| ToolError::failed(format!("{shown}: {why}")))?;
    // Counted before it is made, because many occurrences of a short text can become very much.
    let removed: usize = plan.ranges.iter().map(ExactSizeIterator::len).sum();
    let bytes = before.len() - removed + plan.ranges.len().saturating_mul(plan.text.len());
    if bytes > FILE_BYTES_MAX {
        return Err(ToolError::failed(format!(
            "{shown} would grow to {bytes} bytes; 10 MiB are allowed"
        )));
    }
    let after = plan.apply(&before);
    Ok(Draft { before, after, plan, expect: Expect::Unchanged(document.fingerprint) })
}

fn report(shown: &str, draft: &Draft) -> ToolOutput {
    let (count, strategy) = (draft.plan.ranges.len(), draft.plan.strategy);
    let line = draft.plan.ranges.first().map_or(1, |range| line_number(&draft.before, range.start));
    let how = match strategy {
        Strategy::Exact => String::new(),
        other => format!("; old_string was not exact and was matched {}", other.name()),
    };
    let what = if count == 1 {
        "1 replacement".to_owned()
    } else {
        format!("{count} replacements, the first")
    };
    let mut detail = Map::new();
    detail.insert("strategy".to_owned(), json!(strategy.name()));
    detail.insert("replacements".to_owned(), json!(count));
    detail.insert("line".to_owned(), json!(line));
    detail.insert("bytes_written".to_owned(), json!(draft.after.len()));
    let text = format!("edited {shown}: {what} at line {line}{how}");
    ToolOutput { content: vec![Part::text(text)], detail, ..ToolOutput::default() }
}

impl Tool for EditFile {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, place: &Place) -> Result<Assessment, String> {
        let (path, _) = self.call(arguments, place)?;
        let shown = place::shown(&path, place);
        Ok(Assessment {
            effect: Effect::Mutating,
            title: crate::text::title("edit", &shown),
            subject: Subject { parts: vec![shown], complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, cx: &'a ToolContext) -> BoxFuture<'a, String> {
        Box::pin(async move { self.describe(arguments, cx).await.unwrap_or_else(|error| error) })
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            let (path, edit) = self.call(&arguments, &cx.place).map_err(ToolError::Arguments)?;
            let _one_at_a_time = self.locks.hold(&path, &cx).await?;
            let mut attempt = 1;
            loop {
                let draft = draft(&path, edit, &cx).await?;
                let written = cx
                    .files
                    .write(&path, draft.after.clone().into_bytes(), draft.expect.clone())
                    .await;
                match written {
                    Ok(_) => return Ok(report(&place::shown(&path, &cx.place), &draft)),
                    Err(FileError::Conflict { .. })
                        if attempt < ATTEMPTS && !cx.cancel.is_cancelled() =>
                    {
                        attempt += 1;
                    }
                    Err(error) => return Err(failed(&error)),
                }
            }
        })
    }
}
