// A client over the official TypeScript SDK that writes down all it is told, in order.
import { Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk";
import { within } from "./stage.mjs";

export { gist } from "./gist.mjs";

const { methods } = acp;
export const text = (words) => [{ type: "text", text: words }];

export class Client {
  /** Starts a process on `stage` and initializes it, unless `greet` is false; `serve` adds what else the client answers. */
  static async open(stage, { capabilities = {}, greet = true, serve = () => {}, args } = {}) {
    const client = new Client();
    client.child = stage.start(args);
    client.exited = new Promise((resolve) => client.child.once("close", resolve));
    client.told = [];
    client.watchers = new Set();
    client.answers = []; // What the next permissions are answered with: an outcome, or a function of the request.
    const app = acp.client({ name: "oarlock-peers" })
      .onRequest(methods.client.session.requestPermission, async ({ params, signal }) => {
        client.note({ asked: params, session: params.sessionId, signal });
        const answer = client.answers.shift() ?? { outcome: "cancelled" };
        return { outcome: typeof answer === "function" ? await answer(params, signal) : answer };
      })
      .onNotification(methods.client.session.update, ({ params }) => client.note({ session: params.sessionId, ...params.update }));
    serve(app);
    client.connection = app.connect(acp.ndJsonStream(Writable.toWeb(client.child.stdin), Readable.toWeb(client.child.stdout)));
    client.agent = client.connection.agent;
    if (greet) client.greeting = await client.ask("initialize", { protocolVersion: acp.PROTOCOL_VERSION, clientCapabilities: capabilities, clientInfo: { name: "peers", version: "1" } });
    return client;
  }

  note(entry) {
    this.told.push(entry);
    for (const look of this.watchers) look(entry);
  }

  /** The first thing told from now on that `wanted` says yes to. */
  until(what, wanted, ms = 20_000) {
    let look;
    const found = new Promise((resolve) => {
      look = (entry) => wanted(entry) && resolve(entry);
      this.watchers.add(look);
    });
    return within(ms, what, found).finally(() => this.watchers.delete(look));
  }

  ask(method, params, ms = 30_000) {
    return within(ms, method, this.agent.request(method, params));
  }

  tell(method, params) {
    return this.agent.notify(method, params);
  }

  async session(cwd, more = {}) {
    const made = await this.ask("session/new", { cwd, mcpServers: [], ...more });
    return { id: made.sessionId, made };
  }

  prompt(sessionId, words) {
    return this.ask("session/prompt", { sessionId, prompt: text(words) });
  }

  /** What was told of a session since place `from`. */
  of(sessionId, from = 0) {
    return this.told.slice(from).filter((entry) => entry.session === sessionId);
  }

  async close() {
    this.child.stdin.end();
    await within(5000, "the end after the end of input", this.exited);
    this.connection.close();
  }
}
