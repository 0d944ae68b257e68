-- All times are nanoseconds since the Unix epoch, UTC; all durations are nanoseconds.

-- One row: who this store is. The id is the service.instance.id of all fleet telemetry.
CREATE TABLE store (
    only_row BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    id TEXT NOT NULL,
    created_ns BIGINT NOT NULL
);

-- Every build of every deployment that was ever seen. The id is a hash of all that identifies it.
CREATE TABLE deployments (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    version_order TEXT NOT NULL,
    db TEXT NOT NULL,
    environment TEXT NOT NULL,
    digest TEXT NOT NULL,
    url TEXT NOT NULL,
    first_seen_ns BIGINT NOT NULL,
    retired_ns BIGINT
);

CREATE TABLE rounds (
    id BIGINT NOT NULL PRIMARY KEY,
    suite TEXT NOT NULL,
    scheduled_ns BIGINT NOT NULL,
    started_ns BIGINT NOT NULL
);
CREATE INDEX rounds_by_suite ON rounds (suite, scheduled_ns);

-- One suite on one deployment in one round.
CREATE TABLE runs (
    round_id BIGINT NOT NULL,
    deployment_id BIGINT NOT NULL,
    suite TEXT NOT NULL,
    started_ns BIGINT NOT NULL,
    duration_ns BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    -- The median of the first attempts that were answered; null when none was.
    latency_ns BIGINT,
    trace_id BYTEA NOT NULL,
    PRIMARY KEY (round_id, deployment_id)
);
CREATE INDEX runs_by_deployment ON runs (deployment_id, started_ns);

-- One request of one run: the times of its first attempt (retries meet warm caches), the outcome
-- of its last.
CREATE TABLE samples (
    deployment_id BIGINT NOT NULL,
    started_ns BIGINT NOT NULL,
    round_id BIGINT NOT NULL,
    -- Which of the run's requests this is, from 0.
    place BIGINT NOT NULL,
    request TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    -- Of the first attempt; null when no answer came.
    status BIGINT,
    -- error.type of the first attempt, and of the last.
    first_error TEXT,
    error TEXT,
    -- Null when the request was never sent.
    dns_ns BIGINT,
    connect_ns BIGINT,
    tls_ns BIGINT,
    send_ns BIGINT,
    wait_ns BIGINT,
    receive_ns BIGINT,
    total_ns BIGINT,
    detail TEXT NOT NULL
);
CREATE INDEX samples_by_deployment ON samples (deployment_id, started_ns);
CREATE INDEX samples_failed ON samples (started_ns) WHERE outcome NOT IN ('pass', 'skipped');

-- What is left of samples when they are too old to keep.
CREATE TABLE hours (
    deployment_id BIGINT NOT NULL,
    request TEXT NOT NULL,
    hour_ns BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    min_ns BIGINT,
    p50_ns BIGINT,
    p90_ns BIGINT,
    p99_ns BIGINT,
    max_ns BIGINT,
    PRIMARY KEY (deployment_id, request, hour_ns)
);

-- Cumulative counters and histograms of the fleet: what never changes of them. They belong to the
-- store, so no restart is a reset. The id is a hash of metric and attributes; attributes are a JSON
-- array of pairs.
CREATE TABLE series (
    id BIGINT NOT NULL PRIMARY KEY,
    metric TEXT NOT NULL,
    attributes TEXT NOT NULL,
    started_ns BIGINT NOT NULL
);

-- What changes with every run, apart, since a commit writes every page it touches: 40 bytes for
-- each series instead of 400.
CREATE TABLE totals (
    series_id BIGINT NOT NULL PRIMARY KEY,
    -- Whose retirement ends it; a new build of a deployment takes it over.
    deployment_id BIGINT,
    count BIGINT NOT NULL,
    sum DOUBLE PRECISION NOT NULL,
    -- When the zero at the start of the series was put into the outbox.
    opened_ns BIGINT,
    -- When the marker that ends the series was put into the outbox.
    closed_ns BIGINT
);

-- Counts of a histogram, not cumulative over buckets, with the last exemplar of each.
CREATE TABLE buckets (
    series_id BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    count BIGINT NOT NULL,
    exemplar_value DOUBLE PRECISION,
    exemplar_ns BIGINT,
    exemplar_trace BYTEA,
    exemplar_span BYTEA,
    PRIMARY KEY (series_id, bucket)
);

-- Encoded OTLP requests that the collector has not accepted yet: the only way out.
CREATE TABLE outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane TEXT NOT NULL,
    created_ns BIGINT NOT NULL,
    items BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    body BYTEA NOT NULL,
    -- Metric snapshots that later ones supersede carry the time they were taken at; all else null.
    snapshot_ns BIGINT,
    -- Set when the collector refused this for good: what it said.
    refused TEXT
);
-- Bodies are large: what is counted, summed and looked for is in the indexes.
CREATE INDEX outbox_waiting ON outbox (lane, id, bytes, items, created_ns, refused) WHERE refused IS NULL;
CREATE INDEX outbox_refused ON outbox (lane, id, bytes, items) WHERE refused IS NOT NULL;
CREATE INDEX outbox_snapshots ON outbox (snapshot_ns, bytes, items) WHERE snapshot_ns IS NOT NULL;
