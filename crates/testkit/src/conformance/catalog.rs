//! Cases about lists, searches and sums.

use std::path::PathBuf;

use bytes::Bytes;
use oarlock_core::ids::SessionId;
use oarlock_core::message::Usage;
use oarlock_core::ports::journal::{
    ArchivedFilter, Fence, Filter, IndexedText, JournalError, Projection, Summary, UsageRow,
};

use super::script::{Script, frame, session, summary};
use super::{Damage, Damaged, Opened, Site};

pub(super) async fn ids(opened: &Opened, filter: &Filter) -> Vec<SessionId> {
    opened.catalog.list(filter).await.unwrap().into_iter().map(|row| row.id).collect()
}

async fn stored(opened: &Opened) -> Summary {
    let rows = opened.catalog.list(&Filter::default()).await.unwrap();
    rows[0].summary.clone().unwrap().unwrap()
}

pub(super) async fn put(
    opened: &Opened,
    summary: &Summary,
    texts: &[IndexedText],
) -> Result<(), JournalError> {
    opened.catalog.put_projection(Projection { summary, texts, checkpoint: None }).await
}

async fn put_checkpoint(opened: &Opened, summary: &Summary, checkpoint: &'static [u8]) {
    let checkpoint = Some(&Bytes::from_static(checkpoint));
    let put = opened.catalog.put_projection(Projection { summary, texts: &[], checkpoint });
    put.await.unwrap();
}

fn first(limit: u32) -> Filter {
    Filter { limit: Some(limit), ..Filter::default() }
}

pub(super) fn text(seq: u64, text: &str) -> IndexedText {
    IndexedText { seq, text: text.to_owned() }
}

pub(super) async fn a_summary_never_goes_back(site: &dyn Site) {
    let opened = site.open().await;
    let id = Script::create(&opened, "s").await.fence.session;
    let at = |epoch, upto| Summary { epoch, ..summary(&id, upto, 5) };
    let steps = [
        (at(1, 1), at(1, 1)),
        (at(1, 9), at(1, 9)),
        (at(1, 4), at(1, 9)),
        (at(2, 3), at(2, 3)),
        (at(1, 99), at(2, 3)),
        (Summary { turns: 8, ..at(2, 3) }, Summary { turns: 8, ..at(2, 3) }),
    ];
    for (step, expected) in steps {
        put(&opened, &step, &[]).await.unwrap();
        assert_eq!(stored(&opened).await, expected);
    }
}

pub(super) async fn a_checkpoint_comes_back_as_it_was_put(site: &dyn Site) {
    let opened = site.open().await;
    let id = Script::create(&opened, "s").await.fence.session;
    let other = Script::create(&opened, "other").await.fence.session;
    let at = |epoch, upto| Summary { epoch, ..summary(&id, upto, 5) };
    assert_eq!(opened.catalog.checkpoint(&id).await.unwrap(), None);
    let steps: [(Summary, &'static [u8], &'static [u8]); 5] = [
        (at(1, 4), b"{\0\xff", b"{\0\xff"),
        (at(1, 9), b"nine", b"nine"),
        (at(1, 5), b"late", b"nine"),
        (at(2, 9), b"", b""),
        (at(2, 10), b"ten", b"ten"),
    ];
    for (summary, checkpoint, expected) in steps {
        put_checkpoint(&opened, &summary, checkpoint).await;
        assert_eq!(opened.catalog.checkpoint(&id).await.unwrap().unwrap(), expected);
    }
    put(&opened, &at(2, 11), &[]).await.unwrap();
    opened.close().await;
    let opened = site.open().await;
    assert_eq!(opened.catalog.checkpoint(&id).await.unwrap().unwrap(), "ten", "it stays");
    assert_eq!(opened.catalog.checkpoint(&other).await.unwrap(), None);
    let missing = opened.catalog.checkpoint(&session("missing")).await;
    assert!(matches!(missing, Err(JournalError::NotFound { .. })), "{missing:?}");
}

