//! A server on loopback that answers every request with the stream of one case, in small chunks.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::cases::Case;

/// Bytes of a chunk: few enough to cut events, lines and letters.
const CHUNK_BYTES: usize = 7;
/// Bytes that a request may have.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Serves until it is dropped.
pub struct Server {
    /// Its address, without a path.
    pub base_url: String,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves this case.
///
/// # Errors
/// When no port is free.
pub async fn serve(case: &Case) -> io::Result<Server> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    let answer = Arc::new(answer(case));
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever breaks off has read what it wanted.
            let _ = answered(stream, &answer).await;
        }
    });
    Ok(Server { base_url, task })
}

/// The whole answer as bytes of HTTP.
fn answer(case: &Case) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {} Recorded\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        case.status, case.content_type,
    );
    let mut bytes = head.into_bytes();
    for chunk in case.body.chunks(CHUNK_BYTES) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

async fn answered(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut request = Vec::new();
    while !is_whole(&request) && request.len() < REQUEST_BYTES_MAX {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer).await?;
    stream.shutdown().await
}

/// Whether head and body have come. Both clients say the length of what they send.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse::<usize>().ok());
    request.len() >= end + 4 + length.unwrap_or_default()
}
