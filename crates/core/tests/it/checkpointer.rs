//! A program is told of each turn's end, and no turn waits for it.

use std::sync::{Arc, Mutex};

use oarlock_core::command::Command;
use oarlock_core::service::{CHECKPOINT_MS, CheckpointFigures, Checkpoints, Cursor};
use oarlock_core::{DefaultSession, SessionCheckpointer};
use oarlock_testkit::brought::{Keep, TestCheckpointer};
use oarlock_testkit::kit::Kit;
use tokio::task::JoinSet;

use crate::subagents::go;

type Figures = Arc<Mutex<CheckpointFigures>>;

/// A session whose checkpointer is told.
async fn told(keeps: Vec<Keep>) -> (DefaultSession, Arc<TestCheckpointer>, Figures, JoinSet<()>) {
    let session = Kit::new(vec![], vec![]).open().await;
    let (checkpointer, figures) = (TestCheckpointer::new(keeps), Figures::default());
    let telling = Checkpoints {
        session: session.clone(),
        checkpointer: Arc::clone(&checkpointer) as Arc<dyn SessionCheckpointer>,
        figures: Arc::clone(&figures),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(telling.tell(0));
    (session, checkpointer, figures, tasks)
}

/// Lets time pass for those who are told.
async fn pass(session: &DefaultSession, ms: u64) {
    let clock = &session.core().ports().clock;
    clock.sleep_until(clock.now().after(ms)).await;
}

async fn turns(session: &DefaultSession, count: u32) -> u64 {
    for _ in 0..count {
        session.run_turn(go()).await.unwrap();
        pass(session, 10).await;
    }
    session.state().await.unwrap().tip
}

#[tokio::test(start_paused = true)]
async fn a_checkpointer_is_told_of_the_last_turn_one_call_at_a_time_and_no_turn_waits() {
    let (session, checkpointer, figures, _tasks) = told(vec![Keep::After(500)]).await;
    let clock = Arc::clone(&session.core().ports().clock);
    let begun = clock.now();
    let first = turns(&session, 1).await;
    let last = turns(&session, 3).await;
    assert!(clock.now().ms_since(begun) < 500, "the turns go on while it works");
    assert_eq!((checkpointer.begun(), checkpointer.kept().len()), (1, 0));
    pass(&session, 600).await;
    let kept = checkpointer.kept();
    let cursors: Vec<_> = kept.iter().map(|at| at.cursor).collect();
    assert_eq!(cursors, [Cursor(first), Cursor(last)], "the last one makes up for the others");
    assert_eq!(kept.iter().map(|at| at.view.info.turns).collect::<Vec<_>>(), [1, 4]);
    assert!(kept.iter().all(|at| at.session == *session.id() && !at.view.info.is_active));
    let wanted =
        CheckpointFigures { saved: 2, failed: 0, passed_over: 2, last: Some(Cursor(last)) };
    assert_eq!(*figures.lock().unwrap(), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_checkpointer_that_fails_panics_or_hangs_is_counted_and_told_of_the_next_turn() {
    let (session, checkpointer, figures, _tasks) =
        told(vec![Keep::Fail, Keep::Panic, Keep::Never]).await;
    turns(&session, 3).await;
    assert_eq!((checkpointer.begun(), figures.lock().unwrap().failed), (3, 2));
    let last = turns(&session, 1).await;
    assert_eq!(checkpointer.begun(), 3, "one call at a time");
    pass(&session, CHECKPOINT_MS).await;
    assert_eq!(checkpointer.kept().len(), 1);
    let wanted =
        CheckpointFigures { saved: 1, failed: 3, passed_over: 0, last: Some(Cursor(last)) };
    assert_eq!(*figures.lock().unwrap(), wanted);
}

#[tokio::test(start_paused = true)]
async fn of_an_archived_session_no_checkpoint_is_made_and_the_one_under_way_is_dropped() {
    let (session, checkpointer, figures, tasks) = told(vec![Keep::After(1_000)]).await;
    turns(&session, 2).await;
    session.tell(Command::Archive).await.unwrap();
    pass(&session, 5_000).await;
    assert_eq!((checkpointer.begun(), checkpointer.kept().len()), (1, 0));
    session.tell(Command::Restore).await.unwrap();
    let last = turns(&session, 1).await;
    assert_eq!(checkpointer.kept().len(), 1);
    assert_eq!(figures.lock().unwrap().last, Some(Cursor(last)));
    assert!(!tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn telling_a_checkpointer_wakes_nothing_and_goes_on_through_sleep() {
    let (session, checkpointer, _figures, _tasks) = told(vec![]).await;
    turns(&session, 1).await;
    session.close().await.unwrap();
    pass(&session, 60_000).await;
    assert!(!session.core().is_awake(session.id()));
    turns(&session, 1).await;
    assert_eq!(checkpointer.kept().len(), 2);
}
