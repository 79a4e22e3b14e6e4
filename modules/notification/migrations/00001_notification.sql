-- +goose Up

-- Where a user is reached.
CREATE TABLE contacts (
    user_id    text        PRIMARY KEY,
    email      text        NOT NULL,
    language   text        NOT NULL CHECK (language IN ('ko', 'en')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One notification for each message that asks for one.
CREATE TABLE notifications (
    id         uuid        PRIMARY KEY,     -- UUIDv7; its mail's Message-ID is made of it
    cause_id   uuid        NOT NULL UNIQUE, -- the message that it tells of
    cause_type text        NOT NULL,
    user_id    text        NOT NULL,
    template   text        NOT NULL,
    subject    text        NOT NULL,        -- the order key or the consultation id
    params     jsonb       NOT NULL,
    state      text        NOT NULL CHECK (state IN ('awaiting_contact', 'queued', 'sending', 'sent', 'failed')),
    attempts   integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    last_error text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz,
    CHECK ((state = 'sent') = (sent_at IS NOT NULL)),
    CHECK (state <> 'sent' OR attempts >= 1),
    CHECK ((state = 'failed') = (last_error <> ''))
);
CREATE INDEX notifications_subject ON notifications (subject, id);
CREATE INDEX notifications_waiting ON notifications (user_id) WHERE state = 'awaiting_contact';

-- +goose Down
DROP TABLE notifications;
DROP TABLE contacts;
