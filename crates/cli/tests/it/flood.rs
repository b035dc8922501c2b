//! A command that floods: run with `just flood`.

use serde_json::{Value, json};

use crate::home::Home;
use crate::voyage::{Running, of_type};

/// What the command writes.
const BYTES: u64 = 10_000_000_000;
/// Resident memory that the program may have had at most.
const PEAK_KILOBYTES: u64 = 40_000;

#[test]
#[ignore = "writes 1 GiB and takes half a minute"]
fn ten_gigabytes_of_output_pass_in_flat_memory_and_their_beginning_is_kept() {
    let home = Home::new();
    let flood = format!("head -c {BYTES} /dev/zero | tr '\\0' x");
    let arguments = json!({"command": flood, "timeout_ms": 600_000});
    let steps =
        json!({"steps": [{"calls": [{"name": "bash", "arguments": arguments}]}, {"text": "done"}]});
    home.write("project/s.json", &steps.to_string());
    let mut command = home.command();
    command.args(["run", "--json", "--mode", "open", "--model", "script/s.json", "go"]);
    let mut running = Running::start(command);
    let status = format!("/proc/{}/status", running.child.id());
    let mut peak = 0;
    let settled = running.until(|line| {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = kilobytes.map_or(peak, |text| text.trim().trim_end_matches(" kB").parse().unwrap());
        line["entry"]["event"]["type"] == "tool_settled"
    });
    let settled = settled["entry"].clone();
    let body = of_type(std::slice::from_ref(&settled), "tool_settled")[0];
    assert_eq!((&body["outcome"], &body["detail"]["bytes"]), (&"completed".into(), &BYTES.into()));
    let kept = body["blobs"][0]["bytes"].as_u64().unwrap();
    assert_eq!(kept, 1 << 30, "the first GiB is kept");
    assert!(peak > 0 && peak < PEAK_KILOBYTES, "{peak} KB");
    let (ran, _) = running.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let handle = format!("blob:{}", body["blobs"][0]["blob"].as_str().unwrap());
    let read = json!({"name": "read_file", "arguments": {"path": handle}});
    let model = home.script(&json!([{"calls": [read]}, {"text": "read"}]));
    let ran = home.run(&["run", "--json", "--model", &model, "and now?"]);
    let results: Vec<Value> = ran.lines().iter().map(|line| line["entry"].clone()).collect();
    assert_eq!(of_type(&results, "tool_settled")[0]["outcome"], "completed", "{}", ran.out);
}
