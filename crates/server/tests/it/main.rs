//! Surfaces, driven as their clients drive them.

mod companions;
mod deaths;
mod desk;
mod questions;
mod subagents;
mod turns;
