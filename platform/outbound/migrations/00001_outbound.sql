-- +goose Up
CREATE TABLE outbound_calls (
    id             uuid        PRIMARY KEY,            -- UUIDv7; also the idempotency key of the call
    name           text        NOT NULL CHECK (name <> ''),
    key            text        NOT NULL CHECK (key <> ''),
    payload        jsonb       NOT NULL,
    correlation_id text        NOT NULL DEFAULT '',
    state          text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'leased', 'succeeded', 'failed')),
    attempts       integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0), -- attempts begun
    next_at        timestamptz NOT NULL DEFAULT now(), -- pending: when it is due; leased: when the lease expires
    lease_token    uuid,                               -- unique to one claim: the fence
    last_error     text        NOT NULL DEFAULT '' CHECK (length(last_error) <= 500),
    created_at     timestamptz NOT NULL DEFAULT now(),
    completed_at   timestamptz,
    CHECK ((state = 'leased') = (lease_token IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed')) = (completed_at IS NOT NULL))
);

-- The poll and the claim read from its start, and completed rows are not in it.
CREATE INDEX outbound_calls_open ON outbound_calls (name, next_at) WHERE state IN ('pending', 'leased');
CREATE INDEX outbound_calls_key ON outbound_calls (key);

-- What an operator lists: failures are few, completed rows are many.
CREATE INDEX outbound_calls_failed ON outbound_calls (completed_at) WHERE state = 'failed';

-- +goose Down
DROP TABLE outbound_calls;
