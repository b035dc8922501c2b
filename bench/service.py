"""A raw client of `oarlock serve` for measuring: requests over a few kept connections, readers of events by the thousand, one loop for all.
Nothing but the standard library."""
import collections
import json
import os
import re
import selectors
import socket
import struct
import subprocess
import time

CONNECTIONS = 32
# SO_TIMESTAMPNS: the kernel says when what is read came in, however late this process reads it.
TIMESTAMPS = 35
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """The program under test."""

    def __init__(self, program, home, folder, log, *flags):
        environment = {"HOME": home, "PATH": os.environ["PATH"]}
        listen = ["serve", "--listen", "127.0.0.1:0"]
        before = os.path.getsize(log.name)
        self.process = subprocess.Popen(
            [program, *listen, *flags], stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=folder
        )
        deadline = time.monotonic() + 10
        while not (said := self.listening(log.name, before)):
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.process.kill()
                raise RuntimeError("the server did not come up")
            time.sleep(0.01)
        self.port = int(said[1])
        with open(os.path.join(home, ".local/share/oarlock/token")) as file:
            self.token = file.read().strip()

    def listening(self, log, after):
        """Where it says that it listens; nothing before it does."""
        with open(log) as file:
            file.seek(after)
            return re.search(r"listening on http://127.0.0.1:(\d+)\n", file.read())

    def end(self):
        """How many seconds it took to end on SIGTERM, and its exit code."""
        begun = time.monotonic()
        self.process.terminate()
        code = self.process.wait(30)
        return time.monotonic() - begun, code

    def memory_mb(self, name="VmRSS"):
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) / 1024
        raise RuntimeError("no memory figure")

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def waited_s(self):
        """How long its first thread, which serves all connections, was ready to run and had no processor."""
        with open(f"/proc/{self.process.pid}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9


def idle_s():
    """How long the machine's processors had nothing to do."""
    with open("/proc/stat") as file:
        return int(file.readline().split()[4]) / TICKS


class Client:
    """Everything that is open to one server, in one loop."""

    def __init__(self, server):
        self.address = ("127.0.0.1", server.port)
        self.head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {server.token}\r\n"
        self.selector = selectors.DefaultSelector()
        self.waiting = collections.deque()
        self.askers = [Asker(self) for _ in range(CONNECTIONS)]

    def connected(self, owner):
        connection = socket.create_connection(self.address, 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, TIMESTAMPS, 1)
        connection.setblocking(False)
        self.selector.register(connection, selectors.EVENT_READ, owner)
        return connection

    def ask(self, method, path, body=None, then=None):
        """Sends a request as soon as a connection is free; `then` is given the answer. A refusal ends the measurement."""
        self.waiting.append((method, path, body, then))
        for asker in self.askers:
            if asker.asked is None:
                asker.next()
                return

    def answer(self, method, path, body=None, seconds=60):
        answers = []
        self.ask(method, path, body, answers.append)
        self.until(lambda: answers, seconds)
        return answers[0]

    def turn(self, seconds):
        """Takes what has come, or waits so long for something."""
        for key, _ in self.selector.select(seconds):
            key.data.read()

    def until(self, is_done, seconds, wanted="something"):
        deadline = time.monotonic() + seconds
        while not is_done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{wanted} did not come within {seconds} s")
            self.turn(0.05)

    def run(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn(min(0.05, max(0, until - time.monotonic())))

    def close(self, owner):
        self.selector.unregister(owner.connection)
        owner.connection.close()
        owner.connection = None


class Asker:
    """A connection for one request after the other."""

    def __init__(self, client):
        self.client = client
        self.connection = None
        self.asked = None
        self.rest = b""

    def next(self):
        if not self.client.waiting:
            return
        self.asked = method, path, body, _ = self.client.waiting.popleft()
        if self.connection is None:
            self.connection = self.client.connected(self)
        body = b"" if body is None else json.dumps(body).encode()
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self.connection.sendall(f"{method} {path} HTTP/1.1\r\n{self.client.head}{more}\r\n".encode() + body)

    def read(self):
        try:
            chunk = self.connection.recv(1 << 20)
        except BlockingIOError:
            return
        if not chunk:
            self.client.close(self)
            if self.asked:
                raise EOFError(f"the server broke off {self.asked[:2]}")
            return
        self.rest += chunk
        head, found, body = self.rest.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        asked, self.asked, self.rest = self.asked, None, b""
        answer = json.loads(body)
        if b" 200 " not in head[:16]:
            raise RuntimeError(f"{asked[:2]} was refused: {answer}")
        if asked[3]:
            asked[3](answer)
        if self.asked is None:
            self.next()


class Reader:
    """A reader of one session's events. `told` is given each event with the kernel's receive time, in nanoseconds."""

    def __init__(self, client, session, told):
        self.client = client
        self.session = session
        self.told = told
        self.connection = None
        self.cursor = None
        self.entries = []
        self.is_caught_up = False
        self.is_told_to_come_back = False
        self.broke_off = 0

    def open(self):
        last = f"Last-Event-ID: {self.cursor}\r\n" if self.cursor else ""
        path = f"/v1/sessions/{self.session}/events"
        self.is_caught_up, self.head_is_read, self.raw, self.text = False, False, b"", b""
        self.connection = self.client.connected(self)
        self.connection.sendall(f"GET {path} HTTP/1.1\r\n{self.client.head}{last}\r\n".encode())

    def cut(self):
        self.client.close(self)

    def read(self):
        try:
            chunk, ancillary, _, _ = self.connection.recvmsg(1 << 16, 64)
        except BlockingIOError:
            return
        except ConnectionError:
            chunk, ancillary = b"", []
        if not chunk:
            self.broke_off += 1
            self.client.close(self)
            return
        now = time.time_ns()
        came = [struct.unpack("ll", data[:16]) for _, kind, data in ancillary if kind == TIMESTAMPS]
        came = came[-1][0] * 10**9 + came[-1][1] if came else now
        self.raw += chunk
        if not self.head_is_read:
            head, found, raw = self.raw.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 200 " not in head[:16]:
                raise RuntimeError(f"a reader was refused: {self.raw}")
            self.head_is_read, self.raw = True, raw
        self.unchunk()
        *messages, self.text = self.text.split(b"\n\n")
        for message in messages:
            self.message(message, came, now)
            # Whoever is told may have cut the connection; what else came is lost with it.
            if self.connection is None:
                return

    def unchunk(self):
        """Takes whole chunks of HTTP off what was read."""
        while True:
            size, found, rest = self.raw.partition(b"\r\n")
            if not found or len(rest) < int(size, 16) + 2:
                return
            length = int(size, 16)
            self.text += rest[:length]
            self.raw = rest[length + 2 :]

    def message(self, message, came, now):
        if message.startswith(b":"):
            return
        if message.startswith(b"retry:"):
            self.is_told_to_come_back = True
            return
        fields = dict(line.split(b": ", 1) for line in message.split(b"\n"))
        kind, data = fields[b"event"], fields[b"data"]
        if kind == b"entry":
            self.cursor = fields[b"id"].decode()
            self.entries.append(data)
        elif kind == b"caught_up":
            self.is_caught_up = True
        elif kind == b"error":
            raise RuntimeError(f"session {self.session}: {data}")
        self.told(self, kind, data, came, now)
