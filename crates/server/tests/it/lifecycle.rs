//! Sessions as a client lists, opens, closes and deletes them, and the folders that it names.

use oarlock_testkit::model::{Say, text};
use serde_json::{Value, json};

use crate::desk::{Client, Desk, kind, text_of};

const STRANGER: &str = "01a1ffa1-0c86-70c2-afd9-4e292c035691";

fn says(words: &'static str) -> Vec<Say> {
    vec![Say::Delta(words), Say::Reply(text(words))]
}

fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{answer}"))
}

fn words(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// The ids that a page has, and its cursor.
async fn page(client: &mut Client, params: Value) -> (Vec<String>, Value) {
    let (answer, _) = client.call("session/list", params).await;
    let result = &answer["result"];
    let sessions = result["sessions"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
    let ids = sessions.map(|s| s["sessionId"].as_str().expect("it has an id").to_owned());
    (ids.collect(), result["nextCursor"].clone())
}

async fn of(client: &mut Client, method: &str, session: &str) -> Value {
    client.call(method, json!({ "sessionId": session })).await.0
}

#[tokio::test(start_paused = true)]
async fn a_session_is_listed_from_its_beginning_with_what_is_known_of_it() {
    let desk = Desk::new(vec![says("yes")], vec![]);
    let mut client = desk.client().await;
    assert_eq!(page(&mut client, json!({})).await, (vec![], Value::Null));
    let new = json!({ "cwd": "/", "mcpServers": [], "additionalDirectories": ["/usr/../usr"] });
    let (new, _) = client.call("session/new", new).await;
    let session = new["result"]["sessionId"].as_str().unwrap().to_owned();
    let (answer, _) = client.call("session/list", json!({})).await;
    let listed = &answer["result"]["sessions"][0];
    assert_eq!(listed["sessionId"], session.as_str());
    assert_eq!(listed["cwd"], "/");
    assert_eq!(listed["additionalDirectories"], json!(["/usr"]));
    assert_eq!(listed.get("title"), None, "it has none yet");
    let updated = listed["updatedAt"].as_str().unwrap();
    assert!(updated.contains('T') && updated.ends_with('Z'), "{updated}");
    let id = client.prompt(&session, "count the trees").await;
    client.answer(id).await;
    let (answer, _) = client.call("session/list", json!({})).await;
    assert_eq!(answer["result"]["sessions"][0]["title"], "count the trees");
}

#[tokio::test(start_paused = true)]
async fn pages_have_every_session_once_though_one_is_used_between_them() {
    let desk = Desk::new(vec![says("yes")], vec![]);
    let mut client = desk.client().await;
    let mut all = Vec::new();
    for _ in 0..60 {
        let session = client.session().await;
        of(&mut client, "session/close", &session).await;
        all.push(session);
    }
    let (mut seen, cursor) = page(&mut client, json!({})).await;
    assert_eq!(seen.len(), 50);
    let resume = json!({ "sessionId": seen[7], "cwd": "/" });
    client.call("session/resume", resume).await;
    let id = client.prompt(&seen[7], "go on").await;
    client.answer(id).await;
    let (rest, end) = page(&mut client, json!({ "cursor": cursor })).await;
    assert_eq!(end, Value::Null);
    seen.extend(rest);
    seen.sort_unstable();
    all.sort_unstable();
    assert_eq!(seen, all);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_of_one_folder_by_whatever_name_and_of_no_wrong_one() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let (ids, _) = page(&mut client, json!({ "cwd": "/usr/.." })).await;
    assert_eq!(ids, [session]);
    for other in ["/usr", "/nowhere/at/all"] {
        assert_eq!(page(&mut client, json!({ "cwd": other })).await, (vec![], Value::Null));
    }
    for wrong in [json!({ "cwd": "usr" }), json!({ "cursor": "x" }), json!({ "cursor": "" })] {
        let (answer, _) = client.call("session/list", wrong).await;
        assert_eq!(code(&answer), -32602, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_session_is_stopped_first_and_gone_then() {
    let desk = Desk::new(vec![vec![Say::Delta("working"), Say::Silence]], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let prompt = client.prompt(&session, "work").await;
    client.until(|m| kind(m) == "agent_message_chunk").await;
    let delete = client.request("session/delete", json!({ "sessionId": session })).await;
    let (answer, before) = client.answer(delete).await;
    assert_eq!(answer["result"], json!({}), "{answer}");
    let ended = before.iter().find(|m| m["id"] == prompt).unwrap_or_else(|| panic!("{before:?}"));
    assert_eq!(ended["result"]["stopReason"], "cancelled");
    assert_eq!(page(&mut client, json!({})).await.0, Vec::<String>::new());
    let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    assert_eq!(code(&client.call("session/load", load).await.0), -32002);
    for gone in [session.as_str(), STRANGER, "../../etc/passwd", "", "/"] {
        assert_eq!(of(&mut client, "session/delete", gone).await["result"], json!({}), "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_another_client_has_open_is_deleted_as_well() {
    let desk = Desk::new(vec![], vec![]);
    let (mut one, mut other) = (desk.client().await, desk.client().await);
    let session = one.session().await;
    assert_eq!(of(&mut other, "session/delete", &session).await["result"], json!({}));
    assert_eq!(page(&mut one, json!({})).await.0, Vec::<String>::new());
    let id = one.prompt(&session, "still there?").await;
    let (answer, _) = one.answer(id).await;
    assert!(answer["error"].is_object(), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_closed_when_its_turn_has_ended_and_can_be_opened_again() {
    let desk = Desk::new(vec![vec![Say::Delta("working"), Say::Silence], says("yes")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let prompt = client.prompt(&session, "work").await;
    client.until(|m| kind(m) == "agent_message_chunk").await;
    let close = client.request("session/close", json!({ "sessionId": session })).await;
    let (answer, before) = client.answer(close).await;
    assert_eq!(answer["result"], json!({}), "{answer}");
    let ended = before.iter().find(|m| m["id"] == prompt).unwrap_or_else(|| panic!("{before:?}"));
    assert_eq!(ended["result"]["stopReason"], "cancelled");
    // Closing what is closed does nothing; what there never was is not closed.
    assert_eq!(of(&mut client, "session/close", &session).await["result"], json!({}));
    assert_eq!(code(&of(&mut client, "session/close", STRANGER).await), -32002);
    let id = client.prompt(&session, "hello?").await;
    assert_eq!(code(&client.answer(id).await.0), -32002, "it is not open");
    let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let (answer, told) = client.call("session/load", load).await;
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(text_of(&told, "user_message_chunk"), "work");
    let id = client.prompt(&session, "again").await;
    assert_eq!(client.answer(id).await.0["result"]["stopReason"], "end_turn");
}

#[tokio::test(start_paused = true)]
async fn the_folders_of_a_session_stay_what_they_were() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let new = json!({ "cwd": "/", "mcpServers": [], "additionalDirectories": ["/usr", "/etc"] });
    let (answer, _) = client.call("session/new", new).await;
    let session = answer["result"]["sessionId"].as_str().unwrap().to_owned();
    let table = [
        ("/", json!(["/etc/", "/usr", "/usr"]), None),
        ("/usr/..", json!(["/usr", "/etc"]), None),
        ("/usr", json!(["/usr", "/etc"]), Some("works in /")),
        ("/", json!([]), Some("/etc, /usr")),
        ("/", json!(["/usr"]), Some("/etc, /usr")),
        ("/", json!(["/usr", "/etc", "/dev"]), Some("/etc, /usr")),
        ("/", json!(["usr"]), Some("absolute")),
        ("tmp", json!(["/usr", "/etc"]), Some("absolute")),
    ];
    let ways = [("session/load", true), ("session/resume", true), ("session/load", false)];
    for ((method, is_open), (cwd, roots, refused)) in
        ways.iter().flat_map(|way| table.iter().map(move |row| (way, row)))
    {
        if !is_open {
            of(&mut client, "session/close", &session).await;
        }
        let open = json!({
            "sessionId": session, "cwd": cwd, "mcpServers": [], "additionalDirectories": roots
        });
        let (answer, _) = client.call(method, open).await;
        let Some(why) = refused else {
            assert!(answer["result"].is_object(), "{is_open} {method}: {answer}");
            continue;
        };
        assert_eq!(code(&answer), -32602, "{is_open} {method} {cwd}: {answer}");
        assert!(words(&answer).contains(why), "{is_open} {method}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_none_makes_no_session() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let table = [
        (json!({ "cwd": "tmp", "mcpServers": [] }), "absolute"),
        (json!({ "cwd": "", "mcpServers": [] }), "absolute"),
        (json!({ "cwd": "/nowhere/at/all", "mcpServers": [] }), "/nowhere/at/all"),
        (json!({ "cwd": "/etc/passwd", "mcpServers": [] }), "not a folder"),
        (
            json!({ "cwd": "/", "mcpServers": [], "additionalDirectories": ["/nowhere"] }),
            "/nowhere",
        ),
    ];
    for (new, why) in table {
        let (answer, _) = client.call("session/new", new).await;
        assert_eq!(code(&answer), -32602, "{answer}");
        assert!(words(&answer).contains(why), "{answer}");
    }
    assert_eq!(page(&mut client, json!({})).await.0, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_fork_goes_on_from_its_source_which_it_leaves_as_it_is() {
    let desk = Desk::new(vec![says("four"), says("five"), says("six")], vec![]);
    let mut client = desk.client().await;
    let source = client.session().await;
    let id = client.prompt(&source, "two and two?").await;
    client.answer(id).await;
    let fork = json!({ "sessionId": source, "cwd": "/", "mcpServers": [] });
    let (answer, told) = client.call("session/fork", fork.clone()).await;
    let forked = answer["result"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert_ne!(forked, source);
    assert_eq!(answer["result"]["modes"]["currentModeId"], "open", "{answer}");
    assert_eq!(told.iter().filter(|m| kind(m) == "user_message_chunk").count(), 0, "{told:?}");
    let id = client.prompt(forked, "and one?").await;
    let (answer, told) = client.answer(id).await;
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
    let mut of_fork = told.iter().filter(|m| kind(m) == "agent_message_chunk");
    assert!(of_fork.all(|m| m["params"]["sessionId"] == forked), "{told:?}");
    assert_eq!(text_of(&told, "agent_message_chunk"), "five");
    let asked = desk.kit.model.requests();
    let before = asked[0].messages.len();
    assert_eq!(asked[1].messages[..before], asked[0].messages[..]);
    assert!(asked[1].messages.len() > before + 1, "the answer of the source is known");
    let id = client.prompt(&source, "and two?").await;
    assert_eq!(client.answer(id).await.0["result"]["stopReason"], "end_turn");
    // Whoever loads the fork is told what happened before it was one.
    of(&mut client, "session/close", forked).await;
    let load = json!({ "sessionId": forked, "cwd": "/", "mcpServers": [] });
    let (_, told) = client.call("session/load", load).await;
    assert_eq!(text_of(&told, "agent_message_chunk"), "fourfive");
    let elsewhere = json!({ "sessionId": source, "cwd": "/usr", "mcpServers": [] });
    assert_eq!(code(&client.call("session/fork", elsewhere).await.0), -32602);
    for nobody in [STRANGER, "../../etc/passwd"] {
        let nobody = json!({ "sessionId": nobody, "cwd": "/", "mcpServers": [] });
        assert_eq!(code(&client.call("session/fork", nobody).await.0), -32002);
    }
}

#[tokio::test(start_paused = true)]
async fn an_archived_session_is_stopped_and_off_the_list_until_it_is_put_back() {
    let desk = Desk::new(vec![vec![Say::Delta("working"), Say::Silence], says("yes")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let prompt = client.prompt(&session, "work").await;
    client.until(|m| kind(m) == "agent_message_chunk").await;
    let archive = client.request("session/archive", json!({ "sessionId": session })).await;
    let (answer, before) = client.answer(archive).await;
    assert_eq!(answer["result"], json!({}), "{answer}");
    let ended = before.iter().find(|m| m["id"] == prompt).unwrap_or_else(|| panic!("{before:?}"));
    assert_eq!(ended["result"]["stopReason"], "cancelled");
    assert_eq!(of(&mut client, "session/archive", &session).await["result"], json!({}), "again");
    for (filter, is_there) in [
        (Value::Null, false),
        (json!("exclude"), false),
        (json!("include"), true),
        (json!("only"), true),
    ] {
        let (answer, _) = client.call("session/list", json!({ "archived": filter })).await;
        let listed = answer["result"]["sessions"].as_array().unwrap();
        assert_eq!(!listed.is_empty(), is_there, "{filter}: {answer}");
        assert!(listed.iter().all(|one| one["archived"] == true), "{answer}");
    }
    let (answer, _) = client.call("session/list", json!({ "archived": "both" })).await;
    assert_eq!(code(&answer), -32602, "{answer}");
    assert_eq!(of(&mut client, "session/unarchive", &session).await["result"], json!({}));
    let (answer, _) = client.call("session/list", json!({})).await;
    assert_eq!(answer["result"]["sessions"][0]["archived"], false, "{answer}");
    let resume = json!({ "sessionId": session, "cwd": "/" });
    client.call("session/resume", resume).await;
    let id = client.prompt(&session, "go on").await;
    assert_eq!(client.answer(id).await.0["result"]["stopReason"], "end_turn");
    for method in ["session/archive", "session/unarchive", "session/status"] {
        for nobody in [STRANGER, "../../etc/passwd"] {
            assert_eq!(code(&of(&mut client, method, nobody).await), -32002, "{method}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_title_is_kept_before_it_is_answered_whether_or_not_its_session_is_open() {
    let desk = Desk::new(vec![], vec![]);
    let (mut one, mut other) = (desk.client().await, desk.client().await);
    let session = one.session().await;
    let title = |title: &str| json!({ "sessionId": session, "title": title });
    let (answer, _) = other.call("session/set_title", title("  The\n oars ")).await;
    assert_eq!(answer["result"], json!({ "title": "The oars" }), "{answer}");
    let told = one.until(|m| kind(m) == "session_info_update").await;
    assert_eq!(told.last().unwrap()["params"]["update"]["title"], "The oars");
    of(&mut one, "session/close", &session).await;
    other.call("session/set_title", title("Asleep")).await;
    let (answer, _) = other.call("session/list", json!({})).await;
    assert_eq!(answer["result"]["sessions"][0]["title"], "Asleep", "{answer}");
    for wrong in [title(" \n"), json!({ "sessionId": session })] {
        assert_eq!(code(&other.call("session/set_title", wrong).await.0), -32602);
    }
    let nobody = json!({ "sessionId": STRANGER, "title": "x" });
    assert_eq!(code(&other.call("session/set_title", nobody).await.0), -32002);
}

#[tokio::test(start_paused = true)]
async fn asking_how_a_session_is_wakes_nobody() {
    let desk = Desk::new(vec![], vec![]);
    let (mut one, mut other) = (desk.client().await, desk.client().await);
    let session = one.session().await;
    assert_eq!(of(&mut other, "session/status", &session).await["result"]["status"], "open");
    of(&mut one, "session/close", &session).await;
    for _ in 0..2 {
        assert_eq!(of(&mut other, "session/status", &session).await["result"]["status"], "saved");
    }
}
