#!/usr/bin/env bash
# Stub libraries of CUDA 13, for `npm run check:placement`:  build.sh PROVIDER.so INCLUDE OUT
# INCLUDE is that of NVIDIA's CUDA runtime 13 (structures alone). Of what the provider calls, the C files here write the
# functions that matter; of the rest a stub that returns 0 is made.
set -euo pipefail
provider=$1 include=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
needed=$(readelf -W --dyn-syms "$provider" | awk '$7 == "UND" { print $8 }')

# library NAME VERSION SOURCE: NAME's functions, those of SOURCE and stubs of the others that the provider wants of it.
library() {
  local file=$1 source=$2 work
  work=$(mktemp -d)
  echo "$file { global: *; };" > "$work/map"
  gcc -c -fPIC -O1 -w -I"$include" -o "$work/written.o" "$source"
  nm "$work/written.o" | awk '$2 == "T" { print $3 }' | sort > "$work/written"
  { printf '%s\n' "$needed" | grep -F "@$file" || true; } | sed 's/@.*//' | sort -u | comm -23 - "$work/written" |
    sed 's/.*/int &(void) { return 0; }/' > "$work/rest.c"
  gcc -shared -fPIC -w -Wl,--version-script="$work/map" -Wl,-soname,"$file" -o "$out/$file" "$work/written.o" "$work/rest.c" -lpthread
  rm -r "$work"
}

library libcudart.so.13 "$here/runtime.c"
library libcublas.so.13 "$here/blas.c"
library libcublasLt.so.13 "$here/blas.c"
gcc -shared -fPIC -w -Wl,-soname,libcudnn.so.9 -o "$out/libcudnn.so.9" "$here/dnn.c"
ln -sf libcudnn.so.9 "$out/libcudnn.so"
for plain in libcuda.so.1 libcurand.so.10; do
  # Their functions have no versions.
  printf '%s\n' "$needed" | grep -E '^cu(rand|[A-Z])[A-Za-z0-9_]*$' | sed 's/.*/int &(void) { return 0; }/' |
    gcc -shared -fPIC -w -Wl,-soname,$plain -o "$out/$plain" -x c -
done
