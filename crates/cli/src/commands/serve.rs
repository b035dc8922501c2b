//! `oarlock serve`: sessions for programs, over HTTP.

use std::fs::Permissions;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use oarlock_core::ids::Tenant;
use oarlock_core::ports::clock::{Clock, SystemClock};
use oarlock_server::rest::{self, Admission, Drain, Gate, Listener};
use oarlock_server::service::{Caller, Sessions};
use secrecy::ExposeSecret;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use super::{Frame, complain, open_files};
use crate::args::{ServeArgs, ServeCommand, TokenAction, TokenArgs};
use crate::assembly::data_dir;
use crate::editor::Folders;
use crate::exit::Exit;
use crate::tokens::Tokens;

/// What the store may take to end, and after it work that blocks. Connections have ended by then.
const REST: Duration = Duration::from_millis(500);
/// How often the file of tokens is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(frame: &Frame, args: ServeArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    if let Some(ServeCommand::Token(asked)) = args.instead {
        let overrides =
            [args.model.overrides.overrides, asked.overrides.overrides.clone()].concat();
        return token(&Tokens::within(&data_dir(&frame.load(overrides)?)?), asked, out);
    }
    let mut model = args.model.clone();
    if args.log_json {
        model.overrides.overrides.push("log.format=\"jsonl\"".to_owned());
    }
    let loaded = frame.load_with(&model)?;
    let tokens = Tokens::within(&data_dir(&loaded)?);
    let home = loaded.cwd.clone();
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let place = Place::of(frame, &args)?;
        let listening = place.listen().await?;
        if let Some(secret) = tokens.first(SystemClock::new().now())? {
            complain(&format!("a token that may do everything is in {}", secret.display()));
        }
        let admission = admission(frame, &args, &home)?;
        let folders = Folders::within(loaded, model, Some(&admission.roots))?;
        let sessions = (Arc::clone(&folders), home);
        let served = serve(&args, (admission, &tokens), sessions, listening).await;
        if tokio::time::timeout(REST, folders.close()).await.is_err() {
            tracing::warn!("the store did not end in time; it is whole when it is opened again");
        }
        served.map(|()| Exit::Done)
    });
    runtime.shutdown_timeout(REST);
    done
}

async fn serve(
    args: &ServeArgs,
    (admission, tokens): (Admission, &Tokens),
    (folders, home): (Arc<Folders>, PathBuf),
    Listening { listener, name, mut socket }: Listening,
) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let (drainer, drain) = Drain::new();
    // Before they are read: what changes in between is read once more.
    let seen = tokens.changed();
    let gate = Gate::new(admission, tokens.load()?, drain.clone());
    let figures = folders.figures();
    let sessions = Sessions::new(folders as _, home, Caller::trusted("rest"));
    let router = rest::guarded(&sessions, &gate, drain, figures);
    let connections = open_files::room_for(args.connections);
    complain(&format!("listening on {name}"));
    let mut ended = None;
    let until = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
            () = watch(tokens, seen, &gate) => {}
        }
        // Before the listener closes: others can listen there only then.
        drop(socket.take());
        ended = Some(Instant::now());
    };
    rest::serve(listener, router, connections, (drainer, until)).await;
    let until = ended.unwrap_or_else(Instant::now) + rest::DRAIN_WITHIN;
    if timeout_at(until, sessions.at_rest()).await.is_err() {
        tracing::warn!("turns did not end in time; they go on from their journals");
    }
    Ok(())
}

/// Lets in those whom the file of tokens names, as it is changed since it was `seen`. It never ends.
async fn watch(tokens: &Tokens, mut seen: Option<SystemTime>, gate: &Gate) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        every.tick().await;
        let changed = tokens.changed();
        if changed == seen {
            continue;
        }
        seen = changed;
        match tokens.load() {
            Ok(tokens) => gate.admit(tokens),
            // Whoever came in before still does: a file that is being mended locks nobody out.
            Err(error) => tracing::error!("the tokens stay as they were: {error:#}"),
        }
    }
}

fn admission(frame: &Frame, args: &ServeArgs, home: &Path) -> anyhow::Result<Admission> {
    let mut roots = Vec::new();
    for root in &args.root {
        let root = frame.cwd.join(root);
        let found = root.canonicalize();
        roots.push(found.with_context(|| format!("--root {}: no such folder", root.display()))?);
    }
    if roots.is_empty() {
        roots.push(home.canonicalize().context("the current folder is gone")?);
    }
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
    hosts.push(match args.listen.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    });
    hosts.extend(args.allow_host.iter().cloned());
    Ok(Admission {
        hosts: args.unix.is_none().then_some(hosts),
        origins: args.allow_origin.clone(),
        rate_per_second: args.rate,
        requests_max: usize::try_from(args.requests).unwrap_or(usize::MAX),
        roots: roots.into(),
    })
}

