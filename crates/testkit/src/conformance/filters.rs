//! Cases about which sessions lists, searches and sums mean, and about reading lists by pages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use oarlock_core::ids::{SessionId, Tenant, Timestamp};
use oarlock_core::ports::journal::{
    Activity, ArchivedFilter, Filter, IndexedText, ListCursor, Summary, TenantFilter,
};

use super::catalog::{ids, put, text};
use super::script::{Script, session, summary};
use super::{Damage, Opened, Site};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn at(ms: i64) -> Option<Timestamp> {
    Some(Timestamp::from_unix_ms(ms))
}

fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).unwrap()
}

fn of(name: &str) -> Filter {
    Filter { tenant: Some(TenantFilter::Of(tenant(name))), ..Filter::default() }
}

/// A session and what is known of it.
async fn made(opened: &Opened, name: &str, updated_ms: i64, texts: &[IndexedText]) -> Summary {
    let id = Script::create(opened, name).await.fence.session;
    let plain = Summary { title: String::new(), ..summary(&id, 1, updated_ms) };
    put(opened, &plain, texts).await.unwrap();
    plain
}

async fn changed(opened: &Opened, summary: &Summary) {
    put(opened, &Summary { upto: summary.upto + 1, ..summary.clone() }, &[]).await.unwrap();
}

/// Five sessions, from `a`, which was used last, to `e`.
async fn five(opened: &Opened) {
    let a = made(opened, "a", 50, &[text(1, "red Äpfel")]).await;
    let (prod, eu) = (("env", "prod"), ("region", "eu"));
    changed(opened, &Summary { labels: labels(&[prod, eu]), ..a }).await;
    let b = made(opened, "b", 40, &[text(1, "green"), text(2, "pears and plums")]).await;
    let b = Summary { title: "Red things".to_owned(), activity: Activity::Running, ..b };
    changed(opened, &Summary { labels: labels(&[prod]), created: at(20).unwrap(), ..b }).await;
    let c = made(opened, "c", 30, &[text(1, "red pears")]).await;
    changed(opened, &Summary { parent: Some(session("a")), tenant: Some(tenant("t")), ..c }).await;
    let d = made(opened, "d", 20, &[]).await;
    let d = Summary { activity: Activity::AwaitingInput, created: at(10).unwrap(), ..d };
    changed(opened, &Summary { labels: labels(&[("env", "test"), eu]), ..d }).await;
    let e = made(opened, "e", 10, &[text(1, "red")]).await;
    changed(opened, &Summary { archived: true, labels: labels(&[prod]), ..e }).await;
}

pub(super) async fn each_filter_lets_through_what_it_names(site: &dyn Site) {
    let opened = site.open().await;
    five(&opened).await;
    let none = Filter::default;
    let words = |words: &str| Filter { text: Some(words.to_owned()), ..none() };
    let all = |filter: Filter| Filter { archived: ArchivedFilter::With, children: true, ..filter };
    let by = |pairs: &[(&str, &str)]| Filter { labels: labels(pairs), ..none() };
    let (prod, eu) = (("env", "prod"), ("region", "eu"));
    let cases = [
        (none(), "abd"),
        (Filter { children: true, ..none() }, "abcd"),
        (all(none()), "abcde"),
        (Filter { archived: ArchivedFilter::Only, children: true, ..none() }, "e"),
        (Filter { id: Some(session("c")), ..none() }, ""),
        (Filter::of(session("c")), "c"),
        (by(&[prod]), "ab"),
        (by(&[prod, eu]), "a"),
        (by(&[eu]), "ad"),
        (by(&[("env", "eu")]), ""),
        (all(by(&[prod])), "abe"),
        (Filter { limit: Some(1), ..by(&[prod]) }, "a"),
        (Filter { activity: Some(Activity::Idle), ..none() }, "a"),
        (Filter { activity: Some(Activity::Running), ..none() }, "b"),
        (Filter { activity: Some(Activity::AwaitingInput), ..none() }, "d"),
        (words("red"), "ab"),
        (all(words("RED")), "abce"),
        (all(words("red pears")), "bc"),
        (all(words("red pear")), ""),
        (words("äpfel, red!"), "a"),
        (words("things AND \"red"), "b"),
        (words(" ?! "), "abd"),
        (Filter { updated_after: at(20), ..none() }, "ab"),
        (Filter { updated_after: at(19), updated_before: at(40), ..none() }, "d"),
        (Filter { created_after: at(1), ..none() }, "bd"),
        (Filter { created_before: at(20), ..none() }, "ad"),
        (Filter { cwd: Some(PathBuf::from("/work")), ..words("red") }, "ab"),
        (Filter { limit: Some(2), ..all(words("red")) }, "ab"),
    ];
    for (filter, expected) in cases {
        let expected: Vec<_> = expected.chars().map(|name| session(&name.to_string())).collect();
        assert_eq!(ids(&opened, &filter).await, expected, "{filter:?}");
    }
}

