//! `oarlock acp`: sessions for an editor, over stdin and stdout.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use oarlock_server::acp::{Streams, serve};
use tokio::signal::unix::{SignalKind, signal};

use super::{Frame, login};
use crate::args::{AcpArgs, AcpCommand, LoginArgs, OverrideArgs};
use crate::editor::Folders;
use crate::exit::Exit;

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
    super::block_on(async {
        let folders = Arc::new(Folders::new(loaded, args.model)?);
        let mut terminated = signal(SignalKind::terminate()).context("cannot listen to signals")?;
        let mut interrupted =
            signal(SignalKind::interrupt()).context("cannot listen to signals")?;
        let until = async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        let streams = Streams::new(std::io::stdin(), std::io::stdout())
            .context("there is no thread for the editor's messages")?;
        let served = serve(Arc::clone(&folders) as _, streams, until).await;
        folders.close().await;
        served.context("the connection to the editor broke")?;
        Ok(Exit::Done)
    })
}
