-- What all modules share: which topics exist, who subscribed to what, which
-- processes are alive. Search path: bus.

-- +goose Up
CREATE TABLE topics (
    name      text PRIMARY KEY CHECK (length(name) <= 45),
    transport text NOT NULL
);
COMMENT ON TABLE topics IS 'Which transport carries a topic; a process whose configuration disagrees refuses to start.';

CREATE TABLE registrations (
    subscriber text        NOT NULL,
    type       text        NOT NULL,
    since      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscriber, type)
);
COMMENT ON TABLE registrations IS 'Every type that any version of a subscriber has subscribed to. An older version holds what only a newer one knows.';

CREATE TABLE processes (
    id         uuid        PRIMARY KEY,
    hosts      text[]      NOT NULL, -- modules
    hears      text[]      NOT NULL, -- "module/type"
    started_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE processes IS 'One lease per process, by this database''s clock.';

-- lock takes the publish locks of several topics at once, in one order for
-- everybody, so that transactions that publish to several topics do not deadlock.
-- +goose StatementBegin
CREATE FUNCTION lock(topics text[], partitions smallint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    l record;
BEGIN
    -- A deferred constraint would otherwise be checked at COMMIT, when the publish locks are held.
    SET CONSTRAINTS ALL IMMEDIATE;
    FOR l IN SELECT DISTINCT hashtext(u.topic) AS topic, u.partition FROM unnest(topics, partitions) AS u(topic, partition) ORDER BY 1, 2 LOOP
        PERFORM pg_advisory_xact_lock(l.topic, l.partition);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION lock;
DROP TABLE processes, registrations, topics;
