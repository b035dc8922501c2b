//! `oarlock run`: one durable turn.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use oarlock_core::agent::context::Frontend;
use oarlock_core::command::{Admit, Command, Reply};
use oarlock_core::event::{Delivery, Goal, InputSource};
use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::message::Part;
use oarlock_core::ports::journal::Filter;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::mention::{Desk, hinted, with_mentions};
use oarlock_core::prompt::slash::{Slash, Typed};
use oarlock_core::session::goal::{self, GoalState};
use oarlock_core::session::recover::Recovery;
use oarlock_core::session::state::{PendingInput, State};
use oarlock_core::session::trace::TraceSink;
use oarlock_core::spec::{
    Answers, ModelSelection, OutputChange, Settings, SettingsChange, StructuredOutput,
};
use oarlock_core::{DefaultSession, LoadSession, Origin};

use super::mentioned::Rights;
use super::overlay::Overlay;
use super::{Frame, ask, complain};
use crate::args::{ModelArgs, Resumed, RunArgs};
use crate::assembly::{Assembled, CliAgentBuilder, Keep, transport};
use crate::config::{Loaded, modes};
use crate::console::keyboard::{Keyboard, Role};
use crate::console::screen::Screen;
use crate::console::slash;
use crate::console::{Awaited, Console};
use crate::exit::{Exit, Pursuit};
use crate::making::Maker;
use crate::recording::{self, Recording};
use crate::structured;
use crate::terminal::attachment::{self, Attachment};
use crate::terminal::prompt;

pub(super) fn run(frame: &Frame, args: &RunArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load_with(&args.model)?;
    let (resumed, given) = args.session_and_prompt();
    let stdin_is_terminal = std::io::stdin().is_terminal();
    let Said { words, is_piped, goal } = said(args, (&resumed, given.as_deref()))?;
    if words.is_none() && resumed == Resumed::New {
        bail!(prompt::PromptError::Missing);
    }
    let stdin_is_read = given.as_deref() == Some("-") || args.goal.as_deref() == Some("-");
    let answers = answers(stdin_is_terminal && !stdin_is_read, args.output.json);
    let images = args.images.iter().map(|path| attachment::image(&frame.cwd.join(path)));
    let documents = args.documents.iter().map(|path| attachment::document(&frame.cwd.join(path)));
    let attached = images.chain(documents).collect::<Result<_, _>>()?;
    // A goal is never a command, whatever it begins with.
    let read = |words: String| match args.goal.is_some() && given.is_none() {
        true => Ok(Typed::Words(words)),
        false => slash::read(&loaded, &words),
    };
    let typed = words.map(read).transpose()?;
    let output = structured::output(args, &frame.cwd)?;
    let task = Task { frame, loaded: &loaded, args, answers, attached, is_piped, goal, output };
    match typed {
        Some(Typed::Slash(_)) if args.goal.is_some() => {
            bail!("--goal goes with a prompt, and a slash command is none")
        }
        Some(Typed::Slash(slash)) => super::block_on(task.ask(resumed, slash, out)),
        Some(Typed::Words(words)) => super::block_on(task.perform(resumed, Some(words), out)),
        None => super::block_on(task.perform(resumed, None, out)),
    }
}

/// Goes on with a turn that was cut, without reading stdin.
pub(super) fn go_on(frame: &Frame, args: &RunArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load_with(&args.model)?;
    let answers = answers(std::io::stdin().is_terminal(), args.output.json);
    let (resumed, _) = args.session_and_prompt();
    let (attached, is_piped, goal) = (Vec::new(), true, None);
    let task =
        Task { frame, loaded: &loaded, args, answers, attached, is_piped, goal, output: None };
    super::block_on(task.perform(resumed, None, out))
}

/// What the command line and stdin say.
struct Said {
    /// The prompt.
    words: Option<String>,
    /// Whether it came from stdin.
    is_piped: bool,
    goal: Option<Goal>,
}

