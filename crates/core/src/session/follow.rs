//! What a subscriber reads: a session's own events, and those of its subagents woven in.
//!
//! It is the reader that opens the streams of subagents: a session does not know who follows it, and no turn waits for anybody who does.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, select_all};

use crate::event::{AgentEvent, Event};
use crate::ids::{Seq, SessionId};
use crate::ports::bus::Bus;
use crate::ports::journal::JournalError;
use crate::session::feed::OwnEvents;
use crate::session::log::Store;

/// Everything that happens to a session after a cursor: entries once and in order, a mark where the past ends, then entries and deltas as
/// they come. What happens to its subagents comes as [`AgentEvent::Scoped`], all of it between `subagent_opened` and `subagent_closed`; a reader
/// that begins in between is given what happens from then on. Dropping it, or a future of [`EventStream::next`], is safe at any time.
#[derive(Debug)]
pub struct EventStream {
    own: OwnEvents,
    whom: Whom,
    children: Vec<ChildEvents>,
    /// Subagents whose beginning was given out or found, followed or not any more.
    known: BTreeSet<SessionId>,
    /// The end of a subagent, given out once all of it was.
    held: Option<Box<(SessionId, AgentEvent)>>,
    /// An event of the session that is being looked at.
    taken: Option<Box<AgentEvent>>,
    /// The session's own event was the last one: its subagents come first.
    gave_own: bool,
}

/// Whose events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The session's own.
    Alone,
    /// Those of all subagents below it, too.
    WithChildren,
    /// The same, of a subagent whose journal may be yet to begin.
    ChildOf,
}

/// A subagent that is followed.
#[derive(Debug)]
struct ChildEvents {
    child: SessionId,
    events: Box<EventStream>,
    /// Its last entry, once it is closed.
    last: Option<Seq>,
}

/// Who gave the next event.
enum Next {
    Own(Result<AgentEvent, JournalError>),
    Child(usize, Result<AgentEvent, JournalError>),
}

impl EventStream {
    pub(crate) fn new(
        store: Store,
        bus: Arc<dyn Bus>,
        (session, after): (SessionId, Seq),
        whom: Whom,
    ) -> Self {
        let own = OwnEvents::new(store, bus, (session, after), whom);
        let (children, known) = (Vec::new(), BTreeSet::new());
        Self { own, whom, children, known, held: None, taken: None, gave_own: false }
    }

