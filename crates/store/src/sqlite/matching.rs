//! Filters in SQL: which sessions are meant, in the order of lists, each by an index that gives them in that order.

use oarlock_core::ids::SessionId;
use oarlock_core::ports::journal::{
    Activity, ArchivedFilter, Filter, NameFilter, QUERY_WORDS_MAX, TenantFilter, query_words,
};
use rusqlite::ToSql;
use rusqlite::types::Value;

use super::names;

/// Conditions on sessions, and their parameters in the same order.
pub(super) struct Matching {
    source: &'static str,
    conditions: Vec<&'static str>,
    parameters: Vec<Value>,
    /// The table that has the place of a session.
    place: &'static str,
}

impl Matching {
    /// For [`Matching::listed`].
    pub(super) fn in_order(filter: &Filter) -> Self {
        let mut labels = filter.labels.iter();
        let mut matching = match labels.next() {
            None => Self::from("session", "session"),
            // The label's table is in the order of lists, too; a cross join keeps it in front.
            Some((name, value)) => {
                let source = "label CROSS JOIN session ON session.no = label.session";
                let mut matching = Self::from(source, "label");
                matching.with("label.name = ? AND label.value = ?", [text(name), text(value)]);
                matching
            }
        };
        matching.of_labels(labels);
        matching.all_else(filter);
        matching
    }

    /// Conditions on a session that something else was found in.
    pub(super) fn of_hits(filter: &Filter) -> Self {
        let mut matching = Self::from("session", "session");
        matching.of_labels(filter.labels.iter());
        matching.all_else(filter);
        matching
    }

    fn from(source: &'static str, place: &'static str) -> Self {
        Self { source, conditions: vec!["1"], parameters: Vec::new(), place }
    }

    fn of_labels<'a>(&mut self, labels: impl Iterator<Item = (&'a String, &'a String)>) {
        for (name, value) in labels {
            let sql = "EXISTS (SELECT 1 FROM label AS other WHERE other.session = session.no
                AND other.name = ? AND other.value = ?)";
            self.with(sql, [text(name), text(value)]);
        }
    }

    fn all_else(&mut self, filter: &Filter) {
        self.of_rows(filter);
        self.of_summaries(filter);
        self.of_words(filter.text.as_deref().unwrap_or_default());
    }

    fn must(&mut self, condition: &'static str) {
        self.conditions.push(condition);
    }

    fn with<const N: usize>(&mut self, condition: &'static str, parameters: [Value; N]) {
        self.must(condition);
        self.parameters.extend(parameters);
    }

    /// What is asked of every session, with a summary or without.
    fn of_rows(&mut self, filter: &Filter) {
        if let Some(id) = &filter.id {
            self.with("session.id = ?", [of_id(id)]);
        }
        if let Some(NameFilter { tenant, name }) = &filter.name {
            let tenant = text(names::within(tenant.as_ref()));
            self.with("session.has_name = 1 AND session.name_tenant = ?", [tenant]);
            if let Some(name) = name {
                self.with("session.name = ?", [text(name)]);
            }
        }
        match filter.archived {
            ArchivedFilter::Without => self.must("session.archived = 0"),
            ArchivedFilter::With => {}
            ArchivedFilter::Only => self.must("session.archived = 1"),
        }
        if !filter.children {
            self.must("session.child = 0");
        }
        if let Some(after) = &filter.after {
            let condition = match self.place {
                "label" => "(label.updated, label.id) < (?, ?)",
                _ => "(session.updated, session.id) < (?, ?)",
            };
            self.with(condition, [after.updated.unix_ms().into(), of_id(&after.id)]);
        }
    }

    /// What only a summary can answer.
    fn of_summaries(&mut self, filter: &Filter) {
        if let Some(cwd) = &filter.cwd {
            self.with("session.cwd = ?", [text(&cwd.to_string_lossy())]);
        }
        match &filter.tenant {
            None => {}
            Some(TenantFilter::Nobody) => {
                self.must("session.tenant IS NULL AND session.summary_upto > 0");
            }
            Some(TenantFilter::Of(tenant)) => {
                self.with("session.tenant = ?", [text(tenant.as_str())]);
            }
        }
        if let Some(activity) = filter.activity {
            self.with("session.activity = ?", [text(activity_name(activity))]);
        }
        let times = [
            ("session.updated > ? AND session.summary_upto > 0", filter.updated_after),
            ("session.updated < ? AND session.summary_upto > 0", filter.updated_before),
            ("session.created > ?", filter.created_after),
            ("session.created < ?", filter.created_before),
        ];
        for (condition, at) in times {
            if let Some(at) = at {
                self.with(condition, [at.unix_ms().into()]);
            }
        }
    }

    fn of_words(&mut self, query: &str) {
        for word in words(query) {
            let sql = "session.no IN (SELECT text.session FROM text_index
                CROSS JOIN text ON text.id = text_index.rowid WHERE text_index MATCH ?)";
            self.with(sql, [Value::Text(word)]);
        }
    }

    /// `SELECT columns` of the sessions in the order of lists, with the parameters. Rows are read one by one: whoever has enough of them stops.
    pub(super) fn listed(&self, columns: &str) -> (String, Vec<&dyn ToSql>) {
        let (source, place) = (self.source, self.place);
        let (conditions, parameters) = self.conditions();
        let sql = format!(
            "SELECT {columns} FROM {source} WHERE {conditions}
            ORDER BY {place}.updated DESC, {place}.id DESC"
        );
        (sql, parameters)
    }

    /// What follows `WHERE`.
    pub(super) fn conditions(&self) -> (String, Vec<&dyn ToSql>) {
        let parameters = self.parameters.iter().map(|value| value as &dyn ToSql);
        (self.conditions.join(" AND "), parameters.collect())
    }
}