/// Reads prompt and goal; a goal without a prompt is both, and stdin is left alone then unless it is the goal.
fn said(args: &RunArgs, (resumed, given): (&Resumed, Option<&str>)) -> anyhow::Result<Said> {
    let stdin_is_terminal = std::io::stdin().is_terminal();
    let piped = match (args.goal.as_deref(), given) {
        (Some("-"), Some("-")) => bail!("--goal and the prompt cannot both come from stdin"),
        (Some("-"), _) => Some(prompt::read(std::io::stdin().lock())?),
        _ => None,
    };
    let objective = piped.or_else(|| args.goal.clone());
    let continuations_max = args.goal_continuations;
    let goal = objective.map(|objective| Goal { objective, continuations_max });
    if let Some(goal) = &goal {
        goal::check(goal)?;
        if given.is_none() {
            let (words, is_piped) = (goal.objective.clone(), args.goal.as_deref() == Some("-"));
            return Ok(Said { words: Some(words), is_piped, goal: Some(goal.clone()) });
        }
    }
    let continues = *resumed != Resumed::New && given.is_none() && stdin_is_terminal;
    let read = match continues {
        true => None,
        false => read_prompt(given, stdin_is_terminal)?,
    };
    let is_piped = read.as_ref().is_some_and(|(_, is_piped)| *is_piped);
    Ok(Said { words: read.map(|(words, _)| words), is_piped, goal })
}

/// The prompt and whether it came from stdin, or nothing when stdin is empty.
fn read_prompt(
    given: Option<&str>,
    stdin_is_terminal: bool,
) -> anyhow::Result<Option<(String, bool)>> {
    match prompt::source(given, stdin_is_terminal)? {
        prompt::PromptSource::Given(text) => Ok(Some((text, false))),
        prompt::PromptSource::Stdin => match prompt::read(std::io::stdin().lock()) {
            Err(prompt::PromptError::Empty) if given.is_none() => Ok(None),
            other => Ok(Some((other?, true))),
        },
    }
}

/// A person answers when stdin and stderr are a terminal and the output is for a person.
fn answers(stdin_is_person: bool, json: bool) -> Answers {
    match stdin_is_person && std::io::stderr().is_terminal() && !json {
        true => Answers::Somebody,
        false => Answers::Nobody,
    }
}

struct Task<'a> {
    frame: &'a Frame,
    loaded: &'a Loaded,
    args: &'a RunArgs,
    answers: Answers,
    /// Read before anything is created.
    attached: Vec<Attachment>,
    /// The words came from stdin: whoever wrote them need not be who runs this, so that they attach no files.
    is_piped: bool,
    /// What the session is to reach from this prompt on.
    goal: Option<Goal>,
    /// What its turns end with from this prompt on.
    output: Option<StructuredOutput>,
}

