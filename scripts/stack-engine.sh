#!/usr/bin/env bash
# The second half of `scripts/stack.sh test`, inside the namespaces made there: starts a Docker engine
# in DIR, makes the images, and brings the stack up with both generations of compose.
#
#   scripts/stack-engine.sh DIR
#
# No registry is asked. Images with the names that docker-compose.yml uses are made here:
#
#   debian, rust     a bare Debian; in `rust`, cargo is a STAND-IN that hands over the daemon that
#                    CACHETSCOPE_TEST_DAEMON names, so all of deploy/Dockerfile runs but the compiler
#   collector, prometheus, tempo
#                    the real programs, with users, folders and entry points as upstream has them
#   grafana, loki    STAND-INS: neither can be built from a package registry. Grafana's answers
#                    /api/health, Loki's takes logs over OTLP (it is a collector)
#
# Prints a line for each thing that was held, and ends with 1 at the first that is not so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$1

die() {
  echo "stack-test: $*" >&2
  exit 1
}
say() { printf '%-12s %s\n' "$1" "$2"; }
# within SECONDS WHAT COMMAND…: asks again and again until COMMAND succeeds.
within() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >"$dir/last" 2>&1; do
    [ "$SECONDS" -lt "$end" ] || die "$what: not within time; at last: $(tail -c 600 "$dir/last")"
    sleep 0.5
  done
}

# --- the engine ---------------------------------------------------------------
ip link set lo up
export DOCKER_HOST=unix://$dir/docker.sock DOCKER_CONFIG=$dir/cli DOCKER_BUILDKIT=0
docker=/usr/bin/docker # that of the engine's package
dockerd -H "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" -p "$dir/dockerd.pid" \
  --cgroup-parent "/${dir##*/}" >"$dir/dockerd.log" 2>&1 &
within 60 "the engine (its log: $dir/dockerd.log)" "$docker" info
say engine "Docker $("$docker" version --format '{{.Server.Version}}'), ready after $SECONDS s"

# --- the images ---------------------------------------------------------------
image=$dir/image

