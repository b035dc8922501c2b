//! `update_plan` and `goal_done`: what they tell their session, and what they refuse.

use oarlock_core::event::{GoalReached, PlanChanged, PlanItem, PlanPriority, PlanStatus};
use oarlock_core::ports::tool::SessionNote;
use serde_json::{Value, json};

use crate::kit::{Kit, text};

#[tokio::test]
async fn a_plan_is_told_to_the_session_as_a_whole() {
    let kit = Kit::new();
    let items = json!([
        {"content": " lay the keel ", "status": "completed", "priority": "high"},
        {"content": "caulk", "status": "in_progress"},
        {"content": "paint", "status": "pending", "priority": "low"},
    ]);
    let output = kit.done("update_plan", json!({"items": items})).await;
    assert_eq!(text(&output), "1 of 3 done, now: caulk");
    let item = |content: &str, status, priority| PlanItem {
        content: content.to_owned(),
        status,
        priority,
    };
    let items = vec![
        item("lay the keel", PlanStatus::Completed, PlanPriority::High),
        item("caulk", PlanStatus::InProgress, PlanPriority::Medium),
        item("paint", PlanStatus::Pending, PlanPriority::Low),
    ];
    assert_eq!(output.notes, [SessionNote::Plan(PlanChanged { items })]);
    let dropped = kit.done("update_plan", json!({"items": []})).await;
    assert_eq!(text(&dropped), "no plan any more");
    assert_eq!(dropped.notes, [SessionNote::Plan(PlanChanged::default())]);
}

#[tokio::test]
async fn a_plan_that_is_none_is_refused_in_words_that_help() {
    let kit = Kit::new();
    let open = |content: &str| json!({"content": content, "status": "in_progress"});
    let table: [(Value, &str); 9] = [
        (json!({}), "`items` must be a list"),
        (json!({"items": "all"}), "`items` must be a list"),
        (json!({"plan": []}), "there is no argument `plan`; there are items"),
        (json!({"items": ["paint"]}), "item 1: the arguments must be a JSON object"),
        (json!({"items": [{"content": "a"}]}), "item 1: `status` is missing"),
        (
            json!({"items": [open("a"), {"content": "a", "status": "doing"}]}),
            "item 2: `status` must be one of pending, in_progress, completed, not `doing`",
        ),
        (json!({"items": [open(" ")]}), "item 1: `content` is empty"),
        (json!({"items": [open("a"), open("b")]}), "2 items are `in_progress`; one may be"),
        (
            json!({"items": [open(&"x".repeat(501))]}),
            "item 1: `content` has 501 bytes and may have 500",
        ),
    ];
    for (arguments, words) in table {
        assert_eq!(kit.refused("update_plan", arguments.clone()).await, words, "{arguments}");
        let assessed = kit.tool("update_plan").assess(&arguments, &kit.place);
        assert_eq!(assessed.unwrap_err(), words);
    }
    let many = vec![json!({"content": "a", "status": "pending"}); 51];
    let refused = kit.refused("update_plan", json!({"items": many})).await;
    assert_eq!(refused, "`items` has 51 items and may have 50");
}

#[tokio::test]
async fn a_reached_goal_comes_with_what_was_done() {
    let kit = Kit::new();
    let output = kit.done("goal_done", json!({"summary": "it floats"})).await;
    let reached = GoalReached { summary: "it floats".to_owned() };
    assert_eq!(output.notes, [SessionNote::Goal(reached)]);
    assert_eq!(kit.refused("goal_done", json!({})).await, "`summary` is missing");
    assert_eq!(kit.refused("goal_done", json!({"summary": " "})).await, "`summary` is empty");
    let long = kit.refused("goal_done", json!({"summary": "x".repeat(9000)})).await;
    assert_eq!(long, "`summary` has 9000 bytes and may have 8192; be brief");
}
