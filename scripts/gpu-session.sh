#!/usr/bin/env bash
# A session on a GPU machine that has no network; bench/gpu-session.ts says what it does and which flags it takes.
#
#   bash scripts/gpu-session.sh --part 1 --out "$OUT"        # 570 s at most
#   bash scripts/gpu-session.sh --part 2 --out "$OUT" --seconds 280
#   bash scripts/gpu-session.sh --rehearse                   # on a CPU, in a minute or two
#
# The machine needs Node, this directory with node_modules and dist (npm ci && npm run build before it is packed),
# ONNX Runtime's CUDA provider in node_modules, and CUDA 13 with cuDNN 9, of a Python with PyTorch, say. A file
# OFFLINE_ENV, or env.sh in the directory above, is read first: it may set PATH, LD_LIBRARY_PATH, SAE_PIPE_CUDA_LIBS and
# SAE_PIPE_BENCH_PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."
env=${OFFLINE_ENV:-../env.sh}
if [ -f "$env" ]; then
  # shellcheck source=/dev/null
  . "$env"
fi
for need in node_modules/onnxruntime-node dist/bench/gpu-session.js; do
  [ -e "$need" ] || { echo "$need is not here: run npm ci && npm run build before packing." >&2; exit 3; }
done
command -v node > /dev/null || { echo "Node is not on the PATH: pack it, and have $env put it there." >&2; exit 3; }
exec node dist/bench/gpu-session.js "$@"
