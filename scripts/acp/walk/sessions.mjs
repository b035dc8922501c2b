// Of the walk with the TypeScript SDK: what becomes of sessions: a new process, lists, ends, settings.
import assert from "node:assert/strict";
import { Client, gist } from "../client.mjs";
import { refused, within } from "../stage.mjs";
import { client, stage, talked } from "./shared.mjs";

const ended = async (promise, reason) => assert.equal((await within(5000, `the end (${reason})`, promise)).stopReason, reason);
const cancel = (on, sessionId) => on.tell("session/cancel", { sessionId });

// All of it comes before the answer, with the ids of the first time, and the conversation goes on.
async function load() {
  const other = await Client.open(stage);
  const answer = await other.ask("session/load", { sessionId: talked.id, cwd: talked.cwd, mcpServers: [] });
  const replayed = gist(other.of(talked.id));
  assert.equal(typeof answer, "object");
  const mine = replayed.filter(({ is }) => is === "user_message_chunk");
  assert.deepEqual(mine.map(({ text }) => text), ["what is in the notes?", "go on"]);
  assert.ok(mine.every(({ id }) => id), "the user's messages have ids");
  assert.deepEqual(replayed.map(({ is }) => is), ["user_message_chunk", "agent_thought_chunk", "agent_message_chunk", "tool", "tool", "agent_message_chunk", "user_message_chunk", "agent_message_chunk"]);
  assert.deepEqual(replayed.filter(({ is }) => is !== "user_message_chunk"), talked.seen);
  await ended(other.prompt(talked.id, "and now?"), "end_turn");
  assert.equal(gist(other.of(talked.id)).at(-1).text, "Still here, in a new process.");
  const twice = other.told.length;
  await other.ask("session/load", { sessionId: talked.id, cwd: talked.cwd, mcpServers: [] });
  assert.deepEqual(gist(other.of(talked.id, twice)).slice(0, replayed.length), replayed, "once more, the same");
  await other.close();
}

// A question that was answered, a refusal and a cancelled call are the same to whoever loads them.
async function loadCalls() {
  const cwd = stage.folder("ask");
  const { id } = await client.session(cwd);
  const pick = (kind) => (request) => ({ outcome: "selected", optionId: request.options.find((one) => one.kind === kind).optionId });
  client.answers = [pick("allow_once"), pick("reject_once"), { outcome: "cancelled" }];
  await ended(client.prompt(id, "one"), "end_turn");
  await ended(client.prompt(id, "two"), "end_turn");
  await ended(client.prompt(id, "three"), "cancelled");
  const live = gist(client.of(id)).filter(({ is }) => is !== "user_message_chunk");
  await client.ask("session/close", { sessionId: id });
  const other = await Client.open(stage);
  await other.ask("session/load", { sessionId: id, cwd, mcpServers: [] });
  const replayed = gist(other.of(id)).filter(({ is }) => is !== "user_message_chunk");
  const brief = (list) => list.map(({ is, id: of, text, toolCallId, status, title, name }) => ({ is, id: of, text, toolCallId, status, title, name }));
  assert.deepEqual(brief(replayed), brief(live));
  assert.equal(other.of(id).filter((entry) => entry.asked).length, 0, "nothing is asked again");
  await other.close();
}

async function resume() {
  const cwd = stage.folder("talk");
  const { id } = await client.session(cwd);
  await ended(client.prompt(id, "one"), "end_turn");
  await client.ask("session/close", { sessionId: id });
  const other = await Client.open(stage);
  await refused(-32602, other.ask("session/resume", { sessionId: id, cwd: stage.folder("hello") }));
  await other.ask("session/resume", { sessionId: id, cwd });
  assert.deepEqual(gist(other.of(id)), [], "no history");
  await ended(other.prompt(id, "two"), "end_turn");
  assert.equal(gist(other.of(id)).at(-1).text, "That was all that I know.");
  await other.close();
}

async function list() {
  const cwd = stage.folder("hello");
  const ids = [];
  for (let number = 0; number < 3; number++) {
    const { id } = await client.session(cwd);
    await ended(client.prompt(id, `hello ${number}`), "end_turn");
    ids.push(id);
  }
  const here = await client.ask("session/list", { cwd });
  assert.deepEqual(new Set(here.sessions.map(({ sessionId }) => sessionId)), new Set(ids));
  assert.ok(here.sessions.every((one) => one.cwd === cwd && !Number.isNaN(Date.parse(one.updatedAt))));
  const everywhere = new Map();
  let cursor;
  for (let pages = 0; pages < 50; pages++) {
    const page = await client.ask("session/list", cursor ? { cursor } : {});
    for (const one of page.sessions) {
      assert.ok(!everywhere.has(one.sessionId), "no session on two pages");
      everywhere.set(one.sessionId, one);
    }
    cursor = page.nextCursor;
    if (!cursor) break;
  }
  assert.ok(!cursor && ids.every((id) => everywhere.has(id)) && everywhere.has(talked.id));
  await refused(-32602, client.ask("session/list", { cursor: "not a cursor" }));
  assert.deepEqual((await client.ask("session/list", { cwd: stage.folder("hello") })).sessions, []);
}

