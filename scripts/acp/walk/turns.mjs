// Of the walk with the TypeScript SDK: the greeting, turns and questions.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Client, gist } from "../client.mjs";
import { judgeLog } from "../judge.mjs";
import { Stage, refused, within } from "../stage.mjs";
import { client, stage, talked } from "./shared.mjs";

const once = { allow: (request) => option(request, "allow_once"), reject: (request) => option(request, "reject_once"), always: (request) => option(request, "allow_always") };
const option = (request, kind) => ({ outcome: "selected", optionId: request.options.find((one) => one.kind === kind).optionId });
const kinds = (entries) => entries.map((entry) => entry.sessionUpdate ?? "asked");
const TURN = /_chunk$|^tool_call|^plan$|^asked$/;
async function greeting() {
  const { protocolVersion, agentInfo, agentCapabilities: can, authMethods } = client.greeting;
  assert.equal(protocolVersion, 1);
  assert.equal(agentInfo.name, "oarlock");
  assert.match(agentInfo.version, /^\d+\.\d+\.\d+/);
  assert.equal(can.loadSession, true);
  assert.equal(can.promptCapabilities.embeddedContext, true);
  for (const name of ["list", "delete", "resume", "close"]) assert.ok(can.sessionCapabilities[name], `${name} is offered`);
  assert.ok(authMethods.length >= 1 && authMethods.every((method) => method.id && method.name), "an authentication method");
  assert.ok(authMethods.every((method) => method.type !== "terminal"), "no terminal method for a client without one");
}

async function versions() {
  const other = new Stage("versions");
  for (const [asked, want] of [[0, 1], [1, 1], [2, 1], [65535, 1]]) {
    const one = await Client.open(other, { greet: false });
    const got = await one.ask("initialize", { protocolVersion: asked, clientCapabilities: {} });
    assert.equal(got.protocolVersion, want, `${asked} is answered with ${want}`);
    await one.close();
  }
  const early = await Client.open(other, { greet: false });
  await refused(-32600, early.ask("session/new", { cwd: other.root, mcpServers: [] }));
  await early.close();
  assert.deepEqual(judgeLog(other.log).faults, []);
  other.clear();
}

async function talk() {
  const cwd = stage.folder("talk");
  const session = await client.connection.agent.buildSession(cwd).start();
  talked.id = session.sessionId;
  talked.cwd = cwd;
  session.prompt("what is in the notes?");
  const updates = [];
  for (;;) {
    const message = await session.nextUpdate();
    if (message.kind === "stop") {
      assert.equal(message.stopReason, "end_turn");
      break;
    }
    updates.push(message.update);
  }
  session.dispose();
  const turn = updates.filter((update) => TURN.test(update.sessionUpdate) && update.sessionUpdate !== "user_message_chunk");
  assert.ok(turn.filter((update) => update.sessionUpdate === "agent_message_chunk").length > 2, "text comes in pieces");
  const seen = gist(turn);
  assert.deepEqual(seen.map(({ is }) => is), ["agent_thought_chunk", "agent_message_chunk", "tool", "tool", "agent_message_chunk"]);
  assert.equal(seen[0].text, "The notes are the place to look first.");
  assert.equal(seen[1].text, "I look at the notes and into the folder, both at once.");
  assert.equal(seen[4].text, "The notes say: row your boat. Größe 🚣 stays whole.");
  assert.deepEqual(seen.slice(2, 4).map(({ status }) => status), ["completed", "completed"]);
  assert.equal(new Set(seen.map((one) => one.id ?? one.toolCallId)).size, 5, "each message and call has its own id");
  assert.ok(JSON.stringify(seen[2].content).includes("row your boat"), "the client sees what was read");
  assert.ok(seen[2].locations?.some(({ path }) => path === join(cwd, "notes.txt")), "the client can follow along");
  assert.equal(await client.prompt(talked.id, "go on").then((answer) => answer.stopReason), "end_turn");
  // Who else loads it must find it free.
  await client.ask("session/close", { sessionId: talked.id });
  talked.seen = gist(client.of(talked.id)).filter(({ is }) => is !== "user_message_chunk");
}