# scratch: an empty tree for the next image, with the folders every container gets anyway.
scratch() {
  rm -rf "$image"
  mkdir -p "$image/etc" "$image/tmp"
  chmod 1777 "$image/tmp"
  printf 'root:x:0:0::/:\nnobody:x:65534:65534::/:\n' >"$image/etc/passwd"
}
# busybox NAME…: gives the tree a shell and these commands.
busybox() {
  install -D "$CACHETSCOPE_TEST_BUSYBOX" "$image/bin/busybox"
  local name
  for name in sh "$@"; do ln -s busybox "$image/bin/$name"; done
}
# own FOLDER OWNER
own() { install -d -o "${2%:*}" -g "${2#*:}" "$image$1"; }
# import NAME DOCKERFILE-INSTRUCTION…
import() {
  local name=$1 changes=()
  shift
  while [ $# -gt 0 ]; do changes+=(--change "$1") && shift; done
  tar -C "$image" -c . | "$docker" import "${changes[@]}" - "$name" >/dev/null
}
# The version that docker-compose.yml pins.
pinned() { sed -n "s|^ *image: *\($1:[^ ]*\).*|\1|p" docker-compose.yml | head -n 1; }

make_images() {
  local base build
  base=$(sed -n 's/^FROM \(debian:.*\)/\1/p' deploy/Dockerfile)
  build=$(sed -n 's/^FROM \(.*\) AS build/\1/p' deploy/Dockerfile)
  "$docker" import "$CACHETSCOPE_TEST_DEBIAN" "$base" >/dev/null

  rm -rf "$image" && mkdir "$image"
  install "$CACHETSCOPE_TEST_DAEMON" "$image/cachetscope"
  strip "$image/cachetscope"
  cat >"$image/cargo" <<'CARGO'
#!/bin/sh
# STAND-IN for cargo: leaves a finished daemon where a build would.
set -e
echo "stand-in: cargo $*"
while [ $# -gt 0 ]; do [ "$1" != --profile ] || profile=$2; shift; done
test -s Cargo.toml && test -s Cargo.lock && test -e src/lib.rs
install -D /usr/local/share/cachetscope "target/$profile/cachetscope"
CARGO
  printf 'FROM %s\nCOPY cachetscope /usr/local/share/\nCOPY --chmod=755 cargo /usr/local/bin/\n' "$base" |
    sed 's/--chmod=755 //' >"$image/Dockerfile"
  chmod 755 "$image/cargo"
  "$docker" build -q -t "$build" "$image" >/dev/null

  scratch
  install "$CACHETSCOPE_TEST_OTELCOL" "$image/otelcol-contrib"
  import "$(pinned otel/opentelemetry-collector-contrib)" 'USER 10001:10001' 'ENTRYPOINT ["/otelcol-contrib"]'

  scratch
  busybox chown wget
  install "$CACHETSCOPE_TEST_PROMETHEUS" "$image/bin/prometheus"
  own /prometheus 65534:65534
  import "$(pinned prom/prometheus)" 'USER nobody' 'WORKDIR /prometheus' 'VOLUME /prometheus' \
    'ENTRYPOINT ["/bin/prometheus"]'

  scratch
  install "$CACHETSCOPE_TEST_TEMPO" "$image/tempo"
  own /var/tempo 10001:10001
  import "$(pinned grafana/tempo)" 'USER 10001:10001' 'ENTRYPOINT ["/tempo"]'

  scratch
  busybox httpd wget
  own /var/lib/grafana 472:0
  install -d "$image/stand-in/api"
  echo '{"stand-in":"this is no Grafana"}' >"$image/stand-in/api/health"
  import "$(pinned grafana/grafana)" 'USER 472' 'LABEL cachetscope.stand-in=true' \
    'ENTRYPOINT ["/bin/httpd", "-f", "-p", "3000", "-h", "/stand-in"]'

  scratch
  busybox
  install "$CACHETSCOPE_TEST_OTELCOL" "$image/otelcol"
  cat >"$image/stand-in.yaml" <<'LOKI'
receivers:
  otlp: { protocols: { http: { endpoint: "0.0.0.0:3100", logs_url_path: /otlp/v1/logs } } }
exporters:
  file: { path: /loki/logs.json, rotation: { max_megabytes: 1000 } }
service:
  pipelines: { logs: { receivers: [otlp], exporters: [file] } }
  telemetry: { metrics: { level: none } }
LOKI
  import "$(pinned grafana/loki)" 'USER 10001:10001' 'LABEL cachetscope.stand-in=true' \
    'ENTRYPOINT ["/bin/sh", "-c", "exec /otelcol --config /stand-in.yaml"]'
  rm -rf "$image"
}
make_images
say images "made under their upstream names; Grafana's and Loki's are stand-ins, and so is cargo"

# --- a copy of the tree, as one who uses it has it ------------------------------
tree=$dir/tree
mkdir "$tree"
tar -c --exclude=./target --exclude=./.git --exclude=./.env --exclude=./secrets . | tar -x -C "$tree"
cd "$tree"

# The commands of deploy/compose/secrets.yaml's head.
install -d -m 0700 secrets
token=$(openssl rand -hex 32)
printf -- '- name: ci\n  token: %s\n  scopes: [events]\n' "$token" >secrets/events-tokens.yaml
printf '%s\n' "$token" >"$dir/token"
openssl rand -hex 16 >secrets/grafana-admin-password
chmod 0644 secrets/*

# Nothing is fetched, and Tempo can be asked, which is not published otherwise.
cat >"$dir/test.yaml" <<'YAML'
services:
  cachetscope: { pull_policy: never }
  demo: { pull_policy: never }
  volume-owners: { pull_policy: never }
  collector: { pull_policy: never }
  prometheus: { pull_policy: never }
  tempo: { pull_policy: never, ports: ["127.0.0.1:3200:3200"] }
  loki: { pull_policy: never }
  grafana: { pull_policy: never }
YAML
export COMPOSE_PROJECT_NAME=stack COMPOSE_FILE=docker-compose.yml:$dir/test.yaml

# --- what is held ---------------------------------------------------------------
get() { curl -sS --fail-with-body --max-time 10 "$@"; }
# prometheus QUERY: the values of an instant query, one to a line.
prometheus() { get -G http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" | "$CACHETSCOPE_TEST_JQ" -er '.data.result[].value[1]'; }
at_least() { [ "$(prometheus "$1")" -ge "$2" ]; }
# Says which are not.
rules_ok() {
  get http://127.0.0.1:9090/api/v1/rules | "$CACHETSCOPE_TEST_JQ" -e '[.data.groups[].rules[]] |
    (length > 0) and (map(select(.health != "ok") | {name, health, lastError}) | (. == []) or (tostring | debug | false))'
}
traces() { get -G http://127.0.0.1:3200/api/search --data-urlencode "q=$1" -d limit=20 | "$CACHETSCOPE_TEST_JQ" -er '.traces[].traceID'; }
id() { "$compose" ps -q "$1"; }
state() { "$docker" inspect -f "$1" "$(id "$2")"; }
healthy() { [ "$(state '{{.State.Health.Status}}' "$1")" = healthy ]; }
running() { [ "$(state '{{.State.Status}} {{.RestartCount}}' "$1")" = 'running 0' ]; }
# Health of those whose image can tell it; of the others, that they run and did not before in vain.
held_up() {
  local service how=() running=()
  for service in $("$compose" config --services | sort); do
    [ "$service" != volume-owners ] || continue
    if [ "$(state '{{if .State.Health}}yes{{end}}' "$service")" = yes ]; then
      within 120 "$service is healthy" healthy "$service"
      how+=("$service")
    else
      running+=("$service")
    fi
    services+=("$service")
  done
  for service in "${services[@]}"; do running "$service" || die "$service is $(state '{{json .State}}' "$service")"; done
  say up "$((SECONDS - up_at)) s: healthy: ${how[*]}; running: ${running[*]}"
}

# The first `docker compose up` of one who has done nothing else.
held_plain() {
  within 60 "the daemon's own metrics in Prometheus" at_least 'count({job="cachetscope"})' 1
  within 60 "all rules have been evaluated without an error" rules_ok
  [ "$(prometheus 'count(ALERTS{alertstate="firing"}) or vector(0)')" = 0 ] ||
    die "alerts fire: $(get -G http://127.0.0.1:9090/api/v1/query -d 'query=ALERTS{alertstate="firing"}')"
  [ "$(tell)" = 403 ] || die "an event is not refused, though nobody has a token: $(cat "$dir/last")"
  [[ $(get http://127.0.0.1:8787/) = *cachetscope* ]] || die "the daemon's port shows no page"
  say plain "no deployment, no token, no alert; the daemon's own metrics are there"
}

held_closed() {
  local service pid uid
  printf '  %-12s %-45s %-6s %s\n' service image user memory
  for service in "${services[@]}"; do
    pid=$(state '{{.State.Pid}}' "$service")
    uid=$(awk '/^Uid:/ {print $2}' "/proc/$pid/status")
    [ "$uid" != 0 ] || die "$service runs as root"
    grep -q '^CapEff:\s*0*$' "/proc/$pid/status" || die "$service has capabilities: $(grep Cap "/proc/$pid/status")"
    grep -q '^NoNewPrivs:\s*1$' "/proc/$pid/status" || die "$service can gain privileges"
    [ "$(state '{{.HostConfig.ReadonlyRootfs}}' "$service")" = true ] || die "the root of $service is writable"
    printf '  %-12s %-45s %-6s %s MiB of %s\n' "$service" "$(state '{{.Config.Image}}' "$service")" "$uid" \
      "$(awk '{print int($1/1048576)}' "/sys/fs/cgroup/memory/${dir##*/}/$(id "$service")/memory.usage_in_bytes" 2>/dev/null || echo '?')" \
      "$(($(state '{{.HostConfig.Memory}}' "$service") >> 20))"
  done
  # Of this network namespace, so also of whoever would look from outside the machine.
  local open
  open=$(ss -Hltn | awk '$4 !~ /^(127\.0\.0\.1|\[::1\]):/ {print $4}')
  [ -z "$open" ] || die "reachable beyond 127.0.0.1: $open"
  ! curl -sS -o /dev/null -D - -H 'Origin: http://elsewhere.example' http://127.0.0.1:9090/api/v1/status/buildinfo |
    grep -qi '^access-control-allow-origin' || die "web pages of other origins may ask Prometheus"
  say closed "no root, no capabilities, no new privileges, read-only, 127.0.0.1 only, no other origins"
}

