// Chance that a seed repeats, and scripts and bytes made with it.

/** Numbers from a seed (mulberry32). */
export class Chance {
  constructor(seed) {
    this.state = seed >>> 0;
  }
  unit() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  below(bound) {
    return Math.floor(this.unit() * bound);
  }
  likely(share) {
    return this.unit() < share;
  }
  one(list) {
    return list[this.below(list.length)];
  }
  /** A source of its own, so that what one session does is the same whatever the others do. */
  split() {
    return new Chance(this.below(4294967296));
  }
}

const WORDS = ["row", "boat", "gently", "Größe", "🚣", "\n", "“down”", "the", "stream", "\\", "\"", "{}", "\u2028", "\t"];

/** A script of so many steps, some of which fail, ask, or never end. */
export function script(chance, length) {
  const words = (most) => Array.from({ length: 1 + chance.below(most) }, () => chance.one(WORDS)).join(" ");
  const call = () => chance.one([
    { name: "read_file", arguments: { path: "notes.txt" } },
    { name: "read_file", arguments: { path: "missing.txt" } },
    { name: "write_file", arguments: { path: `out-${chance.below(9)}.txt`, content: words(5) } },
    { name: "no_such_tool", arguments: {} },
    { name: "read_file", arguments: "{\"path\": " },
  ]);
  const steps = Array.from({ length }, () => {
    const step = { text: words(30), chunk_bytes: 1 + chance.below(40) };
    if (chance.likely(0.3)) step.thinking = words(10);
    if (chance.likely(0.3)) step.calls = Array.from({ length: 1 + chance.below(3) }, call);
    else if (chance.likely(0.05)) step.stop = chance.one(["refusal", "max_tokens"]);
    if (chance.likely(0.05)) step.errors = [{ kind: "overloaded", retry_after_ms: 1, after_text: chance.likely(0.5) ? words(4) : "" }];
    if (chance.likely(0.02)) step.errors = [{ kind: "auth", after_text: words(3) }];
    if (chance.likely(0.1)) step.delay_ms = 1 + chance.below(5);
    if (chance.likely(0.02)) return { silence: true };
    return step;
  });
  return { steps };
}

/** Hands bytes on in pieces that have nothing to do with lines: single bytes, halves of characters, many messages at once. */
export class Shredder {
  constructor(chance, stream) {
    Object.assign(this, { chance, stream, held: [], busy: false, idle: () => {} });
  }
  line(words) {
    const end = this.chance.likely(0.1) ? "\r\n" : "\n";
    const blank = this.chance.likely(0.05) ? this.chance.one(["\n", "\r\n", "  \n"]) : "";
    this.held.push(Buffer.from(blank + words + end));
    if (!this.busy) {
      this.busy = true;
      setImmediate(() => this.pour());
    }
  }
  pour() {
    let bytes = Buffer.concat(this.held);
    this.held = [];
    const write = () => {
      if (!bytes.length) {
        this.busy = this.held.length > 0;
        return this.busy ? this.pour() : this.idle();
      }
      const size = this.chance.likely(0.5) ? bytes.length : this.chance.likely(0.1) ? 1 : 1 + this.chance.below(200);
      const room = this.stream.write(bytes.subarray(0, size));
      bytes = bytes.subarray(size);
      if (room) setImmediate(write);
      else this.stream.once("drain", write);
    };
    write();
  }
}
