//! Those who want things of one session at the same moment: moments are drawn by seeds, and once by real threads.

use std::sync::Arc;

use futures::future::{join, join_all};
use oarlock_testkit::model::Say;
use serde_json::json;

use super::contract::{dawdles, of, says};
use super::{Direct, Refusal, Surface, deferred, done};
use crate::desk::{Desk, id};

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
