#!/usr/bin/env bash
# Each fuzz target for so many seconds, over its seeds and what it has found before, and over the recorded answers of `OARLOCK_CORPUS` if that is set.
# run.sh [SECONDS] [TARGET] …; 60 and all of them without arguments.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} != 0 ] || targets=(anthropic_messages openai_chat openai_responses gemini bedrock_converse)

# What marks the branches is a flag of the nightly compiler, which the pinned one takes when it is told to.
export RUSTC_BOOTSTRAP=1
VERSION=0.13.2
PATH=$PWD/../target/fuzz-tools/bin:$PATH
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "cargo-fuzz is not here; building $VERSION into target/fuzz-tools"
  if ! cargo install cargo-fuzz --version "$VERSION" --locked --debug --quiet --root ../target/fuzz-tools; then
    echo "nothing was fuzzed: cargo-fuzz $VERSION can be neither found nor installed from here" >&2
    exit 1
  fi
fi

# Seeds that the repository has not; libFuzzer adds to the first folder that it is given.
recorded() {
  mkdir -p "recorded/$1"
  while IFS= read -r answer; do
    # A first byte of zero: nothing is cut. Long answers teach little and take long.
    local seed
    seed=recorded/$1/$(sha256sum "$answer" | cut -c1-16)
    [ -e "$seed" ] || { printf '\0' && cat "$answer"; } >"$seed"
  done < <(find "$OARLOCK_CORPUS" -name 'response.*' -size -24k)
}

for target in "${targets[@]}"; do
  folders=("corpus/$target" "seeds/$target")
  mkdir -p "corpus/$target"
  if [ -n "${OARLOCK_CORPUS:-}" ]; then
    recorded "$target"
    folders+=("recorded/$target")
  fi
  # An allocation of 64 MiB, a resident process of 2 GiB or an input of 20 seconds is a find, too: an input has 32 KiB.
  (cd .. && cargo fuzz run --fuzz-dir fuzz "$target" "${folders[@]/#/fuzz/}" -- -max_total_time="$seconds" -max_len=32768 \
    -timeout=20 -malloc_limit_mb=64 -rss_limit_mb=2048 -print_final_stats=1)
done
