//! A data directory that an earlier version made.

use oarlock_core::ids::Timestamp;
use oarlock_core::ports::journal::{
    Activity, ArchivedFilter, Catalog, Filter, IndexedText, Projection, Summary,
};
use oarlock_testkit::conformance::{Script, Site, session, summary};
use rusqlite::Connection;

use crate::site::SqliteSite;

/// What the second version of the tables lacks of the present one.
const BACK_TO_THE_SECOND: &str = "DROP INDEX session_name;
    DROP INDEX session_named;
    ALTER TABLE session DROP COLUMN has_name;
    ALTER TABLE session DROP COLUMN name_tenant;
    ALTER TABLE session DROP COLUMN name;
    DROP TABLE label;
    DELETE FROM text WHERE seq = 0;
    DROP INDEX session_updated;
    DROP INDEX session_cwd;
    DROP INDEX session_tenant;
    ALTER TABLE session DROP COLUMN tenant;
    ALTER TABLE session DROP COLUMN child;
    ALTER TABLE session DROP COLUMN created;
    ALTER TABLE session DROP COLUMN activity;
    UPDATE session SET updated = NULL WHERE summary IS NULL;
    CREATE INDEX session_updated ON session (updated DESC, id DESC);
    PRAGMA user_version = 2;";

async fn listed(catalog: &dyn Catalog, filter: Filter) -> Vec<String> {
    let rows = catalog.list(&filter).await.unwrap();
    rows.into_iter().map(|row| row.id.to_string()).collect()
}

#[tokio::test]
async fn sessions_of_an_earlier_version_are_listed_by_what_their_summaries_say() {
    let site = SqliteSite::new();
    let opened = site.open().await;
    for name in ["top", "child", "poisoned"] {
        let id = Script::create(&opened, name).await.fence.session;
        let plain = summary(&id, 1, 1_763_700_000_123);
        let summary = Summary {
            title: format!("the {name} one"),
            parent: (name == "child").then(|| session("top")),
            activity: Activity::Running,
            created: Timestamp::from_unix_ms(1_763_700_000_001),
            labels: [("env".to_owned(), "prod".to_owned())].into(),
            ..plain
        };
        let texts = [IndexedText { seq: 1, text: "words".to_owned() }];
        let projection = Projection { summary: &summary, texts: &texts, checkpoint: None };
        opened.catalog.put_projection(projection).await.unwrap();
    }
    Script::create(&opened, "fresh").await;
    opened.close().await;
    let database = Connection::open(site.path().join("oarlock.db")).unwrap();
    database.execute_batch(BACK_TO_THE_SECOND).unwrap();
    let poison = "UPDATE session SET summary = '{\"id\": 7' WHERE id = 'poisoned'";
    database.execute(poison, []).unwrap();
    drop(database);
    let opened = site.open().await;
    let catalog = opened.catalog.as_ref();
    let none = Filter::default;
    let all = Filter { archived: ArchivedFilter::With, children: true, ..none() };
    assert_eq!(listed(catalog, all).await, ["top", "poisoned", "child", "fresh"]);
    assert_eq!(listed(catalog, none()).await, ["top", "poisoned", "fresh"]);
    let labels = [("env".to_owned(), "prod".to_owned())].into();
    let created = |ms: i64| Some(Timestamp::from_unix_ms(1_763_700_000_000 + ms));
    for filter in [
        Filter { labels, ..none() },
        Filter { text: Some("top one".to_owned()), ..none() },
        Filter { activity: Some(Activity::Running), ..none() },
        Filter { created_after: created(0), created_before: created(2), ..none() },
    ] {
        assert_eq!(listed(catalog, filter.clone()).await, ["top"], "{filter:?}");
    }
    assert_eq!(catalog.search("one", &none()).await.unwrap(), [], "a title is no entry");
    let broken = Connection::open(site.path().join("oarlock.db")).unwrap();
    broken.execute("UPDATE session SET id = '../..' WHERE id = 'top'", []).unwrap();
    let first = Filter { limit: Some(1), ..none() };
    assert_eq!(
        listed(catalog, first).await,
        ["poisoned"],
        "a row that nobody can read takes no place"
    );
}
