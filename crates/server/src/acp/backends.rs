//! What a session's tools reach the world by: the client's files and terminals as far as it offers them, else this machine's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{ClientCapabilities, SessionId};
use oarlock_core::ports::tool::{Place, SessionToolsError};
use oarlock_core::spec::SessionSpec;
use oarlock_core::{Backends, DefaultAgentCore, Frontend};

use super::client::Client;
use super::error::{failed, invalid};
use super::files::ClientFiles;
use super::outbound::Outbound;
use super::shell::ClientShell;
use super::terminals::Terminals;

/// How a model is told of a client: what is read, written and run there.
pub(super) fn frontend(client: &ClientCapabilities) -> Frontend {
    Frontend::Acp { fs_delegated: has_files(client), shell_delegated: client.terminal }
}

fn has_files(client: &ClientCapabilities) -> bool {
    client.fs.read_text_file || client.fs.write_text_file
}

/// What a session that is to be `spec` works with for this client. One that offers nothing gets what the runtime gives its sessions.
///
/// `given` are the session's folders as the client named them, and `terminals` those of a client that has some.
///
/// # Errors
/// When this machine has nothing to work with there.
pub(super) async fn backends(
    core: &DefaultAgentCore,
    spec: &SessionSpec,
    client: (&Arc<Outbound>, &SessionId),
    given: &[PathBuf],
    terminals: Option<&Arc<Terminals>>,
) -> Result<Backends, Error> {
    let (out, session) = client;
    let has_files = has_files(&out.client);
    if !has_files && terminals.is_none() {
        return Ok(Backends::default());
    }
    let within_ms = core.limits().tools_ms;
    // Tools, files and commands of this machine are made together and once, whichever of them are taken.
    let built = core.ports().tools.build(spec);
    let built = tokio::time::timeout(Duration::from_millis(within_ms), built).await;
    let built = match built {
        Ok(built) => built.map_err(|error| match error {
            SessionToolsError::Place { .. } => invalid(error.to_string()),
            SessionToolsError::Server { .. } => failed(error.to_string()),
        })?,
        Err(_) => {
            return Err(failed(format!("the session's tools were not there in {within_ms} ms")));
        }
    };
    let client = Client::new(Arc::clone(out), session.clone(), &Place::of(spec), given);
    let client = Arc::new(client);
    let clock = Arc::clone(&core.ports().clock);
    let (mut files, mut shell) = (built.files, built.shell);
    if let Some(terminals) = terminals {
        let (client, terminals) = (Arc::clone(&client), Arc::clone(terminals));
        let here = (shell, Arc::clone(&files));
        shell = Arc::new(ClientShell::new(client, terminals, here, Arc::clone(&clock)));
    }
    if has_files {
        files = Arc::new(ClientFiles::new(client, files, clock));
    }
    Ok(Backends {
        files: Some(files),
        shell: Some(shell),
        tools: Some(built.tools),
        ..Backends::default()
    })
}
