//! A client's two streams as lines: bounded in length, read and written by threads of their own, so that neither delays a session.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use futures::executor::block_on;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

/// Bytes of one message; a longer one ends the connection.
const LINE_MAX: u64 = 64 << 20;
/// Kilobytes of lines that are read and not yet handled, and as many that are handed to the writer and not yet written.
const HELD_KB: u32 = 65_536;
/// Lines that are read and not yet handled.
const READ_AHEAD: usize = 64;
/// Lines that are handed to the writer and not yet written.
const WRITE_BEHIND: usize = 64;

/// Where a client's messages come from, and where those to it go, a line each.
#[derive(Debug)]
pub struct Streams {
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    /// Ends when the last line is written.
    pub(crate) written: oneshot::Receiver<()>,
}

/// The lines of a client.
#[derive(Debug)]
pub(crate) struct Incoming {
    lines: mpsc::Receiver<io::Result<String>>,
    /// Of the thread that reads; who is part of this program bounds what it holds by itself.
    budget: Closing,
}

impl Incoming {
    /// The next line; nothing when the stream has ended. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<io::Result<String>> {
        let line = self.lines.recv().await?;
        if let (Some(budget), Ok(line)) = (&self.budget.0, &line) {
            budget.give_back(line);
        }
        Some(line)
    }
}

/// The way of lines to a client.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) lines: mpsc::Sender<String>,
    /// Of the thread that writes.
    budget: Option<Budget>,
}

impl Outgoing {
    /// Hands a line to the writer once there is room for it; `false` when the client has gone. A line whose future is dropped is not sent.
    pub(crate) async fn send(&self, line: String) -> bool {
        let room = match &self.budget {
            Some(budget) => match budget.0.acquire_many(kb(&line)).await {
                Ok(room) => Some(room),
                Err(_) => return false,
            },
            None => None,
        };
        let is_sent = self.lines.send(line).await.is_ok();
        if let (true, Some(room)) = (is_sent, room) {
            // The writer gives it back.
            room.forget();
        }
        is_sent
    }
}

/// Kilobytes of lines between two who do not wait for one another, each of whom closes it when it ends.
#[derive(Debug, Clone)]
struct Budget(Arc<Semaphore>);

/// Closes a budget when it is dropped.
#[derive(Debug)]
struct Closing(Option<Budget>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(budget) = &self.0 {
            budget.0.close();
        }
    }
}

/// What a line takes of a budget: of one that is empty, at most all.
fn kb(line: &str) -> u32 {
    u32::try_from(line.len() / 1024 + 1).unwrap_or(u32::MAX).min(HELD_KB)
}

impl Budget {
    fn full() -> Self {
        Self(Arc::new(Semaphore::new(HELD_KB as usize)))
    }

    /// Waits until there is room for a line; `false` when nobody takes any more.
    async fn take(&self, line: &str) -> bool {
        self.0.acquire_many(kb(line)).await.map(SemaphorePermit::forget).is_ok()
    }

    fn give_back(&self, line: &str) {
        self.0.add_permits(kb(line) as usize);
    }
}

impl Streams {
    /// Messages from `reader` and to `writer`. Each is given a thread that ends with its stream.
    ///
    /// # Errors
    /// When the system has no thread for them.
    pub fn new(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let (told, incoming) = mpsc::channel(READ_AHEAD);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let budgets = (Budget::full(), Budget::full());
        let (taken, held) = budgets.clone();
        named("lines-in").spawn(move || read(BufReader::new(reader), &told, &taken))?;
        let (outgoing, lines) = mpsc::channel(WRITE_BEHIND);
        let (done, written) = oneshot::channel();
        named("lines-out").spawn(move || {
            let closing = Closing(Some(held.clone()));
            if let Err(error) = write(BufWriter::new(writer), lines, &held) {
                tracing::debug!(%error, "the client does not read any more");
            }
            drop(closing);
            // Nobody waits for the end of a connection that was dropped.
            _ = done.send(());
        })?;
        let incoming = Incoming { lines: incoming, budget: Closing(Some(budgets.0)) };
        let outgoing = Outgoing { lines: outgoing, budget: Some(budgets.1) };
        Ok(Self { incoming, outgoing, written })
    }

    /// Messages from and to another part of this program. The bound of `outgoing` is how many lines wait for a reader.
    #[must_use]
    pub fn within(
        incoming: mpsc::Receiver<io::Result<String>>,
        outgoing: mpsc::Sender<String>,
    ) -> Self {
        let (_, written) = oneshot::channel();
        let incoming = Incoming { lines: incoming, budget: Closing(None) };
        Self { incoming, outgoing: Outgoing { lines: outgoing, budget: None }, written }
    }
}

