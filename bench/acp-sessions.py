#!/usr/bin/env python3
"""1,000 sessions in one `oarlock acp`: memory when they are idle and after two turns of three rounds each, turns per second, CPU per turn.

Usage: bench/acp-sessions.py PATH/TO/oarlock [SESSIONS] [--json]

Nothing but the standard library; works in folders of its own, with an empty HOME.
"""
import json
import os
import sys
import tempfile
import time

from agent import Agent

BOUNDS = {"initialize_ms": 20, "idle_kb": 10, "used_kb": 30, "turns_per_s": 800, "cpu_ms": 1.5}
LOOK = {"calls": [{"name": "read_file", "arguments": {"path": "notes.txt"}}]}
SAY = {"text": "The notes say how to row. " * 4, "usage": {"input": 100, "output": 20}}


def measure(program, count):
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "notes.txt"), "w") as file:
            file.write("row, row, row your boat\n" * 20)
        script = os.path.join(folder, "script.json")
        with open(script, "w") as file:
            json.dump({"steps": [LOOK, LOOK, SAY] * 2}, file)
        begun = time.monotonic()
        agent = Agent(program, home, folder, script)
        hello = agent.ask("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
        agent.answers([hello])
        initialized = (time.monotonic() - begun) * 1000
        # One session pays for what all share.
        new = {"cwd": folder, "mcpServers": []}
        agent.answers([agent.ask("session/new", new)])
        time.sleep(0.5)
        before = agent.memory_kb()
        begun = time.monotonic()
        found = agent.answers([agent.ask("session/new", new) for _ in range(count)])
        opened = count / (time.monotonic() - begun)
        sessions = [result["sessionId"] for result in found.values()]
        time.sleep(2)
        idle = agent.memory_kb()
        cpu, begun = agent.cpu_s(), time.monotonic()
        for _ in range(2):
            prompt = [{"type": "text", "text": "what do the notes say?"}]
            asked = [
                agent.ask("session/prompt", {"sessionId": id, "prompt": prompt}) for id in sessions
            ]
            for result in agent.answers(asked).values():
                assert result["stopReason"] == "end_turn", result
        seconds, cpu = time.monotonic() - begun, agent.cpu_s() - cpu
        time.sleep(2)
        used = agent.memory_kb()
        begun = time.monotonic()
        agent.process.stdin.close()
        code = agent.process.wait(10)
        assert code == 0, code
        return {
            "sessions": count,
            "initialize_ms": round(initialized, 1),
            "base_kb": before,
            "opened_per_s": round(opened),
            "idle_kb": round((idle - before) / count, 1),
            "used_kb": round((used - before) / count, 1),
            "turns_per_s": round(2 * count / seconds),
            "cpu_ms": round(cpu * 1000 / (2 * count), 2),
            "exit_ms": round((time.monotonic() - begun) * 1000),
        }


def main():
    words = [word for word in sys.argv[1:] if word != "--json"]
    if not words:
        sys.exit(__doc__)
    figures = measure(os.path.abspath(words[0]), int(words[1]) if len(words) > 1 else 1000)
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        bound = f"   bound {BOUNDS[name]}" if name in BOUNDS else ""
        print(f"{name:15} {figure:>10}{bound}")


if __name__ == "__main__":
    main()
