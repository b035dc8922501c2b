//! A server on 127.0.0.1 that answers with exactly the bytes a test gives it, faults included.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// What is done with a connection, in order, after its request was read.
pub(super) enum Act {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Close with the request partly unread, which makes the system send a reset.
    Reset,
    /// Stay silent until the client closes, then tell the test.
    Hold,
}

/// What the server saw.
pub(super) enum Seen {
    /// A request, whole.
    Request(String),
    /// The client closed a connection that was held.
    Closed,
}

pub(super) struct Server {
    pub(super) base_url: String,
    seen: Receiver<Seen>,
}

impl Server {
    /// One connection for each list of acts.
    pub(super) fn start(connections: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (tell, seen) = channel();
        std::thread::spawn(move || {
            for acts in connections {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let resets = acts.iter().any(|act| matches!(act, Act::Reset));
                let request = request(&mut stream, usize::from(resets));
                tell.send(Seen::Request(request)).ok();
                play(&mut stream, acts, &tell);
            }
        });
        Self { base_url, seen }
    }

    /// The next request, or nothing when none comes.
    pub(super) fn request(&self) -> Option<String> {
        match self.seen.recv_timeout(Duration::from_secs(20)) {
            Ok(Seen::Request(request)) => Some(request),
            Ok(Seen::Closed) | Err(_) => None,
        }
    }

    /// Whether the client closes the connection that is held.
    pub(super) fn is_closed_by_client(&self) -> bool {
        matches!(self.seen.recv_timeout(Duration::from_secs(20)), Ok(Seen::Closed))
    }

    /// Whether nothing has been asked so far.
    pub(super) fn is_untouched(&self) -> bool {
        self.seen.try_recv().is_err()
    }
}

fn play(stream: &mut TcpStream, acts: Vec<Act>, tell: &Sender<Seen>) {
    for act in acts {
        match act {
            Act::Send(bytes) => drop(stream.write_all(&bytes)),
            Act::Reset => break,
            Act::Hold if matches!(stream.read(&mut [0]), Ok(0)) => {
                tell.send(Seen::Closed).ok();
            }
            Act::Hold => {}
        }
    }
}

/// Reads a request but for its last `unread` bytes.
fn request(stream: &mut TcpStream, unread: usize) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&text).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |n| n.trim().parse::<usize>().unwrap());
    let mut body = vec![0; length.saturating_sub(unread)];
    stream.read_exact(&mut body).unwrap();
    text.extend(body);
    String::from_utf8(text).unwrap()
}
