//! What a person may choose of a session at the client: its mode, its model, how hard that thinks. A change is told once, wherever it comes from.

use std::collections::VecDeque;
use std::sync::Arc;

use agent_client_protocol::Error;
use agent_client_protocol::v1::Responder;
use agent_client_protocol::v1::schema::{
    ConfigOptionUpdate, CurrentModeUpdate, SessionConfigOption, SessionConfigOptionCategory,
    SessionConfigOptionValue, SessionConfigSelectGroup, SessionConfigSelectOption,
    SessionConfigSelectOptions, SessionMode, SessionModeState, SessionUpdate,
    SetSessionConfigOptionRequest, SetSessionConfigOptionResponse, SetSessionModeRequest,
    SetSessionModeResponse,
};
use oarlock_core::event::{Entry, Event};
use oarlock_core::ids::Seq;
use oarlock_core::ports::model::{ModelCandidate, Models};
use oarlock_core::spec::{
    EffortChange, Mode, ModeCatalog, ModelSelection, ReasoningEffort, SessionSpec, Settings,
    SettingsChange,
};
use oarlock_core::{Command, Rejection, SessionError};

use super::error::{WireError, invalid};
use super::lane::Lane;

/// The option that says what tools may do.
const MODE: &str = "mode";
/// The option that says which model answers.
const MODEL: &str = "model";
/// The option that says how hard it thinks.
const EFFORT: &str = "effort";
/// The effort of a session that has been told none.
const DEFAULT: &str = "default";

/// How hard a model may think: as it is written, and for people.
const EFFORTS: [(ReasoningEffort, &str, &str); 6] = [
    (ReasoningEffort::None, "none", "None"),
    (ReasoningEffort::Minimal, "minimal", "Minimal"),
    (ReasoningEffort::Low, "low", "Low"),
    (ReasoningEffort::Medium, "medium", "Medium"),
    (ReasoningEffort::High, "high", "High"),
    (ReasoningEffort::Xhigh, "xhigh", "Highest"),
];

/// A wish of the client to change what is chosen.
pub(super) enum Setting {
    /// Another mode.
    Mode(SetSessionModeRequest, Responder<SetSessionModeResponse>),
    /// Another value of an option.
    Option(SetSessionConfigOptionRequest, Responder<SetSessionConfigOptionResponse>),
}

impl Setting {
    /// Says that it was not done. A client that has gone is told nothing.
    pub(super) fn refuse(self, error: Error) {
        drop(match self {
            Self::Mode(_, responder) => responder.respond_with_error(error),
            Self::Option(_, responder) => responder.respond_with_error(error),
        });
    }
}

/// What is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chosen {
    mode: Mode,
    model: ModelSelection,
    effort: Option<ReasoningEffort>,
}

impl Chosen {
    fn of(settings: &Settings) -> Self {
        let Settings { mode, model, effort, .. } = settings.clone();
        Self { mode, model, effort }
    }

    fn apply(&mut self, change: &SettingsChange) {
        let SettingsChange { mode, model, effort, .. } = change.clone();
        self.mode = mode.unwrap_or_else(|| self.mode.clone());
        self.model = model.unwrap_or_else(|| self.model.clone());
        self.effort = effort.map_or(self.effort, Option::from);
    }
}

/// What may be chosen of a session, what is chosen according to its journal, and what the client knows of that.
#[derive(Debug)]
pub(super) struct Options {
    modes: ModeCatalog,
    models: Arc<dyn Models>,
    /// Shared with what the client knows while that is the same, which it nearly always is.
    chosen: Arc<Chosen>,
    /// The last entry that `chosen` knows of.
    upto: Seq,
    /// Changes of the client that the journal has beyond that.
    pending: VecDeque<Box<SettingsChange>>,
    /// The mode that the client believes the session to be in.
    known_mode: Mode,
    /// What the client believes the options to be.
    known: Arc<Chosen>,
}

impl Options {
    /// Those of a session that is this since the entry `upto`.
    pub(super) fn new(spec: &SessionSpec, upto: Seq, models: Arc<dyn Models>) -> Self {
        let chosen = Arc::new(Chosen::of(&spec.settings));
        let (known_mode, known) = (chosen.mode.clone(), Arc::clone(&chosen));
        let modes = spec.modes.clone();
        let pending = VecDeque::new();
        Self { modes, models, chosen, upto, pending, known_mode, known }
    }

    /// The models that can be called, each once. Looked up whenever it is asked, since every session would have a copy otherwise.
    fn candidates(&self) -> Vec<ModelCandidate> {
        let mut candidates: Vec<ModelCandidate> = Vec::new();
        for found in self.models.candidates() {
            if !candidates.iter().any(|known| known.model.selection == found.model.selection) {
                candidates.push(found);
            }
        }
        candidates
    }

