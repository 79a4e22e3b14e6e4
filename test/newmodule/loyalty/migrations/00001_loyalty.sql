-- +goose Up
CREATE TABLE account (user_id text PRIMARY KEY, points bigint NOT NULL CHECK (points >= 0));

-- +goose Down
DROP TABLE account;
