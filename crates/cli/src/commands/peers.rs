//! `oarlock session send` and `oarlock session peers`: messages to sessions, as the service has them.

use std::io::Write;
use std::sync::Arc;

use oarlock_core::event::{Event, PeerKind};
use oarlock_core::ids::SessionId;
use oarlock_core::ports::journal::Activity;
use oarlock_core::service::{
    Cursor, ErrorCode, PeerPage, PeersRequest, RunResult, RunState, SendRequest, SessionError,
    SessionService, WaitRequest,
};
use oarlock_server::Host;
use oarlock_server::service::{Caller, Sessions};

use super::acp::REST;
use super::{Frame, complain};
use crate::args::{MessageKind, ModelArgs, PeersArgs, SendArgs};
use crate::editor::Folders;
use crate::exit::Exit;
use crate::terminal::{prompt, safe};

/// Does something with the sessions of every folder, each awake as its own folder is configured, and lets go of them.
fn with_sessions(
    frame: &Frame,
    work: impl AsyncFnOnce(&Sessions) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let loaded = frame.load(Vec::new())?;
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let folders = Folders::new(loaded, ModelArgs::default())?;
        let sessions =
            Sessions::new(Arc::clone(&folders) as _, frame.cwd.clone(), Caller::trusted("cli"));
        let done = work(&sessions).await;
        for session in folders.all_awake() {
            if let Err(error) = session.close().await {
                tracing::warn!(session = %session.id(), %error, "a session did not end in good order");
            }
        }
        if tokio::time::timeout(REST, folders.close()).await.is_err() {
            tracing::warn!("the store did not end in time; it is whole when it is opened again");
        }
        done
    });
    runtime.shutdown_timeout(REST);
    done
}

/// Writes to a session, and waits for the turn that takes it.
pub(super) fn send(
    frame: &Frame,
    args: SendArgs,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let text = match args.text.as_str() {
        "-" => prompt::read(std::io::stdin().lock())?,
        _ => args.text.clone(),
    };
    with_sessions(frame, async |sessions| {
        let (to, session_id) = whom(sessions, args.to).await?;
        let request = SendRequest {
            to,
            session_id,
            from: args.from,
            kind: match args.kind {
                MessageKind::Message => PeerKind::Message,
                MessageKind::Request => PeerKind::Request,
                MessageKind::Response => PeerKind::Response,
            },
            intent: args.intent,
            text,
            idempotency_key: args.key,
        };
        let sent = sessions.send(request).await?;
        let run = match is_silent(sessions, &sent).await? {
            true => sent,
            false => {
                let request = WaitRequest { input: sent.input, wait_ms: None };
                sessions.wait(&sent.session_id, request).await?
            }
        };
        tell(&run, json, out)
    })
}

/// Shows the sessions that have names.
pub(super) fn list(
    frame: &Frame,
    args: &PeersArgs,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    with_sessions(frame, async |sessions| {
        let request = PeersRequest { limit: Some(args.limit), ..PeersRequest::default() };
        let PeerPage { peers, next } = sessions.peers(request).await?;
        if peers.is_empty() && !json {
            complain(
                "no session has a name; programs give them (`build.comms_name` of `session/create`)",
            );
        }
        for peer in peers {
            if json {
                writeln!(out, "{}", serde_json::to_string(&peer)?)?;
                continue;
            }
            let doing = match peer.state {
                Activity::Idle => "idle",
                Activity::Running => "running",
                Activity::AwaitingInput => "waiting",
            };
            let about = peer.meta.description.as_deref().unwrap_or_default();
            let (name, about) = (safe::line(&peer.name, 64), safe::line(about, 60));
            writeln!(out, "{name}  {}  {doing:<7}  {about}", peer.session_id)?;
        }
        if next.is_some() {
            complain("there are more; see --limit");
        }
        Ok(Exit::Done)
    })
}

/// A session by its name, where one has it, else by its id.
async fn whom(
    sessions: &Sessions,
    words: String,
) -> anyhow::Result<(Option<String>, Option<SessionId>)> {
    let request = PeersRequest { name: Some(words.clone()), ..PeersRequest::default() };
    if !sessions.peers(request).await?.peers.is_empty() {
        return Ok((Some(words), None));
    }
    let id = SessionId::parse(words)?;
    match sessions.read(&id).await {
        Ok(_) => Ok((None, Some(id))),
        Err(error) if error.kind == ErrorCode::SessionNotFound => {
            let words = format!(
                "no session has the name or id {id}; see `oarlock session peers` and `oarlock session list --all`"
            );
            Err(SessionError::new(error.kind, words).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the message begins no turn, and is shown with the next one.
async fn is_silent(sessions: &Sessions, sent: &RunResult) -> anyhow::Result<bool> {
    let Some(input) = sent.input else { return Ok(true) };
    let entries = sessions.entries(&sent.session_id, Cursor(input.saturating_sub(1))).await?;
    Ok(match entries.first().map(|entry| &entry.event) {
        Some(Event::InputAdmitted(admitted)) => {
            admitted.peer.as_ref().is_some_and(|peer| peer.silent)
        }
        Some(_) | None => false,
    })
}

/// Prints what came of a message.
fn tell(run: &RunResult, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    if json {
        writeln!(out, "{}", serde_json::to_string(run)?)?;
    } else if !run.text.is_empty() {
        writeln!(out, "{}", safe::text(&run.text))?;
    }
    Ok(match (run.state, &run.stop_reason) {
        (RunState::Ended, Some(stop)) => Exit::of_stop(*stop),
        (RunState::AwaitingInput | RunState::Running, _) => {
            complain(
                "the message is there; its turn waits for an answer that nobody gives here, and is cancelled: allow its calls by a rule, or write to the session over `oarlock serve`",
            );
            Exit::Cancelled
        }
        (RunState::Deferred | RunState::Queued | RunState::Ended | RunState::Withdrawn, _) => {
            if !json {
                complain("the message is there and waits for the next turn");
            }
            Exit::Done
        }
    })
}
