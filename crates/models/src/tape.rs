//! Exchanges with endpoints on disk: each request with its raw answer and the times at which it came, a file of JSON lines each, and a transport that
//! serves them back.
//!
//! The lines of a file, in order: `request`; `answer`, the head; any number of `chunk`; `end`, or `broken` with the reason. Times are milliseconds since
//! the request. What is missing at the end was not waited for: a decoder that has its answer reads no further, and a process may die.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::transport::{
    HttpRequest, HttpResponse, Method, Transport, TransportError, without_query,
};

/// Headers of requests that are written; of the others the name is, since any may carry a key.
const SHOWN: [&str; 4] = ["accept", "anthropic-beta", "anthropic-version", "content-type"];
/// Headers of answers that are not written.
const UNSEEN: [&str; 1] = ["set-cookie"];
const HIDDEN: &str = "(hidden)";
/// Exchanges that one recording may have.
const EXCHANGES_MAX: usize = 100_000;

type Headers = Vec<(String, String)>;

/// One line of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Request {
        method: String,
        url: String,
        headers: Headers,
        body: Raw,
    },
    Answer {
        after_ms: u64,
        status: u16,
        headers: Headers,
    },
    Chunk {
        after_ms: u64,
        #[serde(flatten)]
        raw: Raw,
    },
    End {
        after_ms: u64,
    },
    Broken {
        after_ms: u64,
        why: String,
    },
}

/// Bytes: as text where they are text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Raw {
    Text(String),
    Base64(String),
}

impl Raw {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }

    fn bytes(self) -> Result<Bytes, base64::DecodeError> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Base64(text) => Ok(STANDARD.decode(text)?.into()),
        }
    }
}

fn name_of(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
    }
}

/// Carries requests over another transport and writes each exchange down. Keys are not written; prompts and answers are, into files that their owner
/// alone can read.
#[derive(Debug)]
pub struct TapeRecorder {
    inner: Arc<dyn Transport>,
    folder: Arc<Folder>,
}

/// Where exchanges are written.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    count: AtomicU64,
    failed: Mutex<Option<io::Error>>,
}

impl TapeRecorder {
    /// Makes the folder, which must not be there. Blocks while it does.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(folder: &Path, inner: Arc<dyn Transport>) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(folder)?;
        let folder =
            Folder { path: folder.to_owned(), count: AtomicU64::new(0), failed: Mutex::default() };
        Ok(Self { inner, folder: Arc::new(folder) })
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// The first reason for which something could not be written. Requests were carried all the same.
    pub fn end(&self) -> io::Result<()> {
        lock(&self.folder.failed).take().map_or(Ok(()), Err)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file of one exchange. What cannot be written is noted once, and ends it.
#[derive(Debug)]
struct Tape {
    folder: Arc<Folder>,
    file: Option<File>,
    begun: Instant,
}

impl Tape {
    fn begin(folder: &Arc<Folder>, request: &HttpRequest) -> Self {
        let number = folder.count.fetch_add(1, Relaxed) + 1;
        let path = folder.path.join(format!("{number:06}.jsonl"));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut tape = Self { folder: Arc::clone(folder), file: None, begun: Instant::now() };
        match made {
            Ok(file) => tape.file = Some(file),
            Err(error) => tape.failed(error),
        }
        let headers = request.headers.iter().map(|(name, value)| {
            let is_shown = SHOWN.iter().any(|shown| name.eq_ignore_ascii_case(shown));
            (name.clone(), if is_shown { value.clone() } else { HIDDEN.to_owned() })
        });
        tape.write(&Line::Request {
            method: name_of(request.method).to_owned(),
            url: without_query(&request.url).to_owned(),
            headers: headers.collect(),
            body: Raw::of(&request.body),
        });
        tape
    }

    fn after_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn write(&mut self, line: &Line) {
        let Some(file) = &mut self.file else { return };
        let mut bytes = serde_json::to_vec(line).expect("lines are texts and numbers");
        bytes.push(b'\n');
        if let Err(error) = file.write_all(&bytes) {
            self.failed(error);
        }
    }

    fn failed(&mut self, error: io::Error) {
        self.file = None;
        lock(&self.folder.failed).get_or_insert(error);
    }

    fn broken(&mut self, error: &TransportError) {
        self.write(&Line::Broken { after_ms: self.after_ms(), why: error.explained() });
    }
}

impl Transport for TapeRecorder {
    fn send(
        &self,
        request: HttpRequest,
    ) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let mut tape = Tape::begin(&self.folder, &request);
        let sent = self.inner.send(request);
        async move {
            let HttpResponse { status, headers, body } =
                sent.await.inspect_err(|error| tape.broken(error))?;
            let seen = |name: &str| !UNSEEN.iter().any(|unseen| name.eq_ignore_ascii_case(unseen));
            let kept = headers.iter().filter(|(name, _)| seen(name)).cloned().collect();
            tape.write(&Line::Answer { after_ms: tape.after_ms(), status, headers: kept });
            let body = stream::unfold((body, tape), async |(mut body, mut tape)| {
                let chunk = body.next().await;
                let after_ms = tape.after_ms();
                match &chunk {
                    Some(Ok(bytes)) => tape.write(&Line::Chunk { after_ms, raw: Raw::of(bytes) }),
                    Some(Err(error)) => tape.broken(error),
                    None => tape.write(&Line::End { after_ms }),
                }
                Some((chunk?, (body, tape)))
            });
            Ok(HttpResponse { status, headers, body: body.boxed() })
        }
        .boxed()
    }
}

/// Why a recording cannot be served back.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// It is not there, or cannot be read.
    #[error("the recording {} cannot be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is none of a recording.
    #[error("{}, line {line}: not of a recording", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// There are more than 100,000 exchanges in it.
    #[error("the recording {} has more than {EXCHANGES_MAX} exchanges", path.display())]
    Long {
        /// The folder.
        path: PathBuf,
    },
}

