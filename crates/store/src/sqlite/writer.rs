//! The one thread that writes: it takes all that waits, runs it in one transaction, and answers after one sync.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use oarlock_core::ids::SessionId;
use oarlock_core::ports::journal::JournalError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::failure::{Trouble, unavailable, unavailable_file};
use super::schema;
use crate::nodes::Nodes;

/// Jobs that wait, and jobs of one transaction.
const QUEUE_MAX: usize = 256;
/// How long a caller waits for a place in the queue.
const PLACE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller waits for its answer. A job that is still waiting then may yet be done.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A longer WAL is moved into the database when the store is closed.
const WAL_BYTES_LEFT_MAX: u64 = 1024 * 1024;

/// What a job is done with: the connection, inside a transaction, and the nodes.
pub(super) struct Desk<'a> {
    pub(super) connection: &'a Connection,
    pub(super) nodes: &'a Nodes,
    pub(super) folder: &'a Path,
}

/// The writer thread and the way to it.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        folder: &Path,
        connection: Connection,
        nodes: Arc<Nodes>,
    ) -> Result<Self, JournalError> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let desk = Loop { folder: folder.to_owned(), connection, nodes };
        let thread = std::thread::Builder::new().name("oarlock-store".to_owned());
        let thread = thread
            .spawn(move || desk.run(jobs))
            .map_err(|error| unavailable_file(folder, &error))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Runs work that changes a journal. When its fate is not known it is `Ambiguous`.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        session: SessionId,
        work: impl FnOnce(&mut Desk<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, JournalError> {
        let unknown = session.clone();
        self.submit(Doubt::Ambiguous(session), work).await?.unwrap_or_else(|why| {
            Err(JournalError::Ambiguous { session: unknown, why: why.to_owned() })
        })
    }

    /// Runs work that may be repeated at will. When its fate is not known it is `Unavailable`.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.submit(Doubt::Unavailable, work)
            .await?
            .unwrap_or_else(|why| Err(JournalError::Unavailable { why: why.to_owned() }))
    }

    /// The outer error: it was never queued. The inner one: nobody answered.
    async fn submit<T: Send + 'static>(
        &self,
        doubt: Doubt,
        work: impl FnOnce(&mut Desk<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<Result<Result<T, JournalError>, &'static str>, JournalError> {
        let unavailable = |why: &str| JournalError::Unavailable { why: why.to_owned() };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let queue = queue.ok_or_else(|| unavailable("the store was closed; open it again"))?;
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Asked { state: State::Waiting(work), reply, doubt });
        match timeout(PLACE_TIMEOUT, queue.reserve()).await {
            Err(_) => return Err(unavailable("256 writes have been waiting for 10 s; try again")),
            Ok(Err(_)) => return Err(unavailable("the store's writer has ended; open it again")),
            Ok(Ok(place)) => place.send(job),
        }
        drop(queue);
        Ok(match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err("the store's writer ended before it answered"),
            Err(_) => Err("the store did not answer for 30 s"),
        })
    }

    /// Ends the thread after what waits; blocks until it has ended. Again is the same as once.
    pub(super) fn stop(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

/// What a caller is told when a commit failed half-way.
enum Doubt {
    Ambiguous(SessionId),
    Unavailable,
}

/// What became of the transaction of a job.
enum Fate {
    Committed,
    /// It certainly did not happen.
    RolledBack(JournalError),
    /// The commit itself failed.
    Unknown(JournalError),
}

/// A piece of work whose answer waits for the commit.
trait Job: Send {
    /// Does the work; false when it was refused and must leave no trace.
    fn run(&mut self, desk: &mut Desk<'_>) -> bool;
    /// Answers.
    fn settle(self: Box<Self>, fate: &Fate);
}

struct Asked<T, F> {
    state: State<T, F>,
    reply: oneshot::Sender<Result<T, JournalError>>,
    doubt: Doubt,
}

enum State<T, F> {
    Waiting(F),
    Done(T),
    Refused(JournalError),
    Running,
}

impl<T, F> Job for Asked<T, F>
where
    T: Send,
    F: FnOnce(&mut Desk<'_>) -> Result<T, Trouble> + Send,
{
    fn run(&mut self, desk: &mut Desk<'_>) -> bool {
        let State::Waiting(work) = std::mem::replace(&mut self.state, State::Running) else {
            return false;
        };
        match work(desk) {
            Ok(done) => {
                self.state = State::Done(done);
                true
            }
            Err(trouble) => {
                self.state = State::Refused(trouble.at(desk.folder));
                false
            }
        }
    }

    fn settle(self: Box<Self>, fate: &Fate) {
        let answer = match (self.state, fate) {
            (State::Done(done), Fate::Committed) => Ok(done),
            (State::Refused(error), Fate::Committed) => Err(error),
            (State::Done(_), Fate::Unknown(error)) => Err(match self.doubt {
                Doubt::Ambiguous(session) => {
                    JournalError::Ambiguous { session, why: error.to_string() }
                }
                Doubt::Unavailable => error.clone(),
            }),
            // A refusal may rest on a change of the same transaction that is gone; that this job did nothing stays true.
            (_, Fate::RolledBack(error) | Fate::Unknown(error)) => Err(error.clone()),
            (State::Waiting(_) | State::Running, Fate::Committed) => {
                Err(JournalError::Unavailable { why: "the store skipped a write".to_owned() })
            }
        };
        if self.reply.send(answer).is_err() {
            tracing::trace!(
                "nobody waits for the answer of a write any more; what is committed stays"
            );
        }
    }
}

/// What the thread owns.
struct Loop {
    folder: PathBuf,
    connection: Connection,
    nodes: Arc<Nodes>,
}

impl Loop {
    fn run(self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = Vec::with_capacity(QUEUE_MAX);
        while queue.blocking_recv_many(&mut jobs, QUEUE_MAX) > 0 {
            let fate = self.transact(&mut jobs);
            for job in jobs.drain(..) {
                job.settle(&fate);
            }
        }
        self.close();
    }

    /// Runs jobs in one transaction. One that is refused leaves no trace and harms no other.
    fn transact(&self, jobs: &mut [Box<dyn Job>]) -> Fate {
        let rolled_back = |error| Fate::RolledBack(unavailable(&self.folder, &error));
        if let Err(error) = self.execute("BEGIN IMMEDIATE") {
            return rolled_back(error);
        }
        for job in jobs {
            if let Err(error) = self.run_one(job.as_mut()) {
                self.roll_back();
                return rolled_back(error);
            }
        }
        match self.execute("COMMIT") {
            Ok(()) => Fate::Committed,
            Err(error) => {
                self.roll_back();
                Fate::Unknown(unavailable(&self.folder, &error))
            }
        }
    }

    /// The error is the transaction's, not the job's.
    fn run_one(&self, job: &mut dyn Job) -> rusqlite::Result<()> {
        self.execute("SAVEPOINT job")?;
        let mut desk =
            Desk { connection: &self.connection, nodes: &self.nodes, folder: &self.folder };
        if !job.run(&mut desk) {
            // After a full disk SQLite may have ended the transaction itself; then this fails, and all of it did not happen.
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "the store could not undo a transaction");
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn close(self) {
        let wal = schema::database(&self.folder).with_extension("db-wal");
        let long = std::fs::metadata(wal).is_ok_and(|wal| wal.len() > WAL_BYTES_LEFT_MAX);
        if long
            && let Err(error) =
                self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        {
            tracing::warn!(%error, "the store's WAL could not be moved into the database; nothing is lost");
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the store's database was not closed in good order; nothing is lost");
        }
    }
}
