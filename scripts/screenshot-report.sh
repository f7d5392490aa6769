#!/usr/bin/env bash
# Takes the picture of the demo's report that the README shows: docs/report.png. Needs Chromium.
#   npm run demo && scripts/screenshot-report.sh
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$(mktemp -d); trap 'rm -rf "$profile"' EXIT
"${CHROMIUM:-chromium}" --headless $([ "$(id -u)" = 0 ] && echo --no-sandbox) --disable-gpu --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$profile" \
  --window-size=1180,1500 --screenshot="$PWD/docs/report.png" "file://$PWD/runs/demo/report.html"
