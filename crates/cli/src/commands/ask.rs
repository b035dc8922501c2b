//! `oarlock run "/name"`: a slash command without a turn. What only asks is read from the journal, so that no session is woken for it, not even
//! one that another process runs.

use std::io::Write;

use anyhow::{Context, bail};
use oarlock_core::command::Status;
use oarlock_core::ids::SessionId;
use oarlock_core::ports::model::Model;
use oarlock_core::prompt::answer::{Answer, Ask, Change, Question, ask, told};
use oarlock_core::prompt::slash::Slash;
use oarlock_core::session::context::ToolsDigest;
use oarlock_core::session::recover::Recovery;
use oarlock_core::session::state::State;
use oarlock_core::session::status::status;
use oarlock_core::spec::SettingsChange;

use super::complain;
use super::run::{Opening, Target};
use crate::args::{OutputArgs, Resumed};
use crate::assembly::Assembled;
use crate::console::Console;
use crate::console::keyboard::{Keyboard, Role};
use crate::console::screen::Screen;
use crate::console::slash::{self, Wanted};
use crate::exit::Exit;
use crate::terminal::json_lines::{Answered, answered};
use crate::terminal::safe;

/// Does a command to the session that is resumed, or to none, and writes its answer.
pub(super) async fn perform(
    opening: &Opening<'_>,
    assembled: &Assembled,
    (resumed, slash): (Resumed, Slash),
    (output, out): (OutputArgs, &mut dyn Write),
) -> anyhow::Result<Exit> {
    let wanted = slash::wanted(slash, |name| opening.maker().named(assembled, name))?;
    let (session, command) = match (wanted, resumed) {
        (Wanted::Help, _) => (None, slash::help(opening.loaded, &[])?),
        (Wanted::Steer(_) | Wanted::Ask(Ask::Change(Change::Withdraw(_))), _) => {
            bail!("/steer and /withdraw are for a session that runs: use them in `oarlock chat`")
        }
        (Wanted::Pursue(_), _) => {
            bail!("a goal is given to `oarlock run` by --goal; /goal WORDS is for `oarlock chat`")
        }
        (Wanted::Ask(Ask::Question(Question::Model)), Resumed::New) => {
            let maker = opening.maker();
            let model = maker.selected(maker.profile()?.as_ref())?;
            (None, Answer::Model { model, changed: false })
        }
        (Wanted::Ask(Ask::Question(Question::Mode)), Resumed::New) => {
            let mode = opening.loaded.config.mode.clone();
            (None, Answer::Mode { mode, changed: false })
        }
        (Wanted::Ask(_), Resumed::New) => {
            bail!("there is no session to do this to; name one with --resume")
        }
        (Wanted::Ask(asked), resumed) => {
            let target = opening.target(assembled, resumed).await?;
            let (id, answer) = of_session(opening, assembled, target, (asked, output)).await?;
            (Some(id), answer)
        }
    };
    if output.json {
        answered(out, Answered { session, command })?;
    } else {
        writeln!(out, "{}", safe::text(&command.to_string()))?;
    }
    Ok(Exit::Done)
}

async fn of_session(
    opening: &Opening<'_>,
    assembled: &Assembled,
    target: Target,
    (asked, output): (Ask, OutputArgs),
) -> anyhow::Result<(SessionId, Answer)> {
    let before = target.before.as_deref().context("the session is one that is there")?;
    let flags = opening.change(&before.spec.settings)?;
    if let Ask::Question(question) = asked
        && (SettingsChange { answers: None, ..flags }).is_empty()
    {
        return Ok((before.id.clone(), told(&read(assembled, before), question)));
    }
    refuse_while_inputs_wait(before)?;
    let opened = opening.open(assembled, target, Recovery::Interrupt).await?;
    let screen = Screen::new(output);
    let keyboard = Keyboard::new(Role::Nobody)?;
    let mut console = Console::new(opened.session.clone(), opened.after, screen, keyboard)?;
    if matches!(asked, Ask::Change(Change::Compact(_))) && !output.quiet {
        complain("summarising; Ctrl-C cancels");
    }
    let answer = console.cancellable(ask(&opened.session, asked)).await;
    opened.session.close().await?;
    Ok((opened.session.id().clone(), answer?))
}

/// Opening a session begins the turn of what waits in it, and closing it after the command would cancel that turn.
fn refuse_while_inputs_wait(state: &State) -> anyhow::Result<()> {
    let (id, waiting) = (&state.id, state.pending.len());
    let what = match waiting {
        0 => return Ok(()),
        1 => "1 input waits".to_owned(),
        _ => format!("{waiting} inputs wait"),
    };
    bail!(
        "{what} in session {id} and would begin a turn that this command does not wait for; `oarlock chat --resume {id}` runs what waits and takes this command, flags such as --mode go for it, and /queue shows it"
    )
}

/// How a session is doing, by its journal. Its tools are not built for that: they add to the context only until a provider has counted it.
fn read(assembled: &Assembled, state: &State) -> Status {
    let tools = ToolsDigest::of(&[]);
    let model = assembled.core.ports().models.resolve(&state.spec.settings.model).ok();
    status(state, &tools, model.as_deref().map(Model::info))
}
