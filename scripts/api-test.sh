#!/usr/bin/env bash
# Holds the running daemon against its own OpenAPI document, with Schemathesis from PyPI. Arguments go
# to it. Schemas cannot say all that is checked (two fields that contradict each other), so that valid
# data be accepted is not asked for.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$(mktemp -d)
daemon=
trap '[ -z "$daemon" ] || kill "$daemon"; rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" -q --disable-pip-version-check install 'schemathesis==4.*'
(umask 077; echo "- { name: api-test, token: only-for-the-api-test, scopes: [events] }" > "$home/tokens")
cargo build --quiet
OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 target/debug/cachetscope --state-dir "$home" serve \
  --listen 127.0.0.1:0 --tokens-file "$home/tokens" --color never 2> "$home/log" & daemon=$!
until url=$(grep -om1 'http://127.0.0.1:[0-9]*"' "$home/log"); do kill -0 "$daemon" || { cat "$home/log"; exit 1; }; done
cd "$home" # for what it keeps between runs
venv/bin/schemathesis run "${url%\"}/api/v1/openapi.json" --max-examples "${EXAMPLES:-30}" \
  --exclude-checks positive_data_acceptance -H 'Authorization: Bearer only-for-the-api-test' "$@"
