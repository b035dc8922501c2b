// Thousands of turns with chance: `node fuzz.mjs [SEED] [TURNS]`. The seed gives each session its script and its
// client's plans; how the sessions meet in time is left to the machine.
import { writeFileSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { Chance, Shredder, script } from "./chance.mjs";
import { gist } from "./gist.mjs";
import { Judge } from "./judge.mjs";
import { Stage, within } from "./stage.mjs";

const SEED = Number(process.argv[2] ?? 1);
const TURNS = Number(process.argv[3] ?? 10_000);
const WIDTH = 16; // Sessions at the same time.
const ROUND = 500; // Turns of one process.
const PATIENCE_MS = 15_000;

// What was shown again and compared with the first time.
const loaded = { sessions: 0, parts: 0 };

/** One process and the bytes to and from it. */
class Peer {
  constructor(stage, chance) {
    Object.assign(this, { chance, judge: new Judge(), waiting: new Map(), sessions: new Map(), number: 0, rest: "" });
    this.child = stage.bare();
    this.child.stderr.on("data", (bytes) => (this.errors = ((this.errors ?? "") + bytes).slice(-4000)));
    this.exited = new Promise((resolve) => this.child.once("close", (code, signal) => resolve(code ?? signal)));
    this.out = new Shredder(chance, this.child.stdin);
    this.child.stdin.on("error", () => {}); // Told by the exit.
    this.child.stdout.setEncoding("utf8");
    this.child.stdout.on("data", (text) => {
      const lines = (this.rest + text).split("\n");
      this.rest = lines.pop();
      for (const line of lines) this.hear(line);
    });
    this.exited.then((end) => {
      for (const { answer } of this.waiting.values()) answer({ error: { code: 0, message: `the process ended: ${end}` } });
    });
  }

  say(message) {
    const line = JSON.stringify({ jsonrpc: "2.0", ...message });
    this.judge.client(line);
    this.out.line(line);
  }

  ask(method, params) {
    this.number += 1;
    const id = this.chance.one([this.number, `r${this.number}`, -this.number]);
    const answered = new Promise((answer) => this.waiting.set(JSON.stringify(id), { answer }));
    this.say({ id, method, params });
    return within(PATIENCE_MS, `${method} ${JSON.stringify(params).slice(0, 120)}`, answered);
  }

  tell(method, params) {
    this.say({ method, params });
  }

  /** Bytes that are no message. */
  raw(line) {
    this.judge.client(line);
    this.out.line(line);
  }

  hear(line) {
    this.judge.agent(line);
    if (this.judge.faults.length > 50) this.child.kill("SIGKILL");
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      return;
    }
    if (message.method === undefined) {
      this.waiting.get(JSON.stringify(message.id))?.answer(message);
      this.waiting.delete(JSON.stringify(message.id));
    } else {
      this.sessions.get(message.params?.sessionId)?.(message);
    }
  }

  async end() {
    this.child.stdin.end();
    const code = await within(2000, "the end after the end of input", this.exited);
    if (code !== 0) this.judge.say("the process ended with", String(code));
    if (this.rest) this.judge.say("bytes after the last line", this.rest);
    return this.judge.end();
  }
}

/** A session and what a client of it has seen. */
class Sailor {
  constructor(peer, stage, chance, known) {
    Object.assign(this, { peer, stage, chance, updates: known?.updates ?? [], id: known?.id, cwd: known?.cwd, cancelled: false, open: [], onUpdate: () => {} });
  }

  async begin() {
    this.cwd = mkdtempSync(join(this.stage.root, "s-"));
    writeFileSync(join(this.cwd, "script.json"), JSON.stringify(script(this.chance, 60)));
    writeFileSync(join(this.cwd, "notes.txt"), "row your boat\n");
    const { result, error } = await this.peer.ask("session/new", { cwd: this.cwd, mcpServers: [] });
    if (error) throw new Error(`session/new: ${error.message}`);
    this.id = result.sessionId;
    this.modes = result.modes.availableModes.map((mode) => mode.id);
    this.option = result.configOptions.find((one) => one.category === "mode").id;
    this.listen();
  }

