//! Surfaces, driven as their clients drive them.

mod desk;
mod turns;
