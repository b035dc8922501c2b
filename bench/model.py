"""A model for measuring: an `openai-chat` endpoint on loopback, in a process of its own, whose answers say when they were sent.

The prompt says how it answers: `after 500 ms, 20 pieces, 250 ms apart`. Each piece is `[SENT STREAMS] `: the time just before it was sent, in
nanoseconds of CLOCK_REALTIME (the clock of the kernel's receive times), and how many answers were on their way. Nothing but the standard library.
"""
import heapq
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import time

WANTED = re.compile(rb"after (\d+) ms, (\d+) pieces, (\d+) ms apart")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def prompt(after_ms, pieces, apart_ms):
    return f"answer after {after_ms} ms, {pieces} pieces, {apart_ms} ms apart"


class Model:
    """The process, as whoever started it sees it."""

    def __init__(self):
        arguments = [sys.executable, os.path.abspath(__file__)]
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Answers:
    """All connections and what is due on them."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.due = []
        self.streams = 0
        self.count = 0

    def run(self):
        print(self.listener.getsockname()[1], flush=True)
        while True:
            wait = max(0, self.due[0][0] - time.monotonic()) if self.due else None
            for key, _ in self.selector.select(wait):
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.read(key.fileobj, key.data)
            while self.due and self.due[0][0] <= time.monotonic():
                _, _, stream, pieces, apart = heapq.heappop(self.due)
                self.answer(stream, pieces, apart)

    def accept(self):
        try:
            while True:
                stream, _ = self.listener.accept()
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.selector.register(stream, selectors.EVENT_READ, bytearray())
        except BlockingIOError:
            pass

    def read(self, stream, asked):
        try:
            chunk = stream.recv(1 << 16)
        except ConnectionError:
            chunk = b""
        if not chunk:
            self.selector.unregister(stream)
            stream.close()
            return
        asked += chunk
        end = asked.find(b"\r\n\r\n")
        if end < 0 or len(asked) < end + 4 + int(LENGTH.search(asked, 0, end)[1]):
            return
        after, pieces, apart = (int(word) for word in WANTED.findall(asked)[-1])
        asked.clear()
        self.streams += 1
        if self.send(stream, HEAD):
            self.later(after / 1000, stream, pieces, apart / 1000)

    def later(self, seconds, *what):
        self.count += 1
        heapq.heappush(self.due, (time.monotonic() + seconds, self.count, *what))

    def answer(self, stream, pieces, apart):
        if pieces:
            if self.send(stream, chunk({"content": f"[{time.time_ns()} {self.streams}] "})):
                self.later(apart, stream, pieces - 1, apart)
            return
        done = b"data: [DONE]\n\n"
        end = chunk({}, "stop") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(done), done)
        if self.send(stream, end):
            self.streams -= 1

    def send(self, stream, sent):
        """Whether the asker still listens. What is sent always fits into the kernel's queue."""
        try:
            stream.send(sent)
        except OSError:
            self.streams -= 1
            return False
        return True


def chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    told = {"id": "a", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    if finish:
        told["usage"] = USAGE
    event = b"data: " + json.dumps(told).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


if __name__ == "__main__":
    Answers().run()
