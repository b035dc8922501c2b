//! One folder that an editor works in: its configuration and runtime.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::Goal;
use oarlock_core::message::Part;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::answer::{Answer, Listed};
use oarlock_core::prompt::mention::MentionError;
use oarlock_core::prompt::slash::{SlashError, Typed};
use oarlock_core::session::goal::CONTINUATIONS_MAX;
use oarlock_core::spec::{ModelSelection, SessionSpec};
use oarlock_core::{DefaultAgentCore, DefaultSession, Frontend};
use oarlock_server::{HostError, Said, Workspace};
use oarlock_tools::skills::given;

use super::{failed, unselected};
use crate::args::ModelArgs;
use crate::assembly::Assembled;
use crate::commands::{Denied, Rights, content, explained};
use crate::config::Loaded;
use crate::console::slash::{self, Wanted};
use crate::making::Maker;

/// A folder with its runtime.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) assembled: Assembled,
    pub(super) loaded: Loaded,
    pub(super) flags: Arc<ModelArgs>,
    /// The last session's system prompt, which the next one mostly has, too.
    pub(super) told: Mutex<Arc<str>>,
}

/// What a person asked for makes no sense.
fn invalid(error: &anyhow::Error) -> HostError {
    HostError::Invalid(explained(error))
}

/// Why words could not be read: they make no sense, or this machine is in the way.
fn unread(error: &anyhow::Error) -> HostError {
    let is_theirs = match error.downcast_ref::<MentionError>() {
        Some(
            MentionError::Unreadable { .. }
            | MentionError::Binary { .. }
            | MentionError::TooLarge { .. },
        ) => true,
        Some(MentionError::Store { .. }) => false,
        None => error.is::<SlashError>() || error.is::<Denied>(),
    };
    if is_theirs { invalid(error) } else { failed(error) }
}

/// A model that somebody named cannot be had.
fn unselectable(error: &anyhow::Error) -> HostError {
    match unselected(error) {
        HostError::Failed(words) => HostError::Invalid(words),
        error => error,
    }
}

impl Folder {
    pub(super) fn maker(&self) -> Maker<'_> {
        Maker { loaded: &self.loaded, flags: &self.flags, cwd: &self.loaded.cwd }
    }

    /// The same system prompt, from the last session if it is that one's.
    fn shared(&self, system: Arc<str>) -> Arc<str> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != system {
            *told = system;
        }
        Arc::clone(&told)
    }

    /// The model of new sessions.
    pub(super) fn selected(&self) -> anyhow::Result<ModelSelection> {
        let maker = self.maker();
        maker.selected(maker.profile()?.as_ref())
    }

    async fn said(
        &self,
        words: String,
        (session, place): (&DefaultSession, &Place),
    ) -> Result<Said, HostError> {
        let prompt = async |words| {
            let prompt = self.prompt(words, (session, place)).await;
            prompt.map_err(|error| unread(&error))
        };
        let slash = match slash::read(&self.loaded, &words).map_err(|error| unread(&error))? {
            Typed::Words(words) => {
                return Ok(Said::Prompt { content: prompt(words).await?, goal: None });
            }
            Typed::Slash(slash) => slash,
        };
        let named = |name: &str| self.maker().named(&self.assembled, name);
        // Nothing but a name that cannot be had.
        Ok(match slash::wanted(slash, named).map_err(|error| invalid(&error))? {
            Wanted::Help => {
                let help = slash::help(&self.loaded, &[]).map_err(|error| failed(&error))?;
                Said::Answer(help.to_string())
            }
            Wanted::Steer(words) => Said::Steer(prompt(words).await?),
            Wanted::Pursue(words) => {
                let objective = words.clone();
                let goal = Goal { objective, continuations_max: CONTINUATIONS_MAX };
                Said::Prompt { content: prompt(words).await?, goal: Some(goal) }
            }
            Wanted::Ask(ask) => Said::Ask(ask),
        })
    }

    /// The words with the files that they mention, as far as the session may read them.
    async fn prompt(
        &self,
        words: String,
        (session, place): (&DefaultSession, &Place),
    ) -> anyhow::Result<Vec<Part>> {
        // Only who mentions a file has the journal read for what may be done to it.
        if words.contains('@') {
            let spec = session.state().await?.spec;
            let rights = Rights { modes: spec.modes.clone(), settings: Arc::clone(&spec.settings) };
            rights.check(&words, place).await?;
        }
        content(&self.assembled, place, (words, true), &[]).await
    }
}

impl Workspace for Folder {
    fn core(&self) -> &DefaultAgentCore {
        &self.assembled.core
    }

    fn spec(
        &self,
        place: Place,
        surface: &'static str,
        frontend: Frontend,
    ) -> BoxFuture<'_, Result<SessionSpec, HostError>> {
        async move {
            // A script lies where its session works, wherever the editor started the program.
            let cwd = place.cwd.clone();
            let maker = Maker { cwd: &cwd, ..self.maker() };
            let made = maker.spec(&self.assembled, place, (surface, frontend)).await;
            let mut spec = made.map_err(|error| unselected(&error))?;
            spec.system = self.shared(spec.system);
            Ok(spec)
        }
        .boxed()
    }

    fn model(&self, name: &str) -> Result<ModelSelection, HostError> {
        self.maker().named(&self.assembled, name).map_err(|error| unselectable(&error))
    }

    fn skill<'a>(
        &'a self,
        cwd: &'a Path,
        name: &'a str,
    ) -> BoxFuture<'a, Result<String, HostError>> {
        async move {
            let shelved = self.assembled.skills(cwd).await.map_err(|error| failed(&error))?;
            let name = name.to_owned();
            let words = tokio::task::spawn_blocking(move || match shelved.skills.get(&name) {
                Some(skill) => Ok(given(skill)),
                None => {
                    let known: Vec<&str> =
                        shelved.skills.iter().map(|skill| skill.name.as_str()).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    let name: String = name.chars().take(80).collect();
                    let why = format!("there is no skill `{name}`; the skills are: {known}");
                    Err(HostError::Invalid(why))
                }
            });
            words.await.map_err(|ended| failed(&ended.into()))?
        }
        .boxed()
    }

    fn kept_out(&self) -> Vec<String> {
        self.loaded.stack.ignored.iter().map(ToString::to_string).collect()
    }

    fn commands(&self) -> BoxFuture<'_, Result<Vec<Listed>, HostError>> {
        async {
            match slash::help(&self.loaded, &[]).map_err(|error| failed(&error))? {
                Answer::Help { commands } => Ok(commands),
                _ => Ok(Vec::new()),
            }
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        words: String,
        session: &'a DefaultSession,
        place: &'a Place,
    ) -> BoxFuture<'a, Result<Said, HostError>> {
        self.said(words, (session, place)).boxed()
    }
}
