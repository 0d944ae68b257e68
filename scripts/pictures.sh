#!/usr/bin/env bash
# Draws Grafana dashboards from their JSON and live data, with Grafana's own
# components in headless Chromium: one PNG each, or what a reader sees as text.
#
#   scripts/pictures.sh --prometheus URL --tempo URL [--print] grafana/dashboards/*.json
#
# --help tells the rest. Node modules and the built page are kept in
# CACHETSCOPE_PARTS (see scripts/real-parts.sh), by the hash of what they are
# made from; the first start takes a minute.
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/pictures" && pwd)
parts=${CACHETSCOPE_PARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/cachetscope-parts}
node=${CACHETSCOPE_TEST_NODE:-node}

say() { printf 'pictures: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 2
}
hash() { sha256sum "$@" | sha256sum | cut -c1-16; }

command -v "$node" >/dev/null && command -v npm >/dev/null || die "node and npm are missing: install Node.js 20.19 or later (https://nodejs.org)"

cd "$source"
modules=$parts/pictures-$(hash package-lock.json)
page=$modules/$(hash drive.js index.html package.json vite.config.js src/*)
mkdir -p "$modules"
exec {lock}>"$modules/lock"
flock "$lock" # two starts at once: the second waits, and finds all in place
if [ ! -e "$modules/installed" ]; then
  say "installing Grafana's components from npm (a minute, once)"
  cp package.json package-lock.json "$modules/"
  # Grafana's packages name peers that exclude each other; none of them needs its install script here.
  (cd "$modules" && npm ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund) >"$modules/npm.log" 2>&1 ||
    die "npm ci failed: $(tail -n 5 "$modules/npm.log")"
  touch "$modules/installed"
fi
if [ ! -e "$page/dist/index.html" ]; then
  work=$(mktemp -d "$modules/build.XXXXXX")
  cp -R . "$work/"
  ln -s ../node_modules "$work/node_modules"
  (cd "$work" && npx --no-install tsc && npx --no-install vite build --logLevel error) >"$modules/build.log" 2>&1 ||
    { rm -rf "$work"; die "the page did not build: $(tail -n 20 "$modules/build.log")"; }
  rm -rf "$page" && mv "$work" "$page"
fi
exec {lock}>&-
cd "$OLDPWD"
exec "$node" "$page/drive.js" "$@"
