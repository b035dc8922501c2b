// What a person sees of a list of updates, however it was cut.

/** Chunks joined to messages, a call with its updates to one, all in the order of their beginnings. */
export function gist(entries) {
  const seen = [];
  for (const { session: _, ...entry } of entries) {
    if (entry.sessionUpdate?.endsWith("_chunk")) {
      const same = seen.find((one) => one.is === entry.sessionUpdate && one.id === entry.messageId && one.id !== undefined);
      const words = entry.content.type === "text" ? entry.content.text : JSON.stringify(entry.content);
      if (same) same.text += words;
      else seen.push({ is: entry.sessionUpdate, id: entry.messageId, text: words });
    } else if (entry.sessionUpdate === "tool_call") {
      const { sessionUpdate, ...call } = entry;
      seen.push({ is: "tool", ...call });
    } else if (entry.sessionUpdate === "tool_call_update") {
      const { sessionUpdate, ...change } = entry;
      Object.assign(seen.find((one) => one.is === "tool" && one.toolCallId === change.toolCallId) ?? {}, change);
    }
  }
  return seen;
}
