//! Recordings: `run --record DIR` writes one, `replay DIR` runs it again, and `run --replay DIR` gives another session the providers' answers in it.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use oarlock_core::session::trace::{TraceLine, TraceSink};
use oarlock_models::{TapePlayer, TapeRecorder, Transport};

/// The file in the recording's folder.
const FILE: &str = "trace.json";
/// The folder in it with the requests to providers and their raw answers.
const EXCHANGES: &str = "http";

/// A recording being written. It holds prompts, answers and tool output: the file is readable by its owner alone.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: Mutex<(BufWriter<File>, Option<std::io::Error>)>,
    exchanges: Arc<TapeRecorder>,
}

impl Recording {
    /// Begins a recording in a folder that has none, of a session whose models are reached over `http`.
    ///
    /// # Errors
    /// When there is one, or the files cannot be made.
    pub fn begin(folder: &Path, http: Arc<dyn Transport>) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        std::fs::create_dir_all(folder)
            .with_context(|| format!("--record {}: cannot make the folder", folder.display()))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| {
            format!(
                "--record {}: a recording cannot be begun there; name a new folder",
                path.display()
            )
        })?;
        let exchanges = folder.join(EXCHANGES);
        let exchanges = TapeRecorder::begin(&exchanges, http)
            .with_context(|| format!("--record {}: cannot make the folder", exchanges.display()))?;
        let file = Mutex::new((BufWriter::new(file), None));
        Ok(Self { path, file, exchanges: Arc::new(exchanges) })
    }

    /// The way to the models, on which requests and answers are written down.
    #[must_use]
    pub fn exchanges(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.exchanges) as Arc<dyn Transport>
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// When any of it could not be written.
    pub fn end(&self) -> anyhow::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match file.1.take() {
            Some(error) => Err(error),
            None => file.0.flush(),
        };
        let result = result.and(self.exchanges.end());
        result.with_context(|| format!("the recording {} is not whole", self.path.display()))
    }
}

impl TraceSink for Recording {
    fn write(&self, line: &TraceLine) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.1.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut file.0, line).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| file.0.write_all(b"\n")) {
            file.1 = Some(error);
        }
    }
}

/// Reads a recording.
///
/// # Errors
/// When it is not there, or is something else; the error names line and column.
pub fn read(folder: &Path) -> anyhow::Result<Vec<TraceLine>> {
    let path = folder.join(FILE);
    let bytes = std::fs::read(&path).with_context(|| {
        format!("{}: no recording; `oarlock run --record DIR` makes one", path.display())
    })?;
    // Not line by line: what a provider wrote is kept byte for byte, line ends between its JSON tokens included.
    let values = serde_json::Deserializer::from_slice(&bytes).into_iter();
    let lines: Result<Vec<TraceLine>, _> = values.collect();
    lines.with_context(|| format!("{}: not a recording", path.display()))
}

/// The answers of a recording, for whoever asks the same again. Nothing goes over the network.
///
/// # Errors
/// When there is no recording, or what is there is something else.
pub fn answers(folder: &Path) -> anyhow::Result<Arc<dyn Transport>> {
    let folder = folder.join(EXCHANGES);
    let player = TapePlayer::open(&folder).with_context(|| {
        format!("--replay {}: no answers; `oarlock run --record DIR` keeps them", folder.display())
    })?;
    Ok(Arc::new(player))
}
