#!/usr/bin/env bash
# A PostgreSQL server for one test run.
#
#   scripts/postgres.sh start DIR PORT [PID]   ready when this returns
#   scripts/postgres.sh stop DIR               stops it; the caller removes DIR
#
# DIR becomes the data folder: absent, empty, or left by an earlier start.
# Connect with postgres://postgres@127.0.0.1:PORT/postgres (trust, loopback
# only, no Unix socket). With PID the server is killed and DIR removed as soon
# as that process is gone, however it ended: a test binary has no moment at
# which it could do so itself.
#
# PostgreSQL refuses to run as root. As root we give DIR to the user `postgres`
# (Debian's package creates it; else `nobody`) and drop to it with setpriv, so
# every folder above DIR must let others pass: hand in a folder directly under
# /tmp, not one inside another private folder. Anyone else runs it as themselves.
set -euo pipefail

die() {
  echo "postgres.sh: $*" >&2
  exit 1
}

[ $# -ge 2 ] || die "usage: $0 start DIR PORT [PID] | stop DIR"
bin=${CACHETSCOPE_TEST_PG_BIN:?names the folder of the PostgreSQL binaries; scripts/real-parts.sh sets it}
as=()
user=$(id -un)
if [ "$(id -u)" = 0 ]; then
  user=$(id -un postgres 2>/dev/null || echo nobody)
  as=(setpriv "--reuid=$user" "--regid=$(id -gn "$user")" --clear-groups)
fi

case $1 in
  start)
    [ $# -ge 3 ] || die "start needs DIR and PORT"
    mkdir -p "$2"
    dir=$(realpath "$2")
    cd / # the caller's folder may be closed to $user
    [ "$user" = "$(id -un)" ] || chown "$user" "$dir"
    chmod 700 "$dir"
    "${as[@]}" test -x "$dir" || die "$user cannot enter $dir: a folder above it is closed"
    if [ ! -e "$dir/PG_VERSION" ]; then
      out=$("${as[@]}" "$bin/initdb" -D "$dir" -U postgres -A trust -E UTF8 --no-locale --no-sync 2>&1) ||
        die "initdb failed: $out"
      # Durability is not what these servers are for; speed is.
      cat >>"$dir/postgresql.conf" <<'CONF'
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
max_connections = 200
shared_buffers = 32MB
CONF
    fi
    "${as[@]}" "$bin/pg_ctl" start -D "$dir" -w -t 60 -s -l "$dir/server.log" -o "-p $3" >/dev/null </dev/null ||
      die "PostgreSQL did not start: $(tail -n 20 "$dir/server.log")"
    if [ -n "${4:-}" ]; then
      # Own session, no shared pipes: outlives the caller, and lets it read our output to its end.
      setsid bash -c 'tail --pid="$1" -f /dev/null; pid=$(head -n 1 "$2/postmaster.pid") && kill -QUIT "$pid"
        for _ in {1..100}; do kill -0 "$pid" && sleep 0.1 || break; done; rm -rf "$2"' \
        watcher "$4" "$dir" >/dev/null 2>&1 </dev/null &
    fi
    ;;
  stop)
    dir=$(realpath "$2")
    cd /
    "${as[@]}" "$bin/pg_ctl" stop -D "$dir" -w -s -m immediate
    ;;
  *) die "usage: $0 start DIR PORT [PID] | stop DIR" ;;
esac
