// The published schema as one check for each method and direction. What the agent says is also held to the names that the schema knows.
import { readFileSync } from "node:fs";
import Ajv2020 from "ajv/dist/2020.js";

const FOLDER = new URL("node_modules/@agentclientprotocol/sdk/schema/v1/", import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, FOLDER)));

// Whether objects of this schema have a known set of names; those of `{}` and of `additionalProperties: true` have not.
function named(schema, defs, seen = new Set()) {
  if (schema === true || typeof schema !== "object" || schema === null) return false;
  if (schema.additionalProperties) return false;
  if (schema.$ref) {
    if (seen.has(schema.$ref)) return true;
    return named(defs[schema.$ref.slice("#/$defs/".length)], defs, new Set([...seen, schema.$ref]));
  }
  const either = [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])].filter((part) => part.type !== "null");
  const parts = [...(schema.allOf ?? []), ...either];
  if (schema.properties) return true;
  return parts.length > 0 && parts.every((part) => named(part, defs, seen));
}

// The schema with every place where an object stands closed to names that no part of it knows.
function closed(root) {
  const shut = (schema) => (named(schema, root.$defs) ? { ...schema, unevaluatedProperties: false } : schema);
  const inner = (schema) => {
    if (Array.isArray(schema)) return schema.map(inner);
    if (typeof schema !== "object" || schema === null) return schema;
    return Object.fromEntries(Object.entries(schema).map(([key, value]) => {
      if (key === "properties") return [key, Object.fromEntries(Object.entries(value).map(([name, of]) => [name, shut(inner(of))]))];
      if (key === "items") return [key, shut(inner(value))];
      return [key, inner(value)];
    }));
  };
  return { ...root, $defs: Object.fromEntries(Object.entries(root.$defs).map(([name, schema]) => [name, inner(schema)])) };
}

function checks(root, close) {
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: false });
  ajv.addSchema(close ? closed(root) : root, "acp");
  const of = {};
  for (const [name, schema] of Object.entries(root.$defs)) {
    const method = schema["x-method"];
    const kind = /(Request|Response|Notification)$/.exec(name)?.[1];
    if (!method || !kind) continue;
    const reference = { $ref: `acp#/$defs/${name}` };
    (of[method] ??= {})[kind] = ajv.compile(close && named(schema, root.$defs) ? { ...reference, unevaluatedProperties: false } : reference);
  }
  of.error = { Response: ajv.compile({ $ref: "acp#/$defs/Error" }) };
  of.id = { Response: ajv.compile({ $ref: "acp#/$defs/RequestId" }) };
  return { of, words: (check) => check.errors.map((e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`).join("; ").slice(0, 600) };
}

const stable = checks(read("schema.json"), false);
const known = checks(read("schema.unstable.json"), true);

/** Why `value` is not the `kind` (Request, Response, Notification) of `method`, or null. `strict` also refuses unknown names. */
export function fault(method, kind, value, strict) {
  // A method that is not stable is in the other schema alone.
  const from = stable.of[method] ? stable : known;
  const check = from.of[method]?.[kind];
  if (!check) return `the schema has no ${kind} of ${method}`;
  if (!check(value)) return from.words(check);
  const names = known.of[method]?.[kind];
  if (strict && names && !names(value)) return `unknown names: ${known.words(names)}`;
  return null;
}
export const methods = Object.keys(stable.of);
