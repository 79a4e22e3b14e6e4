-- Search path: bus.

-- +goose Up
ALTER TABLE topics ADD COLUMN incarnation text NOT NULL DEFAULT '';
COMMENT ON COLUMN topics.incarnation IS 'The identity of the topic at the carrier, or empty. Another one says that what was carried there is gone.';

-- +goose Down
ALTER TABLE topics DROP COLUMN incarnation;
