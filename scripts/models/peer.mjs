// `oarlock run` with a server of somebody else as its provider: one turn, and what it said and kept.
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PROGRAM, Stage, within } from "../acp/stage.mjs";

/** The key that the program is given; it may stand nowhere but in a header. */
export const KEY = "sk-peer-0123456789abcdef";

/** Longer than all tries of one call with the waits between them. */
const RUN_MS = 40_000;

export class Peer {
  constructor(name) {
    this.stage = new Stage(name);
    this.stage.env.PEER_KEY = KEY;
  }

  /**
   * One turn in a folder of its own with `notes.txt`, over `wire` at `base`.
   * Gives the exit code, the answer, the entries of the session, and stderr.
   */
  async run(wire, base, prompt, ...more) {
    const cwd = mkdtempSync(join(this.stage.root, "folder-"));
    writeFileSync(join(cwd, "notes.txt"), "row your boat\n");
    const provider = { wire, base_url: base, api_key_env: "PEER_KEY" };
    const config = Object.entries(provider).flatMap(([key, value]) => ["--config", `providers.peer.${key}=${value}`]);
    const child = spawn(PROGRAM, ["run", "--json", "--model", "peer/model-1", ...config, ...more, prompt], { cwd, env: this.stage.env, stdio: ["ignore", "pipe", "pipe"] });
    const said = { out: "", err: "" };
    child.stdout.on("data", (bytes) => (said.out += bytes));
    child.stderr.on("data", (bytes) => (said.err += bytes));
    const ended = new Promise((resolve) => child.on("close", resolve));
    const code = await within(RUN_MS, prompt, ended).finally(() => child.kill("SIGKILL"));
    if ((said.out + said.err).includes(KEY)) throw new Error(`the key was printed: ${said.out}${said.err}`);
    const lines = said.out.split("\n").filter(Boolean).map((line) => JSON.parse(line));
    const entries = lines.flatMap((line) => (line.entry ? [line.entry.event] : []));
    const result = lines.findLast((line) => line.result)?.result;
    return { code, text: result?.text, ended: result?.ended, entries, err: said.err };
  }

  clear() {
    this.stage.clear();
  }
}

/** The entries of this type, by what they hold. */
export const of = (ran, type) => ran.entries.filter((event) => event.type === type).map((event) => event.data);