    /// The next event. It waits for as long as nothing happens; it never ends by itself.
    ///
    /// # Errors
    /// When the journal cannot be read. Calling again tries again from the same place.
    pub async fn next(&mut self) -> Result<AgentEvent, JournalError> {
        loop {
            if let Some(event) = self.released() {
                return Ok(event);
            }
            // Dropped while it looks, it looks again.
            if let Some(event) = self.taken.clone() {
                let given = Box::pin(self.weave(*event)).await;
                self.taken = None;
                match given {
                    Some(event) => return Ok(event),
                    None => continue,
                }
            }
            let next = self.first().await;
            self.gave_own = matches!(next, Next::Own(_));
            match next {
                Next::Own(event) if self.whom == Whom::Alone => return event,
                Next::Own(event) => {
                    let event = event?;
                    if !self.has_to_look(&event) {
                        return Ok(event);
                    }
                    self.taken = Some(Box::new(event));
                }
                Next::Child(at, event) => {
                    if let Some(event) = self.take_child(at, event) {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// Whoever has an event first. Whoever gave the last one comes last, so that nobody's many events hide those of others.
    async fn first(&mut self) -> Next {
        if self.children.is_empty() {
            return Next::Own(self.own.next().await);
        }
        let children = self.children.iter_mut().enumerate();
        let mut all: Vec<_> = children.map(|(at, child)| child.events.next_of(at)).collect();
        if self.held.is_none() {
            let at = if self.gave_own { all.len() } else { 0 };
            all.insert(at, self.own.next().map(Next::Own).boxed());
        }
        select_all(all).await.0
    }

    /// The next event of the subagent that stands there.
    fn next_of(&mut self, at: usize) -> BoxFuture<'_, Next> {
        async move { Next::Child(at, self.next().await) }.boxed()
    }

    /// The end of a subagent of which everything was given out. What it could not close itself is let go with it.
    fn released(&mut self) -> Option<AgentEvent> {
        let (child, _) = self.held.as_deref()?;
        let is_drained = |child: &ChildEvents| {
            let events = &child.events;
            child.last.is_some_and(|last| events.own.cursor() >= last)
                && !events.own.has_ready()
                && events.held.is_none()
                && events.taken.is_none()
        };
        match self.children.iter().position(|followed| followed.child == *child) {
            Some(at) if !is_drained(&self.children[at]) => None,
            Some(at) => {
                self.children.remove(at);
                self.held.take().map(|held| held.1)
            }
            None => self.held.take().map(|held| held.1),
        }
    }

    /// Whether it takes a look at subagents before an event is given out. One that begins is followed without.
    fn has_to_look(&mut self, event: &AgentEvent) -> bool {
        match event {
            AgentEvent::CaughtUp { .. } => self.own.has_children(),
            AgentEvent::Entry(entry) => match &entry.event {
                Event::SubagentOpened(opened) => {
                    self.follow(opened.child.clone(), 0);
                    false
                }
                Event::SubagentClosed(_) => true,
                _ => false,
            },
            AgentEvent::Delta(_) | AgentEvent::Scoped { .. } => false,
        }
    }

    /// Looks at the subagents that the session's own event is about, and gives it back unless it has to wait for one.
    async fn weave(&mut self, event: AgentEvent) -> Option<AgentEvent> {
        match &event {
            AgentEvent::CaughtUp { .. } => {
                for child in self.own.open_children() {
                    // What was opened after the cursor has been met by now.
                    if !self.known.contains(&child) {
                        let tail = self.own.store.journal.tail(&child).await;
                        self.follow(child, tail.map_or(0, |tail| tail.next.saturating_sub(1)));
                    }
                }
            }
            AgentEvent::Entry(entry) => {
                let Event::SubagentClosed(closed) = &entry.event else { return Some(event) };
                self.known.remove(&closed.child);
                let followed = self.children.iter_mut().find(|c| c.child == closed.child);
                if let Some(followed) = followed {
                    // One whose journal was never begun has no tail.
                    let tail = self.own.store.journal.tail(&closed.child).await;
                    followed.last = Some(tail.map_or(0, |tail| tail.next.saturating_sub(1)));
                    self.held = Some(Box::new((closed.child.clone(), event)));
                    return None;
                }
            }
            AgentEvent::Delta(_) | AgentEvent::Scoped { .. } => {}
        }
        Some(event)
    }

    fn follow(&mut self, child: SessionId, after: Seq) {
        if self.known.insert(child.clone()) {
            let (store, bus) = (self.own.store.clone(), Arc::clone(&self.own.bus));
            let events = Self::new(store, bus, (child.clone(), after), Whom::ChildOf);
            self.children.push(ChildEvents { child, events: Box::new(events), last: None });
        }
    }

    /// What a subagent gave, under its place. One that cannot be read is let go: what its parent says of it stands in its own journal.
    fn take_child(
        &mut self,
        at: usize,
        event: Result<AgentEvent, JournalError>,
    ) -> Option<AgentEvent> {
        let child = self.children[at].child.clone();
        self.children.rotate_left(at + 1);
        match event {
            Ok(AgentEvent::CaughtUp { .. }) => None,
            Ok(AgentEvent::Scoped { mut scope, event }) => {
                scope.insert(0, child);
                Some(AgentEvent::Scoped { scope, event })
            }
            Ok(event @ (AgentEvent::Entry(_) | AgentEvent::Delta(_))) => {
                Some(AgentEvent::Scoped { scope: vec![child], event: Box::new(event) })
            }
            Err(error) => {
                tracing::warn!(session = %child, %error, "a subagent is not followed any more");
                self.children.pop();
                None
            }
        }
    }
}
