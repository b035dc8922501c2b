"""The walk with the Python SDK: `python3 walk.py FOLDER PROGRAM NODE` leaves recordings for judge.mjs in FOLDER/log."""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from acp import PROTOCOL_VERSION, RequestError, spawn_agent_process, spawn_stdio_connection, text_block
from acp.schema import (
    AllowedOutcome,
    ClientCapabilities,
    DeniedOutcome,
    Implementation,
    RequestPermissionResponse,
)

HERE = Path(__file__).resolve().parent
FOLDER, PROGRAM, NODE = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
HOME, LOG = FOLDER / "home", FOLDER / "log"
COMMAND = [NODE, str(HERE / "tee.mjs"), str(LOG), PROGRAM, "acp", "--model", "script/script.json"]
# The SDK adds some of its own variables; what of ours could change an answer is not handed on.
PLACE = {"env": {"PATH": os.environ["PATH"], "HOME": str(HOME)}, "cwd": FOLDER}
PIPES = {"stderr": None, "limit": 1 << 26, "shutdown_timeout": 5.0}


def folder(scene):
    path = Path(tempfile.mkdtemp(prefix=f"{scene}-", dir=FOLDER))
    shutil.copy(HERE / "scenes" / f"{scene}.json", path / "script.json")
    (path / "notes.txt").write_text("row your boat\n")
    return path


class Client:
    """Writes down what it is told; answers questions from a list."""

    def __init__(self):
        self.told, self.answers, self.heard = [], [], asyncio.Event()

    def on_connect(self, conn):
        pass

    async def session_update(self, session_id, update, **_):
        self.told.append((session_id, update))
        self.heard.set()

    async def request_permission(self, session_id, tool_call, options, **_):
        self.told.append((session_id, tool_call))
        answer = self.answers.pop(0) if self.answers else "cancelled"
        if callable(answer):
            answer = await answer()
        if answer == "cancelled":
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        chosen = next(option for option in options if option.kind == answer)
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=chosen.option_id))

    def of(self, session, start=0):
        return [update for id, update in self.told[start:] if id == session]

    def words(self, session, kind="agent_message_chunk", start=0):
        """Text by message id, in the order of the messages."""
        found = {}
        for update in self.of(session, start):
            if getattr(update, "session_update", None) == kind:
                found[update.message_id] = found.get(update.message_id, "") + update.content.text
        return found

    def calls(self, session, start=0):
        found = {}
        for update in self.of(session, start):
            if getattr(update, "session_update", None) in ("tool_call", "tool_call_update") and update.status:
                found[update.tool_call_id] = update.status
        return found

    async def first(self, session, kind):
        while not any(getattr(update, "session_update", None) == kind for update in self.of(session)):
            self.heard.clear()
            await asyncio.wait_for(self.heard.wait(), 10)


@contextlib.asynccontextmanager
async def connect():
    client = Client()
    async with spawn_agent_process(client, *COMMAND, **PLACE, transport_kwargs=PIPES) as (agent, process):
        greeting = await agent.initialize(
            PROTOCOL_VERSION, ClientCapabilities(), Implementation(name="peers.py", version="1")
        )
        yield client, agent, greeting
        began = time.monotonic()
    assert process.returncode == 0, f"ended with {process.returncode}"
    assert time.monotonic() - began < 3, "ends with its input"


async def refused(code, awaitable):
    try:
        value = await awaitable
    except RequestError as error:
        assert error.code == code, f"{error.code} {error}, expected {code}"
    else:
        raise AssertionError(f"expected error {code}, got {value}")


async def turn(agent, session, words, reason):
    answer = await asyncio.wait_for(agent.prompt(session_id=session, prompt=[text_block(words)]), 30)
    assert answer.stop_reason == reason, f"{words}: {answer.stop_reason}, expected {reason}"


async def talk(client, agent, greeting):
    assert greeting.protocol_version == 1 and greeting.agent_info.name == "oarlock"
    can = greeting.agent_capabilities
    assert can.load_session and can.session_capabilities.list and can.session_capabilities.resume
    assert greeting.auth_methods
    cwd = folder("talk")
    session = (await agent.new_session(str(cwd), mcp_servers=[])).session_id
    await turn(agent, session, "what is in the notes?", "end_turn")
    await turn(agent, session, "go on", "end_turn")
    assert list(client.words(session).values()) == [
        "I look at the notes and into the folder, both at once.",
        "The notes say: row your boat. Größe 🚣 stays whole.",
        "That was all that I know.",
    ], client.words(session)
    assert list(client.words(session, "agent_thought_chunk").values()) == ["The notes are the place to look first."]
    assert set(client.calls(session).values()) == {"completed"} and len(client.calls(session)) == 2
    return session, cwd, client.words(session), client.calls(session)


