"""Checks the JSON lines of `oarlock run` and `oarlock session show`: run LINES CODE | session LINES | resumed BEFORE AFTER."""

import json
import sys
from collections import Counter

# Done, denied, a limit, the model's own limit: what a model brings about without anything being wrong here.
EXPECTED = {0: "done", 4: "denied", 7: "limit", 8: "max tokens"}


def fail(words):
    sys.exit(f"real-llm: {words}")


def lines(path):
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                fail(f"{path}:{number}: no JSON: {error}")


def entries(path):
    found = [line["entry"] for line in lines(path) if "entry" in line]
    numbers = [entry["seq"] for entry in found]
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        fail(f"{path}: the entries are not in order and without gaps: {numbers}")
    return found


def result(path):
    results = [line["result"] for line in lines(path) if "result" in line]
    if len(results) != 1:
        fail(f"{path}: {len(results)} result lines in place of one")
    return results[0]


def of_kind(found, kind):
    return [entry["event"]["data"] for entry in found if entry["event"]["type"] == kind]


def run(path, code):
    found, last = entries(path), result(path)
    if last["exit_code"] != code:
        fail(f"the program ended with {code}, its last line says {last['exit_code']}")
    if code not in EXPECTED:
        fail(f"the turn ended with {code}: {last['ended']}")
    if len(of_kind(found, "turn_ended")) != 1:
        fail("the turn has not exactly one end")
    turn = max(entry.get("turn", 0) for entry in found)
    last_kind = [entry["event"]["type"] for entry in found if entry.get("turn") == turn][-1]
    if last_kind != "turn_ended":
        fail(f"the turn's last entry is {last_kind}")
    answers = of_kind(found, "assistant_message")
    usages = [answer.get("usage") or {} for answer in answers]
    if not any(usage.get("output", 0) and usage.get("input", 0) + usage.get("cache_read", 0) for usage in usages):
        fail(f"no answer says how many tokens it took: {usages}, {of_kind(found, 'model_failed')}, ended {last['ended']}")
    called = Counter(call["call"] for call in of_kind(found, "tool_called"))
    settled = Counter(call["call"] for call in of_kind(found, "tool_settled"))
    if called != settled or any(times > 1 for times in called.values()):
        fail(f"called {called}, settled {settled}")
    names = Counter(call["name"] for call in of_kind(found, "tool_called"))
    outcomes = Counter(call["outcome"] for call in of_kind(found, "tool_settled"))
    deltas = sum("delta" in line for line in lines(path))
    print(f"{EXPECTED[code]}: {len(found)} entries, {deltas} deltas, {len(answers)} answers, calls {dict(names)}, {dict(outcomes)}")


def resumed(before, after):
    old, new = entries(before), entries(after)
    if not old or new[: len(old)] != old:
        fail("entries of before the second process are lost or changed")
    turns = len(of_kind(new, "turn_ended"))
    if turns != 2:
        fail(f"{turns} turns have ended in place of 2")
    print(f"resumed: the {len(old)} entries of before stand unchanged, {len(new) - len(old)} came after them")


match sys.argv[1:]:
    case ["run", path, code]:
        run(path, int(code))
    case ["session", path]:
        print(result(path)["session"])
    case ["resumed", before, after]:
        resumed(before, after)
    case _:
        sys.exit(__doc__)
