//! What a lane has begun and does not wait for.

use std::future::poll_fn;
use std::task::Poll;

use futures::future::{AbortHandle, BoxFuture, abortable};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::lane::Done;

/// Holds a piece of a lane's work, which ends when this is dropped.
pub(super) struct Leash(AbortHandle);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The work of a lane, which goes on as long as somebody waits for the next end. It takes no memory while there is none.
#[derive(Default)]
pub(super) struct Work(Option<FuturesUnordered<BoxFuture<'static, Box<Done>>>>);

impl Work {
    /// Begins work that goes on until its end is there.
    pub(super) fn begin(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        self.0.get_or_insert_default().push(work.map(Box::new).boxed());
    }

    /// The same, until its leash is dropped.
    pub(super) fn leashed(&mut self, work: impl Future<Output = Done> + Send + 'static) -> Leash {
        let (work, leash) = abortable(work);
        self.begin(work.map(|done| done.unwrap_or(Done::Dropped)));
        Leash(leash)
    }

    /// Gives up all of it.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// The next end of something; there is none while nothing is begun. Dropping the future loses nothing.
    pub(super) fn next(&mut self) -> impl Future<Output = Box<Done>> {
        poll_fn(|cx| {
            let Some(begun) = &mut self.0 else { return Poll::Pending };
            let Poll::Ready(Some(done)) = begun.poll_next_unpin(cx) else { return Poll::Pending };
            if begun.is_empty() {
                self.clear();
            }
            Poll::Ready(done)
        })
    }
}