pub(super) async fn what_is_not_known_of_a_session_is_not_asked_for(site: &dyn Site) {
    let opened = site.open().await;
    Script::create(&opened, "fresh").await;
    let none = Filter::default;
    let through = [none(), Filter::of(session("fresh")), Filter { children: true, ..none() }];
    for filter in through {
        assert_eq!(ids(&opened, &filter).await, [session("fresh")], "{filter:?}");
    }
    let not = [
        of("t"),
        Filter { tenant: Some(TenantFilter::Nobody), ..none() },
        Filter { cwd: Some(PathBuf::from("/work")), ..none() },
        Filter { labels: labels(&[("env", "prod")]), ..none() },
        Filter { activity: Some(Activity::Idle), ..none() },
        Filter { archived: ArchivedFilter::Only, ..none() },
        Filter { text: Some("word".to_owned()), ..none() },
        Filter { updated_after: at(-1), ..none() },
        Filter { updated_before: at(9), ..none() },
        Filter { created_before: at(9), ..none() },
    ];
    for filter in not {
        assert_eq!(ids(&opened, &filter).await, [], "{filter:?}");
    }
}

pub(super) async fn a_tenant_sees_its_own(site: &dyn Site) {
    let opened = site.open().await;
    for (name, owner) in
        [("a", Some("t")), ("b", Some("T")), ("c", None), ("d", Some("t")), ("e", Some("t-2"))]
    {
        let plain = made(&opened, name, 5, &[text(1, "word")]).await;
        let owner = owner.map(tenant);
        let labels = labels(&[("env", "prod")]);
        changed(&opened, &Summary { tenant: owner, labels, ..plain }).await;
    }
    let nobody = Filter { tenant: Some(TenantFilter::Nobody), ..Filter::default() };
    for (filter, expected) in
        [(of("t"), &["d", "a"][..]), (of("T"), &["b"]), (of("u"), &[]), (nobody, &["c"])]
    {
        let expected: Vec<_> = expected.iter().map(|name| session(name)).collect();
        assert_eq!(ids(&opened, &filter).await, expected, "{filter:?}");
        let hits = opened.catalog.search("word", &filter).await.unwrap();
        let found: BTreeSet<_> = hits.into_iter().map(|hit| hit.session).collect();
        assert_eq!(found, expected.iter().cloned().collect(), "{filter:?}");
        let sum = opened.catalog.usage(&filter).await.unwrap();
        assert_eq!(sum.sessions, expected.len() as u64, "{filter:?}");
        let labels = labels(&[("env", "prod")]);
        assert_eq!(ids(&opened, &Filter { labels, ..filter }).await, expected);
    }
    opened.close().await;
    site.damage(Damage::Summary(session("a"))).await;
    let opened = site.open().await;
    let own = ids(&opened, &of("t")).await;
    assert_eq!(own, [session("d"), session("a")], "damage moves nobody to another tenant");
    assert_eq!(ids(&opened, &of("T")).await, [session("b")]);
}

