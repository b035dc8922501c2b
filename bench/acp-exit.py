#!/usr/bin/env python3
"""How long `oarlock acp` takes to end when its editor goes, by the end of its stream and by SIGTERM, while each of so many sessions runs a command;
and that no command outlives it.

Usage: bench/acp-exit.py PATH/TO/oarlock [SESSIONS...]

Nothing but the standard library; works in folders of its own, with an empty HOME. Fails when it takes longer than two seconds or leaves a process.
"""
import json
import os
import sys
import tempfile
import time

from agent import Agent

BOUND_S = 2


def commands(mark):
    """The processes whose arguments have this mark, whoever their parent is by now."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
        except OSError:
            continue
        if arguments[:2] == [b"sleep", mark.encode()]:
            found.append(int(pid))
    return found


def measure(program, count, by_signal):
    # A length of sleep that no other process has.
    mark = f"{4000 + os.getpid() % 1000}.{count}{int(by_signal)}"
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "script.json")
        with open(script, "w") as file:
            call = {"name": "bash", "arguments": {"command": f"sleep {mark}"}}
            json.dump({"steps": [{"calls": [call]}, {"text": "slept"}]}, file)
        agent = Agent(program, home, folder, script, "--mode", "open")
        hello = {"protocolVersion": 1, "clientCapabilities": {}}
        agent.answers([agent.ask("initialize", hello)])
        new = {"cwd": folder, "mcpServers": []}
        found = agent.answers([agent.ask("session/new", new) for _ in range(count)])
        for session in found.values():
            prompt = [{"type": "text", "text": "sleep"}]
            agent.ask("session/prompt", {"sessionId": session["sessionId"], "prompt": prompt})
        agent.send()
        deadline = time.monotonic() + 60
        while len(commands(mark)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError("the commands did not all begin")
            agent.selector.select(0.1)
            agent.lines()
        begun = time.monotonic()
        if by_signal:
            agent.process.terminate()
        else:
            agent.process.stdin.close()
        code = agent.process.wait(30)
        return code, time.monotonic() - begun, commands(mark)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program, failed = os.path.abspath(sys.argv[1]), False
    for count in [int(word) for word in sys.argv[2:]] or [40, 100]:
        for by_signal in (False, True):
            code, seconds, left = measure(program, count, by_signal)
            how = "SIGTERM" if by_signal else "end of stream"
            print(f"{count} commands, {how}: {seconds:.2f} s, exit code {code}, {len(left)} left")
            failed |= code != 0 or seconds > BOUND_S or bool(left)
    sys.exit(failed)


if __name__ == "__main__":
    main()
