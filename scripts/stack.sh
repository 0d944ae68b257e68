#!/usr/bin/env bash
# Holds docker-compose.yml to what it promises.
#
#   scripts/stack.sh config    both generations of compose take it, with each file that is laid over
#                              it, and every service is as closed as the file's head says; seconds
#   scripts/stack.sh test      the stack on a real Docker engine: built, started, asked, restarted,
#                              taken down; some minutes, as root on Debian 12
#
# The parts come from scripts/real-parts.sh (`test`, and for the second also `stack`), and
# CACHETSCOPE_TEST_DAEMON is a built daemon, for the image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
  echo "stack.sh: $*" >&2
  exit 1
}

overlays=(deploy/compose/*.yaml)

config() {
  local compose overlay json wrong
  for compose in "$CACHETSCOPE_TEST_COMPOSE" ${CACHETSCOPE_TEST_COMPOSE1:+"$CACHETSCOPE_TEST_COMPOSE1"}; do
    for overlay in '' "${overlays[@]}"; do
      "$compose" -f docker-compose.yml ${overlay:+-f "$overlay"} --profile demo --profile logs config -q ||
        die "$("$compose" version --short) refuses docker-compose.yml${overlay:+ with $overlay}"
    done
  done

  json=$(COMPOSE_FILE=$(IFS=:; echo "docker-compose.yml:${overlays[*]}") \
    "$CACHETSCOPE_TEST_COMPOSE" --profile demo --profile logs config --format json)
  # Each line is a promise that is broken.
  wrong=$("$CACHETSCOPE_TEST_JQ" -r '.services | to_entries[] | .key as $name | .value |
    def promise(kept; $what): if kept then empty else "\($name): \($what)" end;
    promise(.read_only; "its own file system is writable"),
    promise(.cap_drop == ["ALL"]; "it keeps capabilities"),
    promise((.cap_add // []) - (if $name == "volume-owners" then ["CHOWN"] else [] end) == []; "it is given capabilities"),
    promise(.privileged | not; "it is privileged"),
    promise(.security_opt == ["no-new-privileges:true"]; "it can gain privileges"),
    promise(.mem_limit; "its memory has no limit"),
    promise(.logging.options["max-size"]; "its log has no limit"),
    promise(.image | test(":v?[0-9]+[.][0-9]+[.][0-9]+$"); "its image \(.image) is not pinned"),
    promise(.build or ((.user // "root") | test("^(0|root)(:|$)") | not) or $name == "volume-owners"; "it runs as root"),
    promise(all(.ports[]?; .host_ip == "127.0.0.1"); "it is published beyond 127.0.0.1"),
    promise(all(.volumes[]? | select(.type == "bind"); .read_only); "it may write to a folder of the host")
    ' <<<"$json")
  [ -z "$wrong" ] || die "docker-compose.yml breaks its promises:
$wrong"

  local version
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
  [[ $json = *"\"image\": \"cachetscope:$version\""* ]] ||
    die "docker-compose.yml does not name its image after version $version of Cargo.toml"

  # What the tests run is what the stack runs. Prometheus 3.16.0 is the Go module v0.316.0; of Tempo,
  # the modules end before the images do.
  same_version collector otel/opentelemetry-collector-contrib \
    "$(sed -n 's/^ *version: *//p' otel-collector/builder.yaml)"
  same_version prometheus prom/prometheus \
    "$(sed -nE 's|.*github.com/prometheus/prometheus v0\.([0-9])0?([0-9]+)\.([0-9]+).*|v\1.\2.\3|p' otel-collector/parts/prometheus/go.mod)"
}

# same_version SERVICE IMAGE VERSION
same_version() {
  local pinned
  pinned=$("$CACHETSCOPE_TEST_JQ" -r --arg service "$1" '.services[$service].image' <<<"$json")
  [ "$pinned" = "$2:$3" ] || die "docker-compose.yml runs $pinned, but the tests run version $3 of it"
}

# The engine gets namespaces of its own: its networks, firewall rules and mounts are seen by nobody
# else, and whatever it leaves behind ends with its first process.
engine() {
  [ "$(id -u)" = 0 ] || die "a Docker engine of its own needs root"
  local dir=$1 failed=0
  unshare --net --mount --pid --fork --kill-child --mount-proc scripts/stack-engine.sh "$dir" || failed=$?
  # Its control groups are the one thing that namespaces do not hold.
  find /sys/fs/cgroup -depth -type d -path "*/${dir##*/}*" -exec rmdir {} + 2>/dev/null || true
  return "$failed"
}

case ${1:-} in
  config) config ;;
  test)
    dir=$(mktemp -d /tmp/cachetscope-stack-XXXXXX)
    trap 'rm -rf "$dir"' EXIT
    engine "$dir"
    ;;
  *) die "usage: $0 config | test" ;;
esac
