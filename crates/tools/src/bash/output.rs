//! Collects a command's output in flat memory: its head and its tail for the model, the whole of it in the store.

use std::collections::VecDeque;

use oarlock_core::event::BlobRef;
use oarlock_core::ids::Timestamp;
use oarlock_core::ports::journal::{BlobWriter, Blobs, JournalError};
use oarlock_core::ports::tool::Progress;

const PROGRESS_EVERY_MS: u64 = 50;
const PROGRESS_BYTES: usize = 8 * 1024;

/// Output as it comes. Up to the limit all of it is held; beyond it, half of the limit from each end, and the rest goes to the store alone.
pub(super) struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    limit: usize,
    total: u64,
    spool: Spool,
}

/// Where the whole of the output is.
enum Spool {
    /// In `head`: it is short.
    NotNeeded,
    Open(Box<dyn BlobWriter>),
    Failed(String),
}

/// What became of the output.
pub(super) struct Collected {
    /// For the model, with a note where something is left out.
    pub(super) text: String,
    /// The whole, if `text` is not.
    pub(super) blob: Option<BlobRef>,
    pub(super) total: u64,
    pub(super) left_out: u64,
}

impl Output {
    pub(super) fn new(limit: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), limit, total: 0, spool: Spool::NotNeeded }
    }

    /// Takes the next bytes. When the future is dropped, [`Output::give_up_spool`] must be called.
    pub(super) async fn push(&mut self, bytes: &[u8], blobs: &dyn Blobs) {
        self.total += bytes.len() as u64;
        if matches!(self.spool, Spool::NotNeeded) {
            self.head.extend_from_slice(bytes);
            if self.head.len() > self.limit {
                self.begin_spool(blobs).await;
            }
            return;
        }
        self.keep_tail(bytes);
        if let Spool::Open(writer) = &mut self.spool
            && let Err(error) = writer.write(bytes).await
        {
            self.spool = Spool::Failed(error.to_string());
        }
    }

    async fn begin_spool(&mut self, blobs: &dyn Blobs) {
        let all = std::mem::take(&mut self.head);
        self.head = all[..self.limit / 2].to_vec();
        self.keep_tail(&all[self.limit / 2..]);
        self.spool = Spool::Failed("it was interrupted".to_owned());
        self.spool = match open(blobs, &all).await {
            Ok(writer) => Spool::Open(writer),
            Err(error) => Spool::Failed(error.to_string()),
        };
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let kept = self.limit - self.limit / 2;
        let bytes = &bytes[bytes.len().saturating_sub(kept)..];
        let over = (self.tail.len() + bytes.len()).saturating_sub(kept);
        self.tail.drain(..over);
        self.tail.extend(bytes);
    }

    /// Says that the store is too slow to wait for.
    pub(super) fn give_up_spool(&mut self) {
        if !matches!(self.spool, Spool::NotNeeded) {
            self.spool = Spool::Failed("the store did not take it in time".to_owned());
        }
    }

    pub(super) async fn finish(mut self) -> Collected {
        let tail = self.tail.make_contiguous();
        let left_out = self.total - self.head.len() as u64 - tail.len() as u64;
        let blob = match self.spool {
            Spool::NotNeeded => None,
            Spool::Failed(why) => Some(Err(why)),
            Spool::Open(writer) => Some(writer.finish().await.map_err(|error| error.to_string())),
        };
        let Some(blob) = blob else {
            let text = String::from_utf8_lossy(&self.head).into_owned();
            return Collected { text, blob: None, total: self.total, left_out: 0 };
        };
        let (head, tail) =
            (whole_characters_before_cut(&self.head), whole_characters_after_cut(tail));
        let (note, blob) = match blob {
            Ok((blob, bytes)) => {
                let kept = if bytes < self.total {
                    format!("the first {bytes} bytes are")
                } else {
                    "all is".to_owned()
                };
                let note = format!("{kept} in `blob:{blob}`: read parts of it with read_file");
                (note, Some(BlobRef { blob, name: "output".to_owned(), bytes }))
            }
            Err(why) => (format!("the whole was not kept: {why}"), None),
        };
        let text = format!(
            "{}\n[… {left_out} of {} bytes left out; {note} …]\n{}",
            String::from_utf8_lossy(head),
            self.total,
            String::from_utf8_lossy(tail)
        );
        Collected { text, blob, total: self.total, left_out }
    }
}

async fn open(blobs: &dyn Blobs, bytes: &[u8]) -> Result<Box<dyn BlobWriter>, JournalError> {
    let mut writer = blobs.writer().await?;
    writer.write(bytes).await?;
    Ok(writer)
}

pub(super) fn whole_characters_before_cut(bytes: &[u8]) -> &[u8] {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let start = bytes.len() - tail.len();
    let begun = tail.iter().rposition(|byte| *byte >= 0xC0);
    match begun {
        Some(at)
            if std::str::from_utf8(&tail[at..]).is_err_and(|error| error.error_len().is_none()) =>
        {
            &bytes[..start + at]
        }
        _ => bytes,
    }
}

fn whole_characters_after_cut(bytes: &[u8]) -> &[u8] {
    let rest = bytes.iter().take(3).take_while(|byte| (0x80..0xC0).contains(*byte)).count();
    &bytes[rest..]
}

/// Shows output while it is made: at most 8 KiB twenty times a second. What comes faster is not shown, only collected.
pub(super) struct Live {
    progress: Progress,
    waiting: Vec<u8>,
    next: Timestamp,
}

impl Live {
    pub(super) fn new(progress: Progress, now: Timestamp) -> Self {
        Self { progress, waiting: Vec::new(), next: now }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        let room = PROGRESS_BYTES.saturating_sub(self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// When [`Live::show`] should be called, if there is something to show.
    pub(super) fn due(&self) -> Option<Timestamp> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    pub(super) fn show(&mut self, now: Timestamp) {
        if self.waiting.is_empty() || now < self.next {
            return;
        }
        let whole = whole_characters_before_cut(&self.waiting).len();
        // A character of which the rest never comes must not wait for ever.
        let whole = if whole == 0 { self.waiting.len() } else { whole };
        self.progress.show(&String::from_utf8_lossy(&self.waiting[..whole]));
        self.waiting.drain(..whole);
        self.next = now.after(PROGRESS_EVERY_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_falls_into_a_character() {
        let text = "aé€😀".as_bytes();
        for cut in 0..=text.len() {
            let before = whole_characters_before_cut(&text[..cut]);
            assert!(std::str::from_utf8(before).is_ok() && cut - before.len() < 4, "{cut}");
            let after = whole_characters_after_cut(&text[cut..]);
            assert!(std::str::from_utf8(after).is_ok(), "{cut}");
        }
        assert_eq!(whole_characters_before_cut(b"\xff\xfe"), b"\xff\xfe");
    }
}
