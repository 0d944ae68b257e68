-- What the comparisons of versions have come to, one row for each suite: as JSON, since it is written and
-- read as a whole. The samples behind it are in their own table.
CREATE TABLE verdicts (
    suite TEXT NOT NULL PRIMARY KEY,
    at_ns BIGINT NOT NULL,
    -- What goes on after a restart.
    state TEXT NOT NULL,
    -- What is shown.
    standings TEXT NOT NULL
);

-- 1 for a run of a round that was made besides the schedule, since a verdict waited for it.
ALTER TABLE runs ADD COLUMN extra BIGINT NOT NULL DEFAULT 0;
