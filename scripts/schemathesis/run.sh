#!/usr/bin/env bash
# `oarlock serve` held to its own description by schemathesis, which is installed below target/; `OARLOCK` names another program than the debug one.
# run.sh [ARGUMENTS of `schemathesis run`] …; without arguments what CI does.
set -euo pipefail
cd "$(dirname "$0")"
TARGET=$(cd ../.. && pwd)/target
OARLOCK=${OARLOCK:-$TARGET/debug/oarlock}
TOOL=$TARGET/schemathesis

if ! [ "$TOOL/installed" -nt requirements.txt ]; then
  rm -rf "$TOOL"
  python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore --target "$TOOL" --requirement requirements.txt
  touch "$TOOL/installed"
fi

home=$(mktemp -d) work=$(mktemp -d)
server=
finish() {
  local outcome=$?
  if [ -n "$server" ]; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" || outcome=1
  fi
  # What the server said is wanted when something went wrong.
  [ $outcome = 0 ] || tail -n 40 "$work/server.log" >&2 || true
  rm -rf "$home" "$work"
  exit $outcome
}
trap finish EXIT

mkdir "$work/folder"
echo "row your boat" >"$work/folder/notes.txt"
# An empty home and an empty environment: no key of a provider, no configuration. The program takes the place of the subshell, which is ended by its number.
(cd "$work/folder" && exec env -i PATH="$PATH" HOME="$home" "$OARLOCK" serve --model demo/demo --listen 127.0.0.1:0 --rate 100000 >/dev/null 2>"$work/server.log") &
server=$!
for _ in $(seq 300); do
  at=$(sed -n 's/^.*listening on \(http[^ ]*\).*$/\1/p' "$work/server.log")
  [ -z "$at" ] || break
  kill -0 "$server"
  sleep 0.1
done
token=$(cat "$(sed -n 's/^.*a token that may do everything is in \(.*\)$/\1/p' "$work/server.log")")

export PYTHONPATH=$TOOL PYTHONDONTWRITEBYTECODE=1 TOKEN=$token
cd "$work"
cp "$OLDPWD"/{schemathesis.toml,judge.py} .
python3 -m schemathesis.cli --config-file schemathesis.toml run --no-color "$at/v1/openapi.json" "$@"
