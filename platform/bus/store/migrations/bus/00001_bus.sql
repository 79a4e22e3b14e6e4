-- What all modules share: the topics, the subscriptions, the nodes that are
-- alive. Search path: bus.

-- +goose Up
CREATE TABLE topics (
    name      text PRIMARY KEY CHECK (length(name) <= 45),
    transport text NOT NULL,
    topic_id  text NOT NULL DEFAULT '' -- Kafka's, or empty; another one means that the topic was deleted and created again
);
COMMENT ON TABLE topics IS 'Which transport moves a topic''s messages. A node whose configuration disagrees refuses to start.';

CREATE TABLE registrations (
    subscriber text        NOT NULL CHECK (octet_length(subscriber) <= 100),
    type       text        NOT NULL CHECK (octet_length(type) <= 100),
    since      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscriber, type)
);
COMMENT ON TABLE registrations IS 'Every type that any version of a subscriber has subscribed to. An older version parks messages of a type that only a newer one knows.';

CREATE TABLE nodes (
    id            uuid        PRIMARY KEY,
    modules       text[]      NOT NULL CHECK (octet_length(modules::text) <= 100000), -- that it hosts
    subscriptions text[]      NOT NULL CHECK (octet_length(subscriptions::text) <= 1000000), -- "module/type"; of a relay "module/topic"
    started_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);
COMMENT ON TABLE nodes IS 'One lease per node (a process), by this database''s clock.';

-- lock takes the publish locks of several topics at once, in one order for all
-- callers, so that transactions that publish to several topics do not deadlock.
-- +goose StatementBegin
CREATE FUNCTION lock(topics text[], partitions smallint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    l record;
BEGIN
    -- Otherwise COMMIT would check deferred constraints while the publish locks are held.
    SET CONSTRAINTS ALL IMMEDIATE;
    FOR l IN SELECT DISTINCT hashtext(u.topic) AS topic, u.partition FROM unnest(topics, partitions) AS u(topic, partition) ORDER BY 1, 2 LOOP
        PERFORM pg_advisory_xact_lock(l.topic, l.partition);
    END LOOP;
END $$;

-- check_deferred checks deferred constraints before the publish locks are taken.
-- It runs with the caller's rights, since the caller's deferred triggers fire in it.
CREATE FUNCTION check_deferred() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
END $$;

-- check_sender refuses a command that names another sender in ce_source than its
-- caller, or whose type is not the receiver's. The functions that append to queues
-- call it for callers other than the receiver and the owner: see migrations/module.
-- Who sends as a module may delete from that module's queue, as its role and the
-- owner may, and nobody else. (NULLs are not looked at: no queue takes them.)
CREATE FUNCTION check_sender(receiver name, type text, metadata json) RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
    caller CONSTANT name := coalesce(nullif(current_setting('role'), 'none'), session_user);
    source CONSTANT text := metadata->>'ce_source';
BEGIN
    IF NOT starts_with(type, receiver || '.') THEN
        RAISE EXCEPTION 'role % may not send to %: the type % is not its own', caller, receiver, type USING ERRCODE = 'insufficient_privilege';
    ELSIF NOT coalesce(has_table_privilege(caller, to_regclass(quote_ident(source) || '.queue'), 'DELETE'), false) THEN
        RAISE EXCEPTION 'role % may not send to %: ce_source names %, and must name the module of the role', caller, receiver, coalesce(source, 'nobody') USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;
REVOKE ALL ON FUNCTION check_sender FROM PUBLIC;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION check_sender, check_deferred, lock;
DROP TABLE nodes, registrations, topics;
