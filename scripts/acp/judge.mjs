// What must hold of every conversation, whatever is said in it. `node judge.mjs FOLDER…` judges recordings of tee.mjs; the fuzzer feeds it as it goes.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { fault } from "./schema.mjs";

const TURN = new Set(["user_message_chunk", "agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan", "usage_update"]);
const HISTORY = new Set([...TURN].filter((kind) => kind !== "usage_update"));
const ENDED = new Set(["completed", "failed"]);
const ROOT = new Set(["jsonrpc", "id", "method", "params", "result", "error"]);
const key = (id) => JSON.stringify(id);

/** Rules about one process. `selfDriven`: sessions may have turns that no prompt began (background tasks, goals). */
export class Judge {
  constructor({ selfDriven = false } = {}) {
    Object.assign(this, { selfDriven, faults: [], asked: new Map(), asking: new Map(), sessions: new Map(), garbage: 0, seen: { agent: 0, client: 0 }, done: new Set() });
  }

  say(text, line) {
    this.faults.push(`${text}: ${typeof line === "string" ? line.slice(0, 400) : JSON.stringify(line).slice(0, 400)}`);
  }

  session(id) {
    if (!this.sessions.has(id)) this.sessions.set(id, { prompts: 0, loading: 0, resuming: 0, open: false, tools: new Map(), messages: new Map() });
    return this.sessions.get(id);
  }

