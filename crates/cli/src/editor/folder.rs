//! One folder that an editor works in: its configuration and runtime.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::Goal;
use oarlock_core::message::Part;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::answer::{Answer, Listed};
use oarlock_core::prompt::slash::Typed;
use oarlock_core::session::goal::CONTINUATIONS_MAX;
use oarlock_core::spec::{ModelSelection, SessionSpec};
use oarlock_core::{DefaultAgentCore, DefaultSession, Frontend};
use oarlock_server::{HostError, Said, Workspace};

use super::{failed, unselected};
use crate::args::ModelArgs;
use crate::assembly::Assembled;
use crate::commands::{Rights, content};
use crate::config::Loaded;
use crate::console::slash::{self, Wanted};
use crate::making::Maker;

/// A folder with its runtime.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) assembled: Assembled,
    pub(super) loaded: Loaded,
    pub(super) flags: Arc<ModelArgs>,
}

/// What a person asked for makes no sense.
fn invalid(error: &anyhow::Error) -> HostError {
    HostError::Invalid(format!("{error:#}"))
}

impl Folder {
    pub(super) fn maker(&self) -> Maker<'_> {
        Maker { loaded: &self.loaded, flags: &self.flags, cwd: &self.loaded.cwd }
    }

    /// The model of new sessions.
    pub(super) fn selected(&self) -> anyhow::Result<ModelSelection> {
        let maker = self.maker();
        maker.selected(maker.profile()?.as_ref())
    }

    async fn said(&self, words: String, session: &DefaultSession) -> anyhow::Result<Said> {
        let typed = slash::read(&self.loaded, &words)?;
        let slash = match typed {
            Typed::Words(words) => {
                let content = self.prompt(words, session).await?;
                return Ok(Said::Prompt { content, goal: None });
            }
            Typed::Slash(slash) => slash,
        };
        let named = |name: &str| self.maker().named(&self.assembled, name);
        Ok(match slash::wanted(slash, named)? {
            Wanted::Help => Said::Answer(slash::help(&self.loaded, &[])?.to_string()),
            Wanted::Steer(words) => Said::Steer(self.prompt(words, session).await?),
            Wanted::Pursue(words) => {
                let objective = words.clone();
                let goal = Goal { objective, continuations_max: CONTINUATIONS_MAX };
                Said::Prompt { content: self.prompt(words, session).await?, goal: Some(goal) }
            }
            Wanted::Ask(ask) => Said::Ask(ask),
        })
    }

    /// The words with the files that they mention, as far as the session may read them.
    async fn prompt(&self, words: String, session: &DefaultSession) -> anyhow::Result<Vec<Part>> {
        let state = session.state().await?;
        let place = Place::of(&state.spec);
        if words.contains('@') {
            let rights = Rights { modes: state.spec.modes.clone(), settings: state.spec.settings };
            rights.check(&words, &place).await?;
        }
        content(&self.assembled, &place, (words, true), &[]).await
    }
}

impl Workspace for Folder {
    fn core(&self) -> &DefaultAgentCore {
        &self.assembled.core
    }

    fn spec(
        &self,
        place: Place,
        frontend: Frontend,
    ) -> BoxFuture<'_, Result<SessionSpec, HostError>> {
        async move {
            // A script lies where its session works, wherever the editor started the program.
            let cwd = place.cwd.clone();
            let maker = Maker { cwd: &cwd, ..self.maker() };
            let made = maker.spec(&self.assembled, place, ("acp", frontend)).await;
            made.map_err(|error| unselected(&error))
        }
        .boxed()
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
    ) -> BoxFuture<'a, Result<Said, HostError>> {
        async move { self.said(words, session).await.map_err(|error| invalid(&error)) }.boxed()
    }
}
