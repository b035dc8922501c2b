//! Arguments of the commands that editors start.

use clap::Args;

use super::ModelArgs;

/// Arguments of `acp`.
#[derive(Debug, Args)]
#[command(
    after_help = "Editors start this themselves; docs/editors.md says how to tell yours. Each session works in the folder that the editor names,\nwith that folder's configuration as far as you trust it (`oarlock trust`). Try it by hand:\n\n  npx acpx --agent 'oarlock acp' exec \"what is in this folder?\"\n\nIt ends when its stdin ends, or on SIGTERM."
)]
pub struct AcpArgs {
    /// Which model, which rights, which limits new sessions have.
    #[command(flatten)]
    pub model: ModelArgs,
}
