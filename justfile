# What is done often. `just --list` shows it; each recipe is one or two commands that also work by hand.

# Everything that a change must pass
ci:
    bash .ci/run

# Fast answers while working on one crate, for example `just check core`
check crate:
    cargo clippy -p {{ if crate == "cli" { "oarlock" } else { "oarlock-" + crate } }} --all-targets -- -D warnings
    cargo test -p {{ if crate == "cli" { "oarlock" } else { "oarlock-" + crate } }}

# All tests
test:
    cargo test --workspace

# The recorded provider answers in FOLDER, none of which may be skipped
corpus folder:
    OARLOCK_CORPUS={{ absolute_path(folder) }} cargo test -p oarlock-models -- --nocapture corpus framing

# The budgets, measured beside their bounds
bench:
    cargo bench -p oarlock-store
    cargo bench -p oarlock-models --bench decode
    cargo bench -p oarlock --bench pure
    cargo bench -p oarlock --bench figures

# What the program weighs: its heaviest crates and its sections
bloat:
    CARGO_PROFILE_RELEASE_STRIP=false cargo build --release
    bash bench/bloat.sh target/release/oarlock

# One session over both wires with a real model, for example `just real-llm http://127.0.0.1:8080`
real-llm endpoint model="qwen":
    cargo build --release
    bash scripts/real-llm.sh {{ endpoint }} {{ model }}

# 10 GB of output through the bash tool, in flat memory
flood:
    cargo test --profile long -p oarlock --test it -- --ignored --nocapture flood

# 10,000 turns of one session, in flat memory
long:
    cargo test --profile long -p oarlock-store --test long -- --ignored --nocapture

# 1,000 subagents at once under one limit on money, in processes that die again and again
crowd:
    cargo test --profile long -p oarlock-core --test it -- --ignored a_thousand_subagents

# 100,000 simulated worlds, each of which has to come to rest; a seed that does not is named, and `just simulate SEED 1` makes it again
simulate first="0" count="100000":
    cargo run --profile long -p oarlock-testkit --example simulate {{ first }} {{ count }}

# `oarlock acp` with clients that others wrote: the official TypeScript and Python SDKs, acpx, and ends at bad moments. `part` is one of them
peers part="all":
    cargo build -p oarlock
    bash scripts/acp/run.sh {{ part }}

# `oarlock run` against model servers that others wrote: aimock on every wire, and llmock, which judges how faults are met. `part` is one of them
model-peers part="aimock llmock empty":
    cargo build -p oarlock
    bash scripts/models/run.sh {{ part }}

# Bytes and estimated tokens of the system prompt and the tools of an empty session, on every wire
tokens:
    cargo build -p oarlock
    node scripts/models/empty.mjs

# Any bytes as an answer over each wire, so many seconds each; installs cargo-fuzz into target/fuzz-tools where it is not
fuzz seconds="60":
    bash fuzz/run.sh {{ seconds }}

# Answers read by Oarlock and by rig-core, compared; with OARLOCK_CORPUS the recorded ones, too
differential:
    cargo run --locked --manifest-path differential/Cargo.toml --target-dir target/differential

# `oarlock serve` held to its own description by schemathesis, every check on
schemathesis *arguments:
    cargo build -p oarlock
    bash scripts/schemathesis/run.sh {{ arguments }}

# Turns over ACP with bytes cut anywhere, cancels at any moment and many sessions at once; a seed makes the same ones again
acp-fuzz seed="1" turns="10000":
    cargo build -p oarlock
    bash scripts/acp/run.sh fuzz {{ seed }} {{ turns }}

# How long `oarlock acp` takes to end with 40 and with 100 running commands, and that none outlives it
acp-exit:
    cargo build --release -p oarlock
    python3 bench/acp-exit.py target/release/oarlock

# 10,000 sessions in one `oarlock serve`, each with a reader of its events: memory, what is added to a model's first piece, waking; nothing lost
serve-crowd sessions="10000":
    cargo build --release -p oarlock
    python3 bench/serve-crowd.py target/release/oarlock {{ sessions }}
