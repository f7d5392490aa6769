#!/usr/bin/env bash
# Makes the Python environment of the peers that `npm run bench:train` times: bench/.venv, from requirements-train.txt.
#   bench/peers/setup.sh        needs Python 3.11 (PYTHON names another one); pip's own settings say where from
# Does nothing when bench/.venv already holds what requirements-train.txt asks for.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/requirements-train.txt
venv=$(dirname "$here")/.venv
installed=$venv/requirements-train.txt

if cmp --silent "$requirements" "$installed"; then
  echo "bench/.venv is up to date"
  exit
fi
if [ ! -x "$venv/bin/python" ]; then
  echo "making bench/.venv"
  "${PYTHON:-python3.11}" -m venv "$venv"
fi
# a Linux wheel of torch may be the CUDA build, whose libraries are separate packages: torch alone is installed
# with what it depends on
echo "installing torch"
"$venv/bin/pip" install --quiet --constraint "$requirements" "$(grep '^torch==' "$requirements")"
echo "installing the other packages of requirements-train.txt"
"$venv/bin/pip" install --quiet --no-deps --requirement "$requirements"
echo "trying to import each contender"
for module in torch dictionary_learning.trainers.gdm sae_lens sparsify.sparse_coder; do
  "$venv/bin/python" -W ignore -c "import $module"
done
cp "$requirements" "$installed" # last, so that an interrupted run starts over
echo "bench/.venv is ready: bench/.venv/bin/python bench/peers/train_step.py --help"
