-- Facts from CI. The id is a hash of the identity (source, pipeline, run, attempt, step), so a fact
-- that is told twice is one row.
CREATE TABLE events (
    id BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    run TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    -- Empty for the run as a whole.
    step TEXT NOT NULL,
    -- Empty where it is not known.
    commit_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    started_ns BIGINT NOT NULL,
    -- Null while it is under way.
    finished_ns BIGINT,
    received_ns BIGINT NOT NULL,
    -- Rows of test_results; 0 once they are too old to keep.
    results BIGINT NOT NULL DEFAULT 0,
    -- Hash of the whole event: tells whether one of the same identity says the same.
    content BYTEA NOT NULL,
    -- The event as JSON, without its test cases.
    body TEXT NOT NULL
);
CREATE INDEX events_by_kind ON events (kind, started_ns);
CREATE INDEX events_by_run ON events (source, pipeline, run, attempt);
CREATE INDEX events_by_arrival ON events (received_ns);
CREATE INDEX events_with_results ON events (received_ns) WHERE results > 0;
CREATE INDEX events_by_digest ON events (digest) WHERE digest <> '';

-- Every test case that was ever seen; the id is a hash of suite, class and name.
CREATE TABLE test_cases (
    id BIGINT NOT NULL PRIMARY KEY,
    suite TEXT NOT NULL,
    class TEXT NOT NULL,
    name TEXT NOT NULL
);

-- How each case of a test run went.
CREATE TABLE test_results (
    event_id BIGINT NOT NULL,
    -- Which of the run's cases this is, from 0.
    place BIGINT NOT NULL,
    case_id BIGINT NOT NULL,
    status TEXT NOT NULL,
    mark TEXT,
    -- Null where the report does not tell.
    duration_ns BIGINT,
    message TEXT,
    PRIMARY KEY (event_id, place)
);
CREATE INDEX test_results_by_case ON test_results (case_id, event_id);
-- What may be flaky: failures, and passes after a rerun.
CREATE INDEX test_results_bad ON test_results (event_id, case_id) WHERE status IN ('fail', 'error') OR mark = 'rerun';

-- 1 for telemetry that the outbox's limit never takes: that of events, which were acknowledged.
ALTER TABLE outbox ADD COLUMN kept BIGINT NOT NULL DEFAULT 0;
CREATE INDEX outbox_droppable ON outbox (id, bytes, items) WHERE kept = 0 AND lane IN ('logs', 'traces');
CREATE INDEX outbox_kept ON outbox (bytes) WHERE kept = 1;

-- What a deployment says of itself when it is asked for its version; empty until it answered.
ALTER TABLE deployments ADD COLUMN reported TEXT NOT NULL DEFAULT '';
