"""What a request that keeps to its schema may still be refused for, word by word.

A schema says how a request is written, not which cursors, models or skills there are. Where the answer to that is INVALID_REQUEST (400), the
configuration lets it through, and the check below wants one of these reasons for it: any other 400 means that a schema is looser than what is taken.
"""

import re

import schemathesis

REASONS = {
    # What is named is not there.
    r"the cursor \d+ lies beyond the end of session": "cursors are of one session",
    r"the cursor is none that a list gave out": "a page's cursor is opaque",
    r"session \S+ has no input yet": "a session without inputs has nothing to wait for",
    r"entry \d+ of session \S+ is no input": "numbers of inputs are of one session",
    r"input \d+ is not waiting": "numbers of inputs are of one session",
    r"there is no such task": "tasks are of one session",
    r"there is no mode `": "modes are configured",
    r"`from` is `.*`, and no session has that name": "names are of one server's sessions",
    r"session \S+ cannot have the name `": "names are one session's each",
    r"there is no skill `": "skills are configured",
    r"no provider for the model `|unknown provider `|provider `.*` (is not configured|has no model)|no model of provider `": "models are configured",
    r"nobody is asked about call": "calls are of one session",
    r"`build\.(realm_id|instance_id|backend)` is `": "they are of one server",
    r"the session was configured \d+ times and not": "generations are of one session",
    r"call .* does not wait for an answer": "calls are of one session",
    r"session \S+ has the entries 1 to": "cursors are of one session",
    r"there is no body \S+ to be named here": "bodies are uploaded",
    r"`journal` does not begin as an export": "a journal is what an export wrote",
    r"the picture \S+ has \d+ bytes and not": "bodies are uploaded",
    # What no pattern says in every dialect, or none at all.
    r"a query has words, of letters and digits": "letters of all scripts",
    r"a query has \d+ words at most": "words are counted",
    # What is taken where it is free.
    r"`idempotency_key` and `build\.resume_session` both name": "two fields in two objects",
    r"`build\.provider` says whose a model is": "two fields in two objects",
    r"`Idempotency-Key` and `idempotency_key` differ": "a header and a field of the body",
    r"the (idempotency )?key (`.*` )?was used for another (request|input)": "keys are remembered",
    r"the output schema is refused": "a schema of schemas of bounded size cannot be said",
    r"`input_schema` of the external tool `.*` cannot be had": "the same",
    r"`build`: `peer_meta` has more than \d+ bytes": "bytes of JSON are counted",
    r"`.*` is given twice": "pairs of a query are one object",
    r"`build\.resume_session` is refused here": "a token never names its sessions; the library does",
    r"two external tools are named|the session has a tool `.*` of its own": "names are to differ",
}


@schemathesis.check
def refused_for_a_reason(ctx, response, case):
    """A request that keeps to its schema is refused as INVALID_REQUEST for one of the reasons above alone."""
    meta = case.meta
    if response.status_code != 400 or meta is None or not meta.generation.mode.is_positive:
        return
    words = response.json()["error"]["message"]
    if not any(re.match(reason, words) for reason in REASONS):
        raise AssertionError(f"the schema does not say what is refused here: {words}")
