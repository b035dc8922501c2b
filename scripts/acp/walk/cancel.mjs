// Of the walk with the TypeScript SDK: cancelling wherever a turn can be, prompts that wait, and ends that are no success.
import assert from "node:assert/strict";
import { gist, text } from "../client.mjs";
import { refused, within } from "../stage.mjs";
import { client, stage } from "./shared.mjs";

const cancel = (sessionId) => client.tell("session/cancel", { sessionId });
const chunk = (id) => (entry) => entry.session === id && entry.sessionUpdate === "agent_message_chunk";
const ended = async (promise, reason) => assert.equal((await within(5000, `the end (${reason})`, promise)).stopReason, reason);

async function idle() {
  const { id } = await client.session(stage.folder("hello"));
  await cancel(id);
  await cancel(id);
  await ended(client.prompt(id, "hello"), "end_turn");
  await cancel(id);
  await ended(client.prompt(id, "hello"), "end_turn");
}

// Text has come and more is to come: in the wait before another attempt, and amid a long answer; afterwards the session works at once.
async function midStream() {
  const { id } = await client.session(stage.folder("hang"));
  const first = client.until("a first chunk", chunk(id));
  const answer = client.prompt(id, "speak");
  await first;
  await cancel(id);
  await ended(answer, "cancelled");
  const long = await client.session(stage.folder("long"));
  const begun = client.until("a first chunk", chunk(long.id));
  const flood = client.prompt(long.id, "sing");
  await begun;
  await cancel(long.id);
  await ended(flood, "cancelled");
  const from = client.told.length;
  await ended(client.prompt(long.id, "again"), "end_turn");
  assert.equal(gist(client.of(long.id, from)).at(-1).text, "Never mind.");
}

async function silent() {
  const { id } = await client.session(stage.folder("silent"));
  const answer = client.prompt(id, "speak");
  await new Promise((resolve) => setTimeout(resolve, 300)); // Nothing tells that a model says nothing.
  await cancel(id);
  await ended(answer, "cancelled");
}

// Both in one write: the cancel must not overtake the prompt, nor be lost.
async function sameWrite() {
  for (let round = 0; round < 20; round++) {
    const { id } = await client.session(stage.folder("silent"));
    client.child.stdin.cork();
    const answer = client.prompt(id, "speak");
    await cancel(id);
    client.child.stdin.uncork();
    await ended(answer, "cancelled");
  }
}

async function midTool() {
  const { id } = await client.session(stage.folder("sleep"));
  client.answers = [(request) => ({ outcome: "selected", optionId: request.options.find((one) => one.kind === "allow_once").optionId })];
  const runs = client.until("a running call", (entry) => entry.session === id && entry.status === "in_progress");
  const answer = client.prompt(id, "wait");
  await runs;
  await cancel(id);
  await ended(answer, "cancelled");
  assert.equal(gist(client.of(id)).find(({ is }) => is === "tool").status, "failed");
}

// The request's own cancellation does what session/cancel does.
async function byRequest() {
  const { id } = await client.session(stage.folder("silent"));
  const stop = new AbortController();
  const answer = client.agent.request("session/prompt", { sessionId: id, prompt: text("speak") }, { cancellationSignal: stop.signal });
  setTimeout(() => stop.abort(), 200);
  await within(5000, "the end", answer.then(({ stopReason }) => assert.equal(stopReason, "cancelled"), (error) => assert.equal(error.code, -32800)));
}

// A second prompt in a busy session is answered once, after the first; a cancel answers all of them.
async function waiting() {
  const { id } = await client.session(stage.folder("hello"));
  const answers = await Promise.all([1, 2, 3].map((number) => client.prompt(id, `prompt ${number}`)));
  assert.deepEqual(answers.map(({ stopReason }) => stopReason), ["end_turn", "end_turn", "end_turn"]);
  const busy = await client.session(stage.folder("silent"));
  const all = [1, 2, 3].map((number) => client.prompt(busy.id, `prompt ${number}`));
  await cancel(busy.id);
  for (const answer of all) await ended(answer, "cancelled");
}

async function sideBySide() {
  const blocked = await client.session(stage.folder("silent"));
  const waits = client.prompt(blocked.id, "speak");
  for (let round = 0; round < 3; round++) {
    const { id } = await client.session(stage.folder("hello"));
    await ended(client.prompt(id, "hello"), "end_turn");
  }
  await cancel(blocked.id);
  await ended(waits, "cancelled");
}

async function ends() {
  const { id } = await client.session(stage.folder("refuse"));
  await ended(client.prompt(id, "one"), "refusal");
  await ended(client.prompt(id, "two"), "max_tokens");
  const from = client.told.length;
  const error = await client.prompt(id, "three").then(() => assert.fail("a failed model"), (reason) => reason);
  assert.ok(error.code < 0 && error.message.length > 10, error.message);
  assert.equal(gist(client.of(id, from)).find(({ is }) => is === "agent_message_chunk")?.text, "Half an ans", "what was said before it failed");
}

async function badRequests() {
  const cwd = stage.folder("hello");
  const { id } = await client.session(cwd);
  await refused(-32602, client.session("relative/folder"));
  await refused(-32602, client.ask("session/prompt", { sessionId: id, prompt: "not a list" }));
  await refused(-32602, client.ask("session/prompt", { sessionId: id, prompt: [{ type: "audio", data: "AAAA", mimeType: "audio/wav" }] }));
  const unknown = "01900000-0000-7000-8000-000000000000";
  for (const [method, more] of [["session/prompt", { prompt: text("hello") }], ["session/load", { cwd, mcpServers: [] }], ["session/resume", { cwd }]]) {
    await refused(-32002, client.ask(method, { sessionId: unknown, ...more }));
  }
  await refused(-32602, client.ask("authenticate", { methodId: "no-such-method" }));
  await refused(-32601, client.ask("session/no_such_method", {}));
  await refused(-32601, client.ask("_example.org/no_such_method", {}));
  await client.tell("_example.org/no_such_note", { any: 1 });
  await client.tell("session/cancel", { sessionId: unknown });
  await ended(client.prompt(id, "hello"), "end_turn");
}

export const cancels = [["cancel when idle", idle], ["cancel in mid-stream", midStream], ["cancel a silent model", silent], ["cancel in the same write", sameWrite],
  ["cancel a running command", midTool], ["cancel the request", byRequest], ["prompts that wait", waiting], ["sessions side by side", sideBySide],
  ["ends that are no success", ends], ["bad requests", badRequests]];
