# Everything that is done with this project, by name; CI runs the same targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build demo test lint check-unit check-collector check-compose kill-test outage-test stack-faults stack-test docker-test fuzz simulate live-test api-test pictures pictures-test bench deny parts

# $(call with-parts,test): tells the commands after it where the real parts are.
with-parts = parts=$$(scripts/real-parts.sh $(1)); eval "$$parts";
# $(call timed,NAME) COMMAND: prints how long COMMAND took.
timed = TIMEFORMAT='part $(1) %1R s'; time

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | expand -t 18

build: ## build the daemon
	cargo build --release

demo: ## everything in one process, with stand-in deployments; ARGS="--for 60s"
	cargo run --release -- demo $(ARGS)

test: parts lint check-collector check-compose ## get the real parts, lint, run all tests
	@$(call with-parts,test 2>/dev/null) $(call timed,test-build) cargo test --no-run --quiet; cargo test

lint: check-unit ## format, clippy and documentation, all without a warning
	@$(call timed,fmt) cargo fmt --check
	@$(call timed,clippy) cargo clippy --locked --quiet --all-targets --test docker --test live -- -D warnings
	@export RUSTDOCFLAGS='-D warnings'; $(call timed,doc) cargo doc --locked --quiet --no-deps

# It exits 0 on most problems, so whatever it prints is one. The program need not be installed for this.
check-unit: ## hold the systemd unit against systemd-analyze, where that is
	@$(call timed,unit) if command -v systemd-analyze >/dev/null; then \
	  dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	  sed 's|/usr/local/bin/cachetscope|/bin/true|' deploy/cachetscope.service >"$$dir/cachetscope.service"; \
	  words=$$(systemd-analyze verify "$$dir/cachetscope.service" 2>&1) && [ -z "$$words" ] || { echo "$$words" >&2; exit 1; }; \
	else echo 'systemd-analyze is not there (Debian: systemd); deploy/cachetscope.service is not checked' >&2; fi

check-collector: parts ## hold the configurations of collector, Prometheus and Tempo against them
	@$(call with-parts,test 2>/dev/null) export {GRPC,HTTP,HEALTH}_ADDR=127.0.0.1:1 OUT_DIR=/tmp; \
	check() { local words; words=$$("$${@:2}" 2>&1) || { printf '%s\nin %s\n' "$$words" "$$1" >&2; exit 1; }; }; \
	$(call timed,stack-configs) { cd otel-collector; \
	  check test.yaml "$$CACHETSCOPE_TEST_OTELCOL" validate --config test.yaml; \
	  for logs in debug otlp_http/loki; do \
	    LOGS_EXPORTER=$$logs check collector.yaml "$$CACHETSCOPE_TEST_OTELCOL" validate --config collector.yaml; \
	  done; \
	  check prometheus.yaml "$$CACHETSCOPE_TEST_PROMTOOL" check config prometheus.yaml; \
	  check tempo.yaml "$$CACHETSCOPE_TEST_TEMPO" -config.file=tempo.yaml -config.expand-env=true -config.verify=true; \
	}

check-compose: parts ## hold docker-compose.yml against both generations of compose, and its promises
	@$(call with-parts,test 2>/dev/null) $(call timed,compose) scripts/stack.sh config

kill-test: ## kill -9 the daemon at 200 random moments
	@$(call with-parts,test) CACHETSCOPE_KILLS=200 cargo test --test real kill -- --nocapture

outage-test: ## 100,000 spans wait for the collector, then all arrive within little memory
	@$(call with-parts,test) CACHETSCOPE_BACKLOG=100000 cargo test --test real outage:: -- --nocapture

stack-faults: ## collector, Prometheus and daemon away for ten minutes each, with the whole stack
	@$(call with-parts,test) CACHETSCOPE_OUTAGE=$${CACHETSCOPE_OUTAGE:-10m} cargo test --test real stack::faults -- --nocapture

fuzz: ## mutated JUnit reports for ten minutes
	CACHETSCOPE_FUZZ_SECONDS=$${CACHETSCOPE_FUZZ_SECONDS:-600} cargo test --test it junit_fuzz:: -- --nocapture

simulate: ## power, false alarms and coverage of the verdicts at full size, in minutes
	CACHETSCOPE_SIMULATION=full cargo test --release --test it verdict_simulation:: -- --nocapture

# A quiet machine is part of it: what runs beside it disturbs what is measured.
live-test: ## verdicts on a real MediaWiki, with and without a delay of 10 %; a quarter of an hour
	@$(call timed,test-build) cargo test --no-run --quiet --test live
	@$(call with-parts,live) cargo test --quiet --test live -- --nocapture

api-test: ## hold the API against its OpenAPI document, with Schemathesis from PyPI; EXAMPLES=30
	@scripts/api-test.sh

pictures: ## draw the dashboards from the running stack; PROMETHEUS=URL TEMPO=URL ARGS="--theme dark"
	@$(call with-parts,test) scripts/pictures.sh --prometheus $${PROMETHEUS:-http://127.0.0.1:9090} --tempo $${TEMPO:-http://127.0.0.1:3200} $(ARGS) grafana/dashboards/*.json

pictures-test: ## draw a dashboard from known answers, and read what it shows
	@$(call with-parts,test) "$$CACHETSCOPE_TEST_NODE" --test scripts/pictures/test.js

docker-test: ## discovery of containers, on a Docker engine of its own; as root on Debian
	@$(call timed,test-build) cargo test --no-run --quiet --test docker
	@scripts/docker-test.sh cargo test --offline --quiet --test docker -- --nocapture --test-threads 1

bench: ## JUnit XML in MB/s; 1,000 deployments a second, beside prometheus-blackbox-exporter
	@$(call with-parts,bench) scripts/bench.sh

stack-test: ## build and start the whole stack on a Docker engine of its own; root, Debian 12, minutes
	@cargo build --quiet
	@$(call with-parts,test) $(call with-parts,stack) CACHETSCOPE_TEST_DAEMON=$${CACHETSCOPE_TEST_DAEMON:-$$PWD/target/debug/cachetscope} scripts/stack.sh test

deny: ## licenses, sources and banned crates of all dependencies
	@$(call with-parts,deny) "$$CACHETSCOPE_DENY" check bans licenses sources

parts: ## install or build the real parts, and print where they are
	@scripts/real-parts.sh