held_data() {
  within 120 "target_info of nine stand-ins in Prometheus" at_least 'count(cachetscope_target_info{deployment_environment_name="demo"})' 9
  say metrics "$((SECONDS - up_at)) s after up: $(prometheus 'count({__name__=~"cachetscope_.+|http_client_.+|cicd_.+", job="cachetscope"})') series of cachetscope in Prometheus"
  within 60 "all rules have been evaluated without an error" rules_ok
  say rules "$(get http://127.0.0.1:9090/api/v1/rules | "$CACHETSCOPE_TEST_JQ" -r '.data.groups | "\(map(.rules | length) | add) in \(length) groups, all evaluated"')"
  within 60 "Prometheus scrapes all its targets" at_least 'count(up == 1) == count(up)' 1
  say scrapes "$(get -G http://127.0.0.1:9090/api/v1/query -d 'query=up' | "$CACHETSCOPE_TEST_JQ" -r '[.data.result[].metric.job] | unique | join(", ")') answer"
  # Search lags behind what comes in.
  within 180 "a trace of a probe in Tempo" traces '{resource.service.name="cachetscope"}'
  say traces "found in Tempo"
  within 60 "logs at Loki's endpoint" test -s "$("$docker" volume inspect -f '{{.Mountpoint}}' stack_loki)/logs.json"
  say logs "arrive at Loki's endpoint (stand-in)"
}

