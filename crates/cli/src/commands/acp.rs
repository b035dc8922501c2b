//! `oarlock acp`: sessions for an editor, over stdin and stdout.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use oarlock_server::acp::{Streams, serve};
use tokio::signal::unix::{SignalKind, signal};

use super::{Frame, login};
use crate::args::{AcpArgs, AcpCommand, LoginArgs, OverrideArgs};
use crate::editor::Folders;
use crate::exit::Exit;

/// What the store may take to end, and after it work that blocks. Sessions have ended by then.
pub(super) const REST: Duration = Duration::from_millis(100);

pub(super) fn run(frame: &Frame, args: AcpArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    if let Some(AcpCommand::Login(asked)) = args.instead {
        let overrides = [args.model.overrides.overrides, asked.overrides.overrides].concat();
        return login::run(
            frame,
            LoginArgs { overrides: OverrideArgs { overrides }, ..asked },
            out,
        );
    }
    let loaded = frame.load_with(&args.model)?;
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let folders = Folders::new(loaded, args.model)?;
        let (until, streams) = (until()?, streams()?);
        let served = serve(Arc::clone(&folders) as _, streams, until).await;
        if tokio::time::timeout(REST, folders.close()).await.is_err() {
            tracing::warn!("the store did not end in time; it is whole when it is opened again");
        }
        served.context("the connection to the editor broke")?;
        Ok(Exit::Done)
    });
    runtime.shutdown_timeout(REST);
    done
}

/// Is there once somebody tells the program to end.
pub(super) fn until() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    })
}

/// Stdin and stdout, a message a line.
pub(super) fn streams() -> anyhow::Result<Streams> {
    // Not under the lock of stdout, which whoever writes to a client that does not read would keep for ever.
    let out = std::io::stdout().as_fd().try_clone_to_owned().context("there is no stdout")?;
    Streams::new(std::io::stdin(), File::from(out))
        .context("there is no thread for the client's messages")
}
