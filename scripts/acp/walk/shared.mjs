// Of the walk with the TypeScript SDK: the process that all of its parts talk to, and what one part leaves to the next.
import { Client } from "../client.mjs";
import { Stage } from "../stage.mjs";

export const stage = new Stage("typescript");
export const client = await Client.open(stage);
export const talked = {};
