//! Framing of server-sent events. Pure, and bounded by the bytes of one event.

use oarlock_core::ports::model::ModelErrorKind;

use crate::codec::Fault;

/// One event may have this many bytes.
pub(crate) const EVENT_BYTES_MAX: usize = 10 << 20;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its `event` field.
    pub(crate) name: Option<String>,
    /// Its `data` lines, joined.
    pub(crate) data: String,
}

/// Cuts bytes into events, however they arrive. An event that is not ended by a blank line is never given.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    line: Vec<u8>,
    name: Option<String>,
    data: Option<String>,
    ready: std::collections::VecDeque<Event>,
    after_cr: bool,
    started: bool,
}

impl Framer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// `Transport` when one event has more than [`EVENT_BYTES_MAX`] bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    self.end_line();
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(byte);
                }
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > EVENT_BYTES_MAX {
                return Err(Fault {
                    kind: ModelErrorKind::Transport,
                    message: "one event of the stream is larger than 10 MiB".into(),
                    retry_after_ms: None,
                });
            }
        }
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = match self.started {
            true => line.as_slice(),
            false => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line),
        };
        self.started = true;
        if line.is_empty() {
            let name = self.name.take();
            self.ready.extend(self.data.take().map(|data| Event { name, data }));
            return;
        }
        let text = String::from_utf8_lossy(line);
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", none) => *none = Some(value.to_owned()),
            ("event", _) => self.name = Some(value.to_owned()),
            _ => {}
        }
    }
}