impl Task<'_> {
    fn opening(&self) -> Opening<'_> {
        Opening {
            frame: self.frame,
            loaded: self.loaded,
            model: &self.args.model,
            roots: &self.args.roots,
            answers: self.answers,
            output: self.output.as_ref(),
        }
    }

    async fn ask(
        &self,
        resumed: Resumed,
        slash: Slash,
        out: &mut dyn Write,
    ) -> anyhow::Result<Exit> {
        let taped = self.args.record.is_some() || self.args.replay.is_some();
        if taped || !self.attached.is_empty() || self.output.is_some() {
            bail!(
                "--record, --replay, --image, --document and --output-schema go with a prompt, and a slash command is none"
            );
        }
        let keep = if self.args.ephemeral { Keep::InMemory } else { Keep::OnDisk };
        let assembled = CliAgentBuilder::new(self.loaded).keep(keep).build()?;
        let asked = (resumed, slash);
        let exit = ask::perform(&self.opening(), &assembled, asked, (self.args.output, out)).await;
        assembled.close().await;
        exit
    }

    async fn perform(
        &self,
        resumed: Resumed,
        words: Option<String>,
        out: &mut dyn Write,
    ) -> anyhow::Result<Exit> {
        let recording = match &self.args.record {
            Some(folder) => Some(Arc::new(Recording::begin(folder, transport(self.loaded)?)?)),
            None => None,
        };
        let http = match &self.args.replay {
            Some(folder) => Some(recording::answers(folder)?),
            None => recording.as_ref().map(|recording| recording.exchanges()),
        };
        let keep = if self.args.ephemeral { Keep::InMemory } else { Keep::OnDisk };
        let trace = recording.clone().map(|recording| recording as Arc<dyn TraceSink>);
        let assembled =
            CliAgentBuilder::new(self.loaded).keep(keep).trace(trace).http(http).build()?;
        let turn = self.turn(&assembled, resumed, (words, out)).await;
        assembled.close().await;
        if let Some(recording) = recording {
            recording.end()?;
        }
        turn
    }

    async fn turn(
        &self,
        assembled: &Assembled,
        resumed: Resumed,
        (words, out): (Option<String>, &mut dyn Write),
    ) -> anyhow::Result<Exit> {
        let opening = self.opening();
        let recovery = if words.is_some() { Recovery::Interrupt } else { Recovery::Continue };
        let target = opening.target(assembled, resumed).await?;
        // What cannot be given is refused before a session is made for it.
        let content = match words {
            Some(words) => {
                if !self.is_piped {
                    opening.rights(&target)?.check(&words, &target.place).await?;
                }
                let attach = !self.is_piped;
                Some(content(assembled, &target.place, (words, attach), &self.attached).await?)
            }
            None => None,
        };
        let mut opened = opening.open(assembled, target, recovery).await?;
        let kept = opened.session.id().clone();
        tracing::info!(session = %kept, model = %opened.model, tip = opened.after, "a session is open");
        let role = if self.answers == Answers::Somebody { Role::Person } else { Role::Nobody };
        let screen = Screen::new(self.args.output)
            .towards_a_goal(std::mem::take(&mut opened.pursuit))
            .of_form(opened.is_formed);
        let mut console =
            Console::new(opened.session.clone(), opened.after, screen, Keyboard::new(role)?)?;
        let awaited = match content {
            Some(content) => {
                let how = (Delivery::Queue, self.goal.clone());
                Awaited { input: Some(admit(&opened.session, how, content).await?), turn: None }
            }
            None => left_over(&opened).await?,
        };
        let ended = match console.follow_turn(out, awaited).await {
            Ok(ended) => console.finish_background(out, ended, !self.args.no_wait).await,
            Err(error) => Err(error),
        };
        let closed = opened.session.close().await;
        let ended = ended?;
        closed.context("the session did not end in good order")?;
        let exit = console.screen.end(out, (&kept, &opened.model), &ended)?;
        if exit == Exit::GoalNotReached && !self.args.output.json {
            complain(&format!(
                "the goal is not reached; `oarlock session resume {kept}` goes on towards it"
            ));
        }
        if !(self.args.ephemeral || self.args.output.json || self.args.output.quiet) {
            complain(&format!(
                "kept as session {kept}; `oarlock run --resume \"…\"` goes on with it"
            ));
        }
        Ok(exit)
    }
}

/// What a session goes on with that is given nothing: its open turn, what waits in it, or its goal.
async fn left_over(opened: &Opened) -> anyhow::Result<Awaited> {
    if opened.open_turn.is_some() {
        return Ok(Awaited { input: None, turn: opened.open_turn });
    }
    let unreached = opened.goal.as_ref().filter(|goal| !goal.is_reached());
    let input = match (opened.waiting, unreached) {
        (Some(waiting), _) => waiting,
        (None, Some(goal)) => {
            let content = vec![Part::text(goal.feedback())];
            admit(&opened.session, (Delivery::Queue, None), content).await?
        }
        (None, None) => bail!(
            "no turn of this session was cut, nothing waits in it and it has no goal to reach; give a prompt to go on with it"
        ),
    };
    Ok(Awaited { input: Some(input), turn: None })
}

/// How a session is opened from the command line.
pub(super) struct Opening<'a> {
    pub(super) frame: &'a Frame,
    pub(super) loaded: &'a Loaded,
    pub(super) model: &'a ModelArgs,
    pub(super) roots: &'a [PathBuf],
    pub(super) answers: Answers,
    /// What turns end with, when that is said.
    pub(super) output: Option<&'a StructuredOutput>,
}

/// A session that is to be opened.
pub(super) struct Target {
    pub(super) place: Place,
    /// As it is, when it is there already.
    pub(super) before: Option<Box<State>>,
}

