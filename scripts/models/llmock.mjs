// Every wire that llmock speaks against its faults. It judges each call by what it was sent and when; nothing may be left to say, not even a warning.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { parts, within } from "../acp/stage.mjs";
import { Peer, of } from "./peer.mjs";

const WIRES = { "openai-chat": "/v1", "openai-responses": "/v1", "anthropic-messages": "/anthropic", gemini: "/gemini/v1beta" };
const START_MS = 30_000;
/** Between two events of a stream. A judge that has sent everything cannot see that a client went away, so streams take a while. */
const PAUSE_MS = 10;
const SAID = Array.from({ length: 40 }, (_, at) => `word${at}`).join(" ");

/** llmock on a free port of loopback, as a process of ours. */
async function start() {
  const env = { PATH: process.env.PATH, PYTHONPATH: process.env.LLMOCK, PYTHONDONTWRITEBYTECODE: "1", PYTHONUNBUFFERED: "1" };
  const child = spawn("python3", ["-m", "llmock.cli", "serve", "--host", "127.0.0.1", "--port", "0", "--stream-chunk-delay-ms", `${PAUSE_MS}`], { env, stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  const at = new Promise((resolve, reject) => {
    const read = (bytes) => {
      log += bytes;
      const found = log.match(/running on (http:\/\/127\.0\.0\.1:\d+)/);
      if (found) resolve(found[1]);
    };
    for (const stream of [child.stdout, child.stderr]) stream.on("data", read);
    child.on("exit", (code) => reject(new Error(`llmock ended with ${code}: ${log}`)));
  });
  return { child, url: await within(START_MS, "llmock's address", at) };
}

const peer = new Peer("llmock");

async function ask(url, method, path, body) {
  const answer = await fetch(`${url}/_llmock/${path}`, { method, body: body && JSON.stringify(body) });
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return JSON.parse(text);
}

/** One turn that meets these behaviours, its verdict, and the attempts of its calls. */
async function turn({ wire, url }, ...behaviors) {
  await ask(url, "POST", "reset");
  const reply = { type: "reply", text: SAID, times: null };
  await ask(url, "POST", "scenario", { behaviors: [...behaviors, reply] });
  const ran = await peer.run(wire, url + WIRES[wire], "What do the notes say?");
  const { requests } = await ask(url, "GET", "requests");
  const verdict = await ask(url, "GET", "verdict");
  assert.deepEqual(verdict.findings, [], JSON.stringify(verdict.findings, null, 1));
  assert.equal(verdict.attempts, requests.length);
  const waits = requests.slice(1).map((after, at) => after.started_at - requests[at].ended_at);
  const told = requests.map(({ status, fault, completed }) => [status, fault, completed]);
  return { ...ran, verdict, waits, told };
}

const classes = (ran) => of(ran, "model_failed").map((failed) => failed.class);

function done(ran, attempts) {
  assert.deepEqual([ran.code, ran.text, ran.verdict.attempts], [0, SAID, attempts], JSON.stringify(ran.told));
}

async function words(place) {
  done(await turn(place), 1);
}

async function call(place) {
  const look = { name: "read_file", arguments: { path: "notes.txt" } };
  const ran = await turn(place, { type: "reply", text: null, tool_calls: [look] });
  done(ran, 2);
  const [settled] = of(ran, "tool_settled");
  assert.equal(settled.outcome, "completed");
  assert.match(settled.content[0].text, /row your boat/);
}

async function limited(place) {
  const ran = await turn(place, { type: "fail", status: 429, retry_after: 1.5, times: 2 });
  done(ran, 3);
  assert.deepEqual(classes(ran), ["rate_limited", "rate_limited"]);
  for (const wait of ran.waits) assert.ok(wait >= 1.5, `${wait} s`);
}

async function down(place) {
  const ran = await turn(place, { type: "fail", status: 503, times: null });
  assert.deepEqual([ran.code, ran.verdict.attempts, ran.text || ""], [1, 5, ""]);
  assert.deepEqual(new Set(classes(ran)), new Set(["overloaded"]));
}

async function refused(place) {
  for (const [status, kind] of [[400, "invalid_request"], [401, "auth"], [403, "auth"], [404, "invalid_request"], [422, "invalid_request"]]) {
    const ran = await turn(place, { type: "fail", status, times: null });
    assert.deepEqual([ran.code, ran.verdict.attempts, classes(ran)], [1, 1, [kind]]);
  }
}

/** Streams that break: each is asked for again, and only the whole answer counts. */
async function broken(place) {
  for (const [kind, wanted] of [["truncate", "truncated"], ["disconnect", "transport"], ["malformed", "transport"]]) {
    const ran = await turn(place, { type: "stream_fault", kind, after_chunks: 3, times: 2 });
    done(ran, 3);
    assert.deepEqual(classes(ran), [wanted, wanted], kind);
    assert.equal(of(ran, "assistant_message").length, 1);
  }
}

/** A call that is cut within its arguments is not made. */
async function call_cut(place) {
  const write = { name: "write_file", arguments: { path: "made.txt", content: "words ".repeat(40) } };
  const ran = await turn(place, { type: "reply", tool_calls: [write] }, { type: "stream_fault", kind: "truncate", after_chunks: 2 });
  done(ran, 2);
  assert.deepEqual([classes(ran), of(ran, "tool_called")], [["truncated"], []]);
}

/** What a model gets wrong is told to the model, and the turn goes on. */
async function odd_calls(place) {
  for (const kind of ["malformed_arguments", "unknown_tool"]) {
    const ran = await turn(place, { type: "reply", tool_calls: [{ name: "read_file", arguments: { path: "notes.txt" } }] }, { type: "tool_fault", kind });
    assert.deepEqual([ran.code, ran.text], [0, SAID], JSON.stringify(ran.told));
    assert.ok(of(ran, "tool_settled").every((settled) => settled.outcome !== "completed"), kind);
  }
}

const scenes = { words, call, limited, down, refused, broken, call_cut, odd_calls };

/** All scenes of a wire, against a server of its own, because a verdict is about all that a server was asked. */
async function walk(wire) {
  const { child, url } = await start();
  // Over Google's wire llmock has a call and its end in one event, between which nothing can be cut.
  const mine = Object.entries(scenes).filter(([name]) => wire !== "gemini" || name !== "call_cut");
  const failed = await parts(`llmock ${wire}`, mine.map(([name, scene]) => [name, () => scene({ wire, url })]));
  child.removeAllListeners("exit");
  child.kill("SIGTERM");
  return failed;
}

const failed = await Promise.all(Object.keys(WIRES).map(walk));
peer.clear();
process.exit(failed.some(Boolean) ? 1 : 0);
