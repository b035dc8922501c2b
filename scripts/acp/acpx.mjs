// acpx, a client that others wrote, drives the program as its users would: one-shot and lasting sessions, permissions, settings, a cancel from another process.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { judgeLog } from "./judge.mjs";
import { ARGUMENTS, PROGRAM, Stage, TEE, parts, within } from "./stage.mjs";

const CLI = fileURLToPath(new URL("node_modules/acpx/dist/cli.js", import.meta.url));
const stage = new Stage("acpx");
mkdirSync(join(stage.home, ".acpx"));
writeFileSync(join(stage.home, ".acpx/config.json"), JSON.stringify({ agents: { oarlock: { argv: [process.execPath, TEE, stage.log, PROGRAM, ...ARGUMENTS] } } }));

/** For how long an acpx stays that keeps a session's process: longer than a part takes, and shorter than a part waits. */
const STAYS = ["--ttl", "60"];
const LEAVES = ["--ttl", "2"];
const LEAVING_MS = 4000;
/** What it says to a caller who comes while it leaves; such a caller is to come again. */
const LEAVING = "Queue owner is shutting down";

/** Runs acpx in `cwd`; flags of its own come before the agent's name. */
async function acpx(cwd, flags, words) {
  for (let left = 20; ; left -= 1) {
    const ran = await once(cwd, flags, words);
    if (!left || !(ran.out + ran.errors).includes(LEAVING)) return ran;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
function once(cwd, flags, words) {
  const child = spawn(process.execPath, [CLI, "--cwd", cwd, ...STAYS, ...flags, "oarlock", ...words], { cwd, env: stage.env, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let errors = "";
  child.stdout.on("data", (bytes) => (out += bytes));
  child.stderr.on("data", (bytes) => (errors += bytes));
  return within(30_000, `acpx ${words.join(" ")}`, new Promise((resolve) => child.once("close", (code) => resolve({ code, out, errors }))));
}
async function well(...given) {
  const ran = await acpx(...given);
  assert.equal(ran.code, 0, ran.out + ran.errors);
  return ran.out;
}

/** What the clients of all processes so far have sent with this method. */
const sent = (method) => readdirSync(stage.log).flatMap((name) => readFileSync(join(stage.log, name), "utf8").split("\n"))
  .filter(Boolean).map((line) => JSON.parse(line).client).filter(Boolean).map((line) => JSON.parse(line)).filter((message) => message.method === method);

async function exec() {
  const cwd = stage.folder("talk");
  const shown = await well(cwd, [], ["exec", "what is in the notes?"]);
  for (const words of ["[thinking] The notes are the place to look first.", "(completed)", "row your boat", "Größe 🚣 stays whole.", "[done] end_turn"]) assert.ok(shown.includes(words), `${words} in\n${shown}`);
  const quiet = await well(stage.folder("talk"), ["--format", "quiet"], ["exec", "what is in the notes?"]);
  assert.ok(quiet.trim().endsWith("The notes say: row your boat. Größe 🚣 stays whole."), quiet);
  const lines = (await well(stage.folder("talk"), ["--format", "json", "--json-strict"], ["exec", "what is in the notes?"])).trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(lines.at(-1).result.stopReason, "end_turn");
}

async function permissions() {
  const yes = stage.folder("ask");
  await well(yes, ["--approve-all"], ["exec", "write"]);
  assert.equal(readFileSync(join(yes, "allowed.txt"), "utf8"), "allowed\n");
  const no = stage.folder("ask");
  const ran = await acpx(no, ["--deny-all"], ["exec", "write"]);
  assert.ok(!existsSync(join(no, "allowed.txt")), ran.out);
  assert.ok(ran.out.includes("So much for allowed.") && ran.out.includes("[done] end_turn"), ran.out + ran.errors);
}

// Its own files and terminals are offered by default, and not with these flags.
async function ownTools() {
  const shown = await well(stage.folder("talk"), ["--no-fs", "--no-terminal"], ["exec", "what is in the notes?"]);
  assert.ok(shown.includes("row your boat") && shown.includes("[done] end_turn"), shown);
}

// Each prompt is another process of acpx, and after a while without work another one of ours.
async function lasting() {
  const cwd = stage.folder("talk");
  const id = (await well(cwd, ["--format", "quiet"], ["sessions", "new"])).trim();
  assert.match(id, /^[0-9a-f-]{36}$/);
  assert.ok((await well(cwd, LEAVES, ["what is in the notes?"])).includes("row your boat"));
  const before = readdirSync(stage.log).length;
  await new Promise((resolve) => setTimeout(resolve, LEAVING_MS)); // The process is gone by then.
  assert.ok((await well(cwd, [], ["go on"])).includes("That was all that I know."), "the conversation went on in a new process");
  assert.ok(readdirSync(stage.log).length > before, "it was a new process");
  assert.ok(sent("session/resume").concat(sent("session/load")).some(({ params }) => params.sessionId === id), "by resuming it");
  assert.ok((await well(cwd, ["--format", "json"], ["sessions", "list"])).includes(id), "listed by us");
  await well(cwd, [], ["set-mode", "open"]);
  assert.ok(sent("session/set_mode").some(({ params }) => params.sessionId === id && params.modeId === "open"));
  await well(cwd, [], ["set", "mode", "ask-writes"]);
  assert.notEqual((await acpx(cwd, [], ["set-mode", "no-such-mode"])).code, 0);
  await well(cwd, [], ["sessions", "close"]);
}

async function cancelled() {
  const cwd = stage.folder("sleep");
  await well(cwd, [], ["sessions", "new"]);
  const running = acpx(cwd, ["--approve-all"], ["wait"]);
  const begun = Date.now();
  while (!existsSync(join(cwd, "group"))) {
    assert.ok(Date.now() - begun < 10_000, "the command begins");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await well(cwd, [], ["cancel"]);
  const { out } = await running;
  assert.ok(out.includes("cancelled"), out);
  assert.ok((await well(cwd, [], ["again"])).includes("[done] end_turn"), "the session works at once");
  await well(cwd, [], ["sessions", "close"]);
}

const chosen = process.argv[2];
const all = [["exec", exec], ["permissions", permissions], ["without its tools", ownTools], ["sessions that last", lasting], ["cancel", cancelled]].filter(([name]) => !chosen || name.includes(chosen));
const failed = await parts("acpx", all);
// It may end a process that owes it nothing any more; what it was told before that has to be right.
const { faults, seen, processes } = judgeLog(stage.log, { answered: false });
for (const text of faults) console.log(`FAULT acpx: ${text}`);
console.log(`acpx: ${all.length} parts, ${failed} failed; ${processes} processes, ${seen.client} messages of the client and ${seen.agent} of the agent, ${faults.length} faults`);
if (failed || faults.length) console.log(`recorded in ${stage.log}`);
else stage.clear();
process.exit(failed || faults.length ? 1 : 0);
