-- A module's part of the bus. Search path: the module's schema.

-- +goose Up
CREATE TABLE log (
    partition  smallint    NOT NULL CHECK (partition BETWEEN 0 AND 63),
    "offset"   bigint      NOT NULL CHECK ("offset" > 0),
    id         uuid        NOT NULL,
    type       text        NOT NULL CONSTRAINT type_size CHECK (octet_length(type) <= 100), -- bus.MaxType
    key        text        NOT NULL CONSTRAINT key_size CHECK (octet_length(key) <= 255), -- bus.MaxKey
    payload    bytea       NOT NULL CONSTRAINT payload_size CHECK (octet_length(payload) <= 262144), -- bus.MaxPayload
    metadata   json        NOT NULL CONSTRAINT metadata_size CHECK (octet_length(metadata::text) <= 16384),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, "offset")
);
COMMENT ON TABLE log IS 'The event log: the module''s events. Per partition the offsets follow the commit order without gaps.';

CREATE TABLE queue (LIKE log INCLUDING ALL);
COMMENT ON TABLE queue IS 'The command queue: the commands sent to the module. Handled ones are pruned, but never a partition''s newest row.';

CREATE TABLE offsets (
    subscriber       text     NOT NULL,
    topic            text     NOT NULL,
    partition        smallint NOT NULL CHECK (partition BETWEEN 0 AND 63),
    committed_offset bigint   NOT NULL DEFAULT 0,
    node             uuid,
    PRIMARY KEY (subscriber, topic, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE offsets IS 'Each subscriber''s committed offsets, and the node to which each partition is assigned. Each transaction that handles messages starts by moving an offset, by compare-and-set.';

CREATE TABLE inbox (
    message_id uuid        NOT NULL,
    subscriber text        NOT NULL,
    topic      text        NOT NULL,
    partition  smallint    NOT NULL,
    "offset"   bigint      NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- A message is known by its id and its topic, so that a message with the same id in
-- another module's topic, which that module's role can append, hides nothing. The
-- topic is the part before "/": a command is the same message whether it came to the
-- queue directly, or through the table inbound as "<topic>/<sender>".
CREATE UNIQUE INDEX inbox_once ON inbox (message_id, subscriber, split_part(topic, '/', 1));
COMMENT ON TABLE inbox IS 'One row for each message whose effect was committed. The unique index makes a second effect impossible.';

CREATE TABLE parked_messages (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber      text        NOT NULL,
    topic           text        NOT NULL,
    partition       smallint    NOT NULL,
    "offset"        bigint      NOT NULL,
    message_id      uuid        NOT NULL,
    type            text        NOT NULL,
    key             text        NOT NULL,
    payload         bytea       NOT NULL,
    metadata        json        NOT NULL,
    -- retry_scheduled: failed, tried again at next_attempt_at. blocked: behind an earlier message of its key.
    -- awaiting_version: only another version of the module handles the type. dead: failed for good, an operator
    -- decides. discarded: an operator decided that it takes no effect.
    state           text        NOT NULL CHECK (state IN ('retry_scheduled', 'blocked', 'awaiting_version', 'dead', 'discarded')),
    attempts        int         NOT NULL,
    next_attempt_at timestamptz,
    kind            text        NOT NULL, -- of the last error
    error           text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    failed_at       timestamptz,
    decided_at      timestamptz, -- an operator's last decision: when, who, why
    decided_by      text        NOT NULL DEFAULT '',
    reason          text        NOT NULL DEFAULT '',
    CHECK ((state = 'retry_scheduled') = (next_attempt_at IS NOT NULL))
);
CREATE UNIQUE INDEX parked_messages_once ON parked_messages (subscriber, message_id, split_part(topic, '/', 1)); -- as inbox_once
CREATE INDEX parked_messages_open ON parked_messages (subscriber, topic, partition, key, "offset") WHERE state <> 'discarded';
COMMENT ON TABLE parked_messages IS 'Messages that are not handled in order now, with the state that says why.';

CREATE TABLE outbox (
    topic text NOT NULL,
    LIKE log INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (topic, partition, "offset")
);
COMMENT ON TABLE outbox IS 'The commands that the module sends to modules of other databases, for the bridge. Per topic and partition the offsets follow the commit order without gaps.';

CREATE TABLE inbound (
    topic text NOT NULL, -- of commands "<topic>/<sender>": each sender has offsets of its own
    LIKE log INCLUDING DEFAULTS, -- and without its limits: an unreadable record is stored as it came
    CHECK (partition BETWEEN 0 AND 63),
    CHECK ("offset" > 0),
    PRIMARY KEY (topic, partition, "offset")
);
COMMENT ON TABLE inbound IS 'What the bridge received, at the offsets of the sender''s log or outbox. Handled rows are pruned.';

CREATE TABLE checkpoints (
    topic     text   NOT NULL,
    partition int    NOT NULL,
    topic_id  text   NOT NULL,
    "offset"  bigint NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE checkpoints IS 'How far the bridge''s consumer is in Kafka''s partitions: all below "offset" is stored here. It moves in the transaction that stores, so a restored backup knows where to resume.';

-- append_log and append_queue write at the end of the transaction; append_log_one
-- and append_queue_one a single message, as most transactions publish. The lock is
-- held until the commit, and the highest offset is read by a statement of its own
-- after the lock: offsets have no gaps and follow the commit order.
--
-- A single message has its own function because unnesting, sorting and numbering
-- arrays of one costs more than the row: a call took 0.13 to 0.25 ms (without the
-- round trip), and takes 0.07 to 0.08. A forced generic plan did not help. From a
-- few messages on the arrays are cheaper: 30 µs of the server's processor time a
-- message for 16, 20 for 100; a loop of single INSERTs takes 45 and 35.
-- ORDER BY … LIMIT 1 takes 10 µs less than max() each time. What makes SECURITY
-- DEFINER safe, the search path, takes 2 µs.
--
-- enable_seqscan: each connection keeps its plans, and one that was made while a
-- log was empty scans it: 0.44 ms a call in the first minute of a new database,
-- 0.19 with the index.
--
-- search_path: without pg_temp at the end, a caller's temporary table named "log"
-- would take the rows, and its triggers would run with the owner's rights. For the
-- same reason no function here sets constraints: the caller's deferred triggers
-- would fire with the owner's rights (the publisher calls bus.check_deferred first).
--
-- A caller who may not delete from the queue is another module's role, and appends
-- commands of its own module only (bus.check_sender). The caller is who signed in, or
-- the role that SET ROLE names: this function runs with its owner's rights, but
-- leaves that setting. On a busy machine the condition takes 2 to 5 µs, and
-- the check 45 µs, for the roles of other modules alone.
--
-- PostgreSQL lets everybody call a new function; `millrace migrate` grants EXECUTE
-- to the roles of modules.
-- +goose StatementBegin
DO $do$
DECLARE
    t record;
    other CONSTANT text := format($fmt$has_table_privilege(coalesce(nullif(current_setting('role'), 'none'), session_user)::name, '%1$I.queue'::regclass, 'DELETE')$fmt$, current_schema());
    one   CONSTANT text := format($fmt$
    IF NOT %2$s THEN
        PERFORM bus.check_sender(%1$L, type, metadata);
    END IF;$fmt$, current_schema(), other);
    each  CONSTANT text := format($fmt$
    IF NOT %2$s THEN
        PERFORM bus.check_sender(%1$L, m.type, m.metadata::json) FROM unnest(types, metadata) AS m(type, metadata);
    END IF;$fmt$, current_schema(), other);
BEGIN
    FOR t IN SELECT * FROM (VALUES ('log', '.events', '', ''), ('queue', '.commands', one, each)) AS v(name, suffix, one, each) LOOP
        EXECUTE format($fmt$
CREATE FUNCTION append_%1$s_one(p smallint, id uuid, type text, key text, payload bytea, metadata json)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = %3$I, pg_temp SET enable_seqscan = off AS $$
DECLARE
    topic CONSTANT int := hashtext(current_schema() || %2$L);
BEGIN%4$s
    PERFORM pg_advisory_xact_lock(topic, p);
    INSERT INTO %1$s (partition, "offset", id, type, key, payload, metadata)
    VALUES (p, coalesce((SELECT l."offset" FROM %1$s l WHERE l.partition = p ORDER BY l."offset" DESC LIMIT 1), 0) + 1, id, type, key, payload, metadata);
END $$;

CREATE FUNCTION append_%1$s(partitions smallint[], ids uuid[], types text[], keys text[], payloads bytea[], metadata text[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = %3$I, pg_temp SET enable_seqscan = off AS $$
DECLARE
    topic CONSTANT int := hashtext(current_schema() || %2$L);
    p smallint;
BEGIN%5$s
    FOR p IN SELECT DISTINCT u FROM unnest(partitions) AS u ORDER BY u LOOP
        PERFORM pg_advisory_xact_lock(topic, p);
    END LOOP;
    INSERT INTO %1$s (partition, "offset", id, type, key, payload, metadata)
    SELECT m.partition,
           coalesce((SELECT l."offset" FROM %1$s l WHERE l.partition = m.partition ORDER BY l."offset" DESC LIMIT 1), 0)
               + row_number() OVER (PARTITION BY m.partition ORDER BY m.place),
           m.id, m.type, m.key, m.payload, m.metadata::json
    FROM unnest(partitions, ids, types, keys, payloads, metadata) WITH ORDINALITY AS m(partition, id, type, key, payload, metadata, place);
END $$;

REVOKE ALL ON FUNCTION append_%1$s, append_%1$s_one FROM PUBLIC;
$fmt$, t.name, t.suffix, current_schema(), t.one, t.each);
    END LOOP;
END $do$;

-- append_outbox runs with the caller's rights: the outbox is its own.
CREATE FUNCTION append_outbox(topics text[], partitions smallint[], ids uuid[], types text[], keys text[], payloads bytea[], metadata text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    l record;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    FOR l IN SELECT DISTINCT hashtext(current_schema() || '>' || u.topic) AS topic, u.partition
        FROM unnest(topics, partitions) AS u(topic, partition) ORDER BY 1, 2 LOOP
        PERFORM pg_advisory_xact_lock(l.topic, l.partition);
    END LOOP;
    INSERT INTO outbox (topic, partition, "offset", id, type, key, payload, metadata)
    SELECT m.topic, m.partition,
           coalesce((SELECT max(o."offset") FROM outbox o WHERE o.topic = m.topic AND o.partition = m.partition), 0)
               + row_number() OVER (PARTITION BY m.topic, m.partition ORDER BY m.place),
           m.id, m.type, m.key, m.payload, m.metadata::json
    FROM unnest(topics, partitions, ids, types, keys, payloads, metadata) WITH ORDINALITY AS m(topic, partition, id, type, key, payload, metadata, place);
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION append_outbox SET search_path = %I, pg_temp', current_schema());
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION append_outbox, append_queue, append_queue_one, append_log, append_log_one;
DROP TABLE checkpoints, inbound, outbox, parked_messages, inbox, offsets, queue, log;
