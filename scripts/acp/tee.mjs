// Stands between a client and an agent: `node tee.mjs FOLDER PROGRAM ARGS…` passes on every byte both ways and writes each line with its direction to a file of FOLDER.
import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { join } from "node:path";

const [folder, program, ...args] = process.argv.slice(2);
const out = createWriteStream(join(folder, `${process.pid}.log`));
const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });

function pass(from, to, who) {
  let rest = Buffer.alloc(0);
  from.on("data", (bytes) => {
    // Recorded before it is passed on, so that an answer never stands before its question.
    rest = rest.length ? Buffer.concat([rest, bytes]) : bytes;
    for (let end; (end = rest.indexOf(10)) >= 0; rest = rest.subarray(end + 1)) {
      out.write(`${JSON.stringify({ at: Math.round(performance.now()), [who]: rest.subarray(0, end).toString() })}\n`);
    }
    if (!to.write(bytes)) {
      from.pause();
      to.once("drain", () => from.resume());
    }
  });
  from.on("end", () => {
    if (rest.length) out.write(`${JSON.stringify({ [who]: rest.toString(), unended: true })}\n`);
    to.end();
  });
  to.on("error", () => {}); // The other side has gone; its end is told by its exit.
}
pass(process.stdin, child.stdin, "client");
pass(child.stdout, process.stdout, "agent");

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("close", (code, signal) => {
  out.end(`${JSON.stringify({ end: code ?? signal })}\n`, () => process.exit(code ?? 1));
});
child.on("error", (error) => {
  console.error(`${program}: ${error.message}`);
  process.exit(1);
});
