// The whole protocol with the official TypeScript SDK as the client; then everything that was said is judged.
import { judgeLog } from "./judge.mjs";
import { parts } from "./stage.mjs";
import { cancels } from "./walk/cancel.mjs";
import { editors } from "./walk/editor.mjs";
import { sessions } from "./walk/sessions.mjs";
import { client, stage } from "./walk/shared.mjs";
import { turns } from "./walk/turns.mjs";

const chosen = process.argv[2];
const all = [...turns, ...cancels, ...sessions, ...editors].filter(([name]) => !chosen || name.includes(chosen) || name === "talk");
let failed = await parts("typescript", all);
failed += await parts("typescript", [["the end of input ends the process", () => client.close()]]);
const { faults, seen } = judgeLog(stage.log);
for (const text of faults) console.log(`FAULT typescript: ${text}`);
console.log(`typescript: ${all.length} parts, ${failed} failed; ${seen.client} messages of the client and ${seen.agent} of the agent, ${faults.length} faults`);
if (failed || faults.length) console.log(`recorded in ${stage.log}`);
else stage.clear();
process.exit(failed || faults.length ? 1 : 0);
