//! A bounded queue with one reader that takes next to nothing while it is empty, since thousands of idle sessions have several: a channel of tokio
//! keeps its places and its caches' lines ready, a kilobyte each.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::task::coop::poll_proceed;

/// Things that an empty queue keeps places for.
const KEPT: usize = 4;

/// A queue of at most `max` things.
#[must_use]
pub fn queue<T>(max: usize) -> (Sender<T>, Receiver<T>) {
    let held = Held { waiting: VecDeque::new(), senders: 1, is_open: true };
    let (come, gone) = (AtomicWaker::new(), Notify::new());
    let shared = Shared { held: Mutex::new(held), max, come, gone };
    let shared = Arc::new(shared);
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// Puts things into a queue. When all of them are dropped, the reader comes to an end behind what waits.
pub struct Sender<T>(Arc<Shared<T>>);

/// Takes things out of a queue. Dropping it drops what waits.
pub struct Receiver<T>(Arc<Shared<T>>);

/// Why something was not put into a queue, and the thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent<T> {
    /// There is no room.
    Full(T),
    /// Nobody reads it any more.
    Closed(T),
}

struct Shared<T> {
    held: Mutex<Held<T>>,
    max: usize,
    /// Wakes the reader.
    come: AtomicWaker,
    /// Wakes all who wait for room, or for the end.
    gone: Notify,
}

struct Held<T> {
    waiting: VecDeque<T>,
    senders: u32,
    is_open: bool,
}

impl<T> Shared<T> {
    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Puts it into the queue if there is room now.
    ///
    /// # Errors
    /// [`Unsent`] with the thing.
    pub fn try_send(&self, thing: T) -> Result<(), Unsent<T>> {
        let mut held = self.0.held();
        if !held.is_open {
            return Err(Unsent::Closed(thing));
        }
        if held.waiting.len() >= self.0.max {
            return Err(Unsent::Full(thing));
        }
        held.waiting.push_back(thing);
        drop(held);
        self.0.come.wake();
        Ok(())
    }

    /// Waits for room. Dropping the future drops the thing.
    ///
    /// # Errors
    /// The thing, when nobody reads it any more.
    pub async fn send(&self, mut thing: T) -> Result<(), T> {
        loop {
            let gone = self.0.gone.notified();
            thing = match self.try_send(thing) {
                Ok(()) => return Ok(()),
                Err(Unsent::Closed(thing)) => return Err(thing),
                Err(Unsent::Full(thing)) => thing,
            };
            gone.await;
        }
    }

    /// Waits until nobody reads it any more.
    pub async fn closed(&self) {
        loop {
            let gone = self.0.gone.notified();
            if self.is_closed() {
                return;
            }
            gone.await;
        }
    }

    /// Whether nobody reads it any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.0.held().is_open
    }

    /// Things that there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.0.max.saturating_sub(self.0.held().waiting.len())
    }

    /// Whether both put things into the same queue.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.held().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut held = self.0.held();
        held.senders -= 1;
        let is_last = held.senders == 0;
        drop(held);
        if is_last {
            self.0.come.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The next thing; none when the queue was closed, or nobody is left to put one in, and nothing waits. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let budget = ready!(poll_proceed(cx));
        // Before it is looked: what comes behind that look wakes the reader.
        self.0.come.register(cx.waker());
        let thing = self.try_recv();
        if thing.is_none() {
            let held = self.0.held();
            if !held.waiting.is_empty() || (held.senders > 0 && held.is_open) {
                return Poll::Pending;
            }
        }
        budget.made_progress();
        Poll::Ready(thing)
    }

    /// The next thing, if it is there.
    pub fn try_recv(&mut self) -> Option<T> {
        let mut held = self.0.held();
        let was_full = held.waiting.len() >= self.0.max;
        let thing = held.waiting.pop_front();
        if held.waiting.is_empty() && held.waiting.capacity() > KEPT {
            held.waiting = VecDeque::new();
        }
        drop(held);
        if was_full {
            self.0.gone.notify_waiters();
        }
        thing
    }

    /// Takes nothing more in; what waits can still be taken out.
    pub fn close(&mut self) {
        self.0.held().is_open = false;
        self.0.gone.notify_waiters();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
        // Dropped behind the lock, since it may lead back to the queue.
        let waiting = std::mem::take(&mut self.0.held().waiting);
        drop(waiting);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("room", &self.room()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.held().waiting.len();
        f.debug_struct("Receiver").field("waiting", &waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn things_come_out_in_order_and_one_too_many_comes_back() {
        let (sender, mut receiver) = queue(2);
        assert_eq!((sender.try_send(1), sender.try_send(2)), (Ok(()), Ok(())));
        assert_eq!((sender.try_send(3), sender.room()), (Err(Unsent::Full(3)), 0));
        assert_eq!((receiver.recv().await, receiver.try_recv()), (Some(1), Some(2)));
        assert!(poll!(pin!(receiver.recv())).is_pending());
        drop(sender);
        assert_eq!(receiver.recv().await, None);
    }

    #[tokio::test]
    async fn all_who_wait_for_room_get_it_as_it_comes() {
        let (sender, mut receiver) = queue(1);
        sender.try_send(0).unwrap();
        let (other, mut all) = (sender.clone(), vec![0]);
        let (mut first, mut second) = (pin!(sender.send(1)), pin!(other.send(2)));
        assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        assert_eq!(receiver.try_recv(), Some(0));
        assert!(poll!(second.as_mut()).is_ready() && poll!(first.as_mut()).is_pending());
        all.extend(receiver.try_recv());
        assert!(poll!(first.as_mut()).is_ready());
        all.extend(receiver.try_recv());
        assert_eq!(all, [0, 2, 1]);
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_a_thing_and_by_the_last_sender() {
        let (sender, mut receiver) = queue(1);
        {
            let mut next = pin!(receiver.recv());
            assert!(poll!(next.as_mut()).is_pending());
            sender.try_send("one").unwrap();
            assert_eq!(next.await, Some("one"));
        }
        let mut next = pin!(receiver.recv());
        assert!(poll!(next.as_mut()).is_pending());
        drop(sender);
        assert_eq!(next.await, None);
    }

    #[tokio::test]
    async fn a_closed_queue_takes_nothing_gives_what_waits_and_tells_who_waits() {
        let (sender, mut receiver) = queue(1);
        sender.try_send(1).unwrap();
        let (other, watcher) = (sender.clone(), sender.clone());
        let (mut more, mut closed) = (pin!(other.send(2)), pin!(watcher.closed()));
        assert!(poll!(more.as_mut()).is_pending() && poll!(closed.as_mut()).is_pending());
        receiver.close();
        assert_eq!(more.await, Err(2));
        closed.await;
        assert_eq!(sender.try_send(3), Err(Unsent::Closed(3)));
        assert_eq!((receiver.recv().await, receiver.recv().await), (Some(1), None));
        drop(receiver);
        assert!(sender.is_closed());
    }
}
