-- +goose Up
CREATE TABLE room (
    id              uuid PRIMARY KEY,
    consultation_id bigint NOT NULL UNIQUE,
    hospital_id     bigint NOT NULL,
    member_id       bigint,                      -- null until consultation.created was handled
    last_position   bigint NOT NULL DEFAULT 0,   -- how many entries it has
    opened_at       timestamptz NOT NULL DEFAULT now()
);

-- What a room shows, in the order of position: status cards and messages.
CREATE TABLE entry (
    room_id     uuid NOT NULL REFERENCES room,
    position    bigint NOT NULL CHECK (position > 0),        -- 1, 2, 3, … without gaps
    id          uuid NOT NULL UNIQUE,
    speaker     text NOT NULL CHECK (speaker IN ('CUSTOMER', 'HOSPITAL')),
    at          timestamptz NOT NULL,
    -- of a card
    card        text CHECK (card IN ('reservation_received', 'reservation_confirmed', 'reservation_changed', 'reservation_cancelled')),
    transition  text,
    actor       text,
    prev_state  text,                                        -- null for a booking
    cause_id    uuid UNIQUE,                                 -- the event of the move: at most one card for each
    -- of a message
    text        text CHECK (char_length(text) BETWEEN 1 AND 2000),
    PRIMARY KEY (room_id, position),
    CHECK (CASE WHEN card IS NULL
        THEN text IS NOT NULL AND transition IS NULL AND actor IS NULL AND prev_state IS NULL AND cause_id IS NULL
        ELSE text IS NULL AND transition IS NOT NULL AND actor IS NOT NULL AND cause_id IS NOT NULL END)
);

-- The requests that had an Idempotency-Key. The transaction that does the work
-- writes the row, so it exists only if the work was done.
CREATE TABLE idempotency_keys (
    key          text        PRIMARY KEY,         -- with its operation and principal
    request_hash bytea       NOT NULL,
    answer       text        NOT NULL DEFAULT '', -- JSON: the message's position
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE entry;
DROP TABLE room;
