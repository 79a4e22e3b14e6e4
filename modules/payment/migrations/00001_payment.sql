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
    -- The order's key of a payment that does not occupy its order, so that another one may: a deposit that went
    -- back whole and was followed by another payment, or a charge that succeeded late beside another payment and
    -- goes back. order_key is then one of the payment's own.
    released_order_key text CHECK (released_order_key ~ '^[A-Za-z0-9-]{1,64}$'),
    CONSTRAINT payments_money CHECK (0 <= refunded AND refunded <= captured AND captured <= amount),
    CONSTRAINT payments_captured CHECK ((status IN ('completed', 'refunding', 'refunded')) = (captured > 0)),
    CONSTRAINT payments_refunded CHECK ((status = 'refunded') = (captured > 0 AND refunded = captured)), -- a part may go back at the provider's own dashboard
    CONSTRAINT payments_failed CHECK ((status = 'failed') = (failed_reason <> '')),
    CONSTRAINT payments_released CHECK (released_order_key IS NULL OR status IN ('refunding', 'refunded'))
);

-- One payment of an order that is open or was captured. Only after a failure
-- may the order be paid again: a refunded one stays closed.
CREATE UNIQUE INDEX payments_one_per_order ON payments (order_key) WHERE status <> 'failed';
CREATE INDEX payments_by_order ON payments (order_key);
CREATE INDEX payments_released_by_order ON payments (released_order_key) WHERE released_order_key IS NOT NULL;
CREATE INDEX payments_open ON payments (payment_id) WHERE status = 'pending';

-- Every change of a payment's status and amounts, and what came of each.
CREATE TABLE payment_history (
    history_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id uuid        NOT NULL REFERENCES payments,
    status     text        NOT NULL, -- these three are the payment's after the change
    captured   bigint      NOT NULL,
    refunded   bigint      NOT NULL,
    -- lookup: the gateway was asked what became of it; provider: it was done at the provider, without our request
    cause      text        NOT NULL CHECK (cause IN ('request', 'callback', 'answer', 'refund', 'lookup', 'provider')),
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
    asked_at        timestamptz NOT NULL DEFAULT now(), -- when the gateway was last to be asked
    -- The callback URL that the gateway was given. It stays the same when the charge is asked for again, by any
    -- process: under a used key the gateway refuses another request than the first.
    callback_url    text        NOT NULL DEFAULT '',
    -- When the gateway was first asked, NULL: never. From then on the outcome may be unknown to us, and the charge
    -- is looked up before it is asked for again.
    attempted_at    timestamptz DEFAULT now(),
    checks          integer     NOT NULL DEFAULT 0 CHECK (checks >= 0) -- status checks: each one doubles the wait until the next
);

-- The results of a charge that the gateway gave: each status once, as it first arrived.
CREATE TABLE gateway_results (
    result_id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_key text        NOT NULL REFERENCES charges,
    status          text        NOT NULL,
    failed_reason   text        NOT NULL DEFAULT '',
    source          text        NOT NULL CHECK (source IN ('callback', 'answer', 'lookup')),
    webhook_id      text        NOT NULL DEFAULT '',
    -- settled: it decided the payment; noted: it decides nothing; late: the payment was final, and agrees or is
    -- ahead; contradiction: the payment was final, and is the opposite; unknown: no strategy for (kind, status);
    -- reopened: the payment had failed, and the charge succeeded after all; returned: captured money went back at the provider
    verdict         text        NOT NULL CHECK (verdict IN ('settled', 'noted', 'late', 'contradiction', 'unknown', 'reopened', 'returned')),
    received_at     timestamptz NOT NULL DEFAULT now(),
    -- How much had gone back by then, all parts together; the greatest amount that was reported with this status.
    canceled_amount bigint      NOT NULL DEFAULT 0 CHECK (canceled_amount >= 0),
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
    updated_at    timestamptz NOT NULL DEFAULT now(),
    attempted_at  timestamptz DEFAULT now(), -- as of charges
    checks        integer     NOT NULL DEFAULT 0 CHECK (checks >= 0)
);
CREATE UNIQUE INDEX refunds_one_per_payment ON refunds (payment_id) WHERE status <> 'refused';
CREATE INDEX refunds_open ON refunds (asked_at) WHERE status = 'asked';

-- The requests that had an Idempotency-Key. The transaction that does the work
-- writes the row, so it exists only if the work was done.
CREATE TABLE idempotency_keys (
    key          text        PRIMARY KEY,         -- with its operation and principal
    request_hash bytea       NOT NULL,
    answer       text        NOT NULL DEFAULT '', -- JSON: the payment, or why there is none
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- What a person must look at. An item ends by itself or is acknowledged.
CREATE TABLE attention (
    attention_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id   uuid        NOT NULL REFERENCES payments,
    reason       text        NOT NULL CHECK (reason <> ''), -- the list is in package attention
    detail       text        NOT NULL DEFAULT '',
    since        timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    ended_by     text        NOT NULL DEFAULT '', -- who acknowledged it; '': its cause ended
    ended_why    text        NOT NULL DEFAULT '',
    CHECK (ended_at IS NOT NULL OR (ended_by = '' AND ended_why = ''))
);
CREATE UNIQUE INDEX attention_open ON attention (payment_id, reason) WHERE ended_at IS NULL;
CREATE INDEX attention_open_by_reason ON attention (reason) WHERE ended_at IS NULL;
CREATE INDEX attention_by_payment ON attention (payment_id, attention_id);

-- Callbacks about money that went back at the provider, which do not state how
-- much went back by then, all parts together: each callback is one row, and a
-- copy of it is none.
CREATE TABLE provider_returns (
    transaction_key text        NOT NULL REFERENCES charges,
    webhook_id      text        NOT NULL,
    status          text        NOT NULL,
    amount          bigint      NOT NULL CHECK (amount > 0),
    reused          boolean     NOT NULL, -- the webhook-id had come with another status or amount: it counts for nothing
    received_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction_key, webhook_id, status, amount)
);

-- +goose Down
DROP TABLE provider_returns, attention, idempotency_keys, refunds, gateway_results, charges, payment_history, payments;
