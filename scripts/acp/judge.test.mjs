// The judge itself: each of these conversations is wrong in one way, and it says so.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Judge } from "./judge.mjs";

const rpc = (message) => JSON.stringify({ jsonrpc: "2.0", ...message });
const c = (message) => ["client", typeof message === "string" ? message : rpc(message)];
const a = (message) => ["agent", typeof message === "string" ? message : rpc(message)];
const update = (fields) => a({ method: "session/update", params: { sessionId: "s", update: fields } });
const chunk = (text, more = {}) => update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text }, ...more });
const opened = [c({ id: 1, method: "session/new", params: { cwd: "/", mcpServers: [] } }), a({ id: 1, result: { sessionId: "s" } })];
const prompt = c({ id: 2, method: "session/prompt", params: { sessionId: "s", prompt: [{ type: "text", text: "hi" }] } });
const done = a({ id: 2, result: { stopReason: "end_turn" } });
const called = update({ sessionUpdate: "tool_call", toolCallId: "t", title: "look" });
const moved = (status) => update({ sessionUpdate: "tool_call_update", toolCallId: "t", status });
const asked = a({ id: "q", method: "session/request_permission", params: { sessionId: "s", toolCall: { toolCallId: "t" }, options: [{ optionId: "y", name: "yes", kind: "allow_once" }] } });

function faults(conversation) {
  const judge = new Judge();
  for (const [who, line] of conversation) judge[who](line);
  return judge.end();
}

test("a conversation in order has no fault", () => {
  assert.deepEqual(faults([...opened, prompt, chunk("hello"), called, asked, moved("in_progress"), moved("completed"), done]), []);
});

const wrong = {
  "outside of any turn": [...opened, prompt, done, chunk("late")],
  "before there is a session": [opened[0], chunk("early"), opened[1]],
  "never answered": [...opened, prompt, chunk("hello")],
  "answered twice": [...opened, prompt, done, done],
  "answers what was not asked": [...opened, a({ id: 9, result: {} })],
  "the turn ended while call t was pending": [...opened, prompt, called, done],
  "a call announced twice": [...opened, prompt, called, called, moved("failed"), done],
  "an update of a call that nobody announced": [...opened, prompt, moved("completed"), done],
  "a call that was completed goes on": [...opened, prompt, called, moved("completed"), moved("failed"), done],
  "a permission for a call that is in_progress": [...opened, prompt, called, moved("in_progress"), asked, moved("failed"), done],
  "message m was agent_message_chunk": [...opened, prompt, chunk("a", { messageId: "m" }), update({ sessionUpdate: "agent_thought_chunk", content: { type: "text", text: "b" }, messageId: "m" }), done],
  "not JSON": [a("Listening on stdin")],
  "the root key note is not JSON-RPC's": [...opened, prompt, a({ id: 2, result: { stopReason: "end_turn" }, note: 1 })],
  "neither a result nor an error, or both": [...opened, prompt, a({ id: 2 })],
  "Response of session/prompt against the schema": [...opened, prompt, a({ id: 2, result: { stopReason: "failed" } })],
  "Notification of session/update against the schema: unknown names": [...opened, prompt, chunk("a", { message_id: "m" }), done],
  "an error without an id although all was well": [a({ id: null, error: { code: -32700, message: "what" } })],
  "garbage that nobody complained of": [c("{")],
  "history while a session is resumed": [c({ id: 3, method: "session/resume", params: { sessionId: "s", cwd: "/" } }), chunk("old"), a({ id: 3, result: {} })],
};
for (const [words, conversation] of Object.entries(wrong)) {
  test(`it finds: ${words}`, () => {
    const found = faults(conversation);
    assert.ok(found.some((text) => text.startsWith(words) || text.includes(words)), found.join("\n") || "nothing");
  });
}
