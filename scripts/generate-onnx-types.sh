#!/usr/bin/env bash
# Makes src/onnx/onnx_pb.ts, the typed messages of an .onnx file, from the public schema onnx.proto
# (Apache-2.0, shipped in the Python package onnx). Comments are stripped: the schema's own pages say more.
#   scripts/generate-onnx-types.sh        needs pip and npm
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
pip install --quiet --target "$work/python" grpcio-tools==1.85.1
pip download --quiet --no-deps --dest "$work" onnx==1.23.2
unzip -q -p "$work"/onnx-*.whl onnx/onnx.proto | sed -E 's,//.*$,,' > "$work/onnx.proto"
npm install --silent --no-save --prefix "$work" @bufbuild/protoc-gen-es@2.17.0
PYTHONPATH=$work/python python3 -m grpc_tools.protoc -I "$work" --plugin=protoc-gen-es="$work/node_modules/.bin/protoc-gen-es" \
  --es_out="$work" --es_opt=target=ts,import_extension=js onnx.proto
{ echo '// Generated from onnx.proto of ONNX 1.23.2 (SPDX-License-Identifier: Apache-2.0) by scripts/generate-onnx-types.sh.'
  grep -vE '^ *(/\*\*|\*/|\*)|^ *\* ' "$work/onnx_pb.ts" | grep -v 'WARNING' | sed '/^\/\/$/d' | cat -s; } > src/onnx/onnx_pb.ts
