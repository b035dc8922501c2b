//! Sessions on disk: one SQLite file with the journals and the catalogue, and a folder of content-addressed bodies.
//!
//! [`SqliteStore`] is everything; it keeps the contracts of `oarlock_core::ports::journal`.

mod blobs;
mod locked;
mod nodes;
mod sqlite;

pub use blobs::BLOB_BYTES_MAX;
pub use sqlite::{Collected, Progress, Size, SqliteStore};
