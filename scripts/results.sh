#!/usr/bin/env bash
# Makes docs/results/NAME from configs/NAME.yaml: the sweep, its evaluation and report, and the figures of the README
# and the docs. The same command resumes an interrupted one.
#
#   scripts/results.sh pareto-tiny
#   scripts/results.sh ablations-tiny
#   scripts/results.sh gemma-3-270m-pareto gemma-3-270m    # into docs/results/gemma-3-270m
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
npm run --silent build
node bin/sae-pipe.js sweep --config "configs/$name.yaml"
out=docs/results/${2:-$name}
mkdir -p "$out"
rm -rf "$out/eval"
cp -r "runs/$name/eval" "runs/$name/report.html" "$out/"
# Recorded commands begin in the directory that they were given in; what is published names none of this machine.
sed -i "s#$PWD#/sae-pipe#g" "$out/report.html" "$out/eval/eval.json"
node scripts/results-table.mjs "runs/$name/eval/eval.json" > "$out/table.md"
for figure in pareto shrinkage; do
  node bin/sae-pipe.js figure $figure --evaluation "runs/$name/eval" --out "$out/$figure.svg" --overwrite
done