    /// Takes note of an entry, and says whether it may be news. One that is known already is none.
    pub(super) fn entry(&mut self, entry: &Entry) -> bool {
        if entry.seq <= self.upto {
            return false;
        }
        self.upto = entry.seq;
        let Event::SessionConfigured(change) = &entry.event else { return false };
        Arc::make_mut(&mut self.chosen).apply(change);
        if self.pending.front() == Some(change) {
            self.pending.pop_front();
        }
        true
    }

    /// What is chosen, the client's own changes included.
    fn current(&self) -> Arc<Chosen> {
        let mut current = Arc::clone(&self.chosen);
        self.pending.iter().for_each(|change| Arc::make_mut(&mut current).apply(change));
        current
    }

    /// What the client does not know yet; it knows it then.
    pub(super) fn news(&mut self) -> Vec<SessionUpdate> {
        let (mut updates, current) = (Vec::new(), self.current());
        if self.known_mode != current.mode {
            self.known_mode = current.mode.clone();
            let update = CurrentModeUpdate::new(current.mode.name().to_owned());
            updates.push(SessionUpdate::CurrentModeUpdate(update));
        }
        if self.known != current {
            let update = ConfigOptionUpdate::new(self.list(&current));
            updates.push(SessionUpdate::ConfigOptionUpdate(update));
            self.known = current;
        }
        updates
    }

    /// All of it, for the answer to whoever opens the session.
    pub(super) fn all(&mut self) -> (SessionModeState, Vec<SessionConfigOption>) {
        let current = self.current();
        let modes = self.modes.descriptors().map(|mode| {
            SessionMode::new(mode.id.name().to_owned(), mode.name.clone())
                .description(mode.description.clone())
        });
        let modes = SessionModeState::new(current.mode.name().to_owned(), modes.collect());
        let options = self.list(&current);
        self.known_mode = current.mode.clone();
        self.known = current;
        (modes, options)
    }

    /// The options, the most important one first.
    fn list(&self, chosen: &Chosen) -> Vec<SessionConfigOption> {
        let modes = self.modes.descriptors().map(|mode| {
            SessionConfigSelectOption::new(mode.id.name().to_owned(), mode.name.clone())
                .description(mode.description.clone())
        });
        let modes: Vec<_> = modes.collect();
        let mode = SessionConfigOption::select(MODE, "Mode", chosen.mode.name().to_owned(), modes)
            .description("What tools may do without asking".to_owned())
            .category(SessionConfigOptionCategory::Mode);
        let model = chosen.model.to_string();
        let model = SessionConfigOption::select(MODEL, "Model", model, self.models(chosen))
            .description("Which model answers, from the next turn on".to_owned())
            .category(SessionConfigOptionCategory::Model);
        let mut options = vec![mode, model];
        if self.thinks(chosen) {
            let current = effort_name(chosen.effort).to_owned();
            let effort = SessionConfigOption::select(EFFORT, "Effort", current, efforts())
                .description("How hard the model thinks".to_owned())
                .category(SessionConfigOptionCategory::ThoughtLevel);
            options.push(effort);
        }
        options
    }

    /// The models that can be called, the current one among them; by provider when there are several.
    fn models(&self, chosen: &Chosen) -> SessionConfigSelectOptions {
        let candidates = self.candidates();
        let listed =
            candidates.iter().map(|found| (&found.provider.display_name, &found.model.selection));
        let is_listed = candidates.iter().any(|found| found.model.selection == chosen.model);
        let current = Some((&chosen.model.provider, &chosen.model)).filter(|_| !is_listed);
        let mut groups: Vec<(&str, SessionConfigSelectGroup)> = Vec::new();
        for (name, selection) in current.into_iter().chain(listed) {
            let option =
                SessionConfigSelectOption::new(selection.to_string(), selection.model.clone());
            match groups.iter_mut().find(|(provider, _)| *provider == selection.provider) {
                Some((_, group)) => group.options.push(option),
                None => {
                    let provider = selection.provider.as_str();
                    let group = SessionConfigSelectGroup::new(
                        provider.to_owned(),
                        name.clone(),
                        vec![option],
                    );
                    groups.push((provider, group));
                }
            }
        }
        let mut groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
        match groups.len() {
            1 => groups.remove(0).options.into(),
            _ => groups.into(),
        }
    }

    /// Whether the model can be told how hard to think. Of one that cannot be found that is not known.
    fn thinks(&self, chosen: &Chosen) -> bool {
        let candidates = self.candidates();
        let listed = candidates.iter().find(|found| found.model.selection == chosen.model);
        match listed {
            Some(found) => found.model.accepts.effort,
            None => {
                self.models.resolve(&chosen.model).is_ok_and(|model| model.info().accepts.effort)
            }
        }
    }