/// Serves a recording back, at the pace at which it was recorded; nothing goes over the network.
///
/// A request is given the first answer that was not given yet to a request of the same bytes, else to one of the same method and path, since a prompt
/// may name folders and days. Where none is left it is refused, which no retry heals.
#[derive(Debug)]
pub struct TapePlayer {
    exchanges: Mutex<Vec<Exchange>>,
}

#[derive(Debug)]
struct Exchange {
    method: String,
    url: String,
    body: Bytes,
    answer: Vec<Line>,
}

impl TapePlayer {
    /// Reads a recording whole. Blocks while it does. A last line that was cut is left out.
    ///
    /// # Errors
    /// [`TapeError`].
    pub fn open(folder: &Path) -> Result<Self, TapeError> {
        let unread = |source| TapeError::Read { path: folder.to_owned(), source };
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(unread)? {
            let path = entry.map_err(unread)?.path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                files.insert(path.file_name().map(ToOwned::to_owned), path);
            }
            if files.len() > EXCHANGES_MAX {
                return Err(TapeError::Long { path: folder.to_owned() });
            }
        }
        let exchanges: Result<Vec<_>, _> = files.values().map(|path| exchange(path)).collect();
        Ok(Self { exchanges: Mutex::new(exchanges?.into_iter().flatten().collect()) })
    }

    fn next(&self, request: &HttpRequest) -> Option<Exchange> {
        let mut exchanges = lock(&self.exchanges);
        let (method, wanted) = (name_of(request.method), path_of(&request.url));
        let like = |one: &Exchange| one.method == method && path_of(&one.url) == wanted;
        let same = exchanges.iter().position(|one| like(one) && one.body == request.body);
        let at = same.or_else(|| exchanges.iter().position(like))?;
        Some(exchanges.remove(at))
    }
}

/// The exchange of a file; none when it broke off before its request was whole.
fn exchange(path: &Path) -> Result<Option<Exchange>, TapeError> {
    let unread = |source| TapeError::Read { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(unread)?);
    let (mut lines, mut text) = (Vec::new(), Vec::new());
    while file.read_until(b'\n', &mut text).map_err(unread)? > 0 && text.ends_with(b"\n") {
        let line = serde_json::from_slice(&text);
        lines.push(
            line.map_err(|_| TapeError::Format { path: path.to_owned(), line: lines.len() + 1 })?,
        );
        text.clear();
    }
    let mut lines = lines.into_iter();
    let malformed = || TapeError::Format { path: path.to_owned(), line: 1 };
    match lines.next() {
        None => Ok(None),
        Some(Line::Request { method, url, body, .. }) => {
            let body = body.bytes().map_err(|_| malformed())?;
            Ok(Some(Exchange { method, url, body, answer: lines.collect() }))
        }
        Some(_) => Err(malformed()),
    }
}

/// The path of an address: where an endpoint stands may change, and what it is asked for not.
fn path_of(url: &str) -> &str {
    let rest = without_query(url).split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

fn cut(why: String) -> TransportError {
    TransportError::Broken { source: why.into() }
}

impl Transport for TapePlayer {
    fn send(
        &self,
        request: HttpRequest,
    ) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let (found, begun) = (self.next(&request), Instant::now());
        async move {
            let Some(Exchange { answer, .. }) = found else {
                let (method, path) = (name_of(request.method), path_of(&request.url));
                let what = format!("the recording has no answer left for {method} {path}");
                return Err(TransportError::Unsendable { what });
            };
            let mut lines = answer.into_iter();
            let (status, headers) = match lines.next() {
                Some(Line::Answer { after_ms, status, headers }) => {
                    until(begun, after_ms).await;
                    (status, headers)
                }
                Some(Line::Broken { after_ms, why }) => {
                    until(begun, after_ms).await;
                    return Err(cut(why));
                }
                _ => return Err(cut("the recording ends before the answer".to_owned())),
            };
            let body = stream::unfold(lines, move |mut lines| async move {
                let (after_ms, item) = match lines.next()? {
                    Line::Chunk { after_ms, raw } => {
                        (after_ms, raw.bytes().map_err(|error| cut(error.to_string())))
                    }
                    Line::Broken { after_ms, why } => (after_ms, Err(cut(why))),
                    Line::Request { .. } | Line::Answer { .. } | Line::End { .. } => return None,
                };
                until(begun, after_ms).await;
                Some((item, lines))
            });
            Ok(HttpResponse { status, headers, body: body.boxed() })
        }
        .boxed()
    }
}

async fn until(begun: Instant, after_ms: u64) {
    tokio::time::sleep_until(begun + Duration::from_millis(after_ms)).await;
}
