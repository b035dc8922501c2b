// Of the walk with the TypeScript SDK: a client that has files with unsaved words and terminals of its own.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Client, gist } from "../client.mjs";
import { within } from "../stage.mjs";
import { stage } from "./shared.mjs";

const OWN = { fs: { readTextFile: true, writeTextFile: true }, terminal: true };
const pick = (kind) => (request) => ({ outcome: "selected", optionId: request.options.find((one) => one.kind === kind).optionId });

/** What an editor does about files and terminals, and what it was asked for. */
class Editor {
  constructor() {
    Object.assign(this, { unsaved: new Map(), written: [], terminals: new Map(), released: [], killed: [] });
  }
  serve(app) {
    app.onRequest("fs/read_text_file", ({ params }) => {
      const lines = (this.unsaved.get(params.path) ?? readFileSync(params.path, "utf8")).split(/(?<=\n)/);
      const from = (params.line ?? 1) - 1;
      return { content: lines.slice(from, params.limit == null ? undefined : from + params.limit).join("") };
    });
    app.onRequest("fs/write_text_file", async ({ params }) => {
      this.written.push(params.path);
      await writeFile(params.path, params.content);
      return {};
    });
    app.onRequest("terminal/create", ({ params }) => {
      const env = { ...process.env, ...Object.fromEntries((params.env ?? []).map(({ name, value }) => [name, value])) };
      const [program, args] = params.args?.length ? [params.command, params.args] : ["sh", ["-c", params.command]];
      const child = spawn(program, args, { cwd: params.cwd ?? undefined, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
      const terminal = { child, output: "", ended: null };
      for (const from of [child.stdout, child.stderr]) from.on("data", (bytes) => (terminal.output += bytes));
      terminal.exited = new Promise((resolve) => child.once("close", (exitCode, signal) => resolve((terminal.ended = { exitCode, signal }))));
      const terminalId = `terminal-${this.terminals.size}`;
      this.terminals.set(terminalId, terminal);
      return { terminalId };
    });
    const of = (params) => this.terminals.get(params.terminalId);
    app.onRequest("terminal/output", ({ params }) => ({ output: of(params).output, truncated: false, ...(of(params).ended ? { exitStatus: of(params).ended } : {}) }));
    app.onRequest("terminal/wait_for_exit", ({ params }) => of(params).exited);
    const end = ({ child, ended }) => ended || process.kill(-child.pid, "SIGKILL");
    app.onRequest("terminal/kill", ({ params }) => {
      this.killed.push(params.terminalId);
      end(of(params));
      return {};
    });
    app.onRequest("terminal/release", ({ params }) => {
      this.released.push(params.terminalId);
      end(of(params));
      return {};
    });
  }
}

/** Its one terminal, once, though maybe a moment after the answer. */
async function givenBack(editor) {
  for (let tries = 0; editor.released.length === 0; tries++) {
    assert.ok(tries < 100, "the terminal is given back");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual(editor.released, ["terminal-0"]);
}

async function reads() {
  const editor = new Editor();
  const client = await Client.open(stage, { capabilities: OWN, serve: (app) => editor.serve(app) });
  const cwd = stage.folder("own");
  editor.unsaved.set(join(cwd, "notes.txt"), "words that are not saved\n");
  const { id } = await client.session(cwd);
  client.answers = [pick("allow_once")];
  assert.equal((await client.prompt(id, "what is in the notes?")).stopReason, "end_turn");
  const [read, ran] = gist(client.of(id)).filter(({ is }) => is === "tool");
  assert.deepEqual([read.status, ran.status], ["completed", "completed"]);
  assert.ok(JSON.stringify(read.content).includes("words that are not saved"), "the editor's words, not the disk's");
  assert.equal(editor.terminals.size, 1, "one command, one terminal of the editor");
  await givenBack(editor);
  assert.ok(client.of(id).some((entry) => entry.content?.some((one) => one.type === "terminal" && one.terminalId === "terminal-0")), "the editor can show it");
  await client.close();
}

async function writes() {
  const editor = new Editor();
  const client = await Client.open(stage, { capabilities: OWN, serve: (app) => editor.serve(app) });
  const cwd = stage.folder("ask");
  const { id } = await client.session(cwd);
  client.answers = [pick("allow_once")];
  assert.equal((await client.prompt(id, "write")).stopReason, "end_turn");
  assert.deepEqual(editor.written, [join(cwd, "allowed.txt")]);
  assert.equal(readFileSync(join(cwd, "allowed.txt"), "utf8"), "allowed\n");
  const call = gist(client.of(id)).find(({ is }) => is === "tool");
  const diff = call.content?.find(({ type }) => type === "diff");
  assert.deepEqual([diff?.path, diff?.newText], [join(cwd, "allowed.txt"), "allowed\n"], "what is written is shown as a change");
  await client.close();
}

// A cancelled command is ended in the editor's terminal, and that is given back.
async function cancels() {
  const editor = new Editor();
  const client = await Client.open(stage, { capabilities: OWN, serve: (app) => editor.serve(app) });
  const cwd = stage.folder("sleep");
  const { id } = await client.session(cwd);
  client.answers = [pick("allow_once")];
  const answer = client.prompt(id, "wait");
  for (let tries = 0; !existsSync(join(cwd, "group")); tries++) {
    assert.ok(tries < 400, "the command begins");
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  await client.tell("session/cancel", { sessionId: id });
  assert.equal((await within(5000, "the end", answer)).stopReason, "cancelled");
  const terminal = editor.terminals.get("terminal-0");
  await within(2000, "the end of the command", terminal.exited);
  await givenBack(editor);
  await client.close();
}

export const editors = [["an editor's unsaved words and terminals", reads], ["an editor's files are written by it", writes], ["cancel in an editor's terminal", cancels]];