  client(line) {
    this.seen.client += 1;
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      if (line.trim() !== "") this.garbage += 1;
      return;
    }
    if (typeof message !== "object" || message === null || Array.isArray(message) || message.jsonrpc !== "2.0") {
      this.garbage += 1;
    } else if (message.method !== undefined && message.id !== undefined) {
      this.clientAsks(message);
    } else if (message.method !== undefined) {
      if (!message.method.startsWith("_") && !message.method.startsWith("x/")) this.check(message.method, "Notification", message.params, false);
    } else {
      const asked = this.asking.get(key(message.id));
      if (!asked) return this.say("the client answers what was not asked", message);
      this.asking.delete(key(message.id));
      if (message.result !== undefined) this.check(asked.method, "Response", message.result, false);
    }
  }

  clientAsks(message) {
    if (this.asked.has(key(message.id))) this.say("the client uses an id twice", message);
    this.asked.set(key(message.id), message);
    const session = message.params?.sessionId === undefined ? null : this.session(message.params.sessionId);
    if (message.method === "session/prompt") session && (session.prompts += 1);
    if (message.method === "session/load" && session) {
      session.loading += 1;
      session.tools.clear();
      session.messages.clear();
    }
    if (message.method === "session/resume" && session) session.resuming += 1;
  }

  agent(line) {
    this.seen.agent += 1;
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      return this.say("not JSON", line);
    }
    if (typeof message !== "object" || message === null || Array.isArray(message)) return this.say("not an object", line);
    if (message.jsonrpc !== "2.0") this.say("no jsonrpc 2.0", line);
    for (const name of Object.keys(message)) if (!ROOT.has(name)) this.say(`the root key ${name} is not JSON-RPC's`, line);
    if (message.method === undefined) return this.agentAnswers(message);
    if (message.id === undefined) return this.agentTells(message);
    if (this.asking.has(key(message.id))) this.say("the agent uses an id twice", message);
    this.asking.set(key(message.id), message);
    if (!message.method.startsWith("_")) this.check(message.method, "Request", message.params, true);
    if (message.method === "session/request_permission") this.permission(message);
  }

  agentAnswers(message) {
    if (("result" in message) === ("error" in message)) this.say("neither a result nor an error, or both", message);
    if (message.error) {
      const wrong = fault("error", "Response", message.error, true);
      if (wrong) this.say(`error: ${wrong}`, message);
      if (/[\r\n]/.test(message.error.message ?? "")) this.say("an error of several lines", message);
    }
    if (message.id === null && message.error) {
      if (this.garbage === 0) return this.say("an error without an id although all was well", message);
      this.garbage -= 1;
      return;
    }
    const asked = this.asked.get(key(message.id));
    if (!asked) return this.say(this.done.has(key(message.id)) ? "answered twice" : "answers what was not asked", message);
    this.asked.delete(key(message.id));
    this.done.add(key(message.id));
    if (!message.error && !asked.method.startsWith("_")) {
      if (typeof message.result !== "object" || message.result === null) this.say("a result that is no object", message);
      this.check(asked.method, "Response", message.result, true);
    }
    this.afterAnswer(asked, message);
  }

  afterAnswer(asked, message) {
    const makes = ["session/new", "session/fork"].includes(asked.method);
    const id = makes ? message.result?.sessionId : asked.params?.sessionId;
    if (typeof id !== "string") return;
    const session = this.session(id);
    if (asked.method === "session/load") session.loading -= 1;
    if (asked.method === "session/resume") session.resuming -= 1;
    if ((makes || ["session/load", "session/resume"].includes(asked.method)) && !message.error) {
      if (makes && session.open) this.say("a session id twice", message);
      session.open = true;
    }
    if (asked.method !== "session/prompt") return;
    session.prompts -= 1;
    if (session.prompts > 0 || this.selfDriven) return;
    for (const [call, status] of session.tools) if (!ENDED.has(status)) this.say(`the turn ended while call ${call} was ${status}`, message);
  }

  agentTells(message) {
    if (!message.method.startsWith("_")) this.check(message.method, "Notification", message.params, true);
    if (message.method === "$/cancel_request") {
      if (!this.asking.has(key(message.params?.requestId))) return; // The answer may have crossed it.
      return;
    }
    if (message.method !== "session/update") return;
    const { sessionId, update = {} } = message.params ?? {};
    const session = this.session(sessionId);
    const kind = update.sessionUpdate;
    if (!session.open && !session.loading && !session.resuming) this.say("an update before there is a session", message);
    if (HISTORY.has(kind) && session.resuming && !session.open) this.say("history while a session is resumed", message);
    if (TURN.has(kind) && !session.prompts && !session.loading && !this.selfDriven) this.say(`${kind} outside of any turn`, message);
    if (kind === "tool_call") this.announced(session, update, message);
    if (kind === "tool_call_update") this.moved(session, update, message);
    if (kind?.endsWith("_chunk") && typeof update.messageId === "string") {
      const of = session.messages.get(update.messageId);
      if (of !== undefined && of !== kind) this.say(`message ${update.messageId} was ${of}`, message);
      session.messages.set(update.messageId, kind);
    }
  }

  announced(session, update, message) {
    if (session.tools.has(update.toolCallId)) this.say("a call announced twice", message);
    session.tools.set(update.toolCallId, update.status ?? "pending");
  }

  moved(session, update, message) {
    const before = session.tools.get(update.toolCallId);
    if (before === undefined) return this.say("an update of a call that nobody announced", message);
    if (update.status === undefined || update.status === null) return;
    if (ENDED.has(before) && update.status !== before) this.say(`a call that was ${before} goes on`, message);
    if (before === "in_progress" && update.status === "pending") this.say("a call that ran is pending again", message);
    session.tools.set(update.toolCallId, update.status);
  }

  permission(message) {
    const { sessionId, toolCall, options = [] } = message.params ?? {};
    const status = this.session(sessionId).tools.get(toolCall?.toolCallId);
    if (status === undefined) this.say("a permission for a call that nobody announced", message);
    else if (status !== "pending") this.say(`a permission for a call that is ${status}`, message);
    if (new Set(options.map((option) => option.optionId)).size !== options.length || !options.length) this.say("options that cannot be told apart", message);
  }

  check(method, kind, value, strict) {
    if (kind === "Request" && value === undefined) value = {};
    const wrong = fault(method, kind, value, strict);
    if (wrong) this.say(`${kind} of ${method} against the schema: ${wrong}`, value ?? "nothing");
  }

  /** After the process has ended: what is still owed. */
  end({ answered = true } = {}) {
    if (answered) for (const message of this.asked.values()) this.say("never answered", message);
    if (answered && this.garbage) this.say("garbage that nobody complained of", String(this.garbage));
    return this.faults;
  }
}

/** Judges the recordings of a folder, each of one process. */
export function judgeLog(folder, options = {}) {
  const all = { faults: [], seen: { agent: 0, client: 0 }, processes: 0 };
  for (const name of readdirSync(folder)) {
    const judge = new Judge(options);
    for (const text of readFileSync(join(folder, name), "utf8").split("\n").filter(Boolean)) {
      const entry = JSON.parse(text);
      if (entry.client !== undefined) judge.client(entry.client);
      if (entry.agent !== undefined) judge.agent(entry.agent);
      if (entry.unended && entry.agent !== undefined) judge.say("a last line without its end", entry.agent);
    }
    all.faults.push(...judge.end(options));
    all.seen.agent += judge.seen.agent;
    all.seen.client += judge.seen.client;
    all.processes += 1;
  }
  return all;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  let wrong = 0;
  for (const folder of process.argv.slice(2)) {
    const { faults, seen, processes } = judgeLog(folder);
    for (const text of faults) console.log(`${folder}: ${text}`);
    console.log(`${folder}: ${processes} processes, ${seen.client} messages of the client, ${seen.agent} of the agent, ${faults.length} faults`);
    wrong += faults.length;
  }
  process.exit(wrong ? 1 : 0);
}
