#!/usr/bin/env bash
# A real model behind an endpoint works in a copy of a piece of this repository, over both wires, and each session goes on in a new process.
#   real-llm.sh ENDPOINT [MODEL]      for example: real-llm.sh http://127.0.0.1:8080 qwen
# The endpoint has to speak both OpenAI's chat completions and Anthropic's messages, as llama.cpp's server does. What is checked is the
# plumbing: that the turn ended, that each call was settled, that nothing is lost. What the model makes of the task is only shown.
# OARLOCK names the program (target/release/oarlock), REAL_LLM_KEY the variable with a key if the endpoint wants one. Needs git and python3.
set -euo pipefail

if [ $# -lt 1 ]; then
  sed -n '3,6s/^# *//p' "$0" >&2
  exit 2
fi
repository=$(cd "$(dirname "$0")/.." && pwd)
endpoint=${1%/}
model=${2:-qwen}
oarlock=${OARLOCK:-$repository/target/release/oarlock}
check=$repository/scripts/journal_check.py
for needed in "$oarlock" git python3; do
  command -v "$needed" >/dev/null || { echo "real-llm: $needed is not there" >&2; exit 1; }
done
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export HOME=$place/home
mkdir "$HOME"
unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME

checkout() {
  cp -R "$repository/crates/core/src" "$1"
  git -C "$1" init --quiet
  git -C "$1" add --all
  git -C "$1" -c user.name=real-llm -c user.email=real-llm@localhost commit --quiet --message "A copy"
}

# One run: its lines go into the file $1; its exit code is what the last line says, and one that a model can cause.
run() {
  local lines=$1 code=0
  shift
  "$oarlock" run --json --model "real/$model" --max-steps 3 --timeout 5m --allow write_file --allow edit_file \
    --config "providers.real.wire=$wire" --config "providers.real.base_url=$endpoint" \
    --config "providers.real.models=[{ id = \"$model\", max_output_tokens = 512 }]" \
    ${REAL_LLM_KEY:+--config "providers.real.api_key_env=$REAL_LLM_KEY"} "$@" >"$lines" 2>"$lines.err" || code=$?
  python3 "$check" run "$lines" "$code" || { cat "$lines.err" >&2; return 1; }
}

for wire in openai-chat anthropic-messages; do
  echo "== $wire"
  folder=$place/$wire
  checkout "$folder"
  cd "$folder"
  run "$place/first" "List the files of this folder, then read ids.rs, then use edit_file to replace its first line by '//! Names.'"
  session=$(python3 "$check" session "$place/first")
  "$oarlock" session show --json "$session" >"$place/before"
  run "$place/second" --resume "$session" "Write a file NOTES.md that says in one sentence what you have seen so far."
  "$oarlock" session show --json "$session" >"$place/after"
  python3 "$check" resumed "$place/before" "$place/after"
  echo "changed by the model: $(git status --short | tr '\n' ' ')"
done
echo "both wires: well"
