//! Where a session comes from, and what whoever opens it brings along.

use std::sync::{Arc, Weak};

use crate::agent::dispatcher::AgentToolDispatcher;
use crate::agent::registry::ToolRegistry;
use crate::command::Admit;
use crate::ids::{Seq, SessionId};
use crate::ports::files::Files;
use crate::ports::model::{Model, Models};
use crate::ports::shell::Shell;
use crate::registry::with_own;
use crate::session::birth::first_input;
use crate::session::recover::Recovery;
use crate::spec::{Comms, SessionSpec, SettingsChange};

/// Where a session comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// Nowhere: a new one.
    New(Box<NewSession>),
    /// The store.
    Resume(LoadSession),
    /// Another session, of which it goes on with a copy.
    Fork(Box<ForkSession>),
    /// Another session, of which it is a subagent.
    Child(Box<ChildOrder>),
}

/// A session that is to work for another one. Its parent has set aside what it may use, and journaled that it opens it. One of this id that is in
/// the store goes on as it stands.
#[derive(Debug, Clone)]
pub struct ChildOrder {
    /// Its id.
    pub id: SessionId,
    /// Its parent.
    pub of: SessionId,
    /// What it is to be, should it be new.
    pub spec: SessionSpec,
    /// What its tools are to reach the world by.
    pub backends: Backends,
}

/// A session that is to be made.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its id; a fresh one when absent.
    pub id: Option<SessionId>,
    /// What it is to be.
    pub spec: SessionSpec,
    /// The name by which others of its tenant write to it, and what goes with it. A name that another one has keeps it from being made.
    pub comms: Option<Comms>,
    /// What it begins with. It is admitted by the frame that makes the session, as one that comes later would be: either both are in the journal
    /// or neither is. Its turn may have begun when observers are told of the session.
    pub input: Option<Box<Admit>>,
    /// What its tools are to reach the world by.
    pub backends: Backends,
}

/// A session that is to be taken from the store, or from where it is live in this process.
#[derive(Debug, Clone)]
pub struct LoadSession {
    /// Which.
    pub id: SessionId,
    /// What to do with a turn that a crash left open. A session that is live in this process is not touched.
    pub recovery: Recovery,
    /// What is to change of its settings before anything else happens: inputs that wait begin their turn with the changed ones. It is checked as
    /// [`crate::command::Command::Configure`] is, and a session that is live in this process is told it by that command.
    pub change: Option<Box<SettingsChange>>,
    /// What its tools are to reach the world by. A session that is live with others is not handed out.
    pub backends: Backends,
}

/// A session that is to begin as a copy of another one, which is neither woken nor written and may be archived or gone afterwards.
///
/// It has the journal of its source up to a place where the conversation is whole, and is whole by itself. It goes on with the conversation as its
/// model saw it (to the byte, so that a provider's cache hits), the transcript, the system prompt, settings, labels, plan and skills as they
/// stood there. It begins anew with what was used, so that its limits count from zero, and has none of its source's goal, waiting inputs, background
/// tasks, subagents and answers to questions: what somebody granted was granted to that session.
#[derive(Debug, Clone)]
pub struct ForkSession {
    /// Its source: not a subagent.
    pub from: SessionId,
    /// The last entry of the source that it may have; the last one there is when absent. It is forked there or before: behind the last turn that had
    /// ended by then, with what was set or edited after it while no input waited.
    pub at: Option<Seq>,
    /// Its id; a fresh one when absent.
    pub id: Option<SessionId>,
    /// What is to be different in its settings. Without a title it has that of its source behind "Fork of".
    pub change: Option<Box<SettingsChange>>,
    /// What its tools are to reach the world by.
    pub backends: Backends,
}

impl ForkSession {
    /// A fork of this session as it stands, with the files and commands that the runtime gives its sessions.
    #[must_use]
    pub fn new(from: SessionId) -> Self {
        Self { from, at: None, id: None, change: None, backends: Backends::default() }
    }
}