// Closing answers the running prompt first; the session stays and can be loaded.
async function close() {
  const cwd = stage.folder("silent");
  const { id } = await client.session(cwd);
  const order = [];
  const prompt = client.prompt(id, "speak").then(({ stopReason }) => order.push(stopReason));
  const closed = client.ask("session/close", { sessionId: id }).then((answer) => order.push(answer));
  await within(5000, "both answers", Promise.all([prompt, closed]));
  assert.deepEqual(order, ["cancelled", {}]);
  const after = await client.prompt(id, "speak").then(() => null, (error) => error.code);
  assert.equal(after, -32002, "a closed session takes no prompt");
  await client.ask("session/load", { sessionId: id, cwd, mcpServers: [] });
  const again = client.prompt(id, "speak");
  await cancel(client, id);
  await ended(again, "cancelled");
}

async function remove() {
  const cwd = stage.folder("hello");
  const { id } = await client.session(cwd);
  await ended(client.prompt(id, "hello"), "end_turn");
  assert.deepEqual(await client.ask("session/delete", { sessionId: id }), {});
  assert.deepEqual((await client.ask("session/list", { cwd })).sessions, []);
  await refused(-32002, client.ask("session/load", { sessionId: id, cwd, mcpServers: [] }));
  await client.ask("session/delete", { sessionId: id });
  await client.ask("session/delete", { sessionId: "../../etc/passwd" }).catch((error) => assert.ok([-32602, -32002].includes(error.code), error.message));
  const running = await client.session(stage.folder("silent"));
  const prompt = client.prompt(running.id, "speak");
  await client.ask("session/delete", { sessionId: running.id });
  await within(5000, "the prompt of a deleted session", prompt.then(({ stopReason }) => assert.equal(stopReason, "cancelled"), (error) => assert.ok(error.code)));
}

// What the protocol has not made stable yet, as far as the agent says that it is there.
async function fork() {
  const cwd = stage.folder("talk");
  const { id } = await client.session(cwd);
  await ended(client.prompt(id, "one"), "end_turn");
  const from = client.told.length;
  const { sessionId, modes } = await client.ask("session/fork", { sessionId: id, cwd, mcpServers: [] });
  assert.ok(sessionId !== id && modes.currentModeId);
  assert.deepEqual(gist(client.of(sessionId, from)), [], "no history");
  await ended(client.prompt(sessionId, "two"), "end_turn");
  assert.equal(gist(client.of(sessionId)).at(-1).text, "That was all that I know.", "it goes on where its source stood");
  await ended(client.prompt(id, "two"), "end_turn");
  assert.equal(gist(client.of(id)).at(-1).text, "That was all that I know.", "its source stands where it stood");
  await refused(-32602, client.ask("session/fork", { sessionId: id, cwd: stage.folder("hello"), mcpServers: [] }));
  await refused(-32002, client.ask("session/fork", { sessionId: "01a1ffa1-0c86-70c2-afd9-4e292c035691", cwd, mcpServers: [] }));
}

async function archive() {
  const cwd = stage.folder("silent");
  const { id } = await client.session(cwd);
  assert.deepEqual(await client.ask("session/set_title", { sessionId: id, title: " the\tsilent one " }), { title: "the silent one" });
  assert.equal((await client.ask("session/status", { sessionId: id })).status, "open");
  const prompt = client.prompt(id, "speak");
  assert.deepEqual(await client.ask("session/archive", { sessionId: id }), {});
  await ended(prompt, "cancelled");
  assert.deepEqual(await client.ask("session/archive", { sessionId: id }), {}, "once more is the same");
  const listed = async (archived) => (await client.ask("session/list", { cwd, archived })).sessions.filter(({ sessionId }) => sessionId === id);
  assert.deepEqual([(await listed("exclude")).length, (await listed("include")).length, (await listed("only")).length], [0, 1, 1]);
  assert.deepEqual((await listed("only")).map(({ title, archived }) => [title, archived]), [["the silent one", true]]);
  assert.deepEqual(await client.ask("session/unarchive", { sessionId: id }), {});
  assert.equal((await listed("exclude")).length, 1);
  const other = await Client.open(stage);
  await other.ask("session/set_title", { sessionId: id, title: "named in another process" });
  assert.equal((await other.ask("session/status", { sessionId: id })).status, "saved", "it is not kept awake by that");
  await other.close();
  assert.equal((await listed("exclude"))[0].title, "named in another process");
}

