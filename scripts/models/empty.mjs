// What a session sends before anybody has said anything: bytes of the system prompt and of the tools over each wire, and the tokens that the program takes
// them for before a provider has counted. Both together have a bound.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { Peer } from "./peer.mjs";

/** For both together, on any wire. What goes beyond it is paid for in every session. */
const EMPTY_BYTES_MAX = 8_000;
/** As `text_tokens` of core has it. */
const TOKEN_BYTES = 3;

/** The part of a request that says who the model is, and the part that says what it can do. */
const WIRES = {
  "openai-chat": (body) => [body.messages[0], body.tools],
  "openai-responses": (body) => [body.instructions, body.tools],
  "anthropic-messages": (body) => [body.system, body.tools],
  gemini: (body) => [body.systemInstruction, body.tools],
  "bedrock-converse": (body) => [body.system, body.toolConfig],
};

const asked = [];
// What was asked is all that is wanted: the answer is one that nobody asks for again.
const server = createServer(async (request, answer) => {
  let body = "";
  for await (const bytes of request) body += bytes;
  asked.push(JSON.parse(body));
  answer.writeHead(400, { "content-type": "application/json" }).end('{"message":"that is all"}');
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const base = `http://127.0.0.1:${server.address().port}`;

const peer = new Peer("empty");
const rows = [];
for (const [wire, parts] of Object.entries(WIRES)) {
  const ran = await peer.run(wire, base, "hi");
  assert.deepEqual([ran.code, asked.length], [1, rows.length + 1], ran.err);
  const [system, tools] = parts(asked.at(-1)).map((part) => JSON.stringify(part));
  assert.ok(system.includes("You are an agent") && tools.includes("read_file"), `${wire}: no such parts`);
  rows.push([wire, Buffer.byteLength(system), Buffer.byteLength(tools)]);
}
server.close();
peer.clear();

console.log("| wire | system prompt | tools | both |\n|---|---|---|---|");
const told = (bytes) => `${bytes} bytes, ${Math.ceil(bytes / TOKEN_BYTES)} tokens`;
for (const [wire, system, tools] of rows) console.log(`| \`${wire}\` | ${told(system)} | ${told(tools)} | ${told(system + tools)} |`);
const large = rows.filter(([, system, tools]) => system + tools > EMPTY_BYTES_MAX);
for (const [wire] of large) console.log(`FAIL ${wire}: an empty session takes more than ${EMPTY_BYTES_MAX} bytes`);
process.exit(large.length ? 1 : 0);
