// What every driver needs: an empty home, a folder for each session with the script its model plays, the program behind the recorder, and short assertions.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
export const PROGRAM = process.env.OARLOCK ?? join(HERE, "../../target/debug/oarlock");
export const TEE = join(HERE, "tee.mjs");
export const ARGUMENTS = ["acp", "--model", "script/script.json"];

export class Stage {
  constructor(name) {
    this.root = realpathSync(mkdtempSync(join(tmpdir(), `acp-${name}-`)));
    this.log = join(this.root, "log");
    this.home = join(this.root, "home");
    for (const folder of [this.log, this.home]) mkdirSync(folder);
    // Nothing of whoever runs this: no key, no configuration, no proxy.
    this.env = { PATH: process.env.PATH, HOME: this.home, LANG: "C.UTF-8" };
  }

  /** A folder whose sessions play `scene`, a file of scenes/. */
  folder(scene) {
    const path = mkdtempSync(join(this.root, `${scene}-`));
    copyFileSync(join(HERE, "scenes", `${scene}.json`), join(path, "script.json"));
    writeFileSync(join(path, "notes.txt"), "row your boat\n");
    return path;
  }

  /** The user's configuration file. */
  configure(text) {
    mkdirSync(join(this.home, ".config/oarlock"), { recursive: true });
    writeFileSync(join(this.home, ".config/oarlock/config.toml"), text);
  }

  /** The program behind the recorder, in a folder that no session is about. */
  start(args = ARGUMENTS) {
    return spawn(process.execPath, [TEE, this.log, PROGRAM, ...args], { cwd: this.root, env: this.env, stdio: ["pipe", "pipe", "inherit"] });
  }

  /** The program itself, for those who look at its bytes and its end. */
  bare(args = ARGUMENTS, options = {}) {
    return spawn(PROGRAM, args, { cwd: this.root, env: this.env, stdio: ["pipe", "pipe", "pipe"], ...options });
  }

  clear() {
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** `promise`, or an error that names what did not happen in time. */
export function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The code of the error that `promise` has to end with. */
export async function refused(code, promise) {
  const error = await promise.then((value) => assert.fail(`expected error ${code}, got ${JSON.stringify(value)}`), (reason) => reason);
  assert.equal(error.code, code, error.message);
  return error;
}

/** Runs named parts one after another and says how each went; all of them are run. */
export async function parts(title, list) {
  let failed = 0;
  for (const [name, part] of list) {
    const begun = Date.now();
    try {
      await within(60_000, name, part());
      console.log(`ok   ${title}: ${name} (${Date.now() - begun} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${title}: ${name}\n${error.stack}`);
    }
  }
  return failed;
}
