//! Files that a prompt mentions as `@path` or `@"path with spaces"`, and the parts that they add to it.

use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;

use crate::limits::{MEDIA_BYTES, MENTION_BYTES, MENTION_LINES, MENTIONS_BYTES};
use crate::message::{Media, Part};
use crate::ports::files::{FileError, FileKind, Files};
use crate::ports::journal::{Blobs, JournalError};
use crate::ports::tool::Place;
use crate::prompt::project;

/// How the part of an attached file begins; its first line ends with a colon.
const FILE_HEADER: &str = "File ";
/// How a part begins that the program adds to a prompt.
const HINT_HEADER: &str = "[hint] ";
/// Bytes at the beginning in which a NUL means that this is no text.
const PROBE_BYTES: usize = 8 * 1024;
/// What may follow a path without belonging to it.
const AFTER: [char; 14] = ['.', ',', ';', ':', '!', '?', ')', ']', '}', '>', '"', '\'', '`', '…'];
/// What may stand before the `@`, besides white space.
const BEFORE: [char; 6] = ['(', '[', '{', '<', '"', ','];

/// What a prompt's files are taken from.
#[derive(Debug, Clone, Copy)]
pub struct Desk<'a> {
    /// The session's folders.
    pub place: &'a Place,
    /// Its files.
    pub files: &'a dyn Files,
    /// Where pictures and documents are put.
    pub blobs: &'a dyn Blobs,
}

/// Why a prompt that mentions a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum MentionError {
    /// The file is there or might be, and is not given.
    #[error(
        "@{mention}: {source}; add its folder to the session, or put a space behind the @ when no file is meant"
    )]
    Unreadable {
        /// The path as it was written.
        mention: String,
        /// Why.
        source: FileError,
    },
    /// The content is neither text, nor a picture, nor a document.
    #[error(
        "@{mention} is neither text, nor a PNG, JPEG, GIF or WebP picture, nor a PDF; name it without the @"
    )]
    Binary {
        /// The path as it was written.
        mention: String,
    },
    /// The picture or document is too large.
    #[error(
        "@{mention} is a {media} of {bytes} bytes and at most {MEDIA_BYTES} are taken; make it smaller"
    )]
    TooLarge {
        /// The path as it was written.
        mention: String,
        /// What it is.
        media: Media,
        /// Its size.
        bytes: u64,
    },
    /// The picture or document could not be stored.
    #[error("@{mention} could not be kept: {source}")]
    Store {
        /// The path as it was written.
        mention: String,
        /// The store's words.
        source: JournalError,
    },
}

/// What a text might mention, in order: of each the path as far as it may reach, then shorter readings without the punctuation at its end. An `@`
/// that follows a letter or digit, as in an address, or an apostrophe or backtick, as in code, mentions nothing.
#[must_use]
pub fn mentions(words: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    for (at, _) in words.match_indices('@') {
        let before = words[..at].chars().next_back();
        if before.is_some_and(|c| !c.is_whitespace() && !BEFORE.contains(&c)) {
            continue;
        }
        let rest = &words[at + 1..];
        let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let readings = match quoted {
            Some((path, _)) if !path.contains('\n') => vec![path],
            Some(_) | None => readings(rest.split(char::is_whitespace).next().unwrap_or_default()),
        };
        let readings: Vec<&str> = readings.into_iter().filter(|path| !path.is_empty()).collect();
        if !readings.is_empty() {
            found.push(readings);
        }
    }
    found
}

fn readings(word: &str) -> Vec<&str> {
    std::iter::successors(Some(word), |word| (*word).strip_suffix(AFTER)).collect()
}

/// The parts of a prompt: its words as they are, then each file that they mention, once: a text with its path above, bounded by
/// [`MENTION_LINES`] and [`MENTION_BYTES`] (all together [`MENTIONS_BYTES`]) with what was cut said below, or a picture or a document. A mention that names no
/// file stays what it is, words.
///
/// # Errors
/// [`MentionError`] when a mentioned file is outside of the session's folders or cannot be given. Nothing but pictures and documents has been stored then.
pub async fn with_mentions(words: String, desk: Desk<'_>) -> Result<Vec<Part>, MentionError> {
    let mut parts = Vec::new();
    let (mut seen, mut bytes_left) = (Vec::new(), MENTIONS_BYTES);
    for readings in mentions(&words) {
        for mention in readings {
            let path = desk.place.absolute(mention);
            let Some(bytes) = size(mention, &path, desk.files).await? else { continue };
            if !seen.contains(&path) {
                let part = attached((mention, &path, bytes), desk, &mut bytes_left).await?;
                parts.extend(part);
                seen.push(path);
            }
            break;
        }
    }
    parts.insert(0, Part::text(words));
    Ok(parts)
}

