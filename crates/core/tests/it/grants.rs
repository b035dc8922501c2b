//! What "always" covers: what was shown, in this session, and in later ones of the folder only when a person chose so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{BoxFuture, pending};
use oarlock_core::event::{Effect, Event, Outcome, PermissionKind};
use oarlock_core::ids::CallId;
use oarlock_core::memory::{MemoryGrants, MemoryStore};
use oarlock_core::message::Part;
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::policy::{GRANTS_MAX, Grants, GrantsError};
use oarlock_core::spec::{Answers, Mode, SessionSpec, Settings};
use oarlock_core::{DefaultSession, PermissionResolution, SessionError};
use oarlock_testkit::clock::VirtualClock;
use oarlock_testkit::kit::{Kit, Parts, journal, node, settings, spec, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool};

use PermissionKind::{AllowAlways, AllowOnce, AllowSaved, RejectOnce};

fn asking() -> Settings {
    Settings { mode: Mode::ASK_WRITES, answers: Answers::Somebody, ..settings() }
}

fn tools() -> Vec<Arc<TestTool>> {
    ["write", "other"]
        .map(|name| TestTool::new(name, Effect::Mutating, Act::Give("done".to_owned())))
        .to_vec()
}

fn ask(id: &str, tool: &str, what: &str) -> Vec<Say> {
    vec![Say::Reply(calls(&[(id, tool, &format!(r#"{{"what": "{what}"}}"#))]))]
}

fn done() -> Vec<Say> {
    vec![Say::Reply(text("ok"))]
}

fn kit(script: Vec<Vec<Say>>, grants: &Arc<MemoryGrants>) -> Kit {
    let grants = Some(Arc::clone(grants) as Arc<dyn Grants>);
    Kit::of(Parts { grants, ..Parts::new(script, tools()) })
}

async fn in_folder(kit: &Kit, folder: &str, settings: Settings) -> DefaultSession {
    let spec = SessionSpec { cwd: PathBuf::from(folder), ..spec(settings) };
    kit.core.open(spec.into()).await.unwrap()
}

/// Runs a turn and answers every question by `choice`. Gives the calls that were asked about.
async fn turn(session: &DefaultSession, choice: PermissionKind) -> Vec<String> {
    let since = session.prompt(vec![Part::text("go")]).await.unwrap();
    let (mut after, mut asked) = (since, Vec::new());
    loop {
        let entry = wait_for(session, after, |event| {
            matches!(event, Event::PermissionAsked(_) | Event::TurnEnded(_))
        })
        .await;
        let Event::PermissionAsked(question) = &entry.event else { return asked };
        asked.push(question.call.to_string());
        let selected = PermissionResolution::Selected(choice);
        session.permissions().resolve(&question.call, selected).await.unwrap();
        after = entry.seq;
    }
}

async fn outcomes(kit: &Kit, session: &DefaultSession) -> Vec<(String, Outcome)> {
    let entries = journal(&kit.core, session).await;
    let settled = entries.into_iter().filter_map(|entry| match entry.event {
        Event::ToolSettled(settled) => Some((settled.call.to_string(), settled.outcome)),
        _ => None,
    });
    settled.collect()
}

#[tokio::test(start_paused = true)]
async fn w03_an_always_grant_reaches_no_other_session_no_other_tool_and_no_other_arguments() {
    let grants = Arc::new(MemoryGrants::default());
    let script = vec![
        ask("a", "write", "x"),
        ask("b", "write", "x"),
        ask("c", "write", "y"),
        ask("d", "other", "x"),
        done(),
        ask("e", "write", "x"),
        done(),
    ];
    let kit = kit(script, &grants);
    let first = in_folder(&kit, "/", asking()).await;
    assert_eq!(turn(&first, AllowAlways).await, ["a", "c", "d"]);
    let second = in_folder(&kit, "/", asking()).await;
    assert_eq!(turn(&second, RejectOnce).await, ["e"]);
    assert_eq!(outcomes(&kit, &second).await, [("e".to_owned(), Outcome::Denied)]);
    assert!(grants.load(Path::new("/")).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn acceptance_07_a_grant_is_of_its_session_or_explicitly_saved_and_of_a_tool_and_argument() {
    let grants = Arc::new(MemoryGrants::default());
    let script = vec![
        ask("a", "write", "x"),
        ask("b", "write", "x"),
        done(),
        ask("c", "write", "x"),
        ask("d", "write", "xx"),
        done(),
        ask("e", "write", "x"),
        done(),
        ask("f", "write", "x"),
        done(),
    ];
    let kit = kit(script, &grants);
    let first = in_folder(&kit, "/", asking()).await;
    assert_eq!(turn(&first, AllowSaved).await, ["a"], "the same call is not asked about again");
    first.close().await.unwrap();
    assert_eq!(grants.load(Path::new("/")).await.unwrap(), ["write(x)"]);
    let later = in_folder(&kit, "/", asking()).await;
    assert_eq!(turn(&later, RejectOnce).await, ["d"], "only the other argument is asked about");
    let journaled = kit.core.state(later.id()).await.unwrap().spec.settings.rules.grants.clone();
    assert_eq!(journaled, ["write(x)"]);
    let elsewhere = in_folder(&kit, "/tmp", asking()).await;
    assert_eq!(turn(&elsewhere, RejectOnce).await, ["e"]);
    // A mode that refuses is not loosened by what was saved.
    let strict = in_folder(&kit, "/", Settings { mode: Mode::READ_ONLY, ..asking() }).await;
    assert_eq!(turn(&strict, RejectOnce).await, [""; 0]);
    assert_eq!(outcomes(&kit, &strict).await, [("f".to_owned(), Outcome::Denied)]);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_decides_by_the_grants_it_began_with() {
    let grants = Arc::new(MemoryGrants::default());
    grants.save(Path::new("/"), &["write(x)".to_owned()]).await.unwrap();
    let script =
        vec![ask("a", "write", "x"), done(), ask("b", "write", "x"), ask("c", "write", "y")];
    let kit = kit(script, &grants);
    let session = in_folder(&kit, "/", asking()).await;
    assert_eq!(turn(&session, RejectOnce).await, [""; 0]);
    session.close().await.unwrap();
    let gone = grants.forget(Path::new("/"), &["write(x)".to_owned(), "no".to_owned()]).await;
    assert_eq!(gone.unwrap(), ["write(x)"]);
    grants.save(Path::new("/"), &["write(y)".to_owned()]).await.unwrap();
    assert_eq!(turn(&session, RejectOnce).await, ["c"]);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_keeps_grants_saving_is_not_offered() {
    let kit = Kit::new(vec![ask("a", "write", "x")], tools());
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    let asked = wait_for(&session, 0, |event| matches!(event, Event::PermissionAsked(_))).await;
    let Event::PermissionAsked(question) = &asked.event else { unreachable!() };
    assert!(question.options.iter().all(|option| option.kind != AllowSaved));
    let selected = PermissionResolution::Selected(AllowSaved);
    let refused = session.permissions().resolve(&CallId("a".into()), selected).await;
    assert!(matches!(refused, Err(SessionError::Rejected(_))), "{refused:?}");
}

/// Keeps nothing, as a full disk or a lost one would.
#[derive(Debug, Default)]
struct Broken {
    hangs: bool,
    saves: AtomicUsize,
}

impl Broken {
    fn answer<T: Send + 'static>(&self) -> BoxFuture<'static, Result<T, GrantsError>> {
        if self.hangs {
            return Box::pin(pending());
        }
        Box::pin(async { Err(GrantsError::Unavailable { why: "the disk is gone".to_owned() }) })
    }
}

impl Grants for Broken {
    fn load<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        self.answer()
    }

    fn save<'a>(&'a self, _: &'a Path, _: &'a [String]) -> BoxFuture<'a, Result<(), GrantsError>> {
        self.saves.fetch_add(1, Ordering::Relaxed);
        self.answer()
    }

    fn forget<'a>(
        &'a self,
        _: &'a Path,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        self.answer()
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_cannot_be_saved_holds_for_its_session_and_delays_nothing() {
    for hangs in [false, true] {
        let broken = Arc::new(Broken { hangs, ..Broken::default() });
        let script = vec![ask("a", "write", "x"), ask("b", "write", "x"), done()];
        let grants = Some(Arc::clone(&broken) as Arc<dyn Grants>);
        let kit = Kit::of(Parts { grants, ..Parts::new(script, tools()) });
        let session = kit.open_with(asking()).await;
        let clock = Arc::clone(&kit.core.ports().clock);
        let began = clock.now();
        assert_eq!(turn(&session, AllowSaved).await, ["a"]);
        assert!(clock.now().ms_since(began) < 1_000, "the turn waits for nothing");
        assert_eq!(broken.saves.load(Ordering::Relaxed), 1);
        session.close().await.unwrap();
        assert!(
            clock.now().ms_since(began) <= 2_000,
            "closing waits no longer than saving may take"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_between_the_answer_and_its_saving_lets_later_sessions_ask_again() {
    for last in [LastWrite::Stored, LastWrite::Lost] {
        let (grants, store) = (Arc::new(MemoryGrants::default()), MemoryStore::new(node("a")));
        let dies = Arc::new(MortalJournal::new(store.clone(), 0, 0));
        let kept = Some(Arc::clone(&grants) as Arc<dyn Grants>);
        let script = vec![ask("a", "write", "x"), done()];
        let kit = Kit::of(Parts {
            journal: Arc::clone(&dies) as _,
            grants: kept.clone(),
            ..Parts::on(store.clone(), script, tools())
        });
        let session = in_folder(&kit, "/", asking()).await;
        session.prompt(vec![Part::text("go")]).await.unwrap();
        wait_for(&session, 0, |event| matches!(event, Event::PermissionAsked(_))).await;
        dies.doom(0, last);
        let selected = PermissionResolution::Selected(AllowSaved);
        let gate = session.permissions();
        assert!(gate.resolve(&CallId("a".into()), selected).await.is_err());
        assert!(grants.load(Path::new("/")).await.unwrap().is_empty(), "nothing before the commit");
        let next = Kit::of(Parts {
            name: "b",
            grants: kept,
            ..Parts::on(store.reopen(node("b")), vec![ask("b", "write", "x"), done()], tools())
        });
        let later = in_folder(&next, "/", asking()).await;
        assert_eq!(turn(&later, AllowOnce).await, ["b"]);
    }
}

#[tokio::test]
async fn grants_in_memory_are_bounded_and_take_rules_only() {
    let (grants, folder) = (MemoryGrants::default(), Path::new("/"));
    let many: Vec<String> = (0..GRANTS_MAX).map(|at| format!("write({at})")).collect();
    grants.save(folder, &many).await.unwrap();
    grants.save(folder, &many).await.unwrap();
    let full = grants.save(folder, &["write(more)".to_owned()]).await;
    assert!(matches!(full, Err(GrantsError::Full)), "{full:?}");
    let bad = grants.save(Path::new("/x"), &["bash(ls)".to_owned(), "bash(".to_owned()]).await;
    assert!(matches!(bad, Err(GrantsError::Invalid(_))), "{bad:?}");
    assert!(grants.load(Path::new("/x")).await.unwrap().is_empty());
    assert_eq!(grants.load(folder).await.unwrap(), many);
}

/// Takes half a second to save.
#[derive(Debug, Default)]
struct Slow(MemoryGrants);

impl Grants for Slow {
    fn load<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        self.0.load(folder)
    }

    fn save<'a>(
        &'a self,
        folder: &'a Path,
        rules: &'a [String],
    ) -> BoxFuture<'a, Result<(), GrantsError>> {
        Box::pin(async move {
            let clock = VirtualClock::new();
            clock.sleep_until(clock.now().after(500)).await;
            self.0.save(folder, rules).await
        })
    }

    fn forget<'a>(
        &'a self,
        folder: &'a Path,
        rules: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        self.0.forget(folder, rules)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_closed_at_once_has_saved_what_it_was_told_to_save() {
    let slow = Arc::new(Slow::default());
    let grants = Some(Arc::clone(&slow) as Arc<dyn Grants>);
    let kit =
        Kit::of(Parts { grants, ..Parts::new(vec![ask("a", "write", "x"), done()], tools()) });
    let session = in_folder(&kit, "/", asking()).await;
    assert_eq!(turn(&session, AllowSaved).await, ["a"]);
    assert!(slow.load(Path::new("/")).await.unwrap().is_empty(), "the turn did not wait for it");
    session.close().await.unwrap();
    assert_eq!(slow.load(Path::new("/")).await.unwrap(), ["write(x)"]);
}

/// Grants that somebody wrote by hand.
#[derive(Debug)]
struct Written(Vec<String>);

impl Grants for Written {
    fn load<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
    fn save<'a>(&'a self, _: &'a Path, _: &'a [String]) -> BoxFuture<'a, Result<(), GrantsError>> {
        Box::pin(pending())
    }
    fn forget<'a>(
        &'a self,
        _: &'a Path,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        Box::pin(pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_saved_grant_that_is_no_rule_is_left_out_and_keeps_no_session_from_beginning() {
    let written = Written(vec!["write(".to_owned(), "other".to_owned()]);
    let grants: Option<Arc<dyn Grants>> = Some(Arc::new(written));
    let kit = Kit::of(Parts { grants, ..Parts::new(vec![], tools()) });
    let session = in_folder(&kit, "/here", asking()).await;
    let spec = kit.core.state(session.id()).await.unwrap().spec;
    assert_eq!(spec.settings.rules.grants, ["other"]);
}