held_page() {
  [[ $(get http://127.0.0.1:8787/) = *cachetscope* ]] || die "the daemon's port shows no page"
  [[ $(get http://127.0.0.1:8788/) = *'demo: stand-ins'* ]] || die "the demo's port shows no page of a demo"
  get http://127.0.0.1:3000/api/health >/dev/null || die "Grafana's port"
  say pages "of the daemon and of the demo answer; Grafana's port leads to its container"
}

tell() {
  local event='{"source":"stack-test","pipeline":"stack","run_id":"1","step":"up","result":"success","started":"2026-01-01T00:00:00Z","finished":"2026-01-01T00:00:01Z"}'
  curl -s -o "$dir/last" -w '%{http_code}' -H 'content-type: application/json' -d "$event" http://127.0.0.1:8787/api/v1/events
}
held_events() {
  [ "$(tell)" = 401 ] || die "an event without a token is not refused: $(cat "$dir/last")"
  "$CACHETSCOPE_TEST_DAEMON" record pipeline --result success --source stack-test --pipeline stack --run-id "$compose_name" \
    --daemon http://127.0.0.1:8787 --token-file "$dir/token" --state-dir "$dir/spool" --require-delivery >/dev/null ||
    die "an event with the token of the secret was not taken"
  say events "taken with the token from the secret, 401 without"
}

held_queue() {
  local queue
  queue=$("$docker" volume inspect -f '{{.Mountpoint}}' stack_collector)/queue
  [ -n "$(find "$queue" -type f -size +0 -user 10001)" ] || die "the collector keeps no queue in $queue: $(ls -lanR "$queue")"
  say queue "$(find "$queue" -type f | wc -l) files of user 10001 in the collector's volume"
}

# While the collector is away, the daemon keeps; afterwards all of it arrives.
held_restart() {
  local before runs
  runs='sum(cachetscope_probe_runs_total)'
  "$compose" stop collector >/dev/null 2>&1
  before=$(prometheus "$runs")
  within 60 "the demo keeps what it cannot send" outbox_holds
  "$compose" start collector >/dev/null 2>&1
  within 120 "more probe runs after the collector's restart" at_least "$runs" $((before + 9))
  within 60 "the demo has delivered" outbox_is_empty
  say restart "collector away and back: probe runs in Prometheus went on from $before to $(prometheus "$runs")"
}
# What is accepted is there after all containers are new.
held_kept() {
  local volumes
  "$compose" down >"$dir/down.log" 2>&1 || die "down: $(tail "$dir/down.log")"
  volumes=$("$docker" volume ls -q | sort | xargs)
  [ "$volumes" = 'stack_cachetscope stack_collector stack_demo stack_grafana stack_loki stack_prometheus stack_tempo' ] ||
    die "volumes after down: $volumes"
  "$compose" up -d >"$dir/up.log" 2>&1 || die "up: $(tail -n 20 "$dir/up.log")"
  for service in cachetscope prometheus; do within 120 "$service is healthy again" healthy "$service"; done
  get http://127.0.0.1:8787/api/v1/events | "$CACHETSCOPE_TEST_JQ" -e 'tostring | contains("stack-test")' >/dev/null ||
    die "the event is gone after down and up"
  at_least 'count(last_over_time(cachetscope_target_info[1h]))' 9 || die "the history is gone after down and up"
  say kept "the event and the history, over down and up"
}
outbox_holds() { get http://127.0.0.1:8788/api/v1/outbox | "$CACHETSCOPE_TEST_JQ" -e '[.lanes[].waiting_items] | add > 0'; }
outbox_is_empty() { ! outbox_holds; }

held_down() {
  "$compose" down -v >"$dir/down.log" 2>&1 || die "down: $(tail "$dir/down.log")"
  local left
  left=$("$docker" ps -aq && "$docker" volume ls -q && "$docker" network ls -q --filter type=custom)
  [ -z "$left" ] || die "left behind: $left"
  say down "no container, volume or network is left"
}

up() {
  compose=$1 compose_name="compose $("$1" version --short)" up_at=$SECONDS services=()
  printf '\n== %s, profiles: %s\n' "$compose_name" "${COMPOSE_PROFILES:-none}"
  "$compose" up -d --build >"$dir/up.log" 2>&1 || die "up: $(tail -n 20 "$dir/up.log")"
}

began=$SECONDS
"$CACHETSCOPE_TEST_COMPOSE" build cachetscope >"$dir/build.log" 2>&1 || die "build: $(tail -n 30 "$dir/build.log")"
say build "classic builder, $((SECONDS - began)) s: $("$docker" image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}' cachetscope)"
DOCKER_BUILDKIT=1 "$docker" build -q -f deploy/Dockerfile -t cachetscope-buildkit . >"$dir/build.log" 2>&1 ||
  die "BuildKit: $(tail -n 30 "$dir/build.log")"
say build "BuildKit takes the same file"

up "$CACHETSCOPE_TEST_COMPOSE"
held_up
held_plain
held_down

export COMPOSE_FILE=docker-compose.yml:deploy/compose/secrets.yaml:$dir/test.yaml
export LOGS_EXPORTER=otlp_http/loki COMPOSE_PROFILES=demo,logs
up "$CACHETSCOPE_TEST_COMPOSE"
held_up
held_closed
held_page
held_data
held_events
held_queue
held_restart
held_kept
held_down

if [ -n "${CACHETSCOPE_TEST_COMPOSE1:-}" ]; then
  up "$CACHETSCOPE_TEST_COMPOSE1"
  held_up
  held_data
  held_events
  held_down
fi
