//! Checkpoints: opening from one gives what the journal gives, whatever has happened to it.

use bytes::Bytes;
use futures::executor::block_on;
use oarlock_core::event::Entry;
use oarlock_core::ids::{Hash, SessionId};
use oarlock_core::ports::journal::{Catalog, Frame, Journal, Projection};
use oarlock_core::session::checkpoint::{Checkpoint, FORMAT};
use oarlock_core::session::state::State;
use oarlock_core::session::summary::summary;
use oarlock_testkit::kit::{Kit, Parts};
use oarlock_testkit::story::draw::{config, stories};
use oarlock_testkit::story::{Told, play};
use proptest::prelude::proptest;

const BYTES_MAX: usize = 1 << 20;

fn fold(entries: &[Entry]) -> State {
    let mut state = State::created(&entries[0]).unwrap();
    entries[1..].iter().for_each(|entry| state.apply(entry).unwrap());
    state
}

/// Where a life's frames end, with their hashes.
fn frames(told: &Told) -> Vec<(usize, Hash)> {
    let frames = block_on(Journal::read(&told.store, &told.state.id, 0, usize::MAX)).unwrap();
    frames.iter().map(|frame: &Frame| (frame.last() as usize, frame.hash())).collect()
}

/// What the session is found to be when this is stored as its checkpoint.
fn found(told: &Told, checkpoint: Vec<u8>) -> State {
    let summary = summary(&told.state);
    let put = Projection { summary: &summary, texts: &[], checkpoint: Some(&checkpoint.into()) };
    block_on(told.store.put_projection(put)).unwrap();
    let kit = Kit::of(Parts::on(told.store.clone(), vec![], vec![]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(kit.core.state(&told.state.id)).unwrap()
}

fn stored(told: &Told) -> Option<Bytes> {
    block_on(told.store.checkpoint(&told.state.id)).unwrap()
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let seal = blake3::hash(&bytes[32..]);
    bytes[..32].copy_from_slice(seal.as_bytes());
    bytes
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn a_checkpoint_and_the_tail_give_what_all_entries_give(story in stories(14)) {
        let told = play(&story);
        let whole = fold(&told.entries);
        for (upto, head) in frames(&told) {
            let state = fold(&told.entries[..upto]);
            let bytes = Checkpoint { head, state: state.clone() }.encode(BYTES_MAX).unwrap();
            let decoded = Checkpoint::decode(&told.state.id, &bytes).unwrap();
            assert_eq!(decoded, Checkpoint { head, state }, "at {upto}");
            assert_eq!(found(&told, bytes), whole, "at {upto}");
        }
    }

    #[test]
    fn a_checkpoint_that_does_not_fit_is_dropped(story in stories(14)) {
        let told = play(&story);
        let whole = fold(&told.entries);
        let frames = frames(&told);
        let (upto, head) = frames[frames.len() / 2];
        let state = fold(&told.entries[..upto]);
        let lie = State { first_words: "a lie".to_owned(), ..state };
        let encode = |head, state| Checkpoint { head, state }.encode(BYTES_MAX).unwrap();
        // That a lie would be believed shows that the others are not.
        assert_ne!(found(&told, encode(head, lie.clone())), whole);
        let other = SessionId::parse("other").unwrap();
        let misfits = [
            ("another frame's hash", encode(Hash([7; 32]), lie.clone())),
            ("another place", encode(head, State { tip: lie.tip + 1, ..lie.clone() })),
            ("beyond the end", encode(head, State { tip: 1 << 40, ..lie.clone() })),
            ("the end of all numbers", encode(head, State { tip: u64::MAX, ..lie.clone() })),
            ("another session", encode(head, State { id: other, ..lie.clone() })),
            ("nothing", Vec::new()),
        ];
        for (what, bytes) in misfits {
            assert_eq!(found(&told, bytes), whole, "{what}");
        }
    }
}

/// A life with a checkpoint that its own task wrote, and what it is without.
fn with_checkpoint() -> (Told, Vec<u8>) {
    use proptest::strategy::{Strategy, ValueTree};
    let mut runner = proptest::test_runner::TestRunner::new(config(1));
    for _ in 0..200 {
        let told = play(&stories(14).new_tree(&mut runner).unwrap().current());
        if let Some(bytes) = stored(&told).filter(|_| told.entries.len() > 40) {
            return (told, bytes.to_vec());
        }
    }
    panic!("no life wrote a checkpoint");
}

#[test]
fn a_task_writes_checkpoints_that_open_its_session() {
    let (told, bytes) = with_checkpoint();
    let checkpoint = Checkpoint::decode(&told.state.id, &bytes).unwrap();
    assert!(checkpoint.state.tip > 8, "{}", checkpoint.state.tip);
    assert_eq!(checkpoint.state, fold(&told.entries[..checkpoint.state.tip as usize]));
    assert!(frames(&told).contains(&(checkpoint.state.tip as usize, checkpoint.head)));
}

#[test]
fn a_damaged_checkpoint_is_dropped_wherever_the_damage_is() {
    let (told, bytes) = with_checkpoint();
    let whole = fold(&told.entries);
    for at in (0..bytes.len()).step_by(41).chain(0..100) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x20;
        assert_eq!(Checkpoint::decode(&told.state.id, &flipped), None, "flipped at {at}");
        assert_eq!(Checkpoint::decode(&told.state.id, &bytes[..at]), None, "cut at {at}");
    }
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    assert_eq!(found(&told, flipped), whole);
    assert_eq!(found(&told, bytes[..bytes.len() / 2].to_vec()), whole);
    assert_eq!(found(&told, bytes), whole);
}

#[test]
fn a_checkpoint_of_another_version_is_dropped_though_its_seal_is_right() {
    let (told, bytes) = with_checkpoint();
    assert_eq!(sealed(bytes.clone()), bytes);
    let end = 32 + bytes[32..].iter().position(|byte| *byte == b'\n').unwrap();
    let header = String::from_utf8(bytes[32..end].to_vec()).unwrap();
    assert!(header.ends_with(&format!("checkpoint {FORMAT}")), "{header}");
    for other in [header.replace("checkpoint", "Checkpoint"), format!("{header}1")] {
        let forged = [&bytes[..32], other.as_bytes(), &bytes[end..]].concat();
        assert_eq!(Checkpoint::decode(&told.state.id, &sealed(forged)), None, "{other}");
    }
}

#[test]
fn a_state_beyond_the_bound_gives_no_checkpoint() {
    let (told, bytes) = with_checkpoint();
    let checkpoint = Checkpoint::decode(&told.state.id, &bytes).unwrap();
    assert_eq!(checkpoint.encode(bytes.len()), Some(bytes.clone()));
    assert_eq!(checkpoint.encode(bytes.len() - 1), None);
}

/// A life that leaves little of a state empty.
const LIFE: &str = include_str!("checkpoint/life.jsonl");
const SHAPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/checkpoint");

/// An older program must not take what this one writes for its own, nor this one the older one's.
#[test]
fn a_state_of_another_shape_has_another_format() {
    let entries: Vec<Entry> =
        serde_json::Deserializer::from_str(LIFE).into_iter().map(Result::unwrap).collect();
    let shape = serde_json::to_string_pretty(&fold(&entries)).unwrap() + "\n";
    let kept = std::fs::read_to_string(format!("{SHAPES}/format-{FORMAT}.json")).ok();
    if kept.as_ref() != Some(&shape) {
        let written = concat!(env!("CARGO_TARGET_TMPDIR"), "/state.json");
        std::fs::write(written, &shape).unwrap();
        panic!(
            "a state is not written as checkpoints of format {FORMAT} have it: raise `FORMAT` in session/checkpoint.rs, \
             look at {written}, and keep it as {SHAPES}/format-N.json in the place of the one before"
        );
    }
}
