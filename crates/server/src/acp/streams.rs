//! A client's two streams as lines: bounded in length, read and written by threads of their own, so that neither delays a session.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::Lines;
use futures::{Sink, Stream};
use tokio::sync::{mpsc, oneshot};

use super::outbound::Gauge;

/// Bytes of one message; a longer one ends the connection.
const LINE_MAX: u64 = 64 << 20;
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
    /// Ends when the last line is written.
    written: oneshot::Receiver<()>,
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
        named("acp-in").spawn(move || read(BufReader::new(reader), &told))?;
        let (outgoing, lines) = mpsc::channel(WRITE_BEHIND);
        let (done, written) = oneshot::channel();
        named("acp-out").spawn(move || {
            if let Err(error) = write(BufWriter::new(writer), lines) {
                tracing::debug!(%error, "the client does not read any more");
            }
            // Nobody waits for the end of a connection that was dropped.
            _ = done.send(());
        })?;
        Ok(Self { incoming, outgoing, written })
    }

    /// Messages from and to another part of this program. The bound of `outgoing` is how many lines wait for a reader.
    #[must_use]
    pub fn within(
        incoming: mpsc::Receiver<io::Result<String>>,
        outgoing: mpsc::Sender<String>,
    ) -> Self {
        let (_, written) = oneshot::channel();
        Self { incoming, outgoing, written }
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
        let start = (self.outgoing, gauge);
        let outgoing = futures::sink::unfold(start, async |(outgoing, gauge), line: String| {
            let update = is_update(&line);
            if mpsc::Sender::send(&outgoing, line).await.is_err() {
                Gauge::close(&gauge);
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            }
            if update {
                Gauge::wrote(&gauge);
            }
            Ok((outgoing, gauge))
        });
        let start = (self.incoming, writer, 0);
        let incoming = futures::stream::unfold(start, async |(mut incoming, writer, unread)| {
            let unread = owed(&writer, unread).await?;
            let line = mpsc::Receiver::recv(&mut incoming).await?;
            Some((line, (incoming, writer, unread)))
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

/// Reads lines until the stream ends. Blank ones are nothing; one that is no UTF-8 is handed on as far as it is, for the protocol to refuse.
fn read(mut reader: impl BufRead, lines: &mpsc::Sender<io::Result<String>>) {
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
        if lines.blocking_send(told).is_err() || is_last {
            return;
        }
    }
}

/// Writes lines until there are no more, and flushes whenever none waits.
fn write(mut writer: impl Write, mut lines: mpsc::Receiver<String>) -> io::Result<()> {
    while let Some(line) = lines.blocking_recv() {
        let mut line = line;
        loop {
            writer.write_all(line.as_bytes())?;
            writer.write_all(b"\n")?;
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
        read(bytes, &sender);
        drop(sender);
        std::iter::from_fn(|| receiver.blocking_recv()).map(|line| line.unwrap()).collect()
    }

    #[test]
    fn lines_end_with_a_newline_of_either_kind_and_blank_ones_are_nothing() {
        assert_eq!(lines_of(b"{\"a\":1}\r\n\n \t\n{}\nlast"), ["{\"a\":1}", "{}", "last"]);
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
