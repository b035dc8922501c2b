// Every wire against aimock, which speaks all of them: words, a call with its result, and the faults that it offers; its journal says what it was sent.
import assert from "node:assert/strict";
import { LLMock } from "@copilotkit/aimock";
import { parts } from "../acp/stage.mjs";
import { Peer, of } from "./peer.mjs";

const WIRES = {
  "openai-chat": ["/v1", "/v1/chat/completions"],
  "openai-responses": ["/v1", "/v1/responses"],
  "anthropic-messages": ["", "/v1/messages"],
  gemini: ["", "/v1beta/models/model-1:streamGenerateContent?alt=sse"],
  "bedrock-converse": ["", "/model/model-1/converse-stream"],
};
const USAGE = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 };
const WHOLE = "The notes say to row the boat, and nothing else.";

const mock = await LLMock.create({ port: 0, host: "127.0.0.1", strict: true, chunkSize: 8 });
const peer = new Peer("aimock");

/** One turn whose prompt only its own fixtures match, and what aimock was sent for it. */
async function turn(wire, prompt) {
  const [base, path] = WIRES[wire];
  const asked = () => mock.getRequests().filter((entry) => entry.method === "POST" && entry.path === path);
  const before = asked().length;
  const ran = await peer.run(wire, mock.url + base, `${wire}: ${prompt}`);
  return { ...ran, asked: asked().slice(before) };
}

const match = (wire, prompt, more = {}) => ({ userMessage: `${wire}: ${prompt}`, ...more });
const statuses = (ran) => ran.asked.map((entry) => entry.response.status);
const classes = (ran) => of(ran, "model_failed").map((failed) => failed.class);
const text = ({ content }) => (typeof content === "string" ? content : content.map((part) => part.text ?? "").join(""));

/** Done with the whole answer. */
function done(ran) {
  assert.deepEqual([ran.code, ran.text], [0, WHOLE], ran.err);
}

/** The first request of a prompt gets `first`, with these options of the fixture; each later one the whole answer. */
async function once(wire, prompt, first, options = {}) {
  mock.on(match(wire, prompt, { sequenceIndex: 0 }), first, options);
  mock.on(match(wire, prompt), { content: WHOLE, usage: USAGE });
  return turn(wire, prompt);
}

async function words(wire) {
  mock.on(match(wire, "words"), { content: WHOLE, usage: USAGE });
  const ran = await turn(wire, "words");
  done(ran);
  assert.deepEqual(statuses(ran), [200]);
  const { input, output } = ran.ended.usage;
  assert.deepEqual([input, output], [11, 7]);
  const { messages, tools, stream } = ran.asked[0].body;
  assert.equal(messages[0].role, "system");
  assert.equal(text(messages.at(-1)), `${wire}: words`);
  assert.ok(tools.some((tool) => tool.function.name === "read_file"));
  assert.notEqual(stream, false);
}

async function call(wire) {
  const look = { type: "toolCall", id: "call_0001", name: "read_file", arguments: { path: "notes.txt" } };
  const blocks = [{ type: "text", text: "I look." }, look];
  mock.on(match(wire, "call", { hasToolResult: false }), { blocks });
  mock.on(match(wire, "call", { hasToolResult: true }), { content: WHOLE, usage: USAGE });
  const ran = await turn(wire, "call");
  done(ran);
  assert.deepEqual(statuses(ran), [200, 200]);
  assert.deepEqual(of(ran, "tool_settled").map((settled) => settled.outcome), ["completed"]);
  // The call goes back as it was given, with the result under its id.
  const messages = ran.asked[1].body.messages;
  const result = messages.at(-1);
  assert.equal(result.role, "tool");
  assert.match(text(result), /row your boat/);
  const calls = messages.flatMap((message) => message.tool_calls ?? []);
  assert.deepEqual(calls.map((made) => [made.function.name, JSON.parse(made.function.arguments), made.id]), [["read_file", { path: "notes.txt" }, result.tool_call_id]]);
  assert.ok(messages.some((message) => message.role === "assistant" && message.content && text(message).includes("I look.")));
}

