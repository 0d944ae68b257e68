#!/usr/bin/env bash
# What the daemon costs: a JUnit report of 500 MB (benches/junit/main.rs), verdicts on 4,500 cells
# (benches/verdicts/main.rs), events over HTTP beside a bare loop (benches/events/main.rs), and a
# thousand deployments every second, beside prometheus-blackbox-exporter (benches/fleet/main.rs).
# Loopback only.
#
#   BENCH_JUNIT_MB=50  a smaller report
#   BENCH_VERDICTS_SAMPLES=100000  BENCH_VERDICTS_SECONDS=2  a smaller store, a shorter look
#   BENCH_EVENTS_SECONDS=2  BENCH_EVENTS_RUNS=1  a shorter look
#   BENCH_SECONDS=10   a shorter look; the figures of record take 60
#   BENCH_LEGS=ours    only some of: ours, blackbox, wake-up
#   BENCH_KEEP=DIR     keep the stores, logs and what the collector received
#
# CACHETSCOPE_TEST_OTELCOL and CACHETSCOPE_BENCH_BLACKBOX name the real parts,
# as `scripts/real-parts.sh bench` prints them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The target alone holds more sockets than the usual soft limit allows.
ulimit -n "$(ulimit -Hn)"
cargo bench --quiet --bench junit
cargo bench --quiet --bench verdicts
cargo bench --quiet --bench events
exec cargo bench --quiet --bench fleet -- "$@"
