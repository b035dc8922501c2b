//! Cases about names: of the sessions of a tenant that have not given theirs back one has a name, whoever asks for it at the same time.

use oarlock_core::event::{Entry, Event, SessionCreated, SessionNamed};
use oarlock_core::ids::{Tenant, Timestamp};
use oarlock_core::ports::journal::{
    ArchivedFilter, Fence, Filter, Frame, JournalError, NameFilter,
};
use oarlock_core::spec::Comms;

use super::catalog::put;
use super::script::{frame_id, session, summary};
use super::{Opened, Site};
use crate::kit::{settings, spec};

fn tenant(name: Option<&str>) -> Option<Tenant> {
    name.map(|name| Tenant::parse(name).unwrap())
}

fn entries(fence: &Fence, events: Vec<Event>) -> Vec<Entry> {
    let entry = |(event, seq)| {
        let at = Timestamp::from_unix_ms(1_763_700_000_000);
        Entry { seq, at, turn: None, scope: Vec::new(), event }
    };
    events.into_iter().zip(fence.next..).map(entry).collect()
}

async fn append(opened: &Opened, fence: &Fence, events: Vec<Event>) -> Result<Fence, JournalError> {
    let frame = Frame::encode(frame_id(), fence, &entries(fence, events)).unwrap();
    opened.journal.append(fence, &frame).await
}

/// Makes a session with a name within a tenant.
async fn named(
    opened: &Opened,
    (id, name): (&str, &str),
    within: Option<&str>,
) -> Result<Fence, JournalError> {
    let fence = Fence::new_session(session(id), opened.node.clone());
    let created = SessionCreated {
        id: session(id),
        schema: 1,
        node: opened.node.clone(),
        spec: spec(settings()),
        forked: None,
    };
    let named = SessionNamed { tenant: tenant(within), comms: Comms::named(name) };
    let events =
        vec![Event::SessionCreated(Box::new(created)), Event::SessionNamed(Box::new(named))];
    append(opened, &fence, events).await
}

/// Who has a name; all that have one where none is given.
async fn who(opened: &Opened, name: Option<&str>, within: Option<&str>) -> Vec<String> {
    let name = Some(NameFilter { tenant: tenant(within), name: name.map(ToOwned::to_owned) });
    let filter = Filter { name, archived: ArchivedFilter::With, ..Filter::default() };
    let listed = opened.catalog.list(&filter).await.unwrap();
    listed.into_iter().map(|row| row.id.to_string()).collect()
}

fn is_taken(result: Result<Fence, JournalError>) -> bool {
    matches!(result, Err(JournalError::NameTaken { name, .. }) if name == "cox")
}

pub(super) async fn a_name_is_one_sessions_until_it_is_given_back(site: &dyn Site) {
    let opened = site.open().await;
    let a = named(&opened, ("a", "cox"), None).await.unwrap();
    assert!(is_taken(named(&opened, ("b", "cox"), None).await));
    let gone = opened.journal.tail(&session("b")).await;
    assert!(matches!(gone, Err(JournalError::NotFound { .. })), "{gone:?}");
    assert_eq!(who(&opened, Some("cox"), None).await, ["a"], "before anything is derived of it");
    let a = append(&opened, &a, vec![Event::SessionArchived]).await.unwrap();
    assert!(who(&opened, Some("cox"), None).await.is_empty());
    let b = named(&opened, ("b", "cox"), None).await.unwrap();
    assert!(is_taken(append(&opened, &a, vec![Event::SessionRestored]).await));
    let a = append(&opened, &a, vec![Event::WriterReleased]).await.unwrap();
    append(&opened, &b, vec![Event::SessionArchived]).await.unwrap();
    append(&opened, &a, vec![Event::SessionRestored]).await.unwrap();
    assert_eq!(who(&opened, Some("cox"), None).await, ["a"]);
    opened.catalog.purge(&session("a"), &opened.node).await.unwrap();
    named(&opened, ("c", "cox"), None).await.unwrap();
    assert_eq!(who(&opened, Some("cox"), None).await, ["c"], "what is purged has no name");
}

pub(super) async fn each_tenant_has_names_of_its_own(site: &dyn Site) {
    let opened = site.open().await;
    for (id, within) in [("a", None), ("b", Some("t")), ("c", Some("u"))] {
        named(&opened, (id, "cox"), within).await.unwrap();
        assert!(is_taken(named(&opened, ("d", "cox"), within).await));
    }
    named(&opened, ("e", "bow"), Some("t")).await.unwrap();
    for (id, updated_ms) in [("b", 5), ("e", 7)] {
        put(&opened, &summary(&session(id), 2, updated_ms), &[]).await.unwrap();
    }
    assert_eq!(who(&opened, Some("cox"), Some("t")).await, ["b"]);
    assert_eq!(who(&opened, None, Some("t")).await, ["e", "b"], "the last used first");
    assert_eq!(who(&opened, None, None).await, ["a"]);
    assert!(who(&opened, Some("bow"), None).await.is_empty());
}

pub(super) async fn of_racing_sessions_one_has_the_name(site: &dyn Site) {
    let (one, other) = (site.open().await, site.open().await);
    let ids: Vec<String> = (0..16).map(|no| format!("s{no}")).collect();
    let racing = ids.iter().enumerate().map(|(no, id)| {
        let opened = if no % 2 == 0 { &one } else { &other };
        named(opened, (id, "cox"), None)
    });
    let made = futures::future::join_all(racing).await;
    let (won, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    assert!(lost.into_iter().all(is_taken));
    let winner = won.into_iter().next().unwrap().unwrap().session;
    assert_eq!(who(&one, Some("cox"), None).await, [winner.to_string()]);
    one.close().await;
    other.close().await;
    let again = site.open().await;
    assert_eq!(who(&again, Some("cox"), None).await, [winner.to_string()], "it is stored");
}
