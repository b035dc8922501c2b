//! `oarlock session`: sessions that are kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use oarlock_core::command::Command;
use oarlock_core::event::AgentEvent;
use oarlock_core::event::{Event, InputAdmitted};
use oarlock_core::ids::SessionId;
use oarlock_core::message::Part;
use oarlock_core::ports::journal::{
    Activity, ArchivedFilter, Filter, Hit, Listed, Summary, check_query,
};
use oarlock_core::prompt::answer::{Answer, ListedTask};
use oarlock_core::session::goal::CONTINUATIONS_MAX;
use oarlock_core::session::summary::summary;
use oarlock_core::spec::{OUTPUT_RETRIES, SettingsChange};
use oarlock_core::{ForkSession, Origin};

use oarlock_server::portable::import as import_from;

use super::{Frame, complain, peers, usage, why};
use crate::args::{ModelArgs, OutputArgs, RunArgs, SessionArgs, SessionCommand, Times};
use crate::assembly::{Assembled, CliAgentBuilder};
use crate::config::Loaded;
use crate::console::screen::Screen;
use crate::exit::Exit;
use crate::portable;
use crate::terminal::safe;

pub(super) fn run(frame: &Frame, args: SessionArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let json = args.json;
    let args = match args.command {
        SessionCommand::Resume { id } => return resume(frame, id, json, out),
        SessionCommand::Send(send) => return peers::send(frame, send, json, out),
        SessionCommand::Peers(list) => return peers::list(frame, &list, json, out),
        command => SessionArgs { command, json },
    };
    let loaded = frame.load(Vec::new())?;
    super::block_on(async {
        let assembled = CliAgentBuilder::new(&loaded).build()?;
        let result = act((frame, &loaded), &assembled, args, out).await;
        assembled.close().await;
        result
    })
}

/// The same as `run --resume ID` without a prompt.
fn resume(frame: &Frame, id: String, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let args = RunArgs {
        no_wait: false,
        prompt: None,
        resume: Some(id),
        goal: None,
        goal_continuations: CONTINUATIONS_MAX,
        output_schema: None,
        output_retries: OUTPUT_RETRIES,
        roots: Vec::new(),
        images: Vec::new(),
        documents: Vec::new(),
        ephemeral: false,
        record: None,
        replay: None,
        model: ModelArgs::default(),
        output: OutputArgs { json, quiet: false },
    };
    super::run::go_on(frame, &args, out)
}

