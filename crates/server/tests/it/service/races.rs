//! Those who want things of one session at the same moment: moments are drawn by seeds, and once by real threads.

use std::sync::Arc;

use futures::future::{Either, join, join_all, ready, select};
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::journal::{Catalog, Filter};
use oarlock_core::session::state::State;
use oarlock_core::spec::Mode;
use oarlock_testkit::kit::{Parts, node};
use oarlock_testkit::model::{Say, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use serde_json::json;

use super::contract::{dawdles, of, says};
use super::{Direct, Refusal, Surface, deferred, done};
use crate::desk::{Desk, id};
use crate::stored;

/// A number below `below` that follows from a seed.
fn drawn(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

/// Lets others go first, so often.
async fn after<T>(others: u64, then: impl Future<Output = T>) -> T {
    for _ in 0..others {
        tokio::task::yield_now().await;
    }
    then.await
}

/// The refusals that a race may end with.
fn among(answer: &Result<serde_json::Value, Refusal>, codes: &[&str]) {
    if let Err(refusal) = answer {
        assert!(codes.contains(&&*refusal.code), "{refusal:?}");
    }
}

/// Turns whose interrupts come at any moment of them.
async fn interrupts(surface: &Direct, rounds: u64, mut seed: u64) {
    let session = deferred(surface).await;
    for round in 0..rounds {
        let go = of(&session, json!({ "prompt": "go", "wait_ms": 0 }));
        let started = done(surface, "turn/start", go).await;
        let moment = drawn(&mut seed, 40);
        let stop = after(moment, surface.call("turn/interrupt", of(&session, json!({}))));
        let asked = of(&session, json!({ "input": started["input"] }));
        let (ended, stopped) = join(done(surface, "turn/wait", asked), stop).await;
        assert_eq!(ended["turn"], round + 1, "{ended}");
        let reason = ended["stop_reason"]["reason"].as_str().unwrap();
        match &stopped {
            // What was accepted ends the turn that ran, unless that had its last word already.
            Ok(_) => assert!(["cancelled", "end_turn"].contains(&reason), "{ended}"),
            Err(refusal) => {
                assert_eq!((&*refusal.code, reason), ("SESSION_NOT_RUNNING", "end_turn"));
            }
        }
    }
    // Nothing of an interrupt is left for the next turn.
    let next = done(surface, "turn/start", of(&session, json!({ "prompt": "last" }))).await;
    assert_eq!(next["stop_reason"]["reason"], "end_turn", "{next}");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_interrupts_hit_their_turn_or_none() {
    let surface = Direct::open(&Desk::new(vec![], vec![])).await;
    for seed in 1..=20 {
        interrupts(&surface, 50, seed).await;
    }
}

#[test]
fn interrupts_from_other_threads_hit_their_turn_or_none() {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let surface = Arc::new(Direct::open(&Desk::new(vec![], vec![])).await);
        let mut all = tokio::task::JoinSet::new();
        for seed in 1..=8 {
            let surface = Arc::clone(&surface);
            all.spawn(async move { interrupts(&surface, 60, seed).await });
        }
        while let Some(ended) = all.join_next().await {
            ended.unwrap();
        }
    });
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_of_a_turn_that_would_go_on_is_never_lost() {
    let script = (0..200).map(|_| vec![Say::Silence]).collect();
    let surface = Direct::open(&Desk::new(script, vec![])).await;
    let (session, mut seed) = (deferred(&surface).await, 11);
    for _ in 0..200 {
        let go = of(&session, json!({ "prompt": "go", "wait_ms": 0 }));
        let started = done(&surface, "turn/start", go).await;
        let moment = drawn(&mut seed, 40);
        after(moment, done(&surface, "turn/interrupt", of(&session, json!({})))).await;
        let asked = of(&session, json!({ "input": started["input"], "wait_ms": 1_000 }));
        let ended = done(&surface, "turn/wait", asked).await;
        assert_eq!(ended["stop_reason"]["reason"], "cancelled", "{ended}");
    }
}

#[tokio::test(start_paused = true)]
async fn archiving_wins_whoever_begins_turns_meanwhile() {
    let mut seed = 3;
    for _ in 0..200 {
        let desk = Desk::new(vec![dawdles("one"), dawdles("two")], vec![]);
        let surface = Direct::open(&desk).await;
        let session = deferred(&surface).await;
        if drawn(&mut seed, 2) == 0 {
            done(&surface, "session/close", of(&session, json!({}))).await;
        }
        let begins = (0..3).map(|_| drawn(&mut seed, 60)).collect::<Vec<_>>();
        let turns = begins.into_iter().map(|moment| {
            after(moment, surface.call("turn/start", of(&session, json!({ "prompt": "go" }))))
        });
        let moment = drawn(&mut seed, 60);
        let archive = after(moment, surface.call("session/archive", of(&session, json!({}))));
        let (turns, archived) = join(join_all(turns), archive).await;
        archived.unwrap();
        for turn in &turns {
            among(turn, &["SESSION_BUSY", "SESSION_ARCHIVED"]);
            if let Ok(turn) = turn {
                assert_eq!(turn["stop_reason"]["reason"], "cancelled", "{turn}");
            }
        }
        let state = desk.kit.core.state(&id(&session)).await.unwrap();
        assert!(state.archived && state.turn.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn two_who_create_with_one_key_have_one_session_and_one_turn() {
    let mut seed = 5;
    for round in 0..100 {
        let desk = Desk::new(vec![says("once"), says("twice")], vec![]);
        let surface = Direct::open(&desk).await;
        let create = || json!({ "prompt": "go", "idempotency_key": format!("k{round}") });
        let (first, second) = join(
            after(drawn(&mut seed, 30), done(&surface, "session/create", create())),
            after(drawn(&mut seed, 30), done(&surface, "session/create", create())),
        )
        .await;
        assert_eq!(first, second);
        assert_eq!(desk.kit.model.requests().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_purged_stays_away_whatever_is_wanted_of_it_meanwhile() {
    let mut seed = 13;
    for _ in 0..200 {
        let desk = Desk::new(vec![dawdles("one"), dawdles("two")], vec![]);
        let surface = Direct::open(&desk).await;
        let session = deferred(&surface).await;
        let wanted = ["turn/start", "session/archive", "turn/interrupt", "session/read"];
        let others = wanted.map(|name| {
            let params = match name {
                "turn/start" => json!({ "prompt": "go" }),
                _ => json!({}),
            };
            after(drawn(&mut seed, 60), surface.call(name, of(&session, params)))
        });
        let purge =
            after(drawn(&mut seed, 60), surface.call("session/purge", of(&session, json!({}))));
        let (others, purged) = join(join_all(others), purge).await;
        purged.unwrap();
        for other in &others {
            among(
                other,
                &[
                    "SESSION_NOT_FOUND",
                    "SESSION_NOT_RUNNING",
                    "SESSION_ARCHIVED",
                    "SESSION_BUSY",
                    "SESSION_MOVED",
                    "SESSION_STORE_ERROR",
                ],
            );
        }
        let gone = surface.call("session/read", of(&session, json!({}))).await.unwrap_err();
        assert_eq!(gone.code, "SESSION_NOT_FOUND");
        assert_eq!(done(&surface, "session/list", json!({})).await["sessions"], json!([]));
    }
}

/// Lets go of a future after so many others went first, unless it is done by then.
async fn dropped<T>(moment: u64, future: impl Future<Output = T>) -> Option<T> {
    match select(Box::pin(future), Box::pin(after(moment, ready(())))).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(((), _)) => None,
    }
}

/// Every session of a program, once everything in it has come to rest.
async fn at_rest(desk: &Desk) -> Vec<State> {
    // Virtual time goes on when nobody has anything to do.
    let core = &desk.kit.core;
    let clock = &core.ports().clock;
    clock.sleep_until(clock.now().after(600_000)).await;
    let all = core.ports().catalog.list(&Filter::default()).await.unwrap();
    join_all(all.iter().map(async |row| core.state(&row.id).await.unwrap())).await
}

#[tokio::test(start_paused = true)]
async fn whoever_creates_and_goes_leaves_no_session_without_its_prompt() {
    let (mut seed, mut made, mut answered) = (17, 0, 0);
    for _ in 0..60 {
        // A write that has begun ends on the disk, whoever waits for it.
        let desk = stored::desk(vec![vec![Say::Wait(1_000), Say::Reply(text("done"))]]);
        let surface = Direct::open(&desk).await;
        let create = surface.call("session/create", json!({ "prompt": "go" }));
        answered += dropped(drawn(&mut seed, 1_000), create).await.iter().count();
        // A turn that has begun goes on without whoever asked for it.
        let left = at_rest(&desk).await;
        made += left.len();
        for state in left {
            assert_eq!((state.turns, state.turn.is_none()), (1, true));
            assert_eq!(state.conversation.messages.len(), 2, "its prompt and its answer");
        }
    }
    assert!(made > 20 && answered < made, "{made} were made, {answered} answered");
}

#[tokio::test(start_paused = true)]
async fn a_create_that_dies_at_any_write_is_done_once_when_it_is_asked_for_again() {
    let (mut seed, mut halves, mut done_first) = (31, 0, false);
    for (writes, last) in (0..10).flat_map(|n| [(n, LastWrite::Stored), (n, LastWrite::Lost)]) {
        let store = MemoryStore::new(node("b"));
        let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 0, 0));
        let parts = Parts::on(store.clone(), vec![says("one")], vec![]);
        let desk = Desk::of(Parts { journal: mortal.clone(), ..parts }, Mode::OPEN);
        mortal.doom(writes, last);
        let create = json!({ "prompt": "go", "idempotency_key": "k", "wait_ms": drawn(&mut seed, 9),
            "build": { "comms_name": "one" } });
        // It fails when the process dies meanwhile.
        drop(Direct::open(&desk).await.call("session/create", create.clone()).await);
        done_first = !mortal.is_dead();
        mortal.die();
        let rows = store.list(&Filter::default()).await.unwrap();
        let parts = Parts::on(store, vec![says("one")], vec![]);
        let desk = Desk::of(Parts { name: "b", ..parts }, Mode::OPEN);
        for row in &rows {
            let state = desk.kit.core.state(&row.id).await.unwrap();
            assert_eq!(state.last_input, Some(3), "{writes} {last:?}: made without its prompt");
            halves += u32::from(state.turns == 0);
        }
        let create = json!({ "prompt": "go", "idempotency_key": "k",
            "build": { "comms_name": "one" } });
        let surface = Direct::open(&desk).await;
        let turn = done(&surface, "session/create", create).await;
        assert_eq!((&turn["turn"], &turn["input"]), (&json!(1), &json!(3)), "{turn}");
        assert_eq!(desk.kit.core.ports().catalog.list(&Filter::default()).await.unwrap().len(), 1);
    }
    assert!(done_first && halves > 0, "{halves}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_whose_caller_goes_ends_as_if_somebody_waited() {
    let mut seed = 19;
    let script = (0..60).map(|_| vec![Say::Wait(1_000), Say::Reply(text("done"))]).collect();
    let desk = stored::desk(script);
    let surface = Direct::open(&desk).await;
    let session = deferred(&surface).await;
    let mut begun = 0;
    for round in 0..60 {
        let go = of(&session, json!({ "prompt": "go", "idempotency_key": format!("k{round}") }));
        let left = dropped(drawn(&mut seed, 1_000), surface.call("turn/start", go.clone())).await;
        begun += u64::from(left.is_none());
        // Asked again with its key it is the same turn, begun by then or not.
        let turn = done(&surface, "turn/start", go).await;
        assert_eq!(
            (&turn["stop_reason"]["reason"], &turn["turn"]),
            (&json!("end_turn"), &json!(round + 1)),
            "{turn}"
        );
    }
    assert!(begun > 20, "{begun} were left");
    assert_eq!(desk.kit.model.requests().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn archiving_wins_over_whoever_creates_the_session_meanwhile() {
    let (mut seed, mut archived) = (23, 0);
    for round in 0..200 {
        let desk = Desk::new(vec![dawdles("one")], vec![]);
        let surface = Direct::open(&desk).await;
        let session = format!("drawn-{round}");
        let create = json!({ "prompt": "go", "build": { "resume_session": session } });
        let moments = (drawn(&mut seed, 30), drawn(&mut seed, 60));
        let create = after(moments.0, surface.call("session/create", create));
        let archive = surface.call("session/archive", of(&session, json!({})));
        let (create, archive) = join(create, after(moments.1, archive)).await;
        among(&archive, &["SESSION_NOT_FOUND"]);
        let state = desk.kit.core.state(&id(&session)).await.unwrap();
        assert_eq!((state.archived, state.turn.is_none()), (archive.is_ok(), true));
        match (create, archive.is_ok()) {
            (Ok(turn), true) => assert_eq!(turn["stop_reason"]["reason"], "cancelled", "{turn}"),
            (Ok(turn), false) => assert_eq!(turn["stop_reason"]["reason"], "end_turn", "{turn}"),
            (Err(refusal), is_archived) => {
                assert!(is_archived && refusal.code == "SESSION_ARCHIVED", "{refusal:?}");
                assert!(state.pending.is_empty());
            }
        }
        archived += u32::from(archive.is_ok());
    }
    assert!((20..180).contains(&archived), "{archived} were archived");
}

/// A runtime on virtual time; everything in it dies with it.
fn process() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().expect("the system has room")
}

#[test]
fn archiving_wins_over_whoever_takes_up_the_turn_of_a_dead_process() {
    let mut seed = 29;
    for _ in 0..200 {
        let store = MemoryStore::new(node("a"));
        let data = store.reopen(node("b"));
        let session = process().block_on(async {
            let desk = Desk::of(Parts::on(store, vec![dawdles("never")], vec![]), Mode::OPEN);
            let create = json!({ "prompt": "go", "wait_ms": 0 });
            let made = done(&Direct::open(&desk).await, "session/create", create).await;
            made["session_id"].as_str().unwrap().to_owned()
        });
        process().block_on(async {
            let parts = Parts::on(data, vec![dawdles("two"), dawdles("three")], vec![]);
            let desk = Desk::of(Parts { name: "b", ..parts }, Mode::OPEN);
            let surface = Direct::open(&desk).await;
            let wanted = ["turn/wait", "turn/start", "turn/interrupt"].map(|name| {
                let params = match name {
                    "turn/start" => json!({ "prompt": "more" }),
                    _ => json!({}),
                };
                after(drawn(&mut seed, 60), surface.call(name, of(&session, params)))
            });
            let archive = surface.call("session/archive", of(&session, json!({})));
            let archive = after(drawn(&mut seed, 60), archive);
            let (wanted, archived) = join(join_all(wanted), archive).await;
            archived.unwrap();
            for answer in &wanted {
                among(answer, &["SESSION_ARCHIVED", "SESSION_BUSY", "SESSION_NOT_RUNNING"]);
            }
            if let Ok(turn) = &wanted[0] {
                let reason = turn["stop_reason"]["reason"].as_str().unwrap();
                assert!(["interrupted", "cancelled"].contains(&reason), "{turn}");
            }
            let state = desk.kit.core.state(&id(&session)).await.unwrap();
            assert!(state.archived && state.turn.is_none() && state.pending.is_empty());
        });
    }
}