pub(super) async fn d10_pages_do_not_shift_while_sessions_change(site: &dyn Site) {
    let opened = site.open().await;
    let mut all = Vec::new();
    // Several of each moment, so that ids have to tell them apart.
    for number in 0..12 {
        let plain = made(&opened, &format!("s{number:02}"), 10 + number / 5, &[]).await;
        let labels = labels(&[("env", "prod")]);
        changed(&opened, &Summary { labels: labels.clone(), ..plain.clone() }).await;
        all.push(Summary { labels, upto: 2, ..plain });
    }
    for given in [labels(&[]), labels(&[("env", "prod")])] {
        let mut filter = Filter { limit: Some(3), labels: given, ..Filter::default() };
        let mut shown: Vec<SessionId> = Vec::new();
        let mut moved = BTreeSet::new();
        for round in 0..=all.len() {
            let rows = opened.catalog.list(&filter).await.unwrap();
            let Some(last) = rows.last() else { break };
            filter.after = Some(ListCursor::parse(&ListCursor::of(last).to_string()).unwrap());
            shown.extend(rows.into_iter().map(|row| row.id));
            // One that was shown and one that may not have been are used.
            for at in [shown[0].clone(), all[round].id.clone()] {
                let used = all.iter_mut().find(|summary| summary.id == at).unwrap();
                used.updated = used.updated.after(1_000);
                changed(&opened, used).await;
                used.upto += 1;
                moved.insert(at);
            }
            made(&opened, &format!("new{round}-{}", filter.labels.len()), 5_000, &[]).await;
        }
        let distinct: BTreeSet<_> = shown.iter().cloned().collect();
        assert_eq!(distinct.len(), shown.len(), "nothing is shown twice: {shown:?}");
        let still = all.iter().map(|summary| &summary.id).filter(|id| !moved.contains(*id));
        for id in still {
            assert!(distinct.contains(id), "{id} stayed where it was and is left out: {shown:?}");
        }
        assert!(shown.len() > 3 && moved.len() < all.len(), "there were pages: {shown:?}");
    }
}

pub(super) async fn searches_and_sums_are_filtered_as_lists_are(site: &dyn Site) {
    let opened = site.open().await;
    five(&opened).await;
    let none = Filter::default;
    let prod = labels(&[("env", "prod")]);
    let cases = [
        (none(), "a"),
        (Filter { children: true, ..none() }, "ac"),
        (Filter { archived: ArchivedFilter::With, children: true, ..none() }, "ace"),
        (Filter { labels: prod.clone(), ..none() }, "a"),
        (Filter { labels: prod, archived: ArchivedFilter::Only, ..none() }, "e"),
        (Filter { updated_before: at(50), children: true, ..none() }, "c"),
        (of("t"), ""),
    ];
    for (filter, expected) in cases {
        let hits = opened.catalog.search("red", &filter).await.unwrap();
        let found: BTreeSet<_> = hits.into_iter().map(|hit| hit.session).collect();
        let expected = expected.chars().map(|name| session(&name.to_string())).collect();
        assert_eq!(found, expected, "{filter:?}; a title is no text of an entry");
        let listed = ids(&opened, &filter).await.len() as u64;
        assert_eq!(opened.catalog.usage(&filter).await.unwrap().sessions, listed, "{filter:?}");
    }
    let first = Filter { limit: Some(2), ..none() };
    assert_eq!(opened.catalog.usage(&first).await.unwrap().sessions, 2);
}

pub(super) async fn a_filter_follows_its_sessions(site: &dyn Site) {
    let opened = site.open().await;
    let plain = made(&opened, "s", 5, &[]).await;
    let by = |value: &str| Filter { labels: labels(&[("env", value)]), ..Filter::default() };
    let called = |words: &str| Filter { text: Some(words.to_owned()), ..Filter::default() };
    let one = Summary { title: "first name".to_owned(), labels: labels(&[("env", "a")]), ..plain };
    changed(&opened, &one).await;
    assert_eq!(ids(&opened, &by("a")).await.len(), 1);
    assert_eq!(ids(&opened, &called("first")).await.len(), 1);
    let two =
        Summary { title: "second".to_owned(), labels: labels(&[("env", "b")]), upto: 5, ..one };
    changed(&opened, &two).await;
    opened.close().await;
    let opened = site.open().await;
    for (filter, expected) in
        [(by("a"), 0), (by("b"), 1), (called("first"), 0), (called("second"), 1)]
    {
        assert_eq!(ids(&opened, &filter).await.len(), expected, "{filter:?}");
    }
    opened.catalog.purge(&session("s"), &opened.node).await.unwrap();
    assert_eq!(ids(&opened, &by("b")).await, []);
    assert_eq!(ids(&opened, &called("second")).await, []);
}
