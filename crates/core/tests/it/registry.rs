//! Registries of tools: their order, what hides what, and choices by name.

use std::sync::Arc;

use oarlock_core::event::Effect;
use oarlock_core::ports::tool::Tool;
use oarlock_core::{
    AllowlistMatch, CompositeRegistry, StaticToolRegistry, ToolRegistry,
    filter_registry_by_allowlist, match_tool_allowlist,
};
use oarlock_testkit::tool::{Act, TestTool};

fn tool(name: &str) -> Arc<dyn Tool> {
    TestTool::new(name, Effect::Pure, Act::Panic)
}

fn names(registry: &dyn ToolRegistry) -> Vec<&str> {
    registry.schemas().iter().map(|schema| schema.name.as_str()).collect()
}

#[test]
fn a_tool_of_a_known_name_takes_its_place() {
    let newer = tool("b");
    let registry = StaticToolRegistry::builder()
        .insert(tool("a"))
        .insert(tool("b"))
        .insert(tool("c"))
        .insert(Arc::clone(&newer))
        .build();
    assert_eq!(names(&registry), ["a", "b", "c"]);
    assert!(Arc::ptr_eq(registry.get("b").unwrap(), &newer));
    assert!(registry.get("d").is_none());
}

#[test]
fn a_sessions_tools_come_first_and_hide_those_of_the_process() {
    let (mine, theirs) = (tool("read"), tool("read"));
    let session = StaticToolRegistry::new([tool("weather"), Arc::clone(&mine)]);
    let process = StaticToolRegistry::new([tool("bash"), theirs, tool("edit")]);
    let both = CompositeRegistry::new(Arc::new(session), Arc::new(process));
    assert_eq!(names(&both), ["weather", "read", "bash", "edit"]);
    assert!(Arc::ptr_eq(both.get("read").unwrap(), &mine));
    let plain = StaticToolRegistry::new(
        names(&both).iter().map(|name| Arc::clone(both.get(name).unwrap())),
    );
    assert_eq!(both.digest(), plain.digest(), "requests do not see how a registry is made");
}

#[test]
fn an_allow_list_names_tools_once_in_the_order_of_its_patterns() {
    let pool = ["read_file", "bash", "write_file", "mcp__git__log"];
    let found = |patterns: &[&str]| match_tool_allowlist(&pool, patterns);
    let tools = |names: &[&str], spawn_agent| AllowlistMatch {
        tools: names.iter().map(|name| (*name).to_owned()).collect(),
        spawn_agent,
    };
    assert_eq!(found(&["bash", "*_file"]), Ok(tools(&["bash", "read_file", "write_file"], false)));
    assert_eq!(found(&["write_file", "*_file"]), Ok(tools(&["write_file", "read_file"], false)));
    assert_eq!(found(&["spawn_agent"]), Ok(tools(&[], true)));
    assert_eq!(
        found(&["mcp__*", "*"]).map(|found| (found.tools.len(), found.spawn_agent)),
        Ok((4, true))
    );
    assert_eq!(found(&[]), Ok(tools(&[], false)));
}

#[test]
fn a_misspelt_name_must_not_take_a_tool_away_in_silence() {
    let registry = StaticToolRegistry::new([tool("read_file"), tool("bash")]);
    let error = filter_registry_by_allowlist(&registry, &["bash", "reed_file"]).unwrap_err();
    assert_eq!(error.to_string(), "`reed_file` matches no tool; the tools are: read_file, bash");
    let kept = filter_registry_by_allowlist(&registry, &["bash"]).unwrap();
    assert_eq!(names(&kept), ["bash"]);
}
