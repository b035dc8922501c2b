"""A raw client of `oarlock acp` for measuring. Nothing but the standard library."""
import json
import os
import selectors
import subprocess
import time


class Agent:
    """The program under test: requests out, answers in, nothing kept of what it tells."""

    def __init__(self, program, home, folder, script, *flags):
        environment = {"HOME": home, "PATH": os.environ["PATH"]}
        arguments = [program, "acp", "--model", f"script/{script}", *flags]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            arguments, stdin=pipe, stdout=pipe, env=environment, cwd=folder, bufsize=0
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        self.rest = b""
        self.ids = 0
        self.unsent = b""
        self.kept = []

    def ask(self, method, params):
        self.ids += 1
        message = {"jsonrpc": "2.0", "id": self.ids, "method": method, "params": params}
        self.unsent += json.dumps(message).encode() + b"\n"
        return self.ids

    def answers(self, wanted, seconds=120):
        """The results of these requests; whatever else is said is read and forgotten."""
        wanted, found, deadline = set(wanted), {}, time.monotonic() + seconds
        while wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(wanted)} requests were not answered")
            self.send()
            self.selector.select(1)
            for line in self.lines():
                # An update is most of what comes; it is not taken apart.
                if b'"method"' in line[:40]:
                    continue
                message = json.loads(line)
                if message.get("id") in wanted:
                    wanted.discard(message["id"])
                    if "error" in message:
                        raise RuntimeError(message["error"])
                    found[message["id"]] = message["result"]
        return found

    def send(self):
        """Sends all that was asked."""
        while self.unsent:
            self.kept += self.read()
            sent = os.write(self.process.stdin.fileno(), self.unsent[:16384])
            self.unsent = self.unsent[sent:]

    def lines(self):
        """What was said and not looked at yet."""
        lines, self.kept = self.kept + self.read(), []
        return lines

    def read(self):
        lines = []
        while True:
            try:
                chunk = os.read(self.process.stdout.fileno(), 1 << 20)
            except BlockingIOError:
                return lines
            if not chunk:
                raise EOFError("the program ended")
            parts = (self.rest + chunk).split(b"\n")
            self.rest = parts.pop()
            lines += parts

    def memory_kb(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Rss:"):
                    return int(line.split()[1])
        raise RuntimeError("no memory figure")

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