/// An open session.
pub(super) struct Opened {
    pub(super) session: DefaultSession,
    pub(super) model: ModelSelection,
    /// The last entry of before.
    pub(super) after: Seq,
    /// The turn that goes on.
    pub(super) open_turn: Option<u32>,
    /// The first input that no turn has taken.
    waiting: Option<Seq>,
    /// What it is to reach.
    goal: Option<GoalState>,
    /// Whether it has a goal to reach, and may get one.
    pursuit: Pursuit,
    /// Whether the turn that goes on has a form for its answer.
    is_formed: bool,
}

impl Opening<'_> {
    /// Finds what is to be opened, and changes nothing.
    pub(super) async fn target(
        &self,
        assembled: &Assembled,
        resumed: Resumed,
    ) -> anyhow::Result<Target> {
        let id = match resumed {
            Resumed::New => return Ok(Target { place: self.place()?, before: None }),
            Resumed::Latest => latest(assembled, &self.frame.cwd).await?,
            Resumed::Id(id) => SessionId::parse(id)?,
        };
        let before = assembled.core.state(&id).await?;
        let place = Place { cwd: before.spec.cwd.clone(), roots: before.spec.roots.clone() };
        if let Some(notice) = self.loaded.hooks_left_out(&place.cwd) {
            complain(&notice);
        }
        Ok(Target { place, before: Some(Box::new(before)) })
    }

    pub(super) async fn open(
        &self,
        assembled: &Assembled,
        target: Target,
        recovery: Recovery,
    ) -> anyhow::Result<Opened> {
        let Some(before) = target.before else { return self.create(assembled, target.place).await };
        let id = before.id.clone();
        let change = self.change(&before.spec.settings)?;
        let model = change.model.clone().unwrap_or_else(|| before.spec.settings.model.clone());
        // Inputs that wait begin a turn as soon as the session is open.
        let change = Some(Box::new(change));
        let load = LoadSession { change, ..LoadSession::new(id, recovery) };
        let session = assembled.core.open(Origin::Resume(load)).await?;
        let open_turn = before.turn.as_ref().map(|turn| turn.no);
        // Ends of background tasks begin no turn of an opened session: they ride on the next one.
        let begins = |input: &&PendingInput| {
            input.admitted.source != InputSource::Background && !input.is_silent()
        };
        let waiting = before.pending.iter().find(begins).map(|input| input.seq);
        let pursuit = Pursuit::of(&before);
        let is_formed = before.turn.as_ref().is_some_and(|turn| turn.settings.output.is_some());
        let goal = before.goal;
        let after = before.tip;
        Ok(Opened { session, model, after, open_turn, waiting, goal, pursuit, is_formed })
    }

    /// What decides about the files that a prompt to this session mentions.
    fn rights(&self, target: &Target) -> anyhow::Result<Rights> {
        let config = &self.loaded.config;
        if let Some(before) = &target.before {
            let mut settings = Settings::clone(&before.spec.settings);
            settings.apply(&self.change(&settings)?);
            return Ok(Rights { modes: before.spec.modes.clone(), settings: settings.into() });
        }
        let model = ModelSelection { provider: String::new(), model: String::new() };
        let settings = Settings::new(model, config.mode.clone(), self.answers);
        let settings = Settings { rules: config.rules.clone(), ..settings };
        Ok(Rights { modes: modes::catalog(config)?, settings: settings.into() })
    }

    /// The folders of a new session.
    fn place(&self) -> anyhow::Result<Place> {
        let cwd = self
            .frame
            .cwd
            .canonicalize()
            .with_context(|| format!("cannot work in {}", self.frame.cwd.display()))?;
        let roots =
            self.roots.iter().map(|root| self.folder(root)).collect::<anyhow::Result<_>>()?;
        Ok(Place { cwd, roots })
    }

    async fn create(&self, assembled: &Assembled, place: Place) -> anyhow::Result<Opened> {
        let frontend = match self.answers {
            Answers::Somebody => Frontend::Cli,
            Answers::Nobody => Frontend::Headless,
        };
        let mut spec = self.maker().spec(assembled, place, ("cli", frontend)).await?;
        Arc::make_mut(&mut spec.settings).output = self.output.cloned();
        let model = spec.settings.model.clone();
        let session = assembled.core.open(spec.into()).await?;
        Ok(Opened {
            session,
            model,
            after: 0,
            open_turn: None,
            waiting: None,
            goal: None,
            pursuit: Pursuit::default(),
            is_formed: false,
        })
    }

    /// What makes new sessions, and finds models.
    pub(super) fn maker(&self) -> Maker<'_> {
        Maker { loaded: self.loaded, flags: self.model, cwd: &self.frame.cwd }
    }

    fn folder(&self, root: &Path) -> anyhow::Result<PathBuf> {
        let path = self.frame.cwd.join(root);
        path.canonicalize().with_context(|| format!("--add-dir {}: no such folder", root.display()))
    }

    /// What flags and `--config` change of a session that exists: only what was given.
    pub(super) fn change(&self, before: &Settings) -> anyhow::Result<SettingsChange> {
        let flags = self.model;
        if flags.append_system_prompt.is_some() {
            bail!(
                "--append-system-prompt: the system prompt of a session stays what it was; say it in the prompt, or begin a new session"
            );
        }
        if flags.profile.is_some() {
            bail!("--profile: a session stays what it was made with; begin a new session");
        }
        if flags.no_project_prompt {
            bail!(
                "--no-project-prompt: the system prompt of a session stays what it was; begin a new session"
            );
        }
        if !self.roots.is_empty() {
            bail!("--add-dir: the folders of a session stay what they were; begin a new session");
        }
        let overlay = Overlay::new(self.loaded, flags)?;
        let model = overlay
            .gave(&["model", "provider"])
            .then(|| self.maker().selected(None))
            .transpose()?;
        let chain = || self.maker().chain(model.as_ref().unwrap_or(&before.model));
        let fallback = overlay.gave(&["fallback"]).then(chain).transpose()?;
        let answers = (before.answers != self.answers).then_some(self.answers);
        let output = self.output.map(|output| OutputChange::Structured(Box::new(output.clone())));
        Ok(SettingsChange { model, fallback, answers, output, ..overlay.change(before)? })
    }
}