/// A part that the program adds to a prompt, besides what the user said. Summaries do not keep it as words of the user.
#[must_use]
pub fn hinted(words: impl std::fmt::Display) -> Part {
    Part::text(format!("{HINT_HEADER}{words}"))
}

/// Whether a text of a prompt is a file that it mentions, or something that the program added: its words are not the user's.
#[must_use]
pub fn is_added(text: &str) -> bool {
    let header = text.lines().next().unwrap_or_default();
    let is_file = header.starts_with(FILE_HEADER) && header.ends_with(':');
    is_file || header.starts_with(HINT_HEADER)
}

/// The size of a mentioned file; `None` when no file is there.
async fn size(mention: &str, path: &Path, files: &dyn Files) -> Result<Option<u64>, MentionError> {
    match files.stat(path).await {
        Ok(stat) if stat.kind == FileKind::File => Ok(Some(stat.bytes)),
        Ok(_) | Err(FileError::NotFound { .. } | FileError::WrongKind { .. }) => Ok(None),
        // No file has a name that no file can have.
        Err(FileError::Io { source, .. }) if source.kind() == ErrorKind::InvalidFilename => {
            Ok(None)
        }
        Err(source) => Err(MentionError::Unreadable { mention: mention.to_owned(), source }),
    }
}

/// The parts of one file: a picture or a document follows a text that names it.
async fn attached(
    (mention, path, size): (&str, &Path, u64),
    desk: Desk<'_>,
    bytes_left: &mut usize,
) -> Result<Vec<Part>, MentionError> {
    let mention = mention.to_owned();
    let read = async |max| match desk.files.read(path, 0, max).await {
        Ok(bytes) => Ok(bytes),
        Err(source) => Err(MentionError::Unreadable { mention: mention.clone(), source }),
    };
    let first = read(MENTION_BYTES).await?;
    let shown = path.strip_prefix(&desk.place.cwd).unwrap_or(path).display();
    if let Some(media) = Media::of(&first) {
        if size > MEDIA_BYTES as u64 {
            return Err(MentionError::TooLarge { mention, media, bytes: size });
        }
        let body = read(MEDIA_BYTES).await?;
        let bytes = body.len() as u64;
        let stored = desk.blobs.put(body).await;
        let blob = stored.map_err(|source| MentionError::Store { mention, source })?;
        let head = match media {
            Media::Image(_) => format!("Picture {shown}:"),
            Media::Document(_) => format!("Document {shown}:"),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = media.part(&name, (blob, bytes));
        return Ok(vec![Part::text(head), part]);
    }
    if first[..first.len().min(PROBE_BYTES)].contains(&0) {
        return Err(MentionError::Binary { mention });
    }
    let (text, lines) = window(&first, size, *bytes_left);
    *bytes_left -= text.len().min(*bytes_left);
    let cut = (text.len() as u64) < size;
    let rest = if cut {
        format!(
            "\n[the rest was left out: {} of {size} bytes are above; read_file shows it from line {}]",
            text.len(),
            lines + 1
        )
    } else {
        String::new()
    };
    Ok(vec![Part::text(format!("{FILE_HEADER}{shown}:\n\n{}{rest}", project::text(&text, cut)))])
}

/// The beginning of a text that is given: whole lines, except for a first one that is too long by itself; and how many.
fn window(first: &Bytes, size: u64, bytes_max: usize) -> (Bytes, usize) {
    let bounded = first.slice(..first.len().min(bytes_max));
    let ends = bounded.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let ends: Vec<usize> = ends.take(MENTION_LINES).collect();
    let is_whole = bounded.len() as u64 >= size;
    match ends.last() {
        Some(_) if is_whole && ends.len() < MENTION_LINES => (bounded, ends.len()),
        Some(end) => (bounded.slice(..*end), ends.len()),
        None => (bounded, 0),
    }
}