    /// The mode of this name.
    ///
    /// # Errors
    /// Invalid parameters with the nearest, when there is none.
    fn mode(&self, name: &str) -> Result<Mode, Error> {
        let known = self.modes.descriptors().find(|mode| mode.id.name() == name);
        let unknown = || invalid(self.modes.unknown(name).to_string());
        known.map(|mode| mode.id.clone()).ok_or_else(unknown)
    }

    /// What it means to give an option a value; nothing when the session is like that.
    ///
    /// # Errors
    /// Invalid parameters when there is no such option or value.
    fn change(&self, request: &SetSessionConfigOptionRequest) -> Result<SettingsChange, Error> {
        let SessionConfigOptionValue::ValueId { value } = &request.value else {
            return Err(invalid("every option here is chosen from a list; send the id of a value"));
        };
        let (value, mut change) = (&*value.0, SettingsChange::default());
        match &*request.config_id.0 {
            MODE => change.mode = Some(self.mode(value)?),
            MODEL => change.model = Some(self.model(value)?),
            EFFORT if self.thinks(&self.current()) => change.effort = Some(effort(value)?),
            other => return Err(invalid(format!("this session has no option `{other}`"))),
        }
        Ok(change)
    }

    fn model(&self, value: &str) -> Result<ModelSelection, Error> {
        let current = &self.current().model;
        let candidates = self.candidates();
        let listed = candidates.iter().map(|found| &found.model.selection);
        let mut known = listed.chain([current]);
        let found = known.find(|selection| selection.to_string() == value).cloned();
        found.ok_or_else(|| invalid(format!("`{value}` is none of the models that are listed")))
    }
}

/// The effort of this name.
///
/// # Errors
/// Invalid parameters when there is none.
fn effort(value: &str) -> Result<EffortChange, Error> {
    if value == DEFAULT {
        return Ok(EffortChange::Default);
    }
    let known = EFFORTS.iter().find(|(_, name, _)| *name == value);
    let unknown = || invalid(format!("`{value}` is none of the efforts that are listed"));
    known.map(|(effort, _, _)| EffortChange::To(*effort)).ok_or_else(unknown)
}

fn effort_name(effort: Option<ReasoningEffort>) -> &'static str {
    let known = EFFORTS.iter().find(|(known, _, _)| Some(*known) == effort);
    known.map_or(DEFAULT, |(_, name, _)| name)
}

/// The efforts that may be chosen.
fn efforts() -> Vec<SessionConfigSelectOption> {
    let default = SessionConfigSelectOption::new(DEFAULT, "Default")
        .description("As the model does by itself".to_owned());
    let all = EFFORTS.iter().map(|(_, value, name)| SessionConfigSelectOption::new(*value, *name));
    std::iter::once(default).chain(all).collect()
}

impl Lane {
    /// Does what the client chose, answers, and then tells what else is another one by that.
    pub(super) async fn set(&mut self, setting: Setting) {
        match setting {
            Setting::Mode(request, responder) => {
                let set = self.set_mode(&request.mode_id.0).await;
                drop(responder.respond_with_result(set.map(|()| SetSessionModeResponse::new())));
            }
            Setting::Option(request, responder) => {
                let set = self.set_option(&request).await;
                drop(responder.respond_with_result(set.map(SetSessionConfigOptionResponse::new)));
            }
        }
        self.tell_options();
    }

    /// Tells what the client does not know of what is chosen. One that is still told the past learns it at the end of that.
    pub(super) fn tell_options(&mut self) {
        if !self.is_replaying() {
            self.options.news().into_iter().for_each(|update| self.update(update));
        }
    }

    async fn set_mode(&mut self, name: &str) -> Result<(), Error> {
        let mode = self.options.mode(name)?;
        let change = SettingsChange { mode: Some(mode.clone()), ..Default::default() };
        self.configure(Box::new(change)).await?;
        self.options.known_mode = mode;
        Ok(())
    }

    async fn set_option(
        &mut self,
        request: &SetSessionConfigOptionRequest,
    ) -> Result<Vec<SessionConfigOption>, Error> {
        let change = self.options.change(request)?;
        if !change.is_empty() {
            self.configure(Box::new(change)).await?;
        }
        self.options.known = self.options.current();
        Ok(self.options.list(&self.options.known))
    }

    async fn configure(&mut self, change: Box<SettingsChange>) -> Result<(), Error> {
        match self.command(Command::Configure { change: change.clone(), expected: None }).await {
            Ok(()) => {
                self.options.pending.push_back(change);
                Ok(())
            }
            Err(SessionError::Rejected(
                Rejection::Invalid { what } | Rejection::TooLarge { what },
            )) => Err(invalid(what)),
            Err(error) => Err(WireError::from(error).0),
        }
    }
}
