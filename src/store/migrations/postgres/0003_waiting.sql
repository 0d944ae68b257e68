-- What of the kept waits; what the collector refused for good is counted elsewhere.
DROP INDEX outbox_kept;
CREATE INDEX outbox_kept ON outbox (bytes) WHERE kept = 1 AND refused IS NULL;