async fn act(
    (frame, loaded): (&Frame, &Loaded),
    assembled: &Assembled,
    args: SessionArgs,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    match args.command {
        SessionCommand::List { all, limit, children, archived, labels, text, times } => {
            let cwd = if all { None } else { Some(frame.cwd.canonicalize()?) };
            let archived = if archived { ArchivedFilter::Only } else { ArchivedFilter::With };
            if let Some(text) = &text {
                check_query(text).context("--text")?;
            }
            let unfiltered =
                Filter { cwd, archived: ArchivedFilter::With, children, ..first(limit) };
            let filter = Filter {
                archived,
                labels: labels_of(labels)?,
                text,
                ..within(&times, unfiltered.clone())
            };
            let listed = assembled.core.ports().catalog.list(&filter).await?;
            if listed.is_empty() && !args.json {
                complain(match filter == unfiltered {
                    true => {
                        "no session here yet; `oarlock run \"…\"` makes one, `oarlock session list --all` shows those of other folders"
                    }
                    false => "no session here is meant by that",
                });
            }
            list(assembled, listed, args.json, out).await?;
        }
        SessionCommand::Show { id, usage } => {
            let id = SessionId::parse(id)?;
            match usage {
                true => usage::tell((assembled, loaded), &id, args.json, out).await?,
                false => show(assembled, &id, args.json, out).await?,
            }
        }
        SessionCommand::Why { id } => {
            why::tell(assembled, &SessionId::parse(id)?, args.json, out).await?;
        }
        SessionCommand::Search { words, limit, labels } => {
            let (labels, query) = (labels_of(labels)?, words.join(" "));
            check_query(&query)?;
            let filter =
                Filter { archived: ArchivedFilter::With, children: true, labels, ..first(limit) };
            search(assembled, &query, &filter, args.json, out).await?;
        }
        SessionCommand::Archive { id } => {
            tell(assembled, &id, (Command::Archive, "archived"), args.json, out).await?;
        }
        SessionCommand::Unarchive { id } => {
            tell(assembled, &id, (Command::Restore, "restored"), args.json, out).await?;
        }
        SessionCommand::Fork { id, at, title } => {
            say(&fork(assembled, &id, at, title).await?, args.json, out)?;
        }
        SessionCommand::Resume { .. } | SessionCommand::Send(_) | SessionCommand::Peers(_) => {}
        SessionCommand::Export { id, output } => {
            export(assembled, &SessionId::parse(id)?, output, out).await?;
        }
        SessionCommand::Import { file } => {
            let id = import(assembled, &file).await?;
            say(&id, args.json, out)?;
        }
        SessionCommand::Delete { ids, yes } => {
            let deleted = delete(assembled, ids, yes).await?;
            if args.json {
                writeln!(out, "{}", serde_json::json!({ "deleted": deleted }))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// The same of sessions that were used and made then.
fn within(times: &Times, filter: Filter) -> Filter {
    let Times { updated_after, updated_before, created_after, created_before } = *times;
    Filter { updated_after, updated_before, created_after, created_before, ..filter }
}

/// Names a session that was made.
fn say(id: &SessionId, json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    match json {
        true => writeln!(out, "{}", serde_json::json!({ "session": id })),
        false => writeln!(out, "{id}"),
    }
}

fn first(limit: u32) -> Filter {
    Filter { limit: Some(limit), ..Filter::default() }
}

/// Tells a session a command that it answers with `done`, and says so.
async fn tell(
    assembled: &Assembled,
    id: &str,
    (command, done): (Command, &str),
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let id = SessionId::parse(id)?;
    let session = assembled.core.handle(id.clone());
    session.tell(command).await?;
    session.tell(Command::Close).await?;
    match json {
        true => writeln!(out, "{}", serde_json::json!({ done: id }))?,
        false => writeln!(out, "{done} {id}")?,
    }
    Ok(())
}

/// Begins a session as another one stood, and leaves it asleep.
async fn fork(
    assembled: &Assembled,
    from: &str,
    at: Option<u64>,
    title: Option<String>,
) -> anyhow::Result<SessionId> {
    let change = title
        .map(|title| Box::new(SettingsChange { title: Some(title), ..SettingsChange::default() }));
    let fork = ForkSession { at, change, ..ForkSession::new(SessionId::parse(from)?) };
    let session = assembled.core.open(Origin::Fork(Box::new(fork))).await?;
    session.close().await?;
    Ok(session.id().clone())
}

async fn search(
    assembled: &Assembled,
    words: &str,
    filter: &Filter,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let hits = assembled.core.ports().catalog.search(words, filter).await?;
    if hits.is_empty() && !json {
        complain("no session has all of these words in one text");
    }
    for Hit { session, seq, snippet } in hits {
        match json {
            true => {
                let hit = serde_json::json!({ "session": session, "seq": seq, "snippet": snippet });
                writeln!(out, "{hit}")?;
            }
            false => writeln!(out, "{session}  {seq:>5}  {}", safe::line(&snippet, 120))?,
        }
    }
    Ok(())
}

/// Labels by name. A session has one value of a name, so that a second one would match nothing.
fn labels_of(given: Vec<(String, String)>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (name, value) in given {
        if let Some(other) = labels.insert(name.clone(), value) {
            bail!(
                "--label {name} is there twice, once with `{other}`; a session has one value of it"
            );
        }
    }
    Ok(labels)
}

async fn list(
    assembled: &Assembled,
    listed: Vec<Listed>,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for row in listed {
        let found = brought_up_to_date(assembled, &row).await;
        match (found, json) {
            (Ok(summary), true) => {
                let mut value = serde_json::to_value(&summary)?;
                value["held_by"] = serde_json::to_value(&row.held_by)?;
                writeln!(out, "{value}")?;
            }
            (Err(error), true) => {
                writeln!(out, "{}", serde_json::json!({ "id": row.id, "error": error }))?;
            }
            (Ok(summary), false) => writeln!(out, "{}", line(&row, &summary))?,
            (Err(error), false) => {
                writeln!(out, "{}  cannot be read: {}", row.id, safe::line(&error, 120))?;
            }
        }
    }
    Ok(())
}

/// The summary of a row; derived again when its session went on without storing one, as a crash leaves it.
async fn brought_up_to_date(assembled: &Assembled, row: &Listed) -> Result<Summary, String> {
    match &row.summary {
        Ok(Some(summary)) if summary.upto >= row.tail || row.held_by.is_some() => {
            Ok(summary.clone())
        }
        Ok(_) => {
            let state = assembled.core.state(&row.id).await.map_err(|error| error.to_string())?;
            Ok(summary(&state))
        }
        Err(error) => Err(error.clone()),
    }
}

fn line(row: &Listed, summary: &Summary) -> String {
    let doing = match (summary.activity, &row.held_by) {
        _ if summary.archived => "archived",
        (Activity::Idle, _) => "idle",
        (Activity::Running | Activity::AwaitingInput, None) => "cut",
        (Activity::Running, Some(_)) => "running",
        (Activity::AwaitingInput, Some(_)) => "waiting",
    };
    let updated = summary.updated.to_string();
    let when = updated.get(..16).unwrap_or(&updated).replace('T', " ");
    format!(
        "{}  {when}Z  {doing:<8}  {:>3} {}  {}  {}",
        row.id,
        summary.turns,
        if summary.turns == 1 { "turn " } else { "turns" },
        safe::line(&summary.model, 40),
        safe::line(&summary.title, 60)
    )
}

async fn show(
    assembled: &Assembled,
    id: &SessionId,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut screen = Screen::new(OutputArgs { json, quiet: false });
    let mut after = 0;
    loop {
        let entries = assembled.core.entries(id, after).await?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        for entry in entries {
            if let (Event::InputAdmitted(input), false) = (&entry.event, json) {
                writeln!(out, "\n> {}\n", safe::text(&words(input)))?;
            }
            screen.show(out, &AgentEvent::Entry(std::sync::Arc::new(entry)))?;
        }
    }
    if after == 0 {
        bail!("there is no session {id}; see `oarlock session list --all`");
    }
    if !json {
        stands(assembled, id, out).await?;
    }
    Ok(())
}

/// What the session plans, what runs in its background and what it is to reach, where there is any of it.
async fn stands(assembled: &Assembled, id: &SessionId, out: &mut dyn Write) -> anyhow::Result<()> {
    let state = assembled.core.state(id).await?;
    if !state.plan.is_empty() {
        let plan = Answer::Plan { items: state.plan };
        writeln!(out, "\nplan:\n{}", safe::text(&plan.to_string()))?;
    }
    let tasks = ListedTask::all(&state.tasks);
    if !tasks.is_empty() {
        let tasks = Answer::Tasks { tasks };
        writeln!(out, "\nbackground tasks:\n{}", safe::text(&tasks.to_string()))?;
    }
    if state.goal.is_some() {
        let goal = Answer::Goal { goal: state.goal };
        writeln!(out, "\n{}", safe::text(&goal.to_string()))?;
    }
    Ok(())
}

fn words(input: &InputAdmitted) -> String {
    let parts = input.content.iter().map(|part| match part {
        Part::Text { text } => text.clone(),
        Part::Image { media_type: name, bytes, .. } | Part::Document { name, bytes, .. } => {
            format!("[{name}, {bytes} bytes]")
        }
    });
    parts.collect::<Vec<_>>().join("\n")
}

async fn export(
    assembled: &Assembled,
    id: &SessionId,
    output: Option<PathBuf>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Some(path) = output else { return portable::export(&assembled.core, id, out).await };
    // Whole or not at all: an export that fails leaves no half file under the name.
    let folder =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("{}: cannot write there", folder.display()))?;
    let mut writer = BufWriter::new(file);
    portable::export(&assembled.core, id, &mut writer).await?;
    let file = writer.into_inner().context("the export is not whole")?;
    file.as_file().sync_all()?;
    file.persist(&path).with_context(|| format!("{}: cannot write", path.display()))?;
    Ok(())
}

async fn import(assembled: &Assembled, path: &Path) -> anyhow::Result<SessionId> {
    let imported = if path == Path::new("-") {
        import_from(&assembled.core, &mut BufReader::new(std::io::stdin()), None).await
    } else {
        let file = File::open(path).with_context(|| format!("{}: cannot open", path.display()))?;
        import_from(&assembled.core, &mut BufReader::new(file), None).await
    };
    imported.with_context(|| format!("{}: nothing was imported", path.display()))
}

async fn delete(
    assembled: &Assembled,
    ids: Vec<String>,
    yes: bool,
) -> anyhow::Result<Vec<SessionId>> {
    let ids: Vec<SessionId> = ids.into_iter().map(SessionId::parse).collect::<Result<_, _>>()?;
    if !yes && !confirmed(ids.len())? {
        bail!("nothing was deleted; `--yes` deletes without asking");
    }
    for id in &ids {
        assembled.core.ports().catalog.purge(id, &assembled.node).await?;
    }
    Ok(ids)
}

fn confirmed(count: usize) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(anstream::stderr(), "delete {count} session(s) for good? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}
