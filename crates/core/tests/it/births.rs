//! A session that is made with its first input has it from its first frame on, or is not made.

use std::sync::Arc;

use oarlock_core::command::{Admit, Rejection};
use oarlock_core::event::{Delivery, InputSource};
use oarlock_core::ids::SessionId;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::journal::{Catalog, Filter, Journal};
use oarlock_core::spec::Comms;
use oarlock_core::{AgentError, LoadSession, NewSession, Origin, Recovery};
use oarlock_testkit::kit::{Kit, Parts, journal, node, settings, spec, tags};
use oarlock_testkit::model::{Say, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};

fn id() -> SessionId {
    SessionId::parse("born").unwrap()
}

fn named() -> Comms {
    serde_json::from_value(serde_json::json!({ "name": "newborn" })).unwrap()
}

fn new(words: &str, comms: Option<Comms>) -> NewSession {
    let input = Admit {
        key: Some("key".to_owned()),
        source: InputSource::User,
        delivery: Delivery::Now,
        content: vec![Part::text(words)],
        goal: None,
        output: None,
        peer: None,
    };
    let spec = spec(settings());
    NewSession { id: Some(id()), comms, input: Some(Box::new(input)), ..spec.into() }
}

#[tokio::test(start_paused = true)]
async fn an_input_that_comes_with_its_session_is_in_the_first_frame_and_is_searched_for() {
    for comms in [None, Some(named())] {
        let store = MemoryStore::new(node("a"));
        let kit = Kit::of(Parts::on(store.clone(), vec![vec![Say::Reply(text("done"))]], vec![]));
        let new = new("abracadabra", comms.clone());
        let first = new.first_input().unwrap();
        let session = kit.core.open(Origin::New(Box::new(new.clone()))).await.unwrap();
        let again = session.tell(oarlock_core::Command::Admit(*new.input.unwrap())).await.unwrap();
        assert_eq!(again, oarlock_core::Reply::Admitted(first));
        session.close().await.unwrap();
        let frame = Journal::read(&store, &id(), 0, 1).await.unwrap().remove(0);
        let tags = tags(&journal(&kit.core, &session).await);
        let wanted = match comms {
            None => vec!["session_created", "input_admitted"],
            Some(_) => vec!["session_created", "session_named", "input_admitted"],
        };
        assert_eq!(
            (frame.count as usize, tags[..wanted.len()].join(" ")),
            (wanted.len(), wanted.join(" "))
        );
        let filter = Filter { limit: Some(10), ..Filter::default() };
        let found = store.search("abracadabra", &filter).await.unwrap();
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_any_write_leaves_a_session_with_its_input_or_none() {
    let (mut done, mut none, mut begun) = (false, 0, 0);
    for (writes, last) in (0..9).flat_map(|n| [(n, LastWrite::Stored), (n, LastWrite::Lost)]) {
        let store = MemoryStore::new(node("b"));
        let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 0, 0));
        let say = || vec![vec![Say::Reply(text("done"))]];
        let parts = Parts::on(store.clone(), say(), vec![]);
        let kit = Kit::of(Parts { journal: mortal.clone(), ..parts });
        mortal.doom(writes, last);
        let made = kit.core.open(Origin::New(Box::new(new("go", Some(named()))))).await;
        if let Ok(session) = &made {
            // It fails when the process dies meanwhile.
            drop(session.close().await);
        }
        done = !mortal.is_dead();
        mortal.die();
        let next = Kit::of(Parts { name: "b", ..Parts::on(store.clone(), say(), vec![]) });
        let load = LoadSession::new(id(), Recovery::Continue);
        match next.core.open(Origin::Resume(load)).await {
            Err(AgentError::SessionNotFound { .. }) => {
                assert!(made.is_err(), "{writes} {last:?}");
                none += 1;
            }
            Err(error) => panic!("{writes} {last:?}: {error}"),
            Ok(session) => {
                let state = session.state().await.unwrap();
                assert_eq!(state.last_input, Some(3), "{writes} {last:?}");
                session.close().await.unwrap();
                assert!(session.state().await.unwrap().pending.is_empty());
                begun += 1;
            }
        }
    }
    assert!(done && none == 1 && begun > 4, "{none} {begun}");
}

#[tokio::test(start_paused = true)]
async fn an_input_that_would_be_refused_later_keeps_its_session_from_being_made() {
    let kit = Kit::new(vec![], vec![]);
    let refused = kit.core.open(Origin::New(Box::new(new(" ", None)))).await.unwrap_err();
    assert!(matches!(refused, AgentError::Rejected(Rejection::Invalid { .. })), "{refused}");
    let long = "x".repeat(kit.core.limits().input_bytes + 1);
    let refused = kit.core.open(Origin::New(Box::new(new(&long, None)))).await.unwrap_err();
    assert!(matches!(refused, AgentError::Rejected(Rejection::TooLarge { .. })));
    assert!(kit.core.state(&id()).await.is_err());
    assert!(kit.core.ports().catalog.list(&Filter::default()).await.unwrap().is_empty());
}
