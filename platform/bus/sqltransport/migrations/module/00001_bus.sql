-- A module's part of the bus. Search path: the module's schema.

-- +goose Up
CREATE TABLE log (
    partition  smallint    NOT NULL CHECK (partition BETWEEN 0 AND 63),
    "offset"   bigint      NOT NULL CHECK ("offset" > 0),
    id         uuid        NOT NULL,
    type       text        NOT NULL,
    key        text        NOT NULL,
    payload    bytea       NOT NULL,
    metadata   json        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, "offset")
);
COMMENT ON TABLE log IS 'The module''s events. Per partition the offsets follow the commit order and have no gaps.';

CREATE TABLE queue (LIKE log INCLUDING ALL);
COMMENT ON TABLE queue IS 'The commands sent to the module; a sweeper removes what was handled, but never a partition''s newest row.';

CREATE TABLE positions (
    subscriber text     NOT NULL,
    topic      text     NOT NULL,
    partition  smallint NOT NULL CHECK (partition BETWEEN 0 AND 63),
    position   bigint   NOT NULL DEFAULT 0,
    owner      uuid,
    PRIMARY KEY (subscriber, topic, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE positions IS 'How far a subscriber is. Every handling transaction starts by moving it, by compare-and-set.';

CREATE TABLE inbox (
    message_id uuid        NOT NULL,
    subscriber text        NOT NULL,
    topic      text        NOT NULL,
    partition  smallint    NOT NULL,
    "offset"   bigint      NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (message_id, subscriber)
);
COMMENT ON TABLE inbox IS 'One row for each message whose effect committed. The key is what makes a second effect impossible.';

CREATE TABLE aside (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber text        NOT NULL,
    topic      text        NOT NULL,
    partition  smallint    NOT NULL,
    "offset"   bigint      NOT NULL,
    message_id uuid        NOT NULL,
    type       text        NOT NULL,
    key        text        NOT NULL,
    payload    bytea       NOT NULL,
    metadata   json        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('retrying', 'held', 'dead', 'discarded')),
    attempts   int         NOT NULL,
    next_at    timestamptz,
    kind       text        NOT NULL,
    error      text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    failed_at  timestamptz,
    decided_at timestamptz, -- the last decision of an operator: when, who, why
    decided_by text        NOT NULL DEFAULT '',
    reason     text        NOT NULL DEFAULT '',
    UNIQUE (subscriber, message_id),
    CHECK ((state = 'retrying') = (next_at IS NOT NULL))
);
CREATE INDEX aside_open ON aside (subscriber, topic, partition, key, "offset") WHERE state <> 'discarded';
COMMENT ON TABLE aside IS 'Messages that failed (retrying, dead) and those held behind an earlier one of their key.';

-- append_log and append_queue write at the end of the transaction. The lock is
-- held until the commit, and the highest offset is read in a statement of its
-- own after it: offsets are gapless and follow the commit order.
-- +goose StatementBegin
CREATE FUNCTION append_log(partitions smallint[], ids uuid[], types text[], keys text[], payloads bytea[], metadata text[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    topic CONSTANT int := hashtext(current_schema() || '.events');
    p smallint;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    FOR p IN SELECT DISTINCT u FROM unnest(partitions) AS u ORDER BY u LOOP
        PERFORM pg_advisory_xact_lock(topic, p);
    END LOOP;
    INSERT INTO log (partition, "offset", id, type, key, payload, metadata)
    SELECT m.partition,
           coalesce((SELECT max(l."offset") FROM log l WHERE l.partition = m.partition), 0)
               + row_number() OVER (PARTITION BY m.partition ORDER BY m.place),
           m.id, m.type, m.key, m.payload, m.metadata::json
    FROM unnest(partitions, ids, types, keys, payloads, metadata) WITH ORDINALITY AS m(partition, id, type, key, payload, metadata, place);
END $$;

CREATE FUNCTION append_queue(partitions smallint[], ids uuid[], types text[], keys text[], payloads bytea[], metadata text[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    topic CONSTANT int := hashtext(current_schema() || '.commands');
    p smallint;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    FOR p IN SELECT DISTINCT u FROM unnest(partitions) AS u ORDER BY u LOOP
        PERFORM pg_advisory_xact_lock(topic, p);
    END LOOP;
    INSERT INTO queue (partition, "offset", id, type, key, payload, metadata)
    SELECT m.partition,
           coalesce((SELECT max(l."offset") FROM queue l WHERE l.partition = m.partition), 0)
               + row_number() OVER (PARTITION BY m.partition ORDER BY m.place),
           m.id, m.type, m.key, m.payload, m.metadata::json
    FROM unnest(partitions, ids, types, keys, payloads, metadata) WITH ORDINALITY AS m(partition, id, type, key, payload, metadata, place);
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION append_queue, append_log;
DROP TABLE aside, inbox, positions, queue, log;