impl From<SessionSpec> for NewSession {
    fn from(spec: SessionSpec) -> Self {
        Self { id: None, spec, comms: None, input: None, backends: Backends::default() }
    }
}

impl NewSession {
    /// The `seq` of the input that it begins with.
    #[must_use]
    pub fn first_input(&self) -> Option<Seq> {
        self.input.as_ref().map(|_| first_input(self.comms.is_some()))
    }
}

impl From<SessionSpec> for Origin {
    fn from(spec: SessionSpec) -> Self {
        Self::New(Box::new(spec.into()))
    }
}

impl LoadSession {
    /// The session of this id, with the files and commands that the runtime gives its sessions.
    #[must_use]
    pub fn new(id: SessionId, recovery: Recovery) -> Self {
        Self { id, recovery, change: None, backends: Backends::default() }
    }
}

/// Files, commands, tools and a model of whoever opens a session, an editor's for example. Files, commands and tools that are absent come from the runtime's
/// [`crate::ports::tool::SessionToolFactory`]. They belong to the handle that brought them: whenever it wakes its session, the session works with
/// them; they are gone when the session sleeps and the handle is dropped.
#[derive(Debug, Clone, Default)]
pub struct Backends {
    /// Files.
    pub files: Option<Arc<dyn Files>>,
    /// Commands.
    pub shell: Option<Arc<dyn Shell>>,
    /// Tools; the session has those of them that its allow-list names.
    pub tools: Option<Arc<dyn ToolRegistry>>,
    /// Runs further tools, which stand beside all others whatever the allow-list names.
    pub dispatcher: Option<Arc<dyn AgentToolDispatcher>>,
    /// Answers where the settings name it, before any model of the runtime that has its name. Its subagents have it, too.
    pub model: Option<Arc<dyn Model>>,
}

/// What a live session was opened with, without keeping it alive.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    files: Option<Weak<dyn Files>>,
    shell: Option<Weak<dyn Shell>>,
    tools: Option<Weak<dyn ToolRegistry>>,
    dispatcher: Option<Weak<dyn AgentToolDispatcher>>,
    model: Option<Weak<dyn Model>>,
}

impl Backends {
    /// Whether nothing of it was brought.
    pub(crate) fn are_none(&self) -> bool {
        Brought::default().suits(self)
    }

    /// What of it somebody brought; boxed, since few do.
    pub(crate) fn brought(&self) -> Option<Box<Brought>> {
        let brought = Brought {
            files: self.files.as_ref().map(Arc::downgrade),
            shell: self.shell.as_ref().map(Arc::downgrade),
            tools: self.tools.as_ref().map(Arc::downgrade),
            dispatcher: self.dispatcher.as_ref().map(Arc::downgrade),
            model: self.model.as_ref().map(Arc::downgrade),
        };
        (!self.are_none()).then(|| Box::new(brought))
    }

    /// Whether a session that was opened with what was brought works as whoever brings this expects it to.
    pub(crate) fn suit(&self, brought: Option<&Brought>) -> bool {
        brought.unwrap_or(&Brought::default()).suits(self)
    }

    /// The models that a session with this can use.
    pub(crate) fn models(&self, others: &Arc<dyn Models>) -> Arc<dyn Models> {
        with_own(self.model.as_ref(), others)
    }
}

impl Brought {
    /// Whether a session that was opened with this works as whoever brings `wanted` expects it to: nothing else was brought.
    pub(crate) fn suits(&self, wanted: &Backends) -> bool {
        fn same<T: ?Sized>(brought: Option<&Weak<T>>, wanted: Option<&Arc<T>>) -> bool {
            match (brought, wanted) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(brought), Some(wanted)) => brought.ptr_eq(&Arc::downgrade(wanted)),
            }
        }
        same(self.files.as_ref(), wanted.files.as_ref())
            && same(self.shell.as_ref(), wanted.shell.as_ref())
            && same(self.tools.as_ref(), wanted.tools.as_ref())
            && same(self.dispatcher.as_ref(), wanted.dispatcher.as_ref())
            && same(self.model.as_ref(), wanted.model.as_ref())
    }
}