async function permission() {
  const cwd = stage.folder("ask");
  const { id } = await client.session(cwd);
  const turn = async (answer, words = "write") => {
    const from = client.told.length;
    client.answers = answer ? [answer] : [];
    const { stopReason } = await client.prompt(id, words);
    const told = client.of(id, from);
    return { stopReason, told, asked: told.filter((entry) => entry.asked), call: gist(told).find(({ is }) => is === "tool") };
  };
  const allowed = await turn(once.allow);
  assert.equal(allowed.stopReason, "end_turn");
  assert.equal(allowed.asked.length, 1);
  const { toolCall, options } = allowed.asked[0].asked;
  assert.equal(toolCall.toolCallId, allowed.call.toolCallId);
  assert.ok(toolCall.title, "the question can be drawn from itself");
  for (const kind of ["allow_once", "allow_always", "reject_once"]) assert.ok(options.some((one) => one.kind === kind), kind);
  assert.equal(allowed.call.status, "completed");
  assert.equal(readFileSync(join(cwd, "allowed.txt"), "utf8"), "allowed\n");
  const order = kinds(allowed.told);
  assert.ok(order.indexOf("tool_call") < order.indexOf("asked"), "announced before it is asked about");

  const rejected = await turn(once.reject);
  assert.deepEqual([rejected.stopReason, rejected.call.status], ["end_turn", "failed"]);
  assert.ok(!existsSync(join(cwd, "rejected.txt")));

  // As a client cancels: the notification, then `cancelled` for the question.
  const cancelled = await turn(async () => {
    await client.tell("session/cancel", { sessionId: id });
    return { outcome: "cancelled" };
  });
  assert.deepEqual([cancelled.stopReason, cancelled.call.status], ["cancelled", "failed"]);
  const dropped = await turn({ outcome: "cancelled" });
  assert.deepEqual([dropped.stopReason, dropped.call.status], ["cancelled", "failed"]);
  assert.ok(!existsSync(join(cwd, "cancelled.txt")) && !existsSync(join(cwd, "dropped.txt")));

  const kept = await turn(once.always);
  assert.deepEqual([kept.stopReason, kept.asked.length, kept.call.status], ["end_turn", 1, "completed"]);
}

// A client that answers a question with an error or with an option that was not offered has said no.
async function answers() {
  for (const answer of [{ outcome: "selected", optionId: "no-such-option" }, () => Promise.reject(new Error("the dialog broke"))]) {
    const cwd = stage.folder("ask");
    const { id } = await client.session(cwd);
    client.answers = [answer];
    assert.equal((await client.prompt(id, "write")).stopReason, "end_turn");
    assert.ok(!existsSync(join(cwd, "allowed.txt")), "nothing was written");
    assert.equal(gist(client.of(id)).find(({ is }) => is === "tool").status, "failed");
  }
}

// The client that cancels and never answers the question itself: the turn ends, and the question is withdrawn.
async function unanswered() {
  const { id } = await client.session(stage.folder("ask"));
  let withdraw;
  const withdrawn = new Promise((resolve) => (withdraw = resolve));
  client.answers = [(_, signal) => {
    signal.addEventListener("abort", withdraw);
    client.tell("session/cancel", { sessionId: id });
    return withdrawn.then(() => ({ outcome: "cancelled" }));
  }];
  assert.equal((await within(5000, "the answer", client.prompt(id, "write"))).stopReason, "cancelled");
  await within(2000, "$/cancel_request for the question", withdrawn);
}

export const turns = [["greeting", greeting], ["versions", versions], ["talk", talk], ["permission", permission], ["broken answers", answers], ["unanswered question", unanswered]];
