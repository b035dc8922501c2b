//! A client's lines as the SDK takes them, counted, and no more of them than the client answers for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::Lines;
use futures::{Sink, Stream};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::outbound::Gauge;
use crate::lines::{Incoming, Outgoing, Streams};

/// Messages that are taken from a client that reads nothing meanwhile.
const UNREAD_MAX: usize = 1_024;
/// How long the next one waits for it to read something; then the connection ends.
const UNREAD_FOR: Duration = Duration::from_secs(1);
/// Where the method of a message is looked for.
const HEAD_BYTES: usize = 64;

impl Streams {
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
        let writer = self.outgoing.lines.downgrade();
        let start = (self.outgoing, gauge);
        let outgoing = futures::sink::unfold(start, async |(outgoing, gauge), line| {
            let line = without_echo(line);
            let update = is_update(&line);
            if !Outgoing::send(&outgoing, line).await {
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
            let line = Incoming::next(&mut incoming).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
