//! Listening for connections: so many at a time, each with deadlines, all of them let go in good order at the end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

/// What a request's head may take to arrive, also the first of a connection and the next of one that is kept.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long a peer may take nothing of what it is sent.
const TAKE_WITHIN: Duration = Duration::from_secs(60);
/// How long connections may go on once the end was announced.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// What is waited after an accept that failed for want of something.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// An address.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixListener),
}

/// The end, announced to all who go on by themselves. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<bool>);

/// Whoever announces the end.
#[derive(Debug)]
pub struct Drainer(watch::Sender<bool>);

impl Drain {
    /// An end that has not been announced, and whoever announces it.
    #[must_use]
    pub fn new() -> (Drainer, Self) {
        let (sender, receiver) = watch::channel(false);
        (Drainer(sender), Self(receiver))
    }

    /// Whether it has been announced.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is announced; for ever when nobody is left to do so. Dropping the future loses nothing.
    pub async fn begun(&mut self) {
        if self.0.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drainer {
    /// Announces the end.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

/// Serves connections until `until`, then lets them end what they are at for [`DRAIN_WITHIN`]. One connection more than `connections_max`
/// waits to be accepted. A connection counts until its stream is closed, whoever has it by then: a WebSocket is one.
///
/// # Errors
/// None once it listens: what goes wrong with a connection ends that connection.
pub async fn serve(
    listener: Listener,
    router: Router,
    connections_max: usize,
    (drainer, until): (Drainer, impl Future<Output = ()>),
) {
    let places_max = u32::try_from(connections_max).unwrap_or(u32::MAX);
    let places = Arc::new(Semaphore::new(places_max as usize));
    let mut connections = JoinSet::new();
    let ending = Drain(drainer.0.subscribe());
    let mut until = std::pin::pin!(until);
    let mut free = None;
    loop {
        tokio::select! {
            () = &mut until => break,
            Some(_) = connections.join_next() => {}
            place = Arc::clone(&places).acquire_owned(), if free.is_none() => free = place.ok(),
            accepted = listener.accept(), if free.is_some() => match accepted {
                Ok(stream) => {
                    let io = Patient { stream, until: None, _place: free.take() };
                    connections.spawn(connection(io, router.clone(), ending.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep_until(Instant::now() + ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop((listener, free));
    drainer.begin();
    let all = async { places.acquire_many(places_max).await.map(drop) };
    if timeout(DRAIN_WITHIN, all).await.is_err() {
        tracing::warn!("connections were closed in the middle; their turns go on from the journal");
    }
}

/// Serves one connection.
async fn connection(io: Patient, router: Router, mut ending: Drain) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_BYTES_MAX);
    let mut serving =
        std::pin::pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    let served = tokio::select! {
        served = &mut serving => served,
        () = ending.begun() => {
            serving.as_mut().graceful_shutdown();
            let until = Instant::now() + DRAIN_WITHIN;
            timeout_at(until, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke off");
    }
}

type Stream = Pin<Box<dyn Connected>>;

trait Connected: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Connected for T {}

impl Listener {
    /// The next connection. Dropping the future loses none.
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Events are small, and each is wanted at once.
                stream.set_nodelay(true)?;
                Ok(Box::pin(stream))
            }
            Self::Unix(listener) => Ok(Box::pin(listener.accept().await?.0)),
        }
    }
}

/// A stream whose peer must take something now and then of what it is sent.
struct Patient {
    stream: Stream,
    /// When a write that waits is given up.
    until: Option<Pin<Box<Sleep>>>,
    /// Its place among the connections, which goes along when the connection becomes a WebSocket.
    _place: Option<OwnedSemaphorePermit>,
}

impl Patient {
    /// What a write came to, given up when it waits for too long.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let until =
            self.until.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + TAKE_WITHIN)));
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream.as_mut().poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self.stream.as_mut().poll_shutdown(cx);
        self.bounded(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write_vectored(cx, slices);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
