-- +goose Up
CREATE TABLE spent (
	user_id text NOT NULL,
	currency text NOT NULL,
	amount bigint NOT NULL CHECK (amount >= 0),
	PRIMARY KEY (user_id, currency)
);

-- +goose Down
DROP TABLE spent;