/// A server that listens.
struct Listening {
    /// It goes before the listener does: until then no other file is what it is.
    socket: Option<Socket>,
    listener: Listener,
    /// What it is reached by.
    name: String,
}

/// A socket in the file system, which goes with its server, unless it is another's by then.
struct Socket {
    path: PathBuf,
    is: FileId,
}

/// What a file is, whatever it is called: its device and its number there.
type FileId = (u64, u64);

impl Drop for Socket {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        if !found.is_ok_and(|found| file_id(&found) == self.is) {
            tracing::debug!(socket = %self.path.display(), "the socket was gone, or another's");
        } else if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket was gone");
        }
    }
}

fn file_id(found: &std::fs::Metadata) -> FileId {
    (found.dev(), found.ino())
}

/// Where the server listens.
enum Place {
    Address(std::net::SocketAddr),
    Path(PathBuf),
}

impl Place {
    fn of(frame: &Frame, args: &ServeArgs) -> anyhow::Result<Self> {
        if let Some(path) = &args.unix {
            return Ok(Self::Path(frame.cwd.join(path)));
        }
        ensure!(
            args.listen.ip().is_loopback() || args.allow_remote,
            "{} can be reached by other machines, and nothing is encrypted; put a proxy with TLS in front of 127.0.0.1, or say --allow-remote",
            args.listen
        );
        Ok(Self::Address(args.listen))
    }

    /// Listens, and says where.
    async fn listen(&self) -> anyhow::Result<Listening> {
        match self {
            Self::Address(address) => {
                let listener = TcpListener::bind(address).await;
                let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
                let name = format!("http://{}", listener.local_addr()?);
                Ok(Listening { listener: Listener::Tcp(listener), name, socket: None })
            }
            Self::Path(path) => {
                remove_dead(path).await?;
                let made = private_socket(path);
                let (listener, is) =
                    made.with_context(|| format!("cannot listen on {}", path.display()))?;
                let socket = Some(Socket { path: path.clone(), is });
                let name = path.display().to_string();
                Ok(Listening { listener: Listener::Unix(listener), name, socket })
            }
        }
    }
}

/// A socket that nobody else can use: it gets its name when it has its rights.
fn private_socket(path: &Path) -> std::io::Result<(UnixListener, FileId)> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new().prefix(".oarlock-").tempdir_in(folder)?;
    let unnamed = beside.path().join("s");
    let listener = UnixListener::bind(&unnamed)?;
    std::fs::set_permissions(&unnamed, Permissions::from_mode(0o600))?;
    let is = file_id(&std::fs::symlink_metadata(&unnamed)?);
    std::fs::rename(&unnamed, path)?;
    Ok((listener, is))
}

/// Removes the socket of a server that has died. Nothing else is ever removed.
async fn remove_dead(path: &Path) -> anyhow::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(gone) if gone.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot use {}", path.display())),
    };
    ensure!(found.file_type().is_socket(), "{} is there and is no socket", path.display());
    if UnixStream::connect(path).await.is_ok() {
        bail!("another server listens on {}", path.display());
    }
    std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

fn token(tokens: &Tokens, args: TokenArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match args.action {
        TokenAction::Add { name, scope, tenant } => {
            let tenant = tenant.map(Tenant::parse).transpose()?;
            let secret = tokens.add(&name, (scope, tenant), SystemClock::new().now())?;
            complain("this is shown once:");
            writeln!(out, "{}", secret.expose_secret())?;
        }
        TokenAction::List { json } => {
            let mut all = tokens.list()?;
            all.sort_by(|one, other| one.name.cmp(&other.name));
            if json {
                serde_json::to_writer(&mut *out, &all)?;
                writeln!(out)?;
                return Ok(Exit::Done);
            }
            for token in all {
                let tenant = token.tenant.map_or(String::new(), |tenant| format!("  of {tenant}"));
                writeln!(out, "{}  {}{tenant}", token.name, token.scopes.join(","))?;
            }
        }
        TokenAction::Remove { name } => tokens.remove(&name)?,
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_ends_takes_its_socket_along_and_leaves_that_of_its_successor() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("s");
        let place = Place::Path(path.clone());
        let first = place.listen().await.unwrap();
        assert!(place.listen().await.is_err(), "one listens there");
        std::fs::remove_file(&path).unwrap();
        let second = place.listen().await.unwrap();
        drop(first.socket);
        assert!(path.exists(), "it is the second one's");
        drop(second);
        assert!(!path.exists());
    }
}