/// Reads lines until the stream ends. Blank ones are nothing; one that is no UTF-8 is handed on as far as it is, with a mark
/// behind it that makes it no JSON, for the protocol to refuse.
fn read(mut reader: impl BufRead, lines: &mpsc::Sender<io::Result<String>>, budget: &Budget) {
    loop {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        let told = match read {
            Ok(0) => return,
            Ok(_) if line.len() as u64 == LINE_MAX && !line.ends_with(b"\n") => {
                let what = format!("a message is longer than {LINE_MAX} bytes");
                Err(io::Error::new(io::ErrorKind::InvalidData, what))
            }
            Ok(_) if line.iter().all(u8::is_ascii_whitespace) => continue,
            Ok(_) => Ok(text(&line).trim_end().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_last = told.is_err();
        let has_room = told.as_ref().map_or(true, |line| block_on(budget.take(line)));
        if !has_room || lines.blocking_send(told).is_err() || is_last {
            return;
        }
    }
}

/// A line up to what is no UTF-8.
fn text(line: &[u8]) -> Cow<'_, str> {
    match line.utf8_chunks().next() {
        Some(chunk) if !chunk.invalid().is_empty() => {
            Cow::Owned(format!("{}{}", chunk.valid(), char::REPLACEMENT_CHARACTER))
        }
        Some(chunk) => Cow::Borrowed(chunk.valid()),
        None => Cow::Borrowed(""),
    }
}

/// Writes lines until there are no more, and flushes whenever none waits.
fn write(
    mut writer: impl Write,
    mut lines: mpsc::Receiver<String>,
    budget: &Budget,
) -> io::Result<()> {
    while let Some(line) = lines.blocking_recv() {
        let mut line = line;
        loop {
            writer.write_all(line.as_bytes())?;
            writer.write_all(b"\n")?;
            budget.give_back(&line);
            match lines.try_recv() {
                Ok(next) => line = next,
                Err(_) => break,
            }
        }
        writer.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &'static [u8]) -> Vec<String> {
        let (sender, mut receiver) = mpsc::channel(READ_AHEAD);
        read(bytes, &sender, &Budget::full());
        drop(sender);
        std::iter::from_fn(|| receiver.blocking_recv()).map(|line| line.unwrap()).collect()
    }

    #[test]
    fn lines_end_with_a_newline_of_either_kind_and_blank_ones_are_nothing() {
        assert_eq!(lines_of(b"{\"a\":1}\r\n\n \t\n{}\nlast"), ["{\"a\":1}", "{}", "last"]);
    }

    #[test]
    fn lines_that_are_read_ahead_have_a_bound_in_bytes() {
        let (told, mut lines) = mpsc::channel(READ_AHEAD);
        let (budget, line) = (Budget::full(), format!("{}\n", "x".repeat(20 << 20)));
        let (reader, taken) = (io::Cursor::new(line.repeat(5)), budget.clone());
        let reading = std::thread::spawn(move || read(reader, &told, &taken));
        let mut ahead = 0;
        while budget.0.available_permits() > 20 << 10 {
            std::thread::yield_now();
        }
        let held = std::iter::from_fn(|| lines.blocking_recv().transpose().unwrap());
        for line in held {
            ahead = ahead.max(lines_ahead(&budget));
            budget.give_back(&line);
        }
        reading.join().unwrap();
        assert_eq!(ahead, 3, "60 of 64 MB");
    }

    /// How many lines of 20 MB are held.
    fn lines_ahead(budget: &Budget) -> usize {
        (HELD_KB as usize - budget.0.available_permits()) / (20 << 10)
    }

    #[test]
    fn a_reader_whose_lines_nobody_takes_any_more_ends() {
        let (told, lines) = mpsc::channel(READ_AHEAD);
        let (budget, line) = (Budget::full(), format!("{}\n", "x".repeat(40 << 20)));
        let (reader, taken) = (io::Cursor::new(line.repeat(2)), budget.clone());
        let reading = std::thread::spawn(move || read(reader, &told, &taken));
        drop(Closing(Some(budget)));
        reading.join().unwrap();
        assert!(lines.len() <= 1);
    }

    #[test]
    fn a_line_that_is_no_utf8_is_left_to_the_protocol() {
        assert_eq!(lines_of(b"{\"\xff\"}\n{}\n"), ["{\"\u{fffd}", "{}"]);
        assert_eq!(lines_of(b"{}\xff\n"), ["{}\u{fffd}"], "what it was stays no message");
    }
}
