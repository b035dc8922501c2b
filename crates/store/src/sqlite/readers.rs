//! A few read-only connections, used off the async runtime.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oarlock_core::ports::journal::JournalError;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::failure::unavailable;
use super::schema;
use crate::nodes::Nodes;

/// Connections that read at the same time.
const READERS_MAX: usize = 4;
/// How long a read waits for one.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a read is done with.
pub(super) struct Reader<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) folder: &'a Path,
    pub(super) nodes: &'a Nodes,
}

/// The pool. Connections are opened when they are first needed and kept.
pub(super) struct Readers {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
}

struct Shared {
    folder: PathBuf,
    nodes: Arc<Nodes>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(folder: &Path, nodes: Arc<Nodes>) -> Self {
        let shared = Shared { folder: folder.to_owned(), nodes, idle: Mutex::default() };
        Self { shared: Arc::new(shared), turns: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Runs `work` on a connection. Dropping the future lets it run on to its end, unheard.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader<'_>) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let unavailable = |why: &str| JournalError::Unavailable { why: why.to_owned() };
        let turn = timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn
            .map_err(|_| unavailable("the store had no time to read for 30 s; try again"))?
            .map_err(|_| unavailable("the store was closed; open it again"))?;
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            let result = shared.run(work);
            drop(turn);
            result
        });
        done.await.unwrap_or_else(|error| {
            let why = format!("a read of the store ended unexpectedly: {error}");
            Err(JournalError::Unavailable { why })
        })
    }

    /// Refuses further reads and closes the idle connections.
    pub(super) fn close(&self) {
        self.turns.close();
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Shared {
    fn run<T>(
        &self,
        work: impl FnOnce(&mut Reader<'_>) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.folder)
                .map_err(|error| unavailable(&self.folder, &error))?,
        };
        let mut reader =
            Reader { connection: &mut connection, folder: &self.folder, nodes: &self.nodes };
        let result = work(&mut reader)?;
        // A connection that met an error is not kept: a fresh one may see the file as it is after a repair.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(result)
    }
}
