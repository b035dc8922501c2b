//! `read_file`: a window of a text with line numbers, a picture, a document, or a part of a stored body.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::ids::BlobId;
use oarlock_core::limits::MEDIA_BYTES;
use oarlock_core::message::{Media, Part};
use oarlock_core::ports::files::FileKind;
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::config::FsConfig;
use crate::document::failed;
use crate::place;

const TIMEOUT_MS: u64 = 60_000;
const CHUNK_BYTES: usize = 256 * 1024;
/// What a window holds at most; lines beyond it are for the next window.
const WINDOW_BYTES_MAX: usize = 256 * 1024;
const LINE_BYTES_MAX: usize = 2000;
/// Bytes at the beginning in which a NUL means that this is no text.
const PROBE_BYTES: usize = 8 * 1024;

#[derive(Debug)]
pub(crate) struct ReadFile {
    schema: ToolSchema,
    config: FsConfig,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Blob(BlobId),
}

/// A call, read from its arguments.
struct Call {
    source: Source,
    first_line: u64,
    lines_max: u64,
}

impl ReadFile {
    pub(crate) fn new(config: &FsConfig) -> Self {
        let (default, max) = (config.read_default_limit, config.read_max_limit);
        let description = "Read a text file, with line numbers, or look at an image (png, jpg, gif, webp) or a PDF. Paths of the form blob:HASH read output that \
            was kept because it was too long to show.";
        let input = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "offset": {"type": "integer", "minimum": 1, "description": "first line, from 1"},
                "limit": {"type": "integer", "minimum": 1, "maximum": max, "description": format!("lines; default {default}")}
            },
            "required": ["path"],
            "additionalProperties": false
        });
        let description = description.to_owned();
        let schema =
            ToolSchema { name: "read_file".to_owned(), description, input, runs: Runs::Here };
        Self { schema, config: config.clone() }
    }

    fn call(&self, arguments: &Value, place: &Place) -> Result<Call, String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let path = arguments.text("path")?;
        let source = match path.strip_prefix("blob:") {
            Some(hash) => Source::Blob(BlobId::parse(hash).map_err(|error| error.to_string())?),
            None if path.is_empty() => return Err("`path` is empty".to_owned()),
            None => Source::File(place.absolute(path)),
        };
        let first_line = arguments.number("offset", (1, u64::MAX), 1)?;
        let max = self.config.read_max_limit as u64;
        let lines_max =
            arguments.number("limit", (1, max), self.config.read_default_limit as u64)?;
        Ok(Call { source, first_line, lines_max })
    }
}

impl Source {
    fn shown(&self, place: &Place) -> String {
        match self {
            Self::File(path) => place::shown(path, place),
            Self::Blob(blob) => format!("blob:{blob}"),
        }
    }

    async fn read(
        &self,
        offset: u64,
        bytes_max: usize,
        cx: &ToolContext,
    ) -> Result<Bytes, ToolError> {
        match self {
            Self::File(path) => {
                cx.files.read(path, offset, bytes_max).await.map_err(|error| failed(&error))
            }
            Self::Blob(blob) => {
                let read = cx.blobs.read(blob, offset, bytes_max).await;
                Ok(read.map_err(|error| ToolError::failed(error.to_string()))?.0)
            }
        }
    }

    /// The size in bytes.
    async fn size(&self, cx: &ToolContext) -> Result<u64, ToolError> {
        match self {
            Self::Blob(blob) => {
                let read = cx.blobs.read(blob, 0, 1).await;
                Ok(read.map_err(|error| ToolError::failed(error.to_string()))?.1)
            }
            Self::File(path) => {
                let stat = cx.files.stat(path).await.map_err(|error| failed(&error))?;
                let shown = self.shown(&cx.place);
                match stat.kind {
                    FileKind::File => Ok(stat.bytes),
                    FileKind::Folder => Err(ToolError::failed(format!(
                        "{shown} is a folder; list it with search in mode files"
                    ))),
                    FileKind::Other => {
                        Err(ToolError::failed(format!("{shown} is a device, socket or pipe")))
                    }
                }
            }
        }
    }
}

