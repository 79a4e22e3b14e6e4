-- +goose Up
CREATE SEQUENCE consultation_id AS bigint START 5600000;

CREATE TABLE consultation (
    id             bigint PRIMARY KEY DEFAULT nextval('consultation_id'),
    hospital_id    bigint NOT NULL CHECK (hospital_id > 0),
    member_id      bigint NOT NULL CHECK (member_id > 0),
    opened_by      text NOT NULL CHECK (opened_by IN ('MEMBER', 'HOSPITAL')),
    status         text NOT NULL CHECK (status IN ('RECEIVED', 'CONTACTING', 'ABSENT', 'COUNSELED', 'RECONTACT', 'HOLD', 'FIXED',
                                                   'VISITED', 'TREATED', 'CLOSED', 'NO_SHOW', 'CANCELED', 'REJECTED')),
    reservation_at timestamptz CHECK (reservation_at >= '1900-01-01 00:00:00Z' AND reservation_at < '10000-01-01 00:00:00Z'),
    visitor_name   text NOT NULL DEFAULT '',
    phone          text NOT NULL DEFAULT '',
    memo           text NOT NULL DEFAULT '',
    moves          bigint NOT NULL DEFAULT 0,            -- how many rows of history it has
    raised_at      timestamptz NOT NULL DEFAULT now(),
    changed_at     timestamptz NOT NULL DEFAULT now(),
    version        bigint NOT NULL DEFAULT 1             -- grows with every change of it, its history and its deposits: the ETag
);

-- Every move is kept: who, from, to, when. from_status is null for the booking only.
CREATE TABLE history (
    consultation_id bigint NOT NULL REFERENCES consultation,
    position        bigint NOT NULL CHECK (position > 0), -- 1, 2, 3, … without gaps
    transition      text NOT NULL,
    actor           text NOT NULL CHECK (actor IN ('MEMBER', 'HOSPITAL', 'SYSTEM')),
    from_status     text,
    to_status       text NOT NULL,
    at              timestamptz NOT NULL,
    -- the reservation's time after the move
    reservation_at  timestamptz CHECK (reservation_at >= '1900-01-01 00:00:00Z' AND reservation_at < '10000-01-01 00:00:00Z'),
    PRIMARY KEY (consultation_id, position)
);

CREATE TABLE deposit (
    payment_id          uuid PRIMARY KEY,
    consultation_id     bigint NOT NULL REFERENCES consultation,
    amount              bigint NOT NULL CHECK (amount > 0), -- minor units of currency
    currency            text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state               text NOT NULL CHECK (state IN ('paid', 'refund_requested', 'refunded')),
    paid_at             timestamptz NOT NULL,
    refund_requested_at timestamptz,
    refunded_at         timestamptz,
    refund_id           uuid
);
CREATE INDEX deposit_consultation ON deposit (consultation_id);

-- The requests that had an Idempotency-Key. The transaction that does the work
-- writes the row, so it exists only if the work was done.
CREATE TABLE idempotency_keys (
    key          text        PRIMARY KEY,         -- with its operation and principal
    request_hash bytea       NOT NULL,
    answer       text        NOT NULL DEFAULT '', -- JSON: the consultation and its move
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE deposit;
DROP TABLE history;
DROP TABLE consultation;
DROP SEQUENCE consultation_id;