  listen() {
    this.peer.sessions.set(this.id, (message) => {
      if (message.method === "session/update") {
        this.updates.push(message.params.update);
        this.onUpdate();
      } else if (message.method === "session/request_permission") {
        this.answer(message);
      }
    });
  }

  answer({ id, params }) {
    const pick = (kind) => ({ result: { outcome: { outcome: "selected", optionId: params.options.find((one) => one.kind === kind)?.optionId ?? params.options[0].optionId } } });
    const say = this.chance.one([
      () => pick("allow_once"), () => pick("allow_once"), () => pick("reject_once"), () => pick("allow_always"),
      () => ({ result: { outcome: { outcome: "selected", optionId: "none of them" } } }),
      () => ({ error: { code: -32603, message: "the dialog broke" } }),
      () => ({ result: { outcome: { outcome: "cancelled" } } }), null,
    ]);
    if (say === null) return this.open.push(id); // Answered when the turn is cancelled, or never.
    if (this.chance.likely(0.3)) setTimeout(() => this.peer.say({ id, ...say() }), this.chance.below(10));
    else this.peer.say({ id, ...say() });
  }

  cancel() {
    this.cancelled = true;
    this.peer.tell("session/cancel", { sessionId: this.id });
    for (const id of this.open.splice(0)) if (this.chance.likely(0.7)) this.peer.say({ id, result: { outcome: { outcome: "cancelled" } } });
  }

  noise() {
    const { peer, chance } = this;
    return chance.one([
      () => peer.tell("_example.org/note", { text: "Größe\n" }),
      () => peer.tell("x/unknown", {}),
      () => peer.tell("$/cancel_request", { requestId: 987654 }),
      () => peer.raw("{\"jsonrpc\": \"2.0\", \"method\": "),
      () => peer.raw("[]"),
      () => peer.raw("   "),
      () => expected(peer.ask("_example.org/ask", {}), -32601),
      () => expected(peer.ask("session/set_mode", { sessionId: this.id, modeId: "no-such-mode" }), -32602),
      () => expected(peer.ask("session/set_mode", { sessionId: this.id, modeId: chance.one(this.modes) })),
      () => expected(peer.ask("session/set_config_option", { sessionId: this.id, configId: this.option, value: chance.one(this.modes) })),
      () => expected(peer.ask("session/set_config_option", { sessionId: this.id, configId: this.option, value: "no-such-mode" }), -32602),
      () => expected(peer.ask("session/list", { cwd: this.cwd })),
      () => expected(peer.ask("session/prompt", { sessionId: this.id, prompt: [{ type: "smell" }] }), -32602),
    ])();
  }

  /** One to four prompts at once, cancelled at some moment or not; returns when all are answered. */
  async turn() {
    const { peer, chance } = this;
    if (chance.likely(0.05)) this.cancel();
    this.cancelled = false;
    const extra = [];
    const count = chance.likely(0.1) ? 2 + chance.below(3) : 1;
    const answers = Array.from({ length: count }, () => peer.ask("session/prompt", { sessionId: this.id, prompt: [{ type: "text", text: `Say ${chance.below(1000)} 🚣` }] }));
    const when = chance.one(["never", "never", "never", "never", "never", "at once", "updates", "time"]);
    let left = chance.below(8);
    this.onUpdate = () => when === "updates" && left-- === 0 && this.cancel();
    if (when === "at once") this.cancel();
    const timer = when === "time" ? setTimeout(() => this.cancel(), chance.below(30)) : null;
    if (chance.likely(0.2)) extra.push(Promise.resolve(this.noise()).catch((error) => peer.judge.say("beside a turn", error.message)));
    // Some models say nothing for ever, and some questions are never answered.
    const bored = setInterval(() => this.cancel(), 300);
    try {
      const all = await Promise.all(answers);
      for (const { result, error } of all) {
        if (error && error.code !== -32603) throw new Error(`a prompt failed with ${JSON.stringify(error)}`);
        if (result?.stopReason === "cancelled" && !this.cancelled && !this.dropped) this.unasked = (this.unasked ?? 0) + 1;
      }
      await Promise.all(extra);
    } finally {
      clearTimeout(timer);
      clearInterval(bored);
      this.onUpdate = () => {};
    }
    return count;
  }

