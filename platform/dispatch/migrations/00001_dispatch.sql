-- +goose Up
CREATE TABLE dispatch (
    id          uuid        PRIMARY KEY,               -- UUIDv7; also the idempotency key of the call
    name        text        NOT NULL CHECK (name <> ''),
    key         text        NOT NULL CHECK (key <> ''),
    payload     jsonb       NOT NULL,
    correlation text        NOT NULL DEFAULT '',
    state       text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'leased', 'done', 'failed')),
    attempts    integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0), -- calls begun
    next_at     timestamptz NOT NULL DEFAULT now(),    -- pending: when it is due; leased: when the lease ends
    lease_owner uuid,                                  -- one claim's own token: the fence
    last_error  text        NOT NULL DEFAULT '' CHECK (length(last_error) <= 500),
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CHECK ((state = 'leased') = (lease_owner IS NOT NULL)),
    CHECK ((state IN ('done', 'failed')) = (finished_at IS NOT NULL))
);

-- The poll and the claim read from its start, and finished rows are not in it.
CREATE INDEX dispatch_open ON dispatch (name, next_at) WHERE state IN ('pending', 'leased');
CREATE INDEX dispatch_key ON dispatch (key);

-- What an operator lists: failures are few, finished rows are many.
CREATE INDEX dispatch_failed ON dispatch (finished_at) WHERE state = 'failed';

-- +goose Down
DROP TABLE dispatch;