/// The words of a query, each in quotes, so that nothing in it is an operator.
pub(super) fn words(query: &str) -> impl Iterator<Item = String> {
    query_words(query).take(QUERY_WORDS_MAX).map(|word| format!("\"{word}\""))
}

/// What an activity is called in its column, as in a summary.
pub(super) fn activity_name(activity: Activity) -> &'static str {
    match activity {
        Activity::Idle => "idle",
        Activity::Running => "running",
        Activity::AwaitingInput => "awaiting_input",
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn of_id(id: &SessionId) -> Value {
    text(id.as_str())
}

#[cfg(test)]
mod tests {
    use oarlock_core::ids::{Tenant, Timestamp};
    use oarlock_core::ports::journal::ListCursor;
    use rusqlite::params_from_iter;

    use super::super::schema;
    use super::*;

    /// How SQLite goes about a query, a step a line.
    fn plan(filter: &Filter) -> String {
        let folder = tempfile::TempDir::new().unwrap();
        let connection = schema::open(folder.path()).unwrap();
        let matching = Matching::in_order(filter);
        let (sql, parameters) = matching.listed("session.summary");
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.query_map(params_from_iter(parameters), |row| row.get(3)).unwrap();
        steps.map(Result::<String, _>::unwrap).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_page_is_read_in_the_order_of_an_index_and_never_sorted() {
        let id = SessionId::parse("s").unwrap();
        let after = Some(ListCursor { updated: Timestamp::from_unix_ms(5), id: id.clone() });
        let tenant = Some(TenantFilter::Of(Tenant::parse("t").unwrap()));
        let labels = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect()
        };
        let at = Some(Timestamp::from_unix_ms(7));
        let none = Filter::default;
        let named = |name: Option<&str>| {
            let name = name.map(ToOwned::to_owned);
            Filter { name: Some(NameFilter { tenant: None, name }), ..none() }
        };
        let nobody = Some(TenantFilter::Nobody);
        let table = [
            (none(), "session_updated"),
            (
                Filter { archived: ArchivedFilter::Only, children: true, ..none() },
                "session_updated",
            ),
            (Filter { tenant: nobody, ..none() }, "session_updated"),
            (Filter { tenant: tenant.clone(), ..none() }, "session_tenant"),
            (Filter { cwd: Some("/work".into()), ..none() }, "session_cwd"),
            (Filter { labels: labels(&["a", "b"]), ..none() }, "SEARCH label USING PRIMARY KEY"),
            (Filter { labels: labels(&["a"]), tenant, ..none() }, "SEARCH label USING PRIMARY KEY"),
            (Filter { updated_after: at, created_before: at, ..none() }, "session_updated"),
            (Filter { activity: Some(Activity::Running), ..none() }, "session_updated"),
            (named(Some("cox")), "INDEX session_name "),
            (named(None), "INDEX session_named "),
        ];
        for (filter, index) in table {
            for after in [None, after.clone()] {
                let filter = Filter { after, limit: Some(9), ..filter.clone() };
                let plan = plan(&filter);
                assert!(plan.contains(index), "{filter:?}:\n{plan}");
                assert!(!plan.contains("USE TEMP B-TREE"), "{filter:?}:\n{plan}");
            }
        }
        let said = plan(&Filter { text: Some("two words".to_owned()), ..none() });
        assert!(!said.contains("SCAN session"), "words are looked up: {said}");
        assert!(plan(&Filter::of(id)).contains("SEARCH session USING INDEX sqlite_autoindex"));
    }
}
