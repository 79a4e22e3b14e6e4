-- +goose Up

-- Where a user is reached.
CREATE TABLE contacts (
    user_id    text        PRIMARY KEY,
    email      text        NOT NULL,
    language   text        NOT NULL CHECK (language IN ('ko', 'en')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version    bigint      NOT NULL DEFAULT 1 -- grows with every change: the ETag
);

-- One notification for each message that asks for one.
CREATE TABLE notifications (
    id         uuid        PRIMARY KEY,     -- UUIDv7; its mail's Message-ID is made of it
    cause_id   uuid        NOT NULL,        -- the message that caused it
    cause_type text        NOT NULL,
    user_id    text        NOT NULL,
    template   text        NOT NULL,
    subject    text        NOT NULL,        -- the order key or the consultation id
    params     jsonb       NOT NULL,
    state      text        NOT NULL CHECK (state IN ('awaiting_contact', 'queued', 'collected', 'sending', 'sent', 'failed')),
    attempts   integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    last_error text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz,
    recipient  text        NOT NULL DEFAULT '', -- the hash of the address whose limit it counts for
    digest_id  uuid,                            -- the digest that it goes, or went, with
    UNIQUE (cause_id, cause_type),               -- another module may give one of its messages the same id
    CHECK ((state = 'sent') = (sent_at IS NOT NULL)),
    CHECK (state <> 'sent' OR attempts >= 1),
    CHECK ((state = 'failed') = (last_error <> ''))
);
CREATE INDEX notifications_subject ON notifications (subject, id);
CREATE INDEX notifications_waiting ON notifications (user_id) WHERE state = 'awaiting_contact';

-- How many mails an address got in its window, and the digest that collects what
-- came beyond the limit. An address stands here as a hash.
CREATE TABLE recipients (
    recipient  text        NOT NULL,           -- SHA-256 of the address
    kind       text        NOT NULL CHECK (kind IN ('reservations', 'orders')),
    began_at   timestamptz NOT NULL,           -- the window's begin
    mails      integer     NOT NULL,           -- in the window
    digest_id  uuid,                           -- the digest that collects, if there is one
    collected  integer     NOT NULL DEFAULT 0, -- notifications in it
    digest_at  timestamptz,                    -- when the last digest is due, or was
    PRIMARY KEY (recipient, kind)
);
CREATE INDEX recipients_began ON recipients (began_at) WHERE digest_id IS NULL;

-- The notifications of a digest, until its mail is sent.
CREATE TABLE collected (
    digest_id       uuid NOT NULL,
    notification_id uuid NOT NULL,
    PRIMARY KEY (digest_id, notification_id)
);

-- +goose Down
DROP TABLE collected;
DROP TABLE recipients;
DROP TABLE notifications;
DROP TABLE contacts;
