-- +goose Up
CREATE TABLE record (
    message_id  uuid        NOT NULL,
    position    bigint      UNIQUE,               -- its place in the files; null until its file's range is fixed
    type        text        NOT NULL,
    source      text        NOT NULL,
    key         text        NOT NULL,
    time        timestamptz,
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    sequence    bigint      NOT NULL,
    dataschema  text        NOT NULL,
    correlation text        NOT NULL,
    causation   text        NOT NULL,
    payload     text        NOT NULL,             -- JSON, byte for byte as published
    staged_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (message_id, topic)               -- another module may give one of its events the same id
);
CREATE INDEX record_waiting ON record (staged_at, topic, partition, sequence) WHERE position IS NULL;
CREATE INDEX record_key ON record (key, staged_at);

CREATE TABLE file (
    first_position bigint      PRIMARY KEY CHECK (first_position > 0),
    last_position  bigint      NOT NULL UNIQUE CHECK (last_position >= first_position),
    bytes          bigint      NOT NULL DEFAULT 0,
    sha256         text        NOT NULL DEFAULT '',
    fixed_at       timestamptz NOT NULL DEFAULT now(),
    written_at     timestamptz                    -- null until the file has its name
);
CREATE UNIQUE INDEX file_begun ON file ((true)) WHERE written_at IS NULL; -- one at a time

-- Whose turn it is to write: one row, a lease by this database's clock.
CREATE TABLE flusher (
    one         boolean     PRIMARY KEY DEFAULT true CHECK (one),
    owner       uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO flusher DEFAULT VALUES;

-- +goose Down
DROP TABLE flusher;
DROP TABLE file;
DROP TABLE record;