/// The session of this folder that was used last.
async fn latest(assembled: &Assembled, cwd: &Path) -> anyhow::Result<SessionId> {
    let cwd = cwd.canonicalize()?;
    let filter = Filter { cwd: Some(cwd.clone()), limit: Some(1), ..Filter::default() };
    let listed = assembled.core.ports().catalog.list(&filter).await?;
    let latest = listed.into_iter().next().with_context(|| {
        format!(
            "there is no session of {} to resume; see `oarlock session list --all`",
            cwd.display()
        )
    })?;
    Ok(latest.id)
}

/// The prompt, the files that it mentions if it is to attach them, a hint at the skills that it triggers, and what is attached to it; that is stored before an entry names it.
pub(crate) async fn content(
    assembled: &Assembled,
    place: &Place,
    (words, attach): (String, bool),
    attached: &[Attachment],
) -> anyhow::Result<Vec<Part>> {
    let blobs = assembled.core.ports().blobs.as_ref();
    let desk = Desk { place, files: &assembled.files(place), blobs };
    let hint = assembled.skills(&place.cwd).await?.skills.hint(&words);
    let mut content = match attach {
        true => with_mentions(words, desk).await?,
        false => vec![Part::text(words)],
    };
    content.extend(hint.map(hinted));
    for file in attached {
        let bytes = file.bytes.len() as u64;
        let blob = assembled.core.ports().blobs.put(file.bytes.clone()).await?;
        content.push(file.media.part(&file.name, (blob, bytes)));
    }
    Ok(content)
}

/// Admits an input of the person.
pub(super) async fn admit(
    session: &DefaultSession,
    (delivery, goal): (Delivery, Option<Goal>),
    content: Vec<Part>,
) -> anyhow::Result<Seq> {
    let admit = Admit {
        key: None,
        source: InputSource::User,
        delivery,
        content,
        goal,
        output: None,
        peer: None,
    };
    match session.tell(Command::Admit(admit)).await? {
        Reply::Admitted(seq) => Ok(seq),
        Reply::Done | Reply::Attached(_) | Reply::Status(_) | Reply::Rejected(_) => {
            bail!("the session did not say where it put the prompt")
        }
    }
}
