-- +goose Up

-- What a user pays for an order. Money is in minor units of the currency.
CREATE TABLE payments (
    payment_id    uuid        PRIMARY KEY, -- UUIDv7
    order_key     text        NOT NULL CHECK (order_key ~ '^[A-Za-z0-9-]{1,64}$'),
    order_kind    text        NOT NULL CHECK (order_kind IN ('goods', 'deposit')),
    user_id       text        NOT NULL,
    amount        bigint      NOT NULL CHECK (amount > 0),
    currency      text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    method        text        NOT NULL,
    provider      text        NOT NULL,
    status        text        NOT NULL CHECK (status IN ('pending', 'completed', 'failed', 'refunding', 'refunded')),
    failed_reason text        NOT NULL DEFAULT '',
    captured      bigint      NOT NULL DEFAULT 0,
    refunded      bigint      NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_money CHECK (0 <= refunded AND refunded <= captured AND captured <= amount),
    CONSTRAINT payments_captured CHECK ((status IN ('completed', 'refunding', 'refunded')) = (captured > 0)),
    CONSTRAINT payments_refunded CHECK ((status = 'refunded') = (refunded > 0)),
    CONSTRAINT payments_failed CHECK ((status = 'failed') = (failed_reason <> ''))
);

-- One payment of an order that is open or was captured. Only after a failure
-- may the order be paid again: a refunded one stays closed.
CREATE UNIQUE INDEX payments_one_per_order ON payments (order_key) WHERE status <> 'failed';
CREATE INDEX payments_by_order ON payments (order_key);

-- Every change of a payment's status and amounts, and what came of each.
CREATE TABLE payment_history (
    history_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id uuid        NOT NULL REFERENCES payments,
    status     text        NOT NULL, -- these three are the payment's after the change
    captured   bigint      NOT NULL,
    refunded   bigint      NOT NULL,
    cause      text        NOT NULL CHECK (cause IN ('request', 'callback', 'answer', 'refund')),
    detail     text        NOT NULL DEFAULT '',
    cause_id   uuid,                 -- the message that caused it, if one did
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payment_history_by_payment ON payment_history (payment_id, history_id);

-- The gateway's side of a payment. Its row lock is taken before any other
-- change of the payment.
CREATE TABLE charges (
    transaction_key text        PRIMARY KEY, -- the gateway's idempotency key
    payment_id      uuid        NOT NULL UNIQUE REFERENCES payments,
    gateway_status  text        NOT NULL DEFAULT '', -- the last result that counted; '': none yet
    asked_at        timestamptz NOT NULL DEFAULT now() -- when the gateway was last to be asked
);

-- What the gateway said of a charge: each status once, by whichever way first.
CREATE TABLE gateway_results (
    result_id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_key text        NOT NULL REFERENCES charges,
    status          text        NOT NULL,
    failed_reason   text        NOT NULL DEFAULT '',
    source          text        NOT NULL CHECK (source IN ('callback', 'answer')),
    webhook_id      text        NOT NULL DEFAULT '',
    -- settled: it decided the payment; noted: it decides nothing; late: the payment was final, and agrees or is
    -- ahead; contradiction: the payment was final, and says the opposite; unknown: no strategy for (kind, status)
    verdict         text        NOT NULL CHECK (verdict IN ('settled', 'noted', 'late', 'contradiction', 'unknown')),
    received_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (transaction_key, status)
);

-- Money to give back: always all that was captured.
CREATE TABLE refunds (
    refund_id     uuid        PRIMARY KEY, -- UUIDv7; the gateway's idempotency key
    payment_id    uuid        NOT NULL REFERENCES payments,
    amount        bigint      NOT NULL CHECK (amount > 0),
    reason        text        NOT NULL,
    request_id    text        NOT NULL DEFAULT '',
    -- waiting: for the capture; asked: of the gateway; done; refused: by the gateway, for good; dropped: nothing was captured
    status        text        NOT NULL CHECK (status IN ('waiting', 'asked', 'done', 'refused', 'dropped')),
    failed_reason text        NOT NULL DEFAULT '',
    asked_at      timestamptz NOT NULL DEFAULT now(),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX refunds_one_per_payment ON refunds (payment_id) WHERE status <> 'refused';
CREATE INDEX refunds_open ON refunds (asked_at) WHERE status = 'asked';
CREATE INDEX payments_open ON payments (payment_id) WHERE status = 'pending';

-- The answers that requests were given, to give them again.
CREATE TABLE idempotency_keys (
    key          text        PRIMARY KEY,
    request_hash bytea       NOT NULL,
    answer       text        NOT NULL DEFAULT '', -- JSON, see the service
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE idempotency_keys, refunds, gateway_results, charges, payment_history, payments;
