//! `write_file`: puts a text in the place of a file.

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
use crate::document::{Document, FILE_BYTES_MAX, LineEnd, PathLocks, failed};
use crate::place;

const TIMEOUT_MS: u64 = 60_000;

#[derive(Debug)]
pub(crate) struct WriteFile {
    schema: ToolSchema,
    locks: Arc<PathLocks>,
}

impl WriteFile {
    pub(crate) fn new(locks: Arc<PathLocks>) -> Self {
        let description = "Create a file, or replace its whole content. Missing folders are made; the line endings of an existing file are kept. \
            To change a part of a file, use edit_file.";
        let input = json!({
            "type": "object",
            "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
            "required": ["path", "content"],
            "additionalProperties": false
        });
        let description = description.to_owned();
        Self {
            schema: ToolSchema {
                name: "write_file".to_owned(),
                description,
                input,
                runs: Runs::Here,
            },
            locks,
        }
    }

    fn call<'a>(&self, arguments: &'a Value, place: &Place) -> Result<(PathBuf, &'a str), String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let path = arguments.text("path")?;
        if path.is_empty() {
            return Err("`path` is empty".to_owned());
        }
        let content = arguments.text("content")?;
        if content.len() > FILE_BYTES_MAX {
            return Err(format!("`content` has {} bytes; 10 MiB are allowed", content.len()));
        }
        Ok((place.absolute(path), content))
    }

    async fn describe(&self, arguments: &Value, cx: &ToolContext) -> Result<String, String> {
        let (path, content) = self.call(arguments, &cx.place)?;
        let before =
            Document::load(&path, cx.files.as_ref()).await.map_err(|error| error.to_string())?;
        let before = before.map(|document| document.bytes).unwrap_or_default();
        let content = with_line_end(content, &before);
        Ok(diff(&place::shown(&path, &cx.place), &String::from_utf8_lossy(&before), &content))
    }
}

fn with_line_end(content: &str, before: &[u8]) -> String {
    LineEnd::of(before).map_or_else(|| content.to_owned(), |end| end.apply(content))
}

impl Tool for WriteFile {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, place: &Place) -> Result<Assessment, String> {
        let (path, _) = self.call(arguments, place)?;
        let shown = place::shown(&path, place);
        Ok(Assessment {
            effect: Effect::Mutating,
            title: crate::text::title("write", &shown),
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
            let (path, content) = self.call(&arguments, &cx.place).map_err(ToolError::Arguments)?;
            let _one_at_a_time = self.locks.hold(&path, &cx).await?;
            let before =
                Document::load(&path, cx.files.as_ref()).await.map_err(|error| failed(&error))?;
            let parent_existed = match path.parent() {
                Some(parent) => {
                    !matches!(cx.files.stat(parent).await, Err(FileError::NotFound { .. }))
                }
                None => true,
            };
            let created = before.is_none();
            let content =
                with_line_end(content, before.as_ref().map_or(&[], |document| &document.bytes));
            let expect =
                before.map_or(Expect::Absent, |document| Expect::Unchanged(document.fingerprint));
            let bytes = content.len();
            cx.files
                .write(&path, content.into_bytes(), expect)
                .await
                .map_err(|error| failed(&error))?;
            let verb = if created { "created" } else { "replaced" };
            let text = format!("{verb} {}, {bytes} bytes", place::shown(&path, &cx.place));
            let mut detail = Map::new();
            detail.insert("bytes_written".to_owned(), json!(bytes));
            detail.insert("created".to_owned(), json!(created));
            detail.insert("parent_existed".to_owned(), json!(parent_existed));
            Ok(ToolOutput { content: vec![Part::text(text)], detail, ..ToolOutput::default() })
        })
    }
}
