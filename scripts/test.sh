#!/usr/bin/env bash
# Runs the built program's tests, one file per core at a time:
#   scripts/test.sh unit           everything that runs in the test's own process
#   scripts/test.sh faults         what starts the program, a browser or a benchmark: test/cli, faults, browser, bench;
#                                  and the CUDA engine's, which compile with g++
#   scripts/test.sh unit faults    both
# SAE_PIPE_LONG=1 gives test/faults its long form.
set -euo pipefail
cd "$(dirname "$0")/.."
starts='^dist/test/((cli|faults|browser|bench)/|train/engines/cuda)'
files=()
for part in "$@"; do
  case $part in
    unit) mapfile -t -O "${#files[@]}" files < <(find dist/test -name '*.test.js' | grep -Ev "$starts" | sort) ;;
    faults) mapfile -t -O "${#files[@]}" files < <(find dist/test -name '*.test.js' | grep -E "$starts" | sort) ;;
    *) echo "unit or faults, not $part" >&2; exit 2 ;;
  esac
done
exec node --test --test-concurrency="$(node -p 'os.availableParallelism()')" --test-reporter=spec "${files[@]}"