pub(super) async fn lists_filter_and_order(site: &dyn Site) {
    let opened = site.open().await;
    for (name, updated, cwd, archived) in [
        ("a", 20, "/x", false),
        ("b", 40, "/y", false),
        ("c", 30, "/x", true),
        ("d", 10, "/x", false),
    ] {
        let id = Script::create(&opened, name).await.fence.session;
        let changed = Summary { cwd: PathBuf::from(cwd), archived, ..summary(&id, 1, updated) };
        put(&opened, &changed, &[]).await.unwrap();
    }
    let cwd = Some(PathBuf::from("/x"));
    for (filter, expected) in [
        (Filter::default(), &["b", "a", "d"][..]),
        (Filter { archived: ArchivedFilter::With, ..Filter::default() }, &["b", "c", "a", "d"]),
        (Filter { archived: ArchivedFilter::Only, ..Filter::default() }, &["c"]),
        (Filter { cwd: cwd.clone(), ..Filter::default() }, &["a", "d"]),
        (
            Filter { cwd, archived: ArchivedFilter::With, limit: Some(2), ..Filter::default() },
            &["c", "a"],
        ),
        (Filter { limit: Some(0), ..Filter::default() }, &[]),
        (Filter { cwd: Some(PathBuf::from("/z")), ..Filter::default() }, &[]),
    ] {
        let expected: Vec<SessionId> = expected.iter().map(|name| session(name)).collect();
        assert_eq!(ids(&opened, &filter).await, expected, "{filter:?}");
    }
}

pub(super) async fn a_session_without_summary_is_listed(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    script.say(&["two", "three"]).await;
    let rows = opened.catalog.list(&Filter::default()).await.unwrap();
    assert_eq!((rows.len(), rows[0].tail), (1, 3));
    assert_eq!(rows[0].summary, Ok(None));
}

pub(super) async fn a_poisoned_summary_hides_no_other(site: &dyn Site) {
    let opened = site.open().await;
    for (name, updated) in [("a", 3), ("b", 2), ("c", 1)] {
        let id = Script::create(&opened, name).await.fence.session;
        put(&opened, &summary(&id, 1, updated), &[]).await.unwrap();
    }
    opened.close().await;
    if site.damage(Damage::Summary(session("b"))).await == Damaged::Impossible {
        return;
    }
    let opened = site.open().await;
    let rows = opened.catalog.list(&Filter::default()).await.unwrap();
    let readable: Vec<bool> = rows.iter().map(|row| row.summary.is_ok()).collect();
    assert_eq!(readable, [true, false, true]);
    assert_eq!(opened.catalog.usage(&Filter::default()).await.unwrap().sessions, 3);
}

pub(super) async fn a_list_says_who_holds(site: &dyn Site) {
    let (holder, reader) = (site.open().await, site.open().await);
    let script = Script::create(&holder, "held").await;
    Script::create(&holder, "free").await.release().await;
    let held = async || {
        let rows = reader.catalog.list(&Filter::default()).await.unwrap();
        let mut held: Vec<_> =
            rows.into_iter().filter_map(|row| Some((row.id, row.held_by?))).collect();
        held.sort();
        held
    };
    assert_eq!(held().await, [(session("held"), holder.node.clone())]);
    drop(script);
    holder.crash();
    assert_eq!(held().await, []);
}

