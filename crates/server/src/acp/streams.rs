//! A client's two streams as lines: bounded in length, read and written by threads of their own, so that neither delays a session.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::Lines;
use futures::executor::block_on;
use futures::{Sink, Stream};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use super::outbound::Gauge;

/// Bytes of one message; a longer one ends the connection.
const LINE_MAX: u64 = 64 << 20;
/// Kilobytes of lines that are read and not yet handled, and as many that are handed to the writer and not yet written.
const HELD_KB: u32 = 65_536;
/// Lines that are read and not yet handled.
const READ_AHEAD: usize = 64;
/// Lines that are handed to the writer and not yet written.
const WRITE_BEHIND: usize = 64;
/// Messages that are taken from a client that reads nothing meanwhile.
const UNREAD_MAX: usize = 1_024;
/// How long the next one waits for it to read something; then the connection ends.
const UNREAD_FOR: Duration = Duration::from_secs(1);
/// Where the method of a message is looked for.
const HEAD_BYTES: usize = 64;

/// Where a client's messages come from, and where those to it go, a line each.
#[derive(Debug)]
pub struct Streams {
    incoming: mpsc::Receiver<io::Result<String>>,
    outgoing: mpsc::Sender<String>,
    /// Of the threads at the other ends; who is part of this program bounds what it holds by itself.
    budgets: Option<Budgets>,
    /// Ends when the last line is written.
    written: oneshot::Receiver<()>,
}

/// How much is held in each direction.
#[derive(Debug)]
struct Budgets {
    read: Budget,
    written: Budget,
}

/// Kilobytes of lines between two who do not wait for one another, each of whom closes it when it ends.
#[derive(Debug, Clone)]
struct Budget(Arc<Semaphore>);

/// Closes a budget when it is dropped.
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
        let budgets = Budgets { read: Budget::full(), written: Budget::full() };
        let (taken, held) = (budgets.read.clone(), budgets.written.clone());
        named("acp-in").spawn(move || read(BufReader::new(reader), &told, &taken))?;
        let (outgoing, lines) = mpsc::channel(WRITE_BEHIND);
        let (done, written) = oneshot::channel();
        named("acp-out").spawn(move || {
            let closing = Closing(Some(held.clone()));
            if let Err(error) = write(BufWriter::new(writer), lines, &held) {
                tracing::debug!(%error, "the client does not read any more");
            }
            drop(closing);
            // Nobody waits for the end of a connection that was dropped.
            _ = done.send(());
        })?;
        Ok(Self { incoming, outgoing, budgets: Some(budgets), written })
    }

    /// Messages from and to another part of this program. The bound of `outgoing` is how many lines wait for a reader.
    #[must_use]
    pub fn within(
        incoming: mpsc::Receiver<io::Result<String>>,
        outgoing: mpsc::Sender<String>,
    ) -> Self {
        let (_, written) = oneshot::channel();
        Self { incoming, outgoing, budgets: None, written }
    }

    /// The two directions as the SDK takes them, and what is told when the last line is written. Lines that are taken are counted.
    pub(super) fn lines(
        self,
        gauge: Arc<Gauge>,
    ) -> (
        Lines<
            impl Sink<String, Error = io::Error> + Send + 'static,
            impl Stream<Item = io::Result<String>> + Send + 'static,
        >,
        oneshot::Receiver<()>,
    ) {
        let writer = self.outgoing.downgrade();
        let (read, written) = self.budgets.map(|both| (both.read, both.written)).unzip();
        let start = (self.outgoing, gauge, written);
        let outgoing = futures::sink::unfold(start, async |(outgoing, gauge, budget), line| {
            let line = without_echo(line);
            let update = is_update(&line);
            let has_room = match &budget {
                Some(budget) => Budget::take(budget, &line).await,
                None => true,
            };
            if !has_room || mpsc::Sender::send(&outgoing, line).await.is_err() {
                Gauge::close(&gauge);
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            }
            if update {
                Gauge::wrote(&gauge);
            }
            Ok((outgoing, gauge, budget))
        });
        let start = (self.incoming, writer, 0, Closing(read));
        let incoming =
            futures::stream::unfold(start, async |(mut incoming, writer, unread, read)| {
                let unread = owed(&writer, unread).await?;
                let line = mpsc::Receiver::recv(&mut incoming).await?;
                if let (Closing(Some(budget)), Ok(line)) = (&read, &line) {
                    Budget::give_back(budget, line);
                }
                Some((line, (incoming, writer, unread, read)))
            });
        (Lines::new(Box::pin(outgoing), Box::pin(incoming)), self.written)
    }
}

/// How many messages will have been taken in a row from a client that reads nothing, its next one included; nothing when it has had its time.
async fn owed(writer: &mpsc::WeakSender<String>, unread: usize) -> Option<usize> {
    let writer = writer.upgrade()?;
    if writer.capacity() > 0 {
        return Some(0);
    }
    if unread < UNREAD_MAX {
        return Some(unread + 1);
    }
    // Answers that nobody reads would pile up without end.
    match tokio::time::timeout(UNREAD_FOR, writer.reserve()).await {
        Ok(Ok(_room)) => Some(0),
        Ok(Err(_)) => None,
        Err(_) => {
            tracing::warn!("the client sends requests and reads no answer; the connection ends");
            None
        }
    }
}

/// Whether a message tells the client of a session.
fn is_update(line: &str) -> bool {
    let head = &line.as_bytes()[..line.len().min(HEAD_BYTES)];
    let method = b"\"session/update\"";
    head.windows(method.len()).any(|window| window == method)
}

/// An answer to what was no JSON, without those words in it: they may have secrets, and clients log errors.
fn without_echo(line: String) -> String {
    let head = &line.as_bytes()[..line.len().min(HEAD_BYTES)];
    let code = b"-32700";
    if !head.windows(code.len()).any(|window| window == code) {
        return line;
    }
    let Ok(mut message) = serde_json::from_str::<Value>(&line) else { return line };
    match message.get_mut("error").and_then(Value::as_object_mut) {
        Some(error) => drop(error.remove("data")),
        None => return line,
    }
    message.to_string()
}

/// Reads lines until the stream ends. Blank ones are nothing; one that is no UTF-8 is handed on as far as it is, for the protocol to refuse.
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
            Ok(_) => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
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
    fn an_answer_to_what_is_no_json_does_not_repeat_it() {
        let echo = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error","data":{"line":"{key"}}}"#;
        let told: Value = serde_json::from_str(&without_echo(echo.to_owned())).unwrap();
        assert_eq!(told["error"], serde_json::json!({ "code": -32700, "message": "Parse error" }));
        let other = r#"{"jsonrpc":"2.0","id":1,"result":{"n":-32700}}"#;
        assert_eq!(without_echo(other.to_owned()), other);
    }

    #[test]
    fn updates_are_told_from_other_messages_that_speak_of_them() {
        assert!(is_update(r#"{"jsonrpc":"2.0","method":"session/update","params":{}}"#));
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"what":"\"session/update\" came"}}"#;
        assert!(!is_update(answer));
    }

    #[test]
    fn a_line_that_is_no_utf8_is_left_to_the_protocol() {
        assert_eq!(lines_of(b"{\"\xff\"}\n{}\n"), ["{\"\u{fffd}\"}", "{}"]);
    }
}
