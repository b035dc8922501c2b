//! The facade library of Oarlock and the body of its command line: configuration, commands, and what a terminal is shown.

pub mod args;
pub mod assembly;
mod clouds;
pub mod commands;
pub mod config;
pub mod console;
pub mod credentials;
pub mod editor;
pub mod exit;
pub mod features;
pub mod google_credentials;
pub mod grants;
pub mod key_command;
pub mod logging;
pub mod making;
pub mod portable;
mod profiled;
pub mod prompting;
pub mod providers;
pub mod recording;
pub mod selection;
mod structured;
pub mod terminal;
pub mod tokens;
pub mod values;

pub use assembly::CliAgentBuilder;
pub use features::{DefaultFeatureSet, Feature};
pub use oarlock_core as core;