async def questions(client, agent):
    cwd = folder("ask")
    session = (await agent.new_session(str(cwd), mcp_servers=[])).session_id

    async def cancel():
        await agent.cancel(session_id=session)
        return "cancelled"

    for name, answer, reason, status in [
        ("allowed", "allow_once", "end_turn", "completed"),
        ("rejected", "reject_once", "end_turn", "failed"),
        ("cancelled", cancel, "cancelled", "failed"),
        ("dropped", "cancelled", "cancelled", "failed"),
    ]:
        start, client.answers = len(client.told), [answer]
        await turn(agent, session, name, reason)
        assert list(client.calls(session, start).values()) == [status], (name, client.calls(session, start))
        assert (cwd / f"{name}.txt").exists() == (name == "allowed"), name


async def cancels(client, agent):
    session = (await agent.new_session(str(folder("hello")), mcp_servers=[])).session_id
    await agent.cancel(session_id=session)
    await turn(agent, session, "hello", "end_turn")
    session = (await agent.new_session(str(folder("long")), mcp_servers=[])).session_id
    running = asyncio.create_task(turn(agent, session, "speak", "cancelled"))
    await client.first(session, "agent_message_chunk")
    await agent.cancel(session_id=session)
    await running
    await turn(agent, session, "again", "end_turn")
    for _ in range(5):
        session = (await agent.new_session(str(folder("silent")), mcp_servers=[])).session_id
        running = asyncio.create_task(agent.prompt(session_id=session, prompt=[text_block("speak")]))
        await asyncio.sleep(0)  # Until it is handed to the connection.
        await agent.cancel(session_id=session)
        assert (await asyncio.wait_for(running, 5)).stop_reason == "cancelled"


async def settings(agent):
    made = await agent.new_session(str(folder("hello")), mcp_servers=[])
    session, modes = made.session_id, made.modes
    other = next(mode.id for mode in modes.available_modes if mode.id != modes.current_mode_id)
    await agent.set_session_mode(session_id=session, mode_id=other)
    await refused(-32602, agent.set_session_mode(session_id=session, mode_id="no-such-mode"))
    option = next(option for option in made.config_options if option.category == "mode")
    answer = await agent.set_config_option(config_id=option.id, session_id=session, value=modes.current_mode_id)
    assert [each.id for each in answer.config_options] == [each.id for each in made.config_options]
    assert next(each for each in answer.config_options if each.id == option.id).current_value == modes.current_mode_id
    await refused(-32602, agent.set_config_option(config_id="none", session_id=session, value="x"))
    await refused(-32602, agent.new_session("relative", mcp_servers=[]))


async def later(session, cwd, words, calls):
    async with connect() as (client, agent, _):
        listed = await agent.list_sessions(cwd=str(cwd))
        assert [each.session_id for each in listed.sessions] == [session]
        await agent.load_session(cwd=str(cwd), session_id=session, mcp_servers=[])
        assert client.words(session) == words and client.calls(session) == calls, client.words(session)
        mine = list(client.words(session, "user_message_chunk").values())
        assert mine == ["what is in the notes?", "go on"], mine
        await turn(agent, session, "and now?", "end_turn")
        await agent.close_session(session_id=session)
    async with connect() as (client, agent, _):
        await refused(-32602, agent.resume_session(session_id=session, cwd=str(HOME)))
        await agent.resume_session(session_id=session, cwd=str(cwd))
        assert not client.words(session) and not client.words(session, "user_message_chunk")
    # The SDK has no name for deleting; its connection can say it.
    async with spawn_stdio_connection(silence, *COMMAND, **PLACE, **PIPES) as (connection, _):
        await connection.send_request("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
        assert await connection.send_request("session/delete", {"sessionId": session}) == {}
        assert (await connection.send_request("session/list", {"cwd": str(cwd)}))["sessions"] == []
        await refused(-32002, connection.send_request("session/load", {"sessionId": session, "cwd": str(cwd), "mcpServers": []}))


async def silence(method, params, is_notification):
    return None


async def main():
    HOME.mkdir(parents=True)
    LOG.mkdir()
    failed = 0

    async def part(name, awaitable):
        nonlocal failed
        began = time.monotonic()
        try:
            value = await asyncio.wait_for(awaitable, 60)
            print(f"ok   python: {name} ({(time.monotonic() - began) * 1000:.0f} ms)", flush=True)
            return value
        except (AssertionError, RequestError, asyncio.TimeoutError, StopIteration, AttributeError, KeyError) as error:
            failed += 1
            print(f"FAIL python: {name}: {type(error).__name__} {error}", flush=True)
            return None

    async with connect() as (client, agent, greeting):
        talked = await part("talk", talk(client, agent, greeting))
        await part("questions", questions(client, agent))
        await part("cancels", cancels(client, agent))
        await part("settings", settings(agent))
    if talked:
        await part("load, list, close, resume, delete", later(*talked))
    print(f"python: {failed} parts failed")
    sys.exit(1 if failed else 0)


asyncio.run(main())
