-- +goose Up

-- Where an order goes. It may be known before the order is paid, or after.
CREATE TABLE addresses (
    order_key  text        PRIMARY KEY,
    name       text        NOT NULL,
    phone      text        NOT NULL,
    postcode   text        NOT NULL,
    line1      text        NOT NULL,
    line2      text        NOT NULL DEFAULT '',
    city       text        NOT NULL DEFAULT '',
    country    text        NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version    bigint      NOT NULL DEFAULT 1 -- grows with every change; together with the delivery's it is the ETag of an order
);

-- The delivery of a paid order of goods: at most one for an order.
CREATE TABLE deliveries (
    id              uuid        PRIMARY KEY, -- UUIDv7
    order_key       text        NOT NULL UNIQUE,
    user_id         text        NOT NULL,
    payment_id      text        NOT NULL,
    state           text        NOT NULL CHECK (state IN ('awaiting_address', 'prepared', 'shipped', 'delivered', 'failed', 'cancelled')),
    carrier         text        NOT NULL DEFAULT '',
    tracking_number text        NOT NULL DEFAULT '',
    reason          text        NOT NULL DEFAULT '', -- of a failure or a cancellation
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(), -- when it came into its state, or got another address
    version         bigint      NOT NULL DEFAULT 1,     -- grows with every change
    CHECK (state NOT IN ('prepared', 'shipped', 'delivered') OR carrier <> ''),
    CHECK ((state IN ('shipped', 'delivered')) = (tracking_number <> '')),
    CHECK ((state IN ('failed', 'cancelled')) = (reason <> ''))
);
CREATE UNIQUE INDEX deliveries_tracking ON deliveries (carrier, tracking_number) WHERE tracking_number <> '';

-- What a warehouse or a carrier has to do next; delivered ones are not in it.
CREATE INDEX deliveries_moving ON deliveries (updated_at) WHERE state IN ('prepared', 'shipped');

CREATE SEQUENCE tracking_numbers;

-- Everything that happened to a delivery, written with the change itself.
CREATE TABLE history (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery_id uuid        NOT NULL REFERENCES deliveries (id),
    action      text        NOT NULL,
    from_state  text        NOT NULL, -- '' for the first row
    to_state    text        NOT NULL,
    note        text        NOT NULL DEFAULT '',
    cause_id    uuid,                 -- the message that caused it; NULL for a request
    at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX history_delivery ON history (delivery_id, id);

-- +goose Down
DROP TABLE history;
DROP SEQUENCE tracking_numbers;
DROP TABLE deliveries;
DROP TABLE addresses;
