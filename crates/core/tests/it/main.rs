//! Scripted turns on virtual time.

mod follow;
mod limits;
mod permission;
mod recovery;
mod replay;
mod turn;
