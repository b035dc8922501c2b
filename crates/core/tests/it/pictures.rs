//! Pictures and documents of a conversation: a request takes the newest that fit, and the session goes on.

use bytes::Bytes;
use oarlock_core::event::{Event, PrefixBreak, StopReason};
use oarlock_core::ids::BlobId;
use oarlock_core::message::{Media, Message, Part};
use oarlock_core::ports::journal::Blobs;
use oarlock_testkit::kit::{Kit, Parts, journal};
use oarlock_testkit::model::{Say, text};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn more_pictures_than_a_request_takes_leave_the_oldest_out_and_the_session_goes_on() {
    let script = (0..4).map(|_| vec![Say::Reply(text("seen"))]).collect();
    let parts = Parts::new(script, vec![]);
    let store = parts.store.clone();
    let kit = Kit::of(parts);
    let session = kit.open().await;
    for turn in 0..3_u8 {
        let bytes = 30 * MIB;
        let blob = store.put(Bytes::from(vec![turn; bytes])).await.unwrap();
        let image = Part::Image { media_type: "image/png".to_owned(), blob, bytes: bytes as u64 };
        let ended = session.run_turn(vec![Part::text("look"), image]).await.unwrap();
        assert_eq!(ended.stop, StopReason::EndTurn, "turn {turn}");
    }
    session.run_turn(vec![Part::text("and now?")]).await.unwrap();
    let asked = kit.model.requests();
    let loaded: Vec<usize> = asked.iter().map(|request| request.bodies.len()).collect();
    assert_eq!(loaded, [1, 2, 2, 2]);
    let breaks = journal(&kit.core, &session).await.into_iter().filter_map(|e| match e.event {
        Event::StepStarted(started) => Some(started.prefix_break),
        _ => None,
    });
    assert_eq!(breaks.collect::<Vec<_>>(), [None, None, Some(PrefixBreak::Pictures), None]);
    let pictures: Vec<&Part> = asked[2]
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::User { parts } => parts.get(1),
            _ => None,
        })
        .collect();
    let [Part::Text { text: words }, Part::Image { .. }, Part::Image { .. }] = pictures[..] else {
        panic!("{pictures:?}")
    };
    assert!(words.contains("31457280 bytes was left out"), "{words}");
}

#[tokio::test]
async fn a_picture_that_is_shown_often_counts_once() {
    let parts = Parts::new(vec![vec![Say::Reply(text("seen"))]], vec![]);
    let store = parts.store.clone();
    let kit = Kit::of(parts);
    let mut images = Vec::new();
    for name in [1, 2] {
        let blob = store.put(Bytes::from(vec![name; 20 * MIB])).await.unwrap();
        images.push(Part::Image { media_type: "image/png".to_owned(), blob, bytes: 20 << 20 });
    }
    // An older one, and then four times the same: as many as do not fit one by one.
    let shown = [0, 1, 1, 1, 1].map(|at: usize| images[at].clone()).to_vec();
    kit.open().await.run_turn(shown.clone()).await.unwrap();
    let asked = kit.model.requests().remove(0);
    assert_eq!(asked.bodies.len(), 2);
    assert_eq!(*asked.messages, [Message::User { parts: shown }]);
}

#[tokio::test]
async fn a_document_is_given_to_the_model_and_one_that_is_gone_is_told() {
    let parts = Parts::new(vec![vec![Say::Reply(text("read"))]], vec![]);
    let store = parts.store.clone();
    let kit = Kit::of(parts);
    let blob = store.put(Bytes::from_static(b"%PDF-1.7")).await.unwrap();
    let document = |name: &str, blob| Media::Document("application/pdf").part(name, (blob, 8));
    let (here, gone) = (document("a.pdf", blob.clone()), document("b.pdf", BlobId::of(b"lost")));
    kit.open().await.run_turn(vec![here.clone(), gone]).await.unwrap();
    let asked = kit.model.requests().remove(0);
    assert_eq!(asked.bodies[&blob], b"%PDF-1.7".as_slice());
    let Message::User { parts } = &asked.messages[0] else { panic!("{asked:?}") };
    assert_eq!(parts[0], here);
    let words = parts[1].as_text().unwrap();
    assert_eq!(
        words,
        "[b.pdf, a document of 8 bytes, was left out: its bytes are not kept any more]"
    );
}