// Modes and the option of the same meaning say the same.
async function modes() {
  const { id, made } = await client.session(stage.folder("ask"));
  const available = made.modes.availableModes.map((mode) => mode.id);
  assert.ok(available.includes(made.modes.currentModeId) && available.length > 1);
  const option = made.configOptions.find((one) => one.category === "mode");
  assert.deepEqual([option.type, option.currentValue], ["select", made.modes.currentModeId]);
  assert.deepEqual(option.options.map(({ value }) => value), available);
  const other = available.find((mode) => mode === "open") ?? available.find((mode) => mode !== made.modes.currentModeId);
  const told = client.until("the option follows", (entry) => entry.session === id && entry.sessionUpdate === "config_option_update");
  assert.deepEqual(await client.ask("session/set_mode", { sessionId: id, modeId: other }), {});
  assert.equal((await told).configOptions.find((one) => one.id === option.id).currentValue, other);
  await refused(-32602, client.ask("session/set_mode", { sessionId: id, modeId: "no-such-mode" }));
  const from = client.told.length;
  await ended(client.prompt(id, "write"), "end_turn");
  assert.equal(client.of(id, from).filter((entry) => entry.asked).length, 0, "the mode that asks nothing asks nothing");
  const back = client.until("the mode follows", (entry) => entry.session === id && entry.sessionUpdate === "current_mode_update");
  const set = await client.ask("session/set_config_option", { sessionId: id, configId: option.id, value: made.modes.currentModeId });
  assert.equal(set.configOptions.find((one) => one.id === option.id).currentValue, made.modes.currentModeId);
  assert.equal((await back).currentModeId, made.modes.currentModeId);
}

async function options() {
  const cwd = stage.folder("talk");
  const { id, made } = await client.session(cwd);
  assert.ok(made.configOptions.some((one) => one.category === "model"), "the model can be chosen");
  for (const one of made.configOptions) {
    if (one.type !== "select") continue;
    const flat = one.options.flatMap((value) => value.options ?? [value]).map(({ value }) => value);
    assert.ok(flat.includes(one.currentValue), `${one.id} has one of its values`);
    const set = await client.ask("session/set_config_option", { sessionId: id, configId: one.id, value: one.currentValue });
    assert.deepEqual(set.configOptions.map((each) => each.id), made.configOptions.map((each) => each.id), "the whole list is answered");
    await refused(-32602, client.ask("session/set_config_option", { sessionId: id, configId: one.id, value: "no-such-value" }));
  }
  await refused(-32602, client.ask("session/set_config_option", { sessionId: id, configId: "no-such-option", value: "x" }));
  const model = made.configOptions.find((one) => one.category === "model");
  const values = model.options.flatMap((value) => value.options ?? [value]).map(({ value }) => value);
  const next = values.find((value) => value !== model.currentValue);
  if (next) {
    const set = await client.ask("session/set_config_option", { sessionId: id, configId: model.id, value: next });
    assert.equal(set.configOptions.find((one) => one.id === model.id).currentValue, next);
    await client.ask("session/close", { sessionId: id });
    const other = await Client.open(stage);
    const loaded = await other.ask("session/load", { sessionId: id, cwd, mcpServers: [] });
    assert.equal(loaded.configOptions.find((one) => one.id === model.id).currentValue, next, "a choice outlives the process");
    await other.close();
  }
}

// The steps that a turn may have are a limit of the user's.
async function limits() {
  const other = new stage.constructor("limits");
  other.configure("[limits.turn]\nsteps = 2\n");
  const one = await Client.open(other);
  const { id } = await one.session(other.folder("steps"));
  await ended(one.prompt(id, "again and again"), "max_turn_requests");
  await one.close();
  other.clear();
}

async function commands() {
  const told = client.until("the commands", (entry) => entry.sessionUpdate === "available_commands_update");
  const { id } = await client.session(stage.folder("hello"));
  const { availableCommands, session } = await told;
  assert.equal(session, id);
  assert.ok(availableCommands.length && availableCommands.every(({ name, description }) => !name.startsWith("/") && description));
}

export const sessions = [["load in a new process", load], ["load calls and answers", loadCalls], ["resume", resume], ["list", list], ["close", close], ["delete", remove], ["fork", fork], ["archive", archive],
  ["modes", modes], ["options", options], ["limits", limits], ["commands", commands]];
