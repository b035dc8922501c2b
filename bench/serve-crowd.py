#!/usr/bin/env python3
"""10,000 sessions in one `oarlock serve`, each with a reader of its events; a tenth of them stream at a time. Memory, what is added to a
model's first piece of text, what waking a session takes, and whether readers lose or repeat an entry, also those that are cut off and come back.

Usage: bench/serve-crowd.py PATH/TO/oarlock [SESSIONS] [--json]

Nothing but the standard library; works in folders of its own, with an empty HOME. docs/benchmarks.md says what is taken when.
"""
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time

from model import Model, prompt
from service import Client, Reader, Server, idle_s

BOUNDS = {"idle_mb": 300, "streaming_mb": 1000, "first_p50_ms": 1, "first_p99_ms": 20}
# Files that this script and the server need beside those of readers and streams.
FILES_BESIDE = 200
OPENING = 64
# What an idle server does in this time includes a heartbeat of every reader.
SETTLE_S = 17
ROUNDS = 3
PIECES, APART_MS = 20, 500
FULL = 0.9
WAKINGS = 500


def allow_files(count):
    """Raises the limit of open files, for the server too, or says that it cannot be raised so far."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + active(count) + FILES_BESIDE
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(
            f"{count} sessions take {wanted} open files in one process, and the hard limit is {hard} (`ulimit -Hn`): "
            "raise it, or measure fewer sessions; figures of fewer are not those of the budgets"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def active(count):
    return max(1, count // 10)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class Crowd:
    """Sessions with their readers, and what is noted of them."""

    def __init__(self, server, count):
        self.server = server
        self.client = Client(server)
        self.count = count
        self.readers = []
        self.firsts, self.firsts_read, self.pieces = [], [], []
        self.gaps = 0
        self.running = {}
        self.came = {}
        # First pieces count while so many streams are on their way.
        self.full = FULL * active(count)
        self.is_taken = False
        self.random = random.Random(1)
        self.streaming_mb = 0
        self.then = lambda session: None

    def create(self):
        made = []
        for _ in range(self.count):
            self.client.ask("POST", "/v1/sessions", {"initial_turn": "defer"}, made.append)
        self.client.until(lambda: len(made) == self.count, 600, "sessions")
        self.readers = [Reader(self.client, row["session_id"], self.told) for row in made]

    def open(self, readers):
        """Opens them, so many at a time, and waits until each was told the past."""
        waiting, opening = list(reversed(readers)), []
        deadline = time.monotonic() + 600
        while waiting or opening:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(waiting) + len(opening)} readers were told nothing")
            while waiting and len(opening) < OPENING:
                opening.append(waiting.pop())
                opening[-1].open()
            self.client.turn(0.05)
            opening = [reader for reader in opening if not reader.is_caught_up]

    def start(self, reader, words):
        self.running[reader.session] = None
        body = {"prompt": words, "wait_ms": 0}
        self.client.ask("POST", f"/v1/sessions/{reader.session}/turns", body)

    def told(self, reader, kind, data, came, now):
        if kind == b"delta":
            self.piece(reader, json.loads(data)["delta"], came, now)
        elif b'"type":"turn_started"' in data:
            self.came[reader.session] = came
        elif b'"type":"turn_ended"' in data and self.running.pop(reader.session, self) is not self:
            if b'"reason":"end_turn"' not in data:
                raise RuntimeError(f"a turn of {reader.session} went wrong: {data}")
            self.then(reader)

    def piece(self, reader, delta, came, now):
        """One delta: how late each piece in it is, and whether one is missing before it."""
        place = (delta["turn"], delta["step"], delta["attempt"])
        before = self.running.get(reader.session)
        expected = before[1] if before and before[0] == place else 0
        self.gaps += delta["offset"] != expected
        self.running[reader.session] = place, delta["offset"] + len(delta["text"])
        for text in delta["text"].split("] ")[:-1]:
            sent, streams = text[1:].split(" ")
            if int(streams) < self.full or not self.is_taken:
                continue
            late = (came - int(sent)) / 1e6
            if delta["offset"] == 0:
                self.firsts.append(late)
                self.firsts_read.append((now - int(sent)) / 1e6)
            else:
                self.pieces.append(late)

    def stream(self, readers):
        """Each of them streams, one turn after the other, and begins at another moment."""
        length = PIECES * APART_MS / 1000
        left = {reader.session: ROUNDS - 1 for reader in readers}

        def words():
            return prompt(self.random.randrange(1000), PIECES, APART_MS)

        def again(reader):
            if left[reader.session]:
                left[reader.session] -= 1
                self.start(reader, words())

        self.then, self.is_taken = again, True
        begun = time.monotonic()
        for index, reader in enumerate(readers):
            while time.monotonic() < begun + length * index / len(readers):
                self.client.turn(0.005)
            self.start(reader, words())
        deadline, looked = time.monotonic() + 60 + 3 * ROUNDS * length, 0
        while self.running:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.running)} turns did not end")
            self.client.turn(0.05)
            if time.monotonic() > looked + 0.5:
                looked = time.monotonic()
                self.streaming_mb = max(self.streaming_mb, self.server.memory_mb())
        self.then, self.is_taken = lambda reader: None, False

    def cut(self, streaming):
        """Cuts a tenth of all readers while half of them stream; one half comes back at once, the other when the turns are over."""
        idle = [reader for reader in self.readers if reader not in set(streaming)]
        half = max(1, active(self.count) // 2)
        cut = streaming[:half] + idle[:half]
        pieces, apart = 20, 200
        for reader in streaming:
            self.start(reader, prompt(self.random.randrange(1000), pieces, apart))
        self.client.run(2)
        for reader in cut:
            reader.cut()
            self.running.pop(reader.session, None)
        self.open(cut[::2])
        self.client.until(lambda: not self.running, 120, "the end of turns")
        self.client.run(pieces * apart / 1000)
        self.open(cut[1::2])
        return len(cut)

    def wake(self, readers, is_closed_first):
        """Milliseconds from asking for a turn until its reader was told that it began, one session at a time."""
        took = []
        for reader in readers:
            if is_closed_first:
                self.client.answer("POST", f"/v1/sessions/{reader.session}/close", {})
            self.came.pop(reader.session, None)
            begun = time.time_ns()
            self.start(reader, prompt(0, 1, 0))
            self.client.until(lambda: reader.session not in self.running, 60, "a turn")
            took.append((self.came[reader.session] - begun) / 1e6)
        return took

    def verify(self, server):
        """What readers were told, beside what the store of another process has: entries missing, told twice, out of order or told otherwise."""
        client, stored, wrong = Client(server), {}, {"lost": 0, "repeated": 0, "unlike": 0}

        def page(reader, after):
            def keep(answer):
                stored.setdefault(reader.session, []).extend(answer["entries"])
                if answer["entries"]:
                    page(reader, answer["cursor"])
                else:
                    done.append(reader)

            client.ask("GET", f"/v1/sessions/{reader.session}/entries?after={after}", None, keep)

        done = []
        for reader in self.readers:
            page(reader, 0)
        client.until(lambda: len(done) == self.count, 600, "entries of the store")
        for reader in self.readers:
            told = [json.loads(data)["entry"] for data in reader.entries]
            kept = stored.get(reader.session, [])
            seqs = [entry["seq"] for entry in told]
            wrong["lost"] += len({entry["seq"] for entry in kept} - set(seqs))
            wrong["repeated"] += len(seqs) - len(set(seqs))
            wrong["unlike"] += told != kept
        wrong["entries"] = sum(map(len, stored.values()))
        return wrong


def measure(program, count):
    allow_files(count)
    # Whoever ends the script ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        model = Model()
        try:
            return with_model(program, count, home, folder, model.port)
        finally:
            model.end()


def with_model(program, count, home, folder, port):
    os.makedirs(os.path.join(home, ".config/oarlock"))
    with open(os.path.join(home, ".config/oarlock/config.toml"), "w") as file:
        wire = f'wire = "openai-chat"\nbase_url = "http://127.0.0.1:{port}"\n'
        file.write(f'model = "crowd/m"\n[providers.crowd]\n{wire}')
    with open(os.path.join(home, "log"), "w+") as log:
        flags = ["--rate", "1000000", "--connections", str(count + FILES_BESIDE)]
        server = Server(program, home, folder, log, *flags)
        try:
            figures, crowd = with_server(server, count)
            figures["end_s"], figures["exit_code"] = server.end()
            crowd.client.until(
                lambda: all(reader.connection is None for reader in crowd.readers), 30, "the end"
            )
            figures["told_to_come_back"] = sum(r.is_told_to_come_back for r in crowd.readers)
            server = Server(program, home, folder, log, *flags)
            figures.update(crowd.verify(server))
        finally:
            server.process.kill()
            server.process.wait()
            log.seek(0)
            lines = [line for line in log if "oarlock:" not in line]
            print(*lines[:20], sep="", end="", file=sys.stderr)
    figures["log_lines"] = len(lines)
    return figures


def with_server(server, count):
    figures = {"sessions": count, "base_mb": server.memory_mb()}
    crowd = Crowd(server, count)
    begun = time.monotonic()
    crowd.create()
    figures["created_per_s"] = count / (time.monotonic() - begun)
    figures["created_mb"] = server.memory_mb()
    begun = time.monotonic()
    crowd.open(crowd.readers)
    figures["opened_per_s"] = count / (time.monotonic() - begun)
    cpu = server.cpu_s()
    crowd.client.run(SETTLE_S)
    figures["idle_mb"] = server.memory_mb()
    figures["idle_cores"] = (server.cpu_s() - cpu) / SETTLE_S

    streaming = crowd.readers[::10][: active(count)]
    before, begun = (server.cpu_s(), server.waited_s(), idle_s()), time.monotonic()
    crowd.stream(streaming)
    seconds = time.monotonic() - begun
    figures["streaming_mb"] = crowd.streaming_mb
    for name, then, now in zip(
        ("streaming_cores", "waiting_share", "quiet_cores"),
        before,
        (server.cpu_s(), server.waited_s(), idle_s()),
    ):
        figures[name] = (now - then) / seconds
    for name, values in [("first", crowd.firsts), ("first_read", crowd.firsts_read), ("piece", crowd.pieces)]:
        figures[f"{name}_p50_ms"] = percentile(values, 0.5)
        figures[f"{name}_p99_ms"] = percentile(values, 0.99)
    figures["firsts"], figures["pieces"] = len(crowd.firsts), len(crowd.pieces)
    figures["pieces_missed"] = crowd.gaps
    crowd.client.run(SETTLE_S)
    figures["streamed_mb"] = server.memory_mb()

    figures["cut"] = crowd.cut(streaming)
    crowd.client.run(SETTLE_S)
    figures["cut_mb"] = server.memory_mb()
    for name, is_closed_first in [("awake", False), ("asleep", True)]:
        took = crowd.wake(streaming[:WAKINGS], is_closed_first)
        figures[f"{name}_p50_ms"] = percentile(took, 0.5)
        figures[f"{name}_p99_ms"] = percentile(took, 0.99)
    figures["broke_off"] = sum(reader.broke_off for reader in crowd.readers)
    figures["most_mb"] = server.memory_mb("VmHWM")
    return figures, crowd


def main():
    words = [word for word in sys.argv[1:] if word != "--json"]
    if not words:
        sys.exit(__doc__)
    figures = measure(os.path.abspath(words[0]), int(words[1]) if len(words) > 1 else 10_000)
    if "--json" in sys.argv:
        print(json.dumps(figures))
    else:
        for name, figure in figures.items():
            figure = f"{figure:.2f}" if isinstance(figure, float) else figure
            bound = f"   bound {BOUNDS[name]}" if name in BOUNDS else ""
            print(f"{name:20} {figure:>10}{bound}")
    if any(figures[name] for name in ("lost", "repeated", "unlike", "broke_off", "exit_code")):
        sys.exit("the server kept not to what it promises")


if __name__ == "__main__":
    main()
