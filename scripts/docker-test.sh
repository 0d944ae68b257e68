#!/usr/bin/env bash
# Runs a command beside a Docker engine of its own, with an image to start containers from.
#
#   scripts/docker-test.sh COMMAND…     as root on Debian, with docker.io and busybox-static
#
# COMMAND finds the engine by DOCKER_HOST, and the image `cachet:2.4.1`: busybox's web server, which
# answers `GET /api/v1/ping` on port 8000 as Cachet does. No registry is asked.
#
# The engine gets namespaces of its own: its networks, firewall rules and mounts are seen by nobody
# else, and whatever it leaves behind ends with its first process. Only COMMAND's own files and the
# control groups, which are removed here, outlive it.
set -euo pipefail

die() {
  echo "docker-test: $*" >&2
  exit 1
}

if [ "${1:-}" != --inside ]; then
  [ $# -gt 0 ] || die "usage: $0 COMMAND…"
  [ "$(id -u)" = 0 ] || die "a Docker engine of its own needs root"
  for program in dockerd:docker.io iptables:iptables; do
    command -v "${program%:*}" >/dev/null || die "${program%:*} is missing: apt-get install ${program#*:}"
  done
  grep -q 'statically linked' <(file -L /bin/busybox) || die "no static /bin/busybox: apt-get install busybox-static"
  dir=$(mktemp -d /tmp/cachetscope-docker-XXXXXX)
  trap 'rm -rf "$dir"' EXIT
  failed=0
  unshare --net --mount --pid --fork --kill-child --mount-proc "$0" --inside "$dir" "$@" || failed=$?
  find /sys/fs/cgroup -depth -type d -path "*/${dir##*/}*" -exec rmdir {} + 2>/dev/null || true
  exit "$failed"
fi

dir=$2
shift 2
ip link set lo up
# No way leads out of here.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export DOCKER_HOST=unix://$dir/docker.sock DOCKER_CONFIG=$dir/cli
dockerd -H "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" -p "$dir/dockerd.pid" \
  --cgroup-parent "/${dir##*/}" >"$dir/dockerd.log" 2>&1 &
end=$((SECONDS + 60))
until docker info >/dev/null 2>&1; do
  [ "$SECONDS" -lt "$end" ] || die "the engine does not answer: $(tail -n 20 "$dir/dockerd.log")"
  sleep 0.2
done
echo "docker-test: Docker $(docker version --format '{{.Server.Version}}'), ready after $SECONDS s"

image=$dir/image
mkdir -p "$image"/{bin,tmp,www/api/v1}
install /bin/busybox "$image/bin/busybox"
echo '{"data":"Pong!"}' >"$image/www/api/v1/ping"
tar -C "$image" -c . | docker import --change 'EXPOSE 8000' \
  --change 'ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", "/www"]' - cachet:2.4.1 >/dev/null

"$@"
