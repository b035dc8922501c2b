// How the program ends: soon, wherever its turns are, with no process of theirs left and a journal that the next one goes on with.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Client } from "./client.mjs";
import { judgeLog } from "./judge.mjs";
import { PROGRAM, Stage, parts, within } from "./stage.mjs";

const SOON_MS = 2000;
const stage = new Stage("ends");
const allow = (request) => ({ outcome: "selected", optionId: request.options.find((one) => one.kind === "allow_once").optionId });

/** Processes of a group that still run; a dead one that nobody has waited for yet does not. */
function running(group) {
  if (!existsSync("/proc/self/stat")) {
    try {
      return process.kill(-group, 0) ? [group] : [];
    } catch {
      return [];
    }
  }
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).filter((name) => {
    try {
      const [state, , pgrp] = readFileSync(`/proc/${name}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
      return Number(pgrp) === group && state !== "Z";
    } catch {
      return false;
    }
  });
}

/** The program itself, without the recorder between, in the middle of a turn. */
class Bare {
  constructor() {
    this.child = stage.bare();
    this.lines = [];
    this.rest = "";
    this.look = () => {};
    this.exited = new Promise((resolve) => this.child.once("exit", (code, signal) => resolve(code ?? signal)));
    this.child.stdin.on("error", () => {}); // It may be gone already.
    this.child.stdout.on("data", (bytes) => {
      const lines = (this.rest + bytes).split("\n");
      this.rest = lines.pop();
      for (const line of lines) this.lines.push(JSON.parse(line));
      this.look();
    });
  }
  say(message) {
    this.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }
  until(what, wanted) {
    return within(10_000, what, new Promise((resolve) => {
      this.look = () => {
        const found = this.lines.find(wanted);
        if (found) resolve(found);
      };
      this.look();
    }));
  }
  async session(cwd) {
    this.say({ id: 0, method: "initialize", params: { protocolVersion: 1, clientCapabilities: {} } });
    await this.until("a greeting", ({ id }) => id === 0);
    this.say({ id: 1, method: "session/new", params: { cwd, mcpServers: [] } });
    return (await this.until("a session", ({ id }) => id === 1)).result.sessionId;
  }
}

// Where a turn can be when the end comes: how to get there, in a session of that scene.
const places = {
  "when idle": ["hello", async () => {}],
  "while a model says nothing": ["silent", async (bare, sessionId) => {
    bare.say({ id: 2, method: "session/prompt", params: { sessionId, prompt: [{ type: "text", text: "speak" }] } });
    await new Promise((resolve) => setTimeout(resolve, 300)); // Nothing tells that a model says nothing.
  }],
  "while prompts wait": ["silent", async (bare, sessionId) => {
    for (const id of [2, 3, 4]) bare.say({ id, method: "session/prompt", params: { sessionId, prompt: [{ type: "text", text: "speak" }] } });
  }],
  "while the client does not read": ["long", async (bare, sessionId) => {
    bare.child.stdout.pause();
    bare.say({ id: 2, method: "session/prompt", params: { sessionId, prompt: [{ type: "text", text: "sing" }] } });
    await new Promise((resolve) => setTimeout(resolve, 500)); // By then no more fits between the two.
  }],
  "while a question is open": ["ask", async (bare, sessionId) => {
    bare.say({ id: 2, method: "session/prompt", params: { sessionId, prompt: [{ type: "text", text: "write" }] } });
    await bare.until("a question", ({ method }) => method === "session/request_permission");
  }],
  "while a command runs": ["sleep", async (bare, sessionId, cwd) => {
    bare.say({ id: 2, method: "session/prompt", params: { sessionId, prompt: [{ type: "text", text: "wait" }] } });
    const { id, params } = await bare.until("a question", ({ method }) => method === "session/request_permission");
    bare.say({ id, result: { outcome: allow(params) } });
    const file = join(cwd, "group");
    for (let tries = 0; !existsSync(file) || readFileSync(file, "utf8") === ""; tries++) {
      assert.ok(tries < 200, "the command begins");
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    const group = Number(readFileSync(file, "utf8"));
    assert.ok(running(group).length >= 2, "the command runs");
    return group;
  }],
};
const endings = {
  "end of input": (child) => child.stdin.end(),
  "half a line and end of input": (child) => child.stdin.end("{\"jsonrpc\":\"2.0\",\"id\":9,"),
  SIGTERM: (child) => child.kill("SIGTERM"),
  "a client that is gone": (child) => {
    child.stdout.destroy();
    child.stdin.end();
  },
};

/** Entries without gaps, each call settled once at most. */
function intact(sessionId) {
  const lines = execFileSync(PROGRAM, ["session", "show", sessionId, "--json"], { cwd: stage.root, env: stage.env, maxBuffer: 1 << 26 }).toString().trim().split("\n");
  const entries = lines.map((line) => JSON.parse(line).entry).filter(Boolean);
  assert.ok(entries.length > 0);
  assert.deepEqual(entries.map(({ seq }) => seq), entries.map((_, place) => place + 1));
  const settled = entries.filter(({ event }) => event.type === "tool_settled").map(({ event }) => event.data.call);
  assert.equal(new Set(settled).size, settled.length);
  return entries;
}

function part(place, ending) {
  return async () => {
    const [scene, reach] = places[place];
    const cwd = stage.folder(scene);
    const bare = new Bare();
    const sessionId = await bare.session(cwd);
    const group = await reach(bare, sessionId, cwd);
    const begun = performance.now();
    endings[ending](bare.child);
    const code = await within(SOON_MS, "the end", bare.exited);
    const took = Math.round(performance.now() - begun);
    assert.ok(ending === "SIGTERM" ? [0, 143, "SIGTERM"].includes(code) : code === 0, `ended with ${code}`);
    if (group) assert.deepEqual(running(group), [], "no process of the command is left");
    intact(sessionId);
    // The next process goes on with it.
    const next = await Client.open(stage);
    next.answers = [allow];
    await next.ask("session/load", { sessionId, cwd, mcpServers: [] });
    if (scene !== "silent") assert.equal((await next.prompt(sessionId, "go on")).stopReason, "end_turn");
    await next.close();
    const entries = intact(sessionId);
    const called = entries.filter(({ event }) => event.type === "tool_called").map(({ event }) => event.data.call);
    const settled = entries.filter(({ event }) => event.type === "tool_settled").map(({ event }) => event.data.call);
    assert.deepEqual(settled.sort(), called.sort(), "each call is settled");
    slowest = Math.max(slowest, took);
  };
}

/** The program's answers fill the pipe, and nobody takes them out. */
function unread(ending) {
  return async () => {
    const child = stage.bare();
    child.stdin.on("error", () => {}); // It may be gone already.
    const ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
    const say = (message) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
    say({ id: 0, method: "initialize", params: { protocolVersion: 1, clientCapabilities: {} } });
    await within(10_000, "a greeting", new Promise((resolve) => child.stdout.once("readable", resolve)));
    for (let id = 1; id <= 3000; id++) say({ id, method: "session/list", params: {} });
    await new Promise((resolve) => setTimeout(resolve, 500)); // Nothing tells that the pipe is full.
    const begun = performance.now();
    endings[ending](child);
    assert.equal(await within(SOON_MS, "the end", ended), 0);
    slowest = Math.max(slowest, Math.round(performance.now() - begun));
    child.stdout.destroy();
  };
}

let slowest = 0;
const all = Object.keys(places).flatMap((place) => Object.keys(endings).map((ending) => [`${ending} ${place}`, part(place, ending)]));
for (const ending of ["end of input", "SIGTERM"]) all.push([`${ending} of a client that does not read`, unread(ending)]);
const failed = await parts("ends", all.filter(([name]) => !process.argv[2] || name.includes(process.argv[2])));
const { faults } = judgeLog(stage.log);
for (const text of faults) console.log(`FAULT ends: ${text}`);
console.log(`ends: ${all.length} parts, ${failed} failed, ${faults.length} faults; the slowest end took ${slowest} ms`);
if (!failed && !faults.length) stage.clear();
process.exit(failed || faults.length ? 1 : 0);
