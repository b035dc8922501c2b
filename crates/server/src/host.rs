//! What a surface needs of the program that it is part of: runtimes for folders, and what belongs to the person.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::Goal;
use oarlock_core::ids::SessionId;
use oarlock_core::message::Part;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::answer::{Ask, Listed};
use oarlock_core::spec::{ModelSelection, SessionSpec};
use oarlock_core::{DefaultAgentCore, DefaultSession, Frontend};

use crate::audience::Audience;

/// The program around a surface.
pub trait Host: Send + Sync + std::fmt::Debug {
    /// What sessions of a folder work with. The folder's configuration is read for it, as far as the person trusts it.
    ///
    /// `cwd` is absolute; it is looked at, and nothing in it is changed.
    fn workspace<'a>(
        &'a self,
        cwd: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Workspace>, HostError>>;

    /// What a session that is awake in this process works with. It may be older than its folder's configuration, and is what it stays with.
    fn awake(&self, session: &SessionId) -> Option<Arc<dyn Workspace>>;

    /// The sessions that are awake in this process, each to be let go of.
    fn all_awake(&self) -> Vec<DefaultSession> {
        self.core().all_awake()
    }

    /// A runtime over the same store, to read sessions of whatever folder.
    fn core(&self) -> &DefaultAgentCore;

    /// What kind of store keeps the sessions: `sqlite`, `memory`…
    fn store_name(&self) -> &'static str;

    /// Who follows which session: one for all clients of the program.
    fn audience(&self) -> &Audience;

    /// Whether models can be called: a provider is configured, and its key is there and taken.
    fn authenticate(&self) -> BoxFuture<'_, Result<(), HostError>>;

    /// Whether there is a key for the model of new sessions. Nothing goes over the network, so that a key that is there may still be refused.
    /// Programs that do not say are unknown.
    fn login(&self) -> BoxFuture<'_, Login> {
        Box::pin(std::future::ready(Login::Unknown))
    }

    /// Forgets every key that the program has stored. Those of the environment are not its own.
    fn logout(&self) -> BoxFuture<'_, Result<(), HostError>>;
}

/// How a program stands with the provider of new sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// There is a key.
    In {
        /// Whose it is and where it comes from, for a person; never the key.
        label: String,
    },
    /// There is none, and one is needed, or the one that is there cannot be read.
    Out,
    /// None is needed.
    Needless,
    /// The configuration does not tell.
    Unknown,
}

/// What sessions of one folder work with.
pub trait Workspace: Send + Sync + std::fmt::Debug {
    /// The runtime.
    fn core(&self) -> &DefaultAgentCore;

    /// What a new session in these canonical folders is to be, opened at this surface by this kind of client.
    fn spec(
        &self,
        place: Place,
        surface: &'static str,
        frontend: Frontend,
    ) -> BoxFuture<'_, Result<SessionSpec, HostError>>;

    /// A model by the name that somebody gave it: `provider/model`, or a name that the configuration knows.
    ///
    /// # Errors
    /// [`HostError::Invalid`] when there is none, [`HostError::Unauthenticated`] when it lacks its key.
    fn model(&self, name: &str) -> Result<ModelSelection, HostError>;

    /// The words of a skill that sessions in this canonical folder have.
    ///
    /// # Errors
    /// [`HostError::Invalid`] when there is no such skill.
    fn skill<'a>(
        &'a self,
        cwd: &'a Path,
        name: &'a str,
    ) -> BoxFuture<'a, Result<String, HostError>>;

    /// What of the folder's configuration is not applied, and what to do about it: a line each.
    fn kept_out(&self) -> Vec<String>;

    /// The slash commands that a person may type here.
    fn commands(&self) -> BoxFuture<'_, Result<Vec<Listed>, HostError>>;

    /// What a person's words mean to this session, which works in `place`: a slash command, or a prompt with the files that it mentions.
    fn read<'a>(
        &'a self,
        words: String,
        session: &'a DefaultSession,
        place: &'a Place,
    ) -> BoxFuture<'a, Result<Said, HostError>>;
}

/// What a person's words mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A prompt, and the goal that comes with it.
    Prompt {
        /// What the model is given.
        content: Vec<Part>,
        /// What the session is to reach from then on.
        goal: Option<Goal>,
    },
    /// Words for the running turn.
    Steer(Vec<Part>),
    /// Something of the session.
    Ask(Ask),
    /// An answer that needs no session.
    Answer(String),
}

/// Why the program cannot do what a surface asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// What was asked for makes no sense: no such folder, model or command.
    #[error("{0}")]
    Invalid(String),
    /// No model can be called before somebody logs in or sets a key.
    #[error("{0}")]
    Unauthenticated(String),
    /// The configuration, the store or this machine is in the way.
    #[error("{0}")]
    Failed(String),
}
