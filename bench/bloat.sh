#!/usr/bin/env bash
# The 25 heaviest crates in the code of a program that still has its symbols, in bytes and functions, and the sections of 10 KB and more.
# A generic function counts for the crate that wrote it, not for the one that made it necessary.
set -euo pipefail
program=${1:-target/release/oarlock}

nm --print-size --demangle "$program" | awk '
  function hex(digits,  value, at) {
    for (at = 1; at <= length(digits); at++) value = value * 16 + index("123456789abcdef", substr(digits, at, 1))
    return value
  }
  $3 ~ /^[tTwW]$/ {
    size = hex($2)
    name = substr($0, index($0, $4))
    owner = "C and assembler"
    if (name ~ /::/) {
      sub(/^[^A-Za-z_]*((mut|const|dyn) )*[^A-Za-z_]*/, "", name)
      owner = match(name, /^[a-z_0-9]+::/) ? substr(name, 1, RLENGTH - 2) : "of any type"
    }
    bytes[owner] += size
    functions[owner]++
  }
  END { for (owner in bytes) printf "%9d %6d %s\n", bytes[owner], functions[owner], owner }
' | sort -rn | sed -n 1,25p
size -A "$program" | awk '$2 >= 10000 && $1 ~ /^\.[^d]/ || $1 ~ /^\.data/ { printf "%9d %s\n", $2, $1 }' | sort -rn
