-- What a carrier between databases needs: what a module sends, and what arrived
-- for it. Search path: the module's schema.

-- +goose Up
CREATE TABLE outbox (
    topic text NOT NULL,
    LIKE log INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (topic, partition, "offset")
);
COMMENT ON TABLE outbox IS 'The commands that the module sends, while a carrier brings them to their owners. Per topic and partition the offsets follow the commit order and have no gaps.';

CREATE TABLE inbound (
    stream text NOT NULL,
    LIKE log INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (stream, partition, "offset")
);
COMMENT ON TABLE inbound IS 'What a carrier brought, under the numbers it has in its sender''s log or outbox. A sweeper removes what was handled.';

-- +goose StatementBegin
CREATE FUNCTION append_outbox(topics text[], partitions smallint[], ids uuid[], types text[], keys text[], payloads bytea[], metadata text[])
RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
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
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION append_outbox;
DROP TABLE inbound, outbox;