pub(super) async fn searches_find_words(site: &dyn Site) {
    let opened = site.open().await;
    let one = Script::create(&opened, "one").await.fence.session;
    let two = Script::create(&opened, "two").await.fence.session;
    let texts = [text(3, "The quick brown fox"), text(4, "A lazy dog; über-quick")];
    put(&opened, &summary(&one, 4, 1), &texts).await.unwrap();
    put(&opened, &summary(&two, 1, 1), &[text(1, "quicksand")]).await.unwrap();
    let found = async |query: &str, limit| {
        let hits = opened.catalog.search(query, &first(limit)).await.unwrap();
        let mut found: Vec<_> = hits.into_iter().map(|hit| (hit.session, hit.seq)).collect();
        found.sort();
        found
    };
    assert_eq!(found("quick", 9).await, [(one.clone(), 3), (one.clone(), 4)]);
    assert_eq!(found("QUICK fox", 9).await, [(one.clone(), 3)], "all words, any case");
    assert_eq!(found("quick", 1).await.len(), 1);
    assert_eq!(found("quick cat", 9).await, []);
    for odd in ["", "  ", "\"", "quick\" OR \"dog", "* AND (", "text:fox NOT", "'; DROP TABLE x"] {
        opened.catalog.search(odd, &first(9)).await.unwrap();
    }
    let snippet = opened.catalog.search("brown", &first(1)).await.unwrap().remove(0).snippet;
    assert!(snippet.contains("brown"), "{snippet}");
    put(&opened, &summary(&one, 5, 1), &[text(3, "changed")]).await.unwrap();
    assert_eq!(found("fox", 9).await, [], "a text is replaced by its entry's next one");
    assert_eq!(found("dog", 9).await, [(one.clone(), 4)], "others stay");
}

pub(super) async fn usage_adds_up(site: &dyn Site) {
    let opened = site.open().await;
    for (name, archived, cost_micros) in
        [("a", false, Some(7)), ("b", false, None), ("c", true, Some(100))]
    {
        let id = Script::create(&opened, name).await.fence.session;
        let changed = Summary { archived, cost_micros, ..summary(&id, 1, 1) };
        put(&opened, &changed, &[]).await.unwrap();
    }
    let times = |n: u64| Usage {
        input: 10 * n,
        output: 5 * n,
        cache_read: 3 * n,
        cache_write: 2 * n,
        reasoning: n,
    };
    let live = UsageRow { sessions: 2, usage: times(2), cost_micros: 7 };
    assert_eq!(opened.catalog.usage(&Filter::default()).await.unwrap(), live);
    let all = Filter { archived: ArchivedFilter::With, ..Filter::default() };
    let row = UsageRow { sessions: 3, usage: times(3), cost_micros: 107 };
    assert_eq!(opened.catalog.usage(&all).await.unwrap(), row);
}

pub(super) async fn purged_is_gone(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    Script::create(&opened, "other").await;
    let id = script.fence.session.clone();
    put(&opened, &summary(&id, 1, 1), &[text(1, "secret word")]).await.unwrap();
    put_checkpoint(&opened, &summary(&id, 1, 1), b"secret").await;
    assert_eq!(opened.catalog.search("secret", &first(9)).await.unwrap().len(), 1);
    opened.catalog.purge(&id, &opened.node).await.unwrap();
    assert_eq!(opened.catalog.search("secret", &first(9)).await.unwrap(), []);
    assert_eq!(ids(&opened, &Filter::default()).await, [session("other")]);
    let read = opened.journal.read(&id, 0, 1).await;
    assert!(matches!(read, Err(JournalError::NotFound { .. })), "{read:?}");
    let refused = script.try_say(&["from the grave"]).await;
    assert!(matches!(refused, Err(JournalError::NotFound { .. })), "{refused:?}");
    let fence = Fence::new_session(id.clone(), opened.node.clone());
    opened.journal.append(&fence, &frame(&fence, &["born again"])).await.unwrap();
    assert_eq!(opened.journal.read(&id, 0, 1 << 20).await.unwrap().len(), 1);
    assert_eq!(opened.catalog.checkpoint(&id).await.unwrap(), None);
}

pub(super) async fn purging_what_another_holds_is_refused(site: &dyn Site) {
    let (holder, other) = (site.open().await, site.open().await);
    let script = Script::create(&holder, "s").await;
    let refused = other.catalog.purge(&session("s"), &other.node).await;
    assert!(matches!(refused, Err(JournalError::Held { .. })), "{refused:?}");
    drop(script);
    holder.crash();
    other.catalog.purge(&session("s"), &other.node).await.unwrap();
}
