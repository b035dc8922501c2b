//! Surfaces, driven as their clients drive them.

mod companions;
mod desk;
mod questions;
mod subagents;
mod turns;
