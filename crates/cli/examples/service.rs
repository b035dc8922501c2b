//! The session service in a program: a session of the demonstration model with a tool that this program runs, a copy of how it stands after each turn,
//! and its events under the name of whoever they are of. Nothing is called and nothing costs anything: `cargo run -p oarlock --example service`.
use std::{error::Error, io::Write, path::Path, sync::Arc};

use futures::{future::BoxFuture, future::ready};
use oarlock::args::ModelArgs;
use oarlock::config::{Environment, Inputs, load};
use oarlock::core::ports::tool::{ToolContext, ToolError, ToolOutput};
use oarlock::core::service::{
    Checkpoint, CreateSessionRequest, Cursor, SessionBuildOptions, SessionParts, SessionService,
};
use oarlock::core::spec::{ExternalTool, Mode};
use oarlock::core::{AgentEvent, AgentToolDispatcher, SessionCheckpointer, ToolCall};
use oarlock::editor::Folders;
use oarlock_server::service::{Caller, Sessions};
use serde_json::json;

/// The books of a library, which the model may search.
#[derive(Debug)]
struct Catalogue(Vec<&'static str>);

impl AgentToolDispatcher for Catalogue {
    fn tools(&self) -> Vec<ExternalTool> {
        let (name, description) = ("search".to_owned(), "finds books".to_owned());
        let input_schema = json!({ "type": "object", "required": ["pattern"] });
        // It only looks: no mode asks anybody before it does.
        let effect = Some(oarlock::core::event::Effect::Pure);
        vec![ExternalTool { name, description, input_schema, effect, deadline_ms: Some(1_000) }]
    }

    fn dispatch(
        self: Arc<Self>,
        call: ToolCall,
        _: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        let pattern = call.arguments["pattern"].as_str().unwrap_or("*").to_owned();
        let found = self.0.iter().filter(|book| pattern == "*" || book.contains(&pattern));
        let found = found.copied().collect::<Vec<_>>().join("\n");
        Box::pin(ready(Ok(ToolOutput::text(found))))
    }
}

/// Copies how a session stands to somewhere else: here, to a channel.
#[derive(Debug)]
struct Copies(tokio::sync::mpsc::Sender<Checkpoint>);

impl SessionCheckpointer for Copies {
    fn checkpoint(
        &self,
        at: Checkpoint,
    ) -> BoxFuture<'_, Result<(), Box<dyn Error + Send + Sync>>> {
        Box::pin(async move { Ok(self.0.send(at).await?) })
    }
}

/// Runs a session in this folder, and tells what happened to it: the kind of each entry with the name of its scope.
///
/// # Errors
/// When the configuration, the store or the session is in the way.
pub(crate) async fn run(
    environment: Environment,
    folder: &Path,
) -> Result<Vec<String>, Box<dyn Error>> {
    let cwd = folder.canonicalize()?;
    let inputs = Inputs { environment, cwd: cwd.clone(), overrides: vec![], flags: vec![] };
    let folders = Folders::new(load(inputs)?, ModelArgs::default())?;
    let sessions = Sessions::new(Arc::clone(&folders) as _, cwd, Caller::trusted("library"));
    let request = CreateSessionRequest {
        model: Some("demo/demo".to_owned()),
        prompt: "which books are there?".into(),
        mode: Some(Mode::READ_ONLY),
        // None of the tools that files and commands need.
        build: SessionBuildOptions { override_builtins: Some(false), ..Default::default() },
        ..Default::default()
    };
    let (copies, mut copied) = tokio::sync::mpsc::channel(1);
    let parts = SessionParts {
        tools: Some(Arc::new(Catalogue(vec!["Three Men in a Boat", "Moby-Dick"]))),
        checkpointer: Some(Arc::new(Copies(copies))),
        ..Default::default()
    };
    let ran = sessions.create_session_with(request, parts).await?;
    let mut told = vec![ran.text];
    let copy = copied.recv().await.ok_or("the service has gone")?;
    told.push(format!("a copy after {} turn(s)", copy.view.info.turns));
    let path = Vec::new();
    let mut events = sessions.subscribe_scoped_events(&ran.session_id, Cursor(0), path).await?;
    loop {
        let scoped = events.next().await?;
        match scoped.event {
            AgentEvent::Entry(entry) => {
                let kind = serde_json::to_value(&entry.event)?["type"].take();
                told.push(format!("{} {kind}", scoped.scope_id));
            }
            AgentEvent::CaughtUp { .. } => break,
            AgentEvent::Delta(_) | AgentEvent::Scoped { .. } => {}
        }
    }
    sessions.close(&ran.session_id).await?;
    folders.close().await;
    Ok(told)
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::current_dir()?;
    for line in run(Environment::of_process(), &folder).await? {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}
