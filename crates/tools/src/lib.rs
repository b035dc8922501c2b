//! Built-in tools, and this machine's files and shell.
//!
//! [`default_tools`] makes the tools that a model is offered; [`LocalFiles`] and [`LocalShell`] are the ports through which they act when
//! the session works on this machine and not in an editor.

mod arguments;
mod ask_user;
mod bash;
mod config;
mod difference;
mod document;
mod edit_file;
mod fetch;
mod files;
pub mod front_matter;
mod goal_done;
pub mod hooks;
mod http;
mod place;
mod read_file;
mod search;
mod shell;
pub mod skills;
mod spawn_agent;
mod tasks;
mod text;
mod update_plan;
mod write_file;

use std::sync::Arc;

use oarlock_core::ports::http::HttpClient;
use oarlock_core::ports::tool::Tool;

pub use config::{
    BashConfig, ConfigError, FetchConfig, FsConfig, PageFormat, SearchConfig, ToolsConfig,
};
pub use files::LocalFiles;
pub use http::GuardedHttpClient;
pub use shell::{Environment, InvalidPattern, LocalShell};
pub use spawn_agent::{AgentProfile, ComposePrompt, PROFILES_MAX, SpawnAgent};

/// The built-in tools, always in the same order, so that the beginning of a request stays the same and is cached.
///
/// # Errors
/// [`ConfigError`] when the limits in `config` contradict each other.
pub fn default_tools(config: &ToolsConfig) -> Result<Vec<Arc<dyn Tool>>, ConfigError> {
    default_tools_with_http(config, Arc::new(GuardedHttpClient::new(&config.fetch)))
}

/// The built-in tools as [`default_tools`] makes them, with another client for `fetch`. It alone decides which hosts are reached:
/// `config.fetch.allow_private_hosts` is an order to [`GuardedHttpClient`], and without effect on others.
///
/// # Errors
/// [`ConfigError`] when the limits in `config` contradict each other.
pub fn default_tools_with_http(
    config: &ToolsConfig,
    http: Arc<dyn HttpClient>,
) -> Result<Vec<Arc<dyn Tool>>, ConfigError> {
    config.check()?;
    let locks = document::PathLocks::shared();
    let mut tools: Vec<Arc<dyn Tool>> = vec![
        Arc::new(bash::Bash::new(&config.bash)),
        Arc::new(read_file::ReadFile::new(&config.fs)),
        Arc::new(write_file::WriteFile::new(Arc::clone(&locks))),
        Arc::new(edit_file::EditFile::new(locks)),
    ];
    if config.search.enabled {
        tools.push(Arc::new(search::Search::new(&config.search, &config.hidden_files)));
    }
    if config.fetch.enabled {
        tools.push(Arc::new(fetch::Fetch::new(&config.fetch, http)));
    }
    tools.push(Arc::new(tasks::Inspect::new()));
    tools.push(Arc::new(tasks::CancelTask::new()));
    tools.push(Arc::new(tasks::SendInput::new()));
    tools.push(Arc::new(ask_user::AskUser::new()));
    tools.push(Arc::new(update_plan::UpdatePlan::new()));
    tools.push(Arc::new(goal_done::GoalDone::new()));
    Ok(tools)
}