async function limited(wire) {
  const ran = await once(wire, "limited", { error: { message: "slow down", type: "rate_limit_error" }, status: 429, retryAfter: 2 });
  done(ran);
  assert.deepEqual(statuses(ran), [429, 200]);
  assert.deepEqual(classes(ran), ["rate_limited"]);
  const waited = ran.asked[1].timestamp - ran.asked[0].timestamp;
  assert.ok(waited >= 1950 && waited < 10_000, `asked again after ${waited} ms`);
}

async function failing(wire) {
  const ran = await once(wire, "failing", { error: { message: "boom", type: "server_error" }, status: 500 });
  done(ran);
  assert.deepEqual(statuses(ran), [500, 200]);
  assert.deepEqual(classes(ran), ["overloaded"]);
}

/** What is wrong with a request is not asked twice. */
async function refused(wire) {
  const table = [
    [400, "invalid_request_error", "a member is missing", "invalid_request"],
    [401, "authentication_error", "this key is nobody's", "auth"],
    [404, "not_found_error", "there is no model model-1", "model_not_found"],
  ];
  for (const [status, type, message, kind] of table) {
    mock.on(match(wire, `refused ${status}`), { error: { message, type }, status });
    const ran = await turn(wire, `refused ${status}`);
    assert.deepEqual([ran.code, statuses(ran), classes(ran)], [1, [status], [kind]], ran.err);
    assert.match(of(ran, "model_failed")[0].message, new RegExp(message));
  }
}

/** A stream that ends early is asked for again, and nothing of it becomes an answer. */
async function cut(wire) {
  const ran = await once(wire, "cut", { content: "Half of an answer that is never seen whole." }, { truncateAfterChunks: 3 });
  done(ran);
  assert.deepEqual(statuses(ran), [200, 200]);
  assert.equal(ran.asked[0].response.interruptReason, "truncateAfterChunks");
  assert.match(classes(ran).join(), /^(truncated|transport)$/);
  assert.equal(of(ran, "assistant_message").length, 1);
}

async function torn(wire) {
  const ran = await once(wire, "torn", { content: "Torn ".repeat(400) }, { disconnectAfterMs: 100, latency: 20 });
  done(ran);
  assert.equal(ran.asked[0].response.interruptReason, "disconnectAfterMs");
  assert.match(classes(ran).join(), /^(truncated|transport)$/);
}

/** aimock's own chaos: bodies that are no JSON, requests that are dropped or closed. */
async function chaos(wire) {
  for (const [name, kinds] of [["malformedRate", /^(truncated|transport)$/], ["disconnectRate", /^transport$/], ["dropRate", /^overloaded$/]]) {
    const ran = await once(wire, name, { content: "never" }, { chaos: { [name]: 1 } });
    assert.ok(ran.asked[0].response.chaosAction, name);
    done(ran);
    assert.match(classes(ran).join(), kinds, name);
  }
}

/** A server that never gets better is left alone after five tries, and half an answer is an error. */
async function hopeless(wire) {
  mock.on(match(wire, "hopeless"), { content: "Half of an answer that is never seen whole." }, { truncateAfterChunks: 2 });
  const ran = await turn(wire, "hopeless");
  assert.equal(ran.code, 1, ran.err);
  assert.equal(ran.asked.length, 5);
  assert.equal(of(ran, "assistant_message").length, 0);
}

const scenes = { words, call, limited, failing, refused, cut, torn, chaos, hopeless };
const walk = (wire) => parts(`aimock ${wire}`, Object.entries(scenes).map(([name, scene]) => [name, () => scene(wire)]));
// Side by side, because most of it is waiting; a wire is known by its path.
const failed = await Promise.all(Object.keys(WIRES).map(walk));
const known = Object.values(WIRES).map(([, path]) => path);
const strays = mock.getRequests().filter((entry) => !known.includes(entry.path));
if (strays.length) console.log("FAIL aimock: requests to paths of no wire", strays.map((entry) => entry.path));
console.log(`aimock was asked ${mock.getRequests().length} times`);
await mock.stop();
peer.clear();
process.exit(failed.some(Boolean) || strays.length ? 1 : 0);
