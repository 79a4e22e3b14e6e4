-- +goose Up

-- Where the gateway was told to call. It stays the same when the charge is asked
-- for again, by whichever process: under a used key the gateway refuses another
-- request than the first. '' in what an earlier version wrote.
ALTER TABLE charges ADD COLUMN callback_url text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE charges DROP COLUMN callback_url;