impl Tool for ReadFile {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, place: &Place) -> Result<Assessment, String> {
        let shown = self.call(arguments, place)?.source.shown(place);
        Ok(Assessment {
            effect: Effect::Pure,
            title: crate::text::title("read", &shown),
            subject: Subject { parts: vec![shown], complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, cx: &'a ToolContext) -> BoxFuture<'a, String> {
        let call = self.call(arguments, &cx.place);
        Box::pin(std::future::ready(
            call.map_or_else(|error| error, |call| call.source.shown(&cx.place)),
        ))
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            let call = self.call(&arguments, &cx.place).map_err(ToolError::Arguments)?;
            let size = call.source.size(&cx).await?;
            let first = call.source.read(0, CHUNK_BYTES, &cx).await?;
            if let Some(media) = Media::of(&first) {
                return whole(&call.source, media, size, &cx).await;
            }
            if first[..first.len().min(PROBE_BYTES)].contains(&0) {
                let shown = call.source.shown(&cx.place);
                return Err(ToolError::failed(format!(
                    "{shown} is a binary file of {size} bytes, not text"
                )));
            }
            let mut window = Window::new(&call);
            let (mut chunk, mut offset) = (first, 0);
            loop {
                offset += chunk.len() as u64;
                window.take(&chunk);
                // Less than was asked for is the end.
                if window.full || chunk.len() < CHUNK_BYTES {
                    break;
                }
                if cx.cancel.is_cancelled() {
                    return Err(ToolError::Cancelled);
                }
                chunk = call.source.read(offset, CHUNK_BYTES, &cx).await?;
            }
            window.end();
            Ok(window.report(size))
        })
    }
}

/// A picture or a document, which the model is given as it is.
async fn whole(
    source: &Source,
    media: Media,
    size: u64,
    cx: &ToolContext,
) -> Result<ToolOutput, ToolError> {
    let shown = source.shown(&cx.place);
    if size > MEDIA_BYTES as u64 {
        return Err(ToolError::failed(format!(
            "{shown} is a {media} of {size} bytes; 10 MiB are allowed"
        )));
    }
    let bytes = source.read(0, MEDIA_BYTES, cx).await?;
    let size = bytes.len() as u64;
    let blob = cx.blobs.put(bytes).await.map_err(|error| ToolError::failed(error.to_string()))?;
    let mut detail = Map::new();
    detail.insert("bytes".to_owned(), json!(size));
    detail.insert("media_type".to_owned(), json!(media.media_type()));
    let name = shown.rsplit('/').next().unwrap_or_default();
    let part = media.part(name, (blob, size));
    Ok(ToolOutput { content: vec![part], detail, ..ToolOutput::default() })
}

/// Picks the wanted lines from a text that comes in chunks. Memory is bounded by the window, however long a line is.
struct Window {
    first_line: u64,
    lines_max: u64,
    /// The line that is being read, from 1.
    line: u64,
    /// The beginning of that line, and its length.
    begun: Vec<u8>,
    begun_bytes: u64,
    text: String,
    lines: u64,
    lossy: bool,
    /// Nothing more fits, although there is more.
    full: bool,
}

impl Window {
    fn new(call: &Call) -> Self {
        Self {
            first_line: call.first_line,
            lines_max: call.lines_max,
            line: 1,
            begun: Vec::new(),
            begun_bytes: 0,
            text: String::new(),
            lines: 0,
            lossy: false,
            full: false,
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.lines == self.lines_max || self.text.len() >= WINDOW_BYTES_MAX {
                self.full = true;
                return;
            }
            let (piece, ended) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            if self.line >= self.first_line {
                let room = (LINE_BYTES_MAX + 4).saturating_sub(self.begun.len());
                self.begun.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            self.begun_bytes += piece.len() as u64;
            if ended {
                self.end_line();
            }
        }
    }

    fn end(&mut self) {
        if self.begun_bytes > 0 && !self.full {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        if self.line >= self.first_line {
            let begun = self.begun.strip_suffix(b"\r").unwrap_or(&self.begun);
            let text = String::from_utf8_lossy(begun);
            let shown = crate::text::head(&text, LINE_BYTES_MAX);
            let cut = self.begun_bytes > LINE_BYTES_MAX as u64;
            self.lossy |= shown.contains('\u{FFFD}');
            // Writing to a text cannot fail.
            _ = write!(self.text, "{:>6}\t{shown}", self.line);
            if cut {
                _ = write!(self.text, " [… line of {} bytes]", self.begun_bytes);
            }
            self.text.push('\n');
            self.lines += 1;
        }
        self.line += 1;
        self.begun.clear();
        self.begun_bytes = 0;
    }

    fn report(mut self, size: u64) -> ToolOutput {
        if self.lines == 0 && size == 0 {
            self.text.push_str("[the file is empty]");
        } else if self.lines == 0 {
            self.text.push_str(&format!("[there are only {} lines]", self.line - 1));
        } else if self.full {
            self.text.push_str(&format!(
                "[there is more: go on with offset {}]",
                self.first_line + self.lines
            ));
        }
        if self.lossy {
            self.text.push_str("[not all of it is UTF-8; what is not is shown as \u{FFFD}]");
        }
        let mut detail = Map::new();
        detail.insert("bytes".to_owned(), json!(size));
        detail.insert("lines_returned".to_owned(), json!(self.lines));
        detail.insert("start_line".to_owned(), json!(self.first_line));
        detail.insert("truncated".to_owned(), json!(self.full));
        ToolOutput { content: vec![Part::text(self.text)], detail, ..ToolOutput::default() }
    }
}
