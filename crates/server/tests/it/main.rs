//! Surfaces, driven as their clients drive them.

mod companions;
mod crowd;
mod deaf;
mod deaths;
mod desk;
mod documents;
mod files;
mod greeting;
mod lifecycle;
mod machine;
mod options;
mod orders;
mod questions;
mod service;
mod stored;
mod stuck;
mod subagents;
mod system_prompts;
mod terminals;
mod turns;
