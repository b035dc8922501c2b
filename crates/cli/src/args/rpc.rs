//! Arguments of `rpc`.

use clap::Args;

use super::ModelArgs;

/// Arguments of `rpc`.
#[derive(Debug, Args)]
#[command(
    after_help = "A JSON-RPC 2.0 object a line, in both directions; docs/rpc.md has the methods. Requests are worked on at the same time. Try it by hand:\n\n  echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session/list\"}' | oarlock rpc\n\nIt ends when its stdin ends, or on SIGTERM: what is under way is answered first, for up to 1.3 seconds. A turn that still runs is cancelled."
)]
pub struct RpcArgs {
    /// Which model, which rights, which limits new sessions have.
    #[command(flatten)]
    pub model: ModelArgs,
}
