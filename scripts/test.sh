#!/usr/bin/env bash
# Runs the built program's tests, one more file at a time than there are cores, because they wait (for a disk, a lock, a
# process that starts) for a fifth of their time:
#   scripts/test.sh unit      each room's own, in the test's process
#   scripts/test.sh stages    test/stages: complete stages and many training steps, also in process
#   scripts/test.sh faults    what starts the program, a browser or a benchmark: test/cli, faults, browser, bench;
#                             and the CUDA engine's, which compile with g++
# Several parts may be named. In unit and stages, files of one directory share a process if they can (group-tests.mjs);
# with SAE_PIPE_ALONE=1 each file has its own.
# SAE_PIPE_LONG=1 gives them their long form: more kills and damages in test/faults, cases that are skipped otherwise, and
# the files of on-demand.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
stages='^dist/test/stages/'
starts='^dist/test/((cli|faults|browser|bench)/|train/engines/cuda)'
group() { if [ "${SAE_PIPE_ALONE:-}" = 1 ]; then cat; else node scripts/group-tests.mjs "$1"; fi; }
rm -rf dist/test/together
on_demand=()
while IFS= read -r name; do
  [ -f "dist/test/$name.test.js" ] || { echo "scripts/on-demand.txt: there is no test/$name.test.ts" >&2; exit 2; }
  [ "${SAE_PIPE_LONG:-}" = 1 ] || on_demand+=(-e "dist/test/$name.test.js")
done < <(grep -v '^#' scripts/on-demand.txt)
asked() { if [ ${#on_demand[@]} -gt 0 ]; then grep -vxF "${on_demand[@]}"; else cat; fi; }
files=()
for part in "$@"; do
  case $part in
    unit) chosen=(-Ev "$starts|$stages") share=(group 8) ;;
    stages) chosen=(-E "$stages") share=(group 4) ;;
    faults) chosen=(-E "$starts") share=(cat) ;;
    *) echo "unit, stages or faults, not $part" >&2; exit 2 ;;
  esac
  list=$(find dist/test -name '*.test.js' | grep "${chosen[@]}" | asked | sort | "${share[@]}")
  # Not mapfile: Bash on macOS is 3.2.
  while IFS= read -r file; do files+=("$file"); done <<<"$list"
done
# V8's background threads, four per process, compete with tests that already use every core: one each saves 7 % of the
# time.
export NODE_OPTIONS="${NODE_OPTIONS:+$NODE_OPTIONS }--v8-pool-size=1"
# Without files, node would search for some itself.
[ ${#files[@]} -gt 0 ]
exec node --test --test-concurrency="$(node -p 'os.availableParallelism() + 1')" --test-reporter=spec "${files[@]}"
