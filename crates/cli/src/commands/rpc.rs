//! `oarlock rpc`: sessions for a program, as JSON-RPC over stdin and stdout.

use std::sync::Arc;

use anyhow::Context;
use oarlock_server::rpc::serve;
use oarlock_server::service::{Caller, Sessions};

use super::Frame;
use super::acp::{REST, streams, until};
use crate::args::RpcArgs;
use crate::editor::Folders;
use crate::exit::Exit;

pub(super) fn run(frame: &Frame, args: RpcArgs) -> anyhow::Result<Exit> {
    let loaded = frame.load_with(&args.model)?;
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let folders = Folders::new(loaded, args.model)?;
        let caller = Caller::trusted("rpc");
        let sessions = Sessions::new(Arc::clone(&folders) as _, frame.cwd.clone(), caller);
        let served = serve(sessions, streams()?, until()?).await;
        if tokio::time::timeout(REST, folders.close()).await.is_err() {
            tracing::warn!("the store did not end in time; it is whole when it is opened again");
        }
        served.context("the connection to the program broke")?;
        Ok(Exit::Done)
    });
    runtime.shutdown_timeout(REST);
    done
}