  /** What a new reader is shown has to be what was shown at the time, wherever both say something. */
  async load() {
    const before = gist(this.updates);
    this.updates = [];
    this.listen();
    await expected(this.peer.ask("session/load", { sessionId: this.id, cwd: this.cwd, mcpServers: [] }));
    const after = gist(this.updates);
    const name = (one) => one.toolCallId ?? one.id;
    const was = new Map(before.map((one) => [name(one), one]));
    for (const one of after) {
      const old = was.get(name(one));
      if (!old) continue;
      const same = one.is === "tool" ? one.status === old.status && one.title === old.title : one.text === old.text;
      if (!same) this.peer.judge.say("shown otherwise than at the time", { old, one });
    }
    const order = after.map(name).filter((id) => was.has(id));
    const then = before.map(name).filter((id) => order.includes(id));
    if (order.join() !== then.join()) this.peer.judge.say("shown in another order than at the time", { order, then });
    loaded.sessions += 1;
    loaded.parts += order.length;
    const lost = before.filter((one) => one.is === "tool" && !after.some((other) => name(other) === name(one)));
    if (lost.length) this.peer.judge.say("calls that were shown and are not any more", lost);
  }
}

async function expected(answer, code) {
  const { result, error } = await answer;
  if ((error?.code) !== code) throw new Error(`expected ${code ?? "a result"}, got ${JSON.stringify(error ?? result)}`);
  return result;
}

async function round(stage, chance, turns, known) {
  const peer = new Peer(stage, chance.split());
  await expected(peer.ask("initialize", { protocolVersion: 1, clientCapabilities: {} }));
  let left = turns;
  const problems = [];
  const kept = [];
  for (const old of known) await new Sailor(peer, stage, chance.split(), old).load();
  const lane = async (own) => {
    while (left > 0 && !problems.length) {
      const sailor = new Sailor(peer, stage, own.split());
      await sailor.begin();
      for (let number = own.below(30); number >= 0 && left > 0; number--) {
        const count = await sailor.turn();
        left -= count; // Others have counted meanwhile.
      }
      const end = own.one(["leave", "load", "resume", "close", "delete"]);
      if (end === "load") await sailor.load();
      if (end === "resume") await expected(peer.ask("session/resume", { sessionId: sailor.id, cwd: sailor.cwd }));
      if (end === "close" || end === "delete") await expected(peer.ask(`session/${end}`, { sessionId: sailor.id }));
      if (end !== "delete" && kept.length < 4) kept.push({ id: sailor.id, cwd: sailor.cwd, updates: sailor.updates });
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, () => lane(chance.split()).catch((error) => problems.push(error.message))));
  const faults = await peer.end().catch((error) => {
    peer.child.kill("SIGKILL");
    return [...peer.judge.faults, error.message];
  });
  return { kept, faults: [...problems, ...faults], errors: peer.errors, seen: peer.judge.seen };
}

const stage = new Stage("fuzz");
const chance = new Chance(SEED);
const begun = Date.now();
let done = 0;
let known = [];
let messages = 0;
while (done < TURNS) {
  const turns = Math.min(ROUND, TURNS - done);
  const result = await round(stage, chance, turns, known);
  done += turns;
  messages += result.seen.agent + result.seen.client;
  known = result.kept;
  if (result.faults.length) {
    // The same fault in many sessions is one.
    const kinds = new Map();
    for (const text of result.faults) kinds.set(text.slice(0, 30), [...(kinds.get(text.slice(0, 30)) ?? []), text]);
    for (const [first, ...more] of kinds.values()) console.log(`FAULT ${first}${more.length ? ` (and ${more.length} like it)` : ""}`);
    console.log(`fuzz: ${result.faults.length} faults within ${done} turns; again with: just acp-fuzz ${SEED} ${TURNS}; the folder is ${stage.root}\n${result.errors ?? ""}`);
    process.exit(1);
  }
  if (process.stdout.isTTY || done >= TURNS) console.log(`fuzz: ${done} turns, ${messages} messages, ${loaded.sessions} sessions loaded again with ${loaded.parts} messages and calls known from before, ${((Date.now() - begun) / 1000).toFixed(1)} s, seed ${SEED}`);
}
stage.clear();
