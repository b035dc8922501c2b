//! What a person is shown and asked, and what programs are given instead.

pub mod activity;
pub mod answer;
pub mod attachment;
pub mod json_lines;
pub mod permission;
pub mod prompt;
pub mod safe;
